#include "packets/communicators.hpp"

#include <memory>
#include <utility>

namespace efa {

MatchQueues* Communicators::known(uint32_t context) const {
  if (context < kNear) return context < near_.size() ? near_[context].get() : nullptr;
  const auto at = far_.find(context);
  return at == far_.end() ? nullptr : at->second.get();
}

// Without memory nothing changes.
MatchQueues& Communicators::make(uint32_t context) {
  if (MatchQueues* there = known(context)) return *there;
  auto made = std::make_unique<MatchQueues>(context);
  if (context >= kNear) return *far_.emplace(context, std::move(made)).first->second;
  if (context >= near_.size()) near_.resize(context + 1);
  near_[context] = std::move(made);
  return *near_[context];
}

void Communicators::remove(uint32_t context) {
  if (context >= kNear)
    far_.erase(context);
  else if (context < near_.size())
    near_[context].reset();
}

}  // namespace efa
