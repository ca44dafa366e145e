#include "protocol/synchronous.hpp"

#include <algorithm>

#include "errors/report.hpp"
#include "peers/peers.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/requests.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {

void acknowledge(efa_transport* t, const Control& message) {
  if (efa_request* request = send_named(t, message)) end_synchronous(t, request, EFA_SUCCESS);
}

void end_synchronous(efa_transport* t, efa_request* request, efa_result result) {
  t->ready_to_send.remove(request->ready_id);
  request->status.result = result;
  if (result == EFA_SUCCESS) {
    ++t->counters.sent_synchronous;
    t->counters.sent_synchronous_bytes += request->data.length;
  }
  if (--request->awaited == 0) finish(t, request, result);
}

void alone_matched(efa_transport* t, const Control& message) {
  const auto at = std::find_if(t->alone.begin(), t->alone.end(), [&](const AloneSend& sent) {
    return sent.bits == message.request && sent.uid == message.sender;
  });
  if (at == t->alone.end()) {
    if (has_failed(t, message.sender)) return;
    t->fatal(msg::message_about_nothing(describe_sender(t, message.sender), to_string(message)));
    return;
  }
  if (at->peer) at->peer->unmatched_alone = false;
  t->alone.erase(at);
}

void forget_alone(efa_transport* t, efa_peer* peer, uint64_t bits) {
  peer->unmatched_alone = false;
  std::erase_if(t->alone, [&](const AloneSend& sent) { return sent.peer == peer && sent.bits == bits; });
}

}  // namespace efa
