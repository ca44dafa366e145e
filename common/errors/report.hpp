// Messages for the user about failures: the peer, what failed, why, and what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/user_message.hpp"
#include "fabric/completion.hpp"
#include "interface/transport.h"

namespace efa {

// "rank 3 on host b (NIC rdmap0s6)"; for null "any source".
std::string to_string(const efa_peer* peer);
// "Rank 0 on host a (efa, NIC rdmap0s6)": this process.
std::string this_process(const efa_transport* t);
// A sentence about the likely cause if messages do not reach these peers. Between hosts it names the security group.
MessagePart likely_cause(const efa_transport* t, const std::vector<const efa_peer*>& peers);
// to_string() of the peer with this uid, the sender of a message; a description if there is no such peer.
std::string describe_sender(const efa_transport* t, uint64_t uid);
// Why it failed, with the provider's text; and what the user can do, which may be empty.
std::string reason_of(const efa_transport* t, const efa_failure& failure);
MessagePart advice_for(const efa_failure& failure);
// Reports the failure of an operation with a peer. Returns the result for the request.
efa_result report_failure(efa_transport* t, const MessagePart& operation, const efa_peer* peer,
                          const efa_failure& failure);

// "rank 3 on host b (NIC rdmap0s6)", without memory.
struct PeerName {
  explicit PeerName(const efa_peer* peer);
  char text[320];
};
// Reports a failure that has its cause on this side; both texts are of the catalog. Allocates no memory.
void report_own_failure(efa_transport* t, const FixedPart& operation, const FixedPart& reason);

// The whole seconds.
constexpr uint64_t whole_seconds(uint64_t ns) {
  return ns / 1'000'000'000;
}
// The descriptions of the first three of `count` peers, and the number of the others between `before_rest` and `after_rest`:
// "a, b, c and 2 more".
std::string list_peers(size_t count, const std::function<std::string(size_t)>& describe,
                       const char* separator, const char* before_rest, const char* after_rest);

}  // namespace efa
