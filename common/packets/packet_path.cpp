#include "packets/packet_path.hpp"

#include <algorithm>
#include <memory>

#include "channel/process_memory.hpp"
#include "channel/shm_words.hpp"
#include "errors/report.hpp"
#include "packets/incoming.hpp"
#include "packets/message_channel.hpp"
#include "packets/outgoing.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"
#include "state.hpp"

namespace efa {

namespace {

bool control_flow(efa_transport* t, const Control& message) {
  efa_peer* peer = known_peer(t, message.sender);
  // MPI_Finalize destroys peers while messages of theirs may still be on their way: those are late.
  if (!peer && t->packets->peers_destroyed) return true;
  if (!peer) peer = peer_of(t, message.sender);
  if (!peer) return false;
  if (peer->pending.failed()) return true;
  switch (message.type) {
    case ControlType::window_used:
      return t->packets->asks.window_used(t, peer, message);
    case ControlType::offer:
      return t->packets->asks.offered(t, peer, message);
    case ControlType::window_granted:
      return window_granted(t, peer, message);
    case ControlType::ask:
      return question_asked(t, peer, message);
    case ControlType::take:
    case ControlType::decline:
      return offer_answered(t, peer, message);
    case ControlType::unask:
      return question_withdrawn(t, peer, message);
    default:
      return false;
  }
}

void end_flow(efa_transport* t, efa_peer* peer) {
  end_held_sends(t, peer);
  t->packets->asks.peer_failed(t, peer);
}

void forget_flow(efa_transport* t, efa_peer* peer) {
  t->packets->peers_destroyed = true;
  drop_held_sends(t, peer);
  t->packets->asks.forget(t, peer);
}

}  // namespace

const Path kPacketPath{
    .name = "packets",
    .post_message = post_packet,
    .inject = inject_as_packet,
    .send_message = send_or_hold,
    .cancel_held = cancel_held_send,
    .flow_control = control_flow,
    .end_held = end_flow,
    .forget_peer = forget_flow,
    .post_control = post_control_packet,
    .start_receive = post_receive_entry,
    .cancel_receive = cancel_receive_entry,
    .probe = probe_kept,
    .match = match_kept,
    .receive_matched = receive_kept,
    .withdraw = withdraw_kept,
    .open_receives = posted_receives,
    .end_receives = end_posted_receives,
};

void use_packets(efa_transport* t) {
  t->packets = std::make_unique<Packets>();
  t->packets->budget = Budget(static_cast<uint64_t>(t->config.options.unexpected_memory),
                              static_cast<uint64_t>(std::max(t->config.world_ranks, 1)));
  t->path = &kPacketPath;
  t->slow_path = 1;
  t->progress_otherwise = true;
  t->slow_packets = t->threads || t->config.options.send_timeout != 0;
  Protocols& protocols = t->protocols;
  protocols.eager_limit = std::min<uint64_t>(protocols.eager_limit, most_message_payload(t));
  protocols.eager_limit_packed = std::min(protocols.eager_limit_packed, protocols.eager_limit);
  protocols.eager_limit_alone = 0;
  protocols.longest_eager = protocols.eager_limit;
  if (ShmFailure& failure = t->packets->shm_failure; t->config.options.shm && !t->packets->shm.open(failure))
    t->report(msg::shm_unavailable(this_process(t), to_string(failure), t->rails.first.provider(), remedy_for(failure)),
              speaks_for_node(t) && t->config.local_ranks > 1 ? EFA_REPORT_NOTICE : EFA_REPORT_VERBOSE);
  if (t->packets->shm.is_open()) {
    t->inject_limit = kMostShmPayload;  // each channel has its own limit
    allow_any_reader();
  }
}

}  // namespace efa
