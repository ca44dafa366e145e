#include "tagged/tagged_path.hpp"

#include "tagged/match.hpp"
#include "tagged/recv.hpp"
#include "tagged/send.hpp"
#include "tagged/withdraw.hpp"

namespace efa {

const Path kTaggedPath{
    .name = "tagged",
    .post_message = post_message,
    .inject = inject_message,
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
