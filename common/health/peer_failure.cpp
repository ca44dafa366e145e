// A peer that fails as a whole: it took nothing for as long as the user allows (stalled_peers.hpp), or it is not alive any
// more (liveness.hpp).
//
// Everything that waits for it ends with EFA_UNREACHABLE, and so does at once whatever is begun later: no message may
// arrive after an earlier one was dropped. What the provider has taken already stays with the provider, which alone knows
// when the memory is free again; its outcome is reported as usual.
#include "health/peer_failure.hpp"

#include <rdma/fi_endpoint.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/transfer.hpp"
#include "state.hpp"

namespace efa {
namespace {

void end_waiting_sends(efa_transport* t, efa_peer* peer) {
  std::vector<efa_operation*> waiting;
  while (efa_operation* op = t->pending.take_first(peer->pending)) waiting.push_back(op);
  peer->pending.fail();
  for (efa_operation* op : waiting) op->completed(t, op, &kNoEntry, &kPeerFailed);
}

}  // namespace

void fail_peer(efa_transport* t, efa_peer* peer, const UserMessage& why) {
  t->report_unless_draining(why);
  // Receives from this peer must end at once: they take the path that looks for that.
  t->slow_path = 1;
  t->slow_packets = true;
  ++t->failed_peers;
  if_memory_allows([&] { t->liveness.give_up(t, peer); });
  end_waiting_sends(t, peer);
  t->path->end_held(t, peer);
  end_sends(t, peer);
  end_transfers(t, peer);
  t->path->end_receives(t, peer);
}

void fail_undeliverable(efa_transport* t) {
  const std::vector<efa_peer*> peers = std::exchange(t->undeliverable, {});
  t->pulls_open -= peers.size();
  for (efa_peer* peer : peers)
    if (!peer->pending.failed())
      t->liveness.fail(t, peer, msg::peer_undeliverable(this_process(t), to_string(peer)));
}

void end_receives_from_anyone(efa_transport* t) {
  t->path->end_receives(t, nullptr);
}

}  // namespace efa
