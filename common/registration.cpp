#include "registration.hpp"

#include "transport.hpp"

namespace efa {

Registration* Registrations::make(efa_transport* t, void* memory, size_t length, unsigned first,
                                  unsigned rails, unsigned known, uint64_t access) {
  if (unused_.empty()) unused_.push_back(&all_.emplace_back());
  Registration* made = unused_.back();
  unused_.pop_back();
  for (unsigned i = 0; i < rails; ++i) {
    const unsigned rail = (first + i) % known;
    fid_mr* region = nullptr;
    // The key is the provider's choice (FI_MR_PROV_KEY).
    if (fi_mr_reg(t->rail_at(rail).domain.get(), memory, length, access, 0, 0, 0, &region, nullptr) != 0)
      break;
    made->regions_[rail].reset(region);
    made->rails_ = i + 1;
  }
  if (made->rails_ > 0) return made;
  drop(made);
  return nullptr;
}

void Registrations::drop(Registration* registration) {
  for (auto& region : registration->regions_) region.reset();
  registration->rails_ = 0;
  unused_.push_back(registration);
}

void Registrations::clear() {
  unused_.clear();
  all_.clear();
}

}  // namespace efa
