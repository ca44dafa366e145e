// Peers that operations wait for (pending.hpp) and that take none: warned about once, and given up where the user set a
// deadline for that.
//
// The provider refuses operations while its queues are full: because the peer does not receive, or because the network
// is slow. That alone is no error, however long it lasts. What counts is the time since the peer's last progress (an
// operation of that peer was posted or completed), and of that only the time that this process polled. Looked at only
// while operations wait.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/polled_clock.hpp"
#include "interface/transport.h"

namespace efa {

class PendingList;

class StalledPeers {
 public:
  // Times without progress: `warning_ns` until the warning, 0: never; `deadline_ns` until the peer fails, 0: never.
  StalledPeers(uint64_t warning_ns, uint64_t deadline_ns)
      : warning_ns_(warning_ns), deadline_ns_(deadline_ns) {}

  bool has_deadline() const { return deadline_ns_ != 0; }
  // To be called in polls while operations wait.
  void poll(efa_transport* t) {
    if (clock_.due()) look(t, now());
  }
  // What poll() does at the time `now_ns`, at most once in a tick of the clock.
  void look(efa_transport* t, uint64_t now_ns);
  // No operation waits any more.
  void all_moved(efa_transport* t) {
    if (!watched_.empty()) forget_unseen(t, looks_ + 1);
  }
  // The peer is gone.
  void forget(const efa_peer* peer);

 private:
  struct Watch {
    efa_peer* peer = nullptr;  // of the first operation in the list
    uint64_t since_ns = 0;     // its last progress, by clock_
    unsigned seen = 0;         // the last look at which the list had operations
    uint16_t steps = 0;        // efa_peer::steps then
    bool warned = false;
  };

  static uint64_t now();
  void moved(efa_transport* t, const Watch& watch) const;
  void forget_unseen(efa_transport* t, unsigned look);
  void warn(efa_transport* t, const std::vector<const PendingList*>& late) const;

  std::unordered_map<const PendingList*, Watch> watched_;
  uint64_t warning_ns_, deadline_ns_;
  PolledClock clock_;
  unsigned looks_ = 0;
};

}  // namespace efa
