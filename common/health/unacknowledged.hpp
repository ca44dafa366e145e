// Messages that the provider has taken and that the peer's NIC does not acknowledge: warned about once, and given up where the
// user set a deadline. It complements stalled_peers.hpp, which is about operations that the provider refuses.
//
// Only for efa between hosts: there the completion of a message says that the peer's NIC has stored it. A NIC whose receive
// buffers are used up answers "receiver not ready", and the sender's NIC repeats the message without end (rail.cpp). With other
// providers, and inside a host, a completion may wait for the receiver's program, which may compute for hours.
//
// The time counts only while the process is stuck: it polls, and no operation at all completes.
#pragma once

#include <cstdint>
#include <vector>

#include "base/polled_clock.hpp"
#include "interface/transport.h"

namespace efa {

class UnacknowledgedSends {
 public:
  // Times without an acknowledgement: `warning_ns` until the warning, 0: never; `deadline_ns` until the peers fail, 0: never.
  UnacknowledgedSends(uint64_t warning_ns, uint64_t deadline_ns)
      : warning_ns_(warning_ns), deadline_ns_(deadline_ns) {}

  // What an idle poll does at the time `now_ns`, at most once in a tick of the clock.
  void look(efa_transport* t, uint64_t now_ns);

 private:
  void warn(efa_transport* t, const std::vector<efa_peer*>& peers);
  void fail(efa_transport* t, const std::vector<efa_peer*>& peers);

  uint64_t warning_ns_, deadline_ns_;
  PolledClock clock_;
  uint64_t completions_ = 0;  // efa_transport::completions at the last look
  uint64_t since_ns_ = 0;  // by clock_: since then nothing has completed, and messages are not acknowledged
  bool waits_ = false, warned_ = false, failed_ = false;
};

}  // namespace efa
