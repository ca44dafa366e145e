#include "protocol/deliver.hpp"

#include "errors/report.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/requests.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {

static_assert(sizeof(ReadyToSend) <= EFA_BOUNCE_SIZE);

bool store(efa_transport* t, efa_request* request, const void* bytes, size_t size) {
  if (size == 0 || bytes == request->data.buffer) return true;
  if (request->data.layout) return t->config.unpack(request->data.layout, 0, bytes, size);
  if (bytes == request->bounce)
    copy_head(request->data.buffer, request->bounce, size);
  else
    std::memcpy(request->data.buffer, bytes, size);
  return true;
}

efa_peer* sender_of(efa_transport* t, const efa_request* request, int32_t source) {
  return request->op.peer ? request->op.peer : t->config.resolve(request->communicator, source);
}

FatalMessage unanswerable(const efa_transport* t, const efa_peer* peer, int32_t source, size_t length) {
  if (peer) return msg::answer_unreadable(length, to_string(peer));
  return msg::answer_impossible(t->config.self.world_rank, t->config.hostname, source);
}

void cannot_answer(efa_transport* t, efa_request* request, const efa_peer* peer, size_t length) {
  t->fatal(unanswerable(t, peer, request->status.source, length));
  finish(t, request, peer ? EFA_FAILED : EFA_UNREACHABLE);
}

void deliver_matched(efa_transport* t, efa_request* request, uint64_t bits, const void* bytes,
                     size_t length) {
  const uint64_t kind = t->tags.kind(bits);
  if (kind == kKindRts) {
    const auto ready = parse_ready_to_send(bytes, length);
    efa_peer* peer = sender_of(t, request, request->status.source);
    if (!ready || !peer) {
      cannot_answer(t, request, peer, length);
      return;
    }
    receive_rendezvous(t, request, peer, *ready);
    return;
  }

  if (kind == kKindSync) {
    efa_peer* peer = sender_of(t, request, request->status.source);
    SyncTrailer trailer;
    if (!peer || !parse_synchronous(bytes, length, trailer)) {
      cannot_answer(t, request, peer, length);
      return;
    }
    length -= sizeof trailer;
    send_control(t, peer, control(t, ControlType::acknowledge, trailer.request));
  }
  const size_t size = std::min(length, request->data.length);
  request->status.length = size;
  efa_counters& counters = t->counters;
  ++(kind == kKindSync ? counters.received_synchronous : counters.received_eager);
  (kind == kKindSync ? counters.received_synchronous_bytes : counters.received_eager_bytes) += size;
  const bool stored = store(t, request, bytes, size);
  if (kind == kKindAlone)
    if (efa_peer* peer = sender_of(t, request, request->status.source))
      send_control(t, peer, control(t, ControlType::alone_matched, bits), true);
  if (!stored)
    t->report(msg::local_failure(t->config.self.world_rank, t->config.hostname,
                                 msg::op_unpack(size, request->status.source), msg::reason_unpack()));
  finish(t, request, !stored ? EFA_FAILED : length > request->data.length ? EFA_TRUNCATED : EFA_SUCCESS);
}

}  // namespace efa
