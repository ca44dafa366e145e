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

const Path kPacketPath{
    .name = "packets",
    .post_message = post_packet,
    .inject = inject_as_packet,
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
