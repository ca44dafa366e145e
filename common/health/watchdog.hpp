// What is pending in a process: printed when it has waited for a long time (mtl_efa_watchdog), and when a signal asks for it
// (mtl_efa_dump_signal).
//
// For each operation: with which peer, since when, and in which state of its protocol. The time is known from the first look
// that saw the operation; looks come once in a second of idle polling.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/polled_clock.hpp"
#include "base/user_message.hpp"
#include "health/dump_signal.hpp"
#include "interface/transport.h"

namespace efa {

// Every open request, each once.
std::vector<efa_request*> open_requests(efa_transport* t);

class Watchdog {
 public:
  // `timeout_ns` 0: prints only on the signal `number`, 0: not then either.
  Watchdog(uint64_t timeout_ns, int number);

  // What an idle poll does at the time `now_ns`.
  void look(efa_transport* t, uint64_t now_ns);
  // What is pending now, a line for each operation.
  UserMessage describe(efa_transport* t) const;

  static constexpr size_t kMostLines = 16;      // operations in one report
  static constexpr size_t kMostWatched = 1024;  // operations whose age is known

 private:
  struct Seen {
    uint64_t bits;  // with the address, identifies the operation
    uint64_t since_ns;
    unsigned look;
    bool reported;
  };

  void watch(efa_transport* t);
  MessagePart line(const efa_transport* t, const efa_request* request, bool waits) const;

  uint64_t timeout_ns_;
  DumpSignal signal_;
  PolledClock clock_;
  unsigned looks_ = 0;
  std::unordered_map<const efa_request*, Seen> seen_;
};

}  // namespace efa
