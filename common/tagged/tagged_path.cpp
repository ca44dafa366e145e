#include "tagged/tagged_path.hpp"

#include "tagged/match.hpp"
#include "tagged/recv.hpp"
#include "tagged/send.hpp"
#include "tagged/withdraw.hpp"
#include "peers/peers.hpp"
#include "protocol/submit.hpp"

namespace efa {

namespace {

// Nothing is held back: the provider keeps what no receive has matched.
void send_at_once(efa_transport* t, efa_request* request) {
  submit_from_call(t, request->op.peer->pending, &request->op);
}
bool hold_nothing(efa_transport*, efa_request*) {
  return false;
}
bool have_no_windows(efa_transport*, const Control&) {
  return false;
}
void end_nothing(efa_transport*, efa_peer*) {}

}  // namespace

const Path kTaggedPath{
    .name = "tagged",
    .post_message = post_message,
    .inject = inject_message,
    .send_message = send_at_once,
    .cancel_held = hold_nothing,
    .flow_control = have_no_windows,
    .end_held = end_nothing,
    .forget_peer = end_nothing,
    .post_control = post_control,
    .start_receive = start_receive,
    .cancel_receive = cancel_receive,
    .probe = probe,
    .match = match,
    .receive_matched = receive_matched,
    .withdraw = withdraw_asked,
    .open_receives = open_receives,
    .end_receives = end_receives,
};

}  // namespace efa
