// The calls of the C interface that send, receive and probe, but for the fast path: locked, and without exceptions. Each
// goes to the path that matches messages.
#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "interface/transport.h"
#include "protocol/failed_transfers.hpp"
#include "protocol/path.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/requests.hpp"
#include "protocol/send.hpp"
#include "state.hpp"

extern "C" efa_result efa_send(efa_transport* t, efa_request* request, const efa_envelope* envelope,
                               efa_send_mode mode) {
  efa::Guard guard(t);
  request->ready_id = 0;  // none
  request->landing = nullptr;
  request->listed = false;
  try {
    const efa_result result = efa::start_send(t, request, envelope, mode);
    if (result != EFA_SUCCESS) t->requests.remove(request);
    return result;
  } catch (...) {  // it was not posted
    if (t->ready_to_send.find(request->ready_id) == request) efa::undo_send_ready(t, request);
    efa::give_landing(t, request);
    t->requests.remove(request);
    request->kind = efa::kNoRequest;
    return efa::report_exception(t, efa::msg::op_call_send);
  }
}

extern "C" efa_result efa_recv(efa_transport* t, efa_request* request, const efa_envelope* envelope) {
  efa::Guard guard(t);
  try {
    return t->path->start_receive(t, request, envelope);
  } catch (...) {  // it was not posted
    t->requests.remove(request);
    efa::give_landing(t, request);
    request->kind = efa::kNoRequest;
    return efa::report_exception(t, efa::msg::op_call_receive);
  }
}

// Only the handler of an operation can throw here.
extern "C" void efa_cancel(efa_transport* t, efa_request* request) try {
  efa::Guard guard(t);
  if (request->kind == efa::kSendRequest)
    efa::withdraw_send(t, request);
  else
    t->path->cancel_receive(t, request);
} catch (...) {
  efa::fatal_exception(t, efa::msg::op_cancel);
}

namespace efa {
namespace {

// Only the handler of a matched message throws. Such a message can no longer be received, so the job ends.
template <class Body>
efa_result locked(efa_transport* t, Body body) noexcept {
  Guard guard(t);
  try {
    return body();
  } catch (...) {
    fatal_exception(t, msg::op_read_probed);
    return EFA_OUT_OF_MEMORY;
  }
}

}  // namespace
}  // namespace efa

extern "C" efa_result efa_probe(efa_transport* t, efa_peer* peer, void* communicator,
                                const efa_envelope* envelope, bool* found, efa_status* status) {
  return efa::locked(t, [&] { return t->path->probe(t, peer, communicator, envelope, found, status); });
}

extern "C" efa_result efa_match(efa_transport* t, efa_peer* peer, void* communicator,
                                const efa_envelope* envelope, efa_message** found, efa_status* status) {
  return efa::locked(t, [&] { return t->path->match(t, peer, communicator, envelope, found, status); });
}

extern "C" efa_result efa_recv_matched(efa_transport* t, efa_request* request, efa_message* message) {
  efa::Guard guard(t);
  request->listed = false;
  t->requests.add(request);
  const efa_result result = efa::locked(t, [&] { return t->path->receive_matched(t, request, message); });
  if (result != EFA_SUCCESS) t->requests.remove(request);
  return result;
}
