// Sending messages that the provider matches.
#include "tagged/send.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include "peers/peers.hpp"
#include "protocol/requests.hpp"
#include "state.hpp"

namespace efa {

int post_message(efa_transport* t, efa_operation* op) {
  efa_request* request = request_of(op);
  const ssize_t error = t->tags.rank_in_tag()
                            ? fi_tsend(t->ep, request->landing, request->landing_size, nullptr,
                                       op->peer->address, request->bits, &op->context)
                            : fi_tsenddata(t->ep, request->landing, request->landing_size, nullptr,
                                           static_cast<uint32_t>(request->self_rank), op->peer->address,
                                           request->bits, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

int post_control(efa_transport* t, efa_operation* op, const Control& message) {
  const ssize_t error = fi_send(t->ep, &message, sizeof message, nullptr, op->peer->address, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

bool inject_message(efa_transport* t, efa_peer* peer, const efa_envelope& envelope, const void* buffer,
                    size_t length) {
  if (!peer->pending.empty()) return false;
  const uint64_t bits = t->tags.send_bits(envelope.context, kKindEager, envelope.self_rank, envelope.tag);
  const ssize_t error = t->tags.rank_in_tag()
                            ? fi_tinject(t->ep, buffer, length, peer->address, bits)
                            : fi_tinjectdata(t->ep, buffer, length, static_cast<uint32_t>(envelope.self_rank),
                                             peer->address, bits);
  if (error) {
    ++t->counters.retries;
    return false;
  }
  ++t->counters.sent_inject;
  t->counters.sent_inject_bytes += length;
  return true;
}

namespace {

// The envelope comes in parts: as a whole the fast path would have to write it to memory.
[[gnu::noinline]] bool inject_otherwise(efa_transport* t, efa_peer* peer, uint32_t context, int32_t self_rank,
                                        int32_t tag, const void* buffer, size_t length) {
  Guard guard(t);
  const efa_envelope envelope{context, self_rank, peer->world_rank, tag, false};
  return t->path->inject(t, peer, envelope, buffer, length);
}

}  // namespace
}  // namespace efa

extern "C" efa_inject_result efa_inject(efa_transport* t, efa_peer* peer, const efa_envelope* envelope,
                                        const void* buffer, size_t length) {
  if (length > t->inject_limit) return EFA_NOT_INJECTED;
  if (t->slow_path) [[unlikely]]
    return efa::inject_otherwise(t, peer, envelope->context, envelope->self_rank, envelope->tag, buffer,
                                 length)
               ? EFA_INJECTED
               : EFA_NOT_INJECTED;
  if (!peer->pending.empty()) return EFA_NOT_INJECTED;
  ++t->counters.sent_inject;
  t->counters.sent_inject_bytes += length;
  return fi_tinjectdata(t->ep, buffer, length, static_cast<uint32_t>(envelope->self_rank), peer->address,
                        efa::TagLayout::wide_bits(envelope->context, envelope->tag)) == 0
             ? EFA_INJECTED
             : EFA_INJECT_REFUSED;
}

extern "C" void efa_inject_refused(efa_transport* t, size_t length) {
  --t->counters.sent_inject;
  t->counters.sent_inject_bytes -= length;
  ++t->counters.retries;
}

extern "C" bool efa_try_inject(efa_transport* t, efa_peer* peer, const efa_envelope* envelope,
                               const void* buffer, size_t length) {
  const efa_inject_result result = efa_inject(t, peer, envelope, buffer, length);
  if (result == EFA_INJECT_REFUSED) efa_inject_refused(t, length);
  return result == EFA_INJECTED;
}
