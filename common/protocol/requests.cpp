#include "protocol/requests.hpp"

#include "errors/report.hpp"
#include "state.hpp"

namespace efa {

void tell_later(efa_transport* t, efa_request* request) {
  if (!t->draining) t->lock.tell_later(request);
}

void give_landing(efa_transport* t, efa_request* request) {
  if (request->landing && request->landing != request->bounce && request->landing != request->data.buffer)
    (request->kind == kRecvRequest ? t->landings : t->buffers).give(request->landing, request->landing_size);
  request->landing = nullptr;
}

void finish(efa_transport* t, efa_request* request, efa_result result) {
  t->requests.remove(request);
  give_landing(t, request);
  finish_bare(t, request, result);
}

MessagePart describe_send(const efa_transport* t, const efa_request* request) {
  return msg::op_send(request->data.length, t->tags.tag(request->bits), to_string(request->op.peer));
}

}  // namespace efa
