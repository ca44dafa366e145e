// The matching queues of each communicator, found by the number that messages carry.
//
// A message may arrive before this process has made the communicator itself, so queues are made by whoever comes first. They
// stay until the communicator is freed. Not thread-safe: the transport's lock covers it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "matching/engine.hpp"

namespace efa {

class Communicators {
 public:
  // Numbers below this are found by index. Open MPI hands out the lowest that is free, so almost all are.
  static constexpr uint32_t kNear = 4096;

  Communicators() = default;
  Communicators(const Communicators&) = delete;

  // The queues of this communicator. Throws std::bad_alloc.
  MatchQueues& queues(uint32_t context) {
    if (context < near_.size() && near_[context]) [[likely]]
      return *near_[context];
    return make(context);
  }
  // The same without making them; null also for most of those that are not found by index.
  MatchQueues* near(uint32_t context) const {
    return context < near_.size() ? near_[context].get() : nullptr;
  }
  // Null if nothing was ever posted or received there.
  MatchQueues* known(uint32_t context) const;
  // Forgets queues, which must be empty.
  void remove(uint32_t context);
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& queues : near_)
      if (queues) visit(*queues);
    for (const auto& [context, queues] : far_) visit(*queues);
  }

 private:
  MatchQueues& make(uint32_t context);

  std::vector<std::unique_ptr<MatchQueues>> near_;
  std::unordered_map<uint32_t, std::unique_ptr<MatchQueues>> far_;
};

}  // namespace efa
