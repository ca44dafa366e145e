#include "packets/outgoing.hpp"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstring>

#include "fabric/completion.hpp"
#include "packets/message_channel.hpp"
#include "peers/peers.hpp"
#include "protocol/requests.hpp"
#include "state.hpp"

namespace efa {
namespace {

PacketType type_of(uint64_t kind, uint32_t question) {
  const PacketType type = kind == kKindRts    ? PacketType::ready_to_send
                          : kind == kKindSync ? PacketType::synchronous
                                              : PacketType::eager;
  return question ? static_cast<PacketType>(static_cast<uint8_t>(type) + kAnswerOffset) : type;
}

// Of every control message; a message to be sent refers to it, so it lives as long as the process.
constexpr PacketHeader kControlHeader{.context = 0,
                                      .source = 0,
                                      .tag = 0,
                                      .length = sizeof(Control),
                                      .sender = 0,
                                      .type = PacketType::control,
                                      .credits = 0,
                                      .sequence = 0};

// Through shared memory the operation ends here.
int put_packet(efa_transport* t, efa_operation* op, const PacketHeader& header, const void* payload) {
  if (!op->peer->shm->send(header, payload, header.length)) return -FI_EAGAIN;
  ++t->sends_posted;
  op->completed(t, op, &kNoEntry, nullptr);
  return 0;
}

}  // namespace

int post_packet(efa_transport* t, efa_operation* op) {
  efa_request* request = request_of(op);
  const PacketHeader header{.context = t->tags.context(request->bits),
                            .source = request->self_rank,
                            .tag = t->tags.tag(request->bits),
                            .length = static_cast<uint32_t>(request->landing_size),
                            .sender = request->ask,
                            .type = type_of(t->tags.kind(request->bits), request->ask),
                            .credits = 0,
                            .sequence = 0};
  if (op->peer->shm) return put_packet(t, op, header, request->landing);
  static_assert(sizeof request->header == sizeof header);
  std::memcpy(request->header, &header, sizeof header);
  return send_packet(t, op, request->header, request->landing, header.length);
}

bool inject_as_packet(efa_transport* t, efa_peer* peer, const efa_envelope& envelope, const void* buffer,
                      size_t length) {
  if (!peer->pending.empty() || length > UINT32_MAX) return false;
  if (peer->window < 0 && !next_half(t, peer)) return false;
  const PacketHeader header{.context = envelope.context,
                            .source = envelope.self_rank,
                            .tag = envelope.tag,
                            .length = static_cast<uint32_t>(length),
                            .sender = 0,
                            .type = PacketType::eager,
                            .credits = 0,
                            .sequence = 0};
  if (peer->shm ? length > std::min<uint64_t>(peer->eager_limit, kMostShmPayload) || !peer->shm->send(header, buffer, length)
                : inject_packet(t, peer, header, buffer) != 0)
    return false;
  peer->window -= cost_of(length);
  ++t->counters.sent_inject;
  t->counters.sent_inject_bytes += length;
  return true;
}

int post_control_packet(efa_transport* t, efa_operation* op, const Control& message) {
  if (op->peer->shm) return put_packet(t, op, kControlHeader, &message);
  return send_packet(t, op, &kControlHeader, &message, sizeof message);
}

}  // namespace efa

// `slow_packets` covers threads; without a ring to the peer, behind other operations, or when half of a window is used up, the
// general call decides.
extern "C" efa_inject_result efa_inject_packet(efa_transport* t, efa_peer* peer, const efa_envelope* envelope,
                                               const void* buffer, size_t length) {
  efa::ShmSender* const shm = peer->shm.get();
  if (t->slow_packets || !shm || length > peer->eager_limit || !peer->pending.empty() || peer->window < 0) [[unlikely]]
    return efa_inject(t, peer, envelope, buffer, length);
  const efa::PacketHeader header{.context = envelope->context,
                                 .source = envelope->self_rank,
                                 .tag = envelope->tag,
                                 .length = static_cast<uint32_t>(length),
                                 .sender = 0,
                                 .type = efa::PacketType::eager,
                                 .credits = 0,
                                 .sequence = 0};
  if (!shm->send(header, buffer, length)) [[unlikely]]
    return EFA_NOT_INJECTED;
  peer->window -= efa::cost_of(length);
  ++t->counters.sent_inject;
  t->counters.sent_inject_bytes += length;
  return EFA_INJECTED;
}
