#include "protocol/registration.hpp"

#include "protocol/rails.hpp"

namespace efa {

Registration* Registrations::make(Rails& rails, efa_counters& counters, void* memory, size_t length,
                                  unsigned first, unsigned count, unsigned known, uint64_t access) {
  if (unused_.empty()) {
    // Room for all of them, so that drop() needs no memory.
    if (unused_.capacity() <= all_.size()) unused_.reserve(2 * all_.size() + 8);
    unused_.push_back(&all_.emplace_back());
  }
  Registration* made = unused_.back();
  unused_.pop_back();
  for (unsigned i = 0; i < count; ++i) {
    const unsigned rail = (first + i) % known;
    fid_mr* region = nullptr;
    // The key is the provider's choice (FI_MR_PROV_KEY).
    if (fi_mr_reg(rails.at(rail).domain.get(), memory, length, access, 0, 0, 0, &region, nullptr) != 0) {
      ++counters.registrations_refused;
      break;
    }
    ++counters.registrations_made;
    made->regions_[rail].reset(region);
    made->rails_ = i + 1;
    ++regions_;
  }
  if (made->rails_ > 0) return made;
  drop(made);
  return nullptr;
}

void Registrations::drop(Registration* registration) {
  regions_ -= registration->rails_;
  for (auto& region : registration->regions_) region.reset();
  registration->rails_ = 0;
  unused_.push_back(registration);
}

void Registrations::clear() {
  unused_.clear();
  all_.clear();
}

}  // namespace efa
