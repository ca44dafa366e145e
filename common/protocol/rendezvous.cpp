// Rendezvous: the data of a long or synchronous message moves only after its match is known.
//
//     push    sender                               receiver
//               | -- ready to send (tagged) ------->  |  matched like any message
//               | <------- clear to send (control) -- |  first pieces are posted before it leaves
//               | -- piece 0, piece 1, ... -------->  |  each to a receive with a tag of its own
//
//     pull    sender                               receiver
//               | -- ready to send, with keys ----->  |  matched like any message
//               | <====== RDMA reads, all rails ===== |  the sender's CPU is not involved
//               | <------------ finished (control) -- |
//
// The sender exposes its data if it can be registered: contiguous, in few blocks, or packed as a whole if it is not long.
// The receiver chooses pull or push.
#include "protocol/rendezvous.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/memory_copy.hpp"
#include "protocol/registration.hpp"
#include "protocol/requests.hpp"
#include "protocol/scheduler.hpp"
#include "protocol/segments.hpp"
#include "protocol/submit.hpp"
#include "protocol/synchronous.hpp"
#include "protocol/thresholds.hpp"
#include "protocol/transfer.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {
namespace {

// Maximum ratio of registered memory to data for a layout of blocks with gaps.
constexpr size_t kMostExtent = 2;

// Up to this length, in bytes, a layout that has to be packed is packed as a whole, so that the receiver can read it by
// RDMA. This avoids the provider's own rendezvous for each piece. Longer data would need more memory, and packing would
// not overlap with the transfer.
constexpr uint64_t kMostPackedWhole = 2 * kMiB;

// Upper bound of the minimum share of a rail while several messages are read; larger shares gain nothing.
constexpr uint64_t kMostLeastShare = kMiB;

void pack_whole(efa_transport* t, efa_request* request) {
  const uint64_t length = request->data.length;
  if (length > kMostPackedWhole || t->buffers.is_full(length)) return;
  request->packed = t->buffers.take(length);
  if (!request->packed || t->config.pack(request->data.layout, 0, request->packed, length)) return;
  t->buffers.give(request->packed, length);
  request->packed = nullptr;  // packing the pieces fails again and is reported there
}

void drop_packed(efa_transport* t, efa_request* request) {
  if (request->packed) t->buffers.give(request->packed, request->data.length);
  request->packed = nullptr;
}

// Releases the memory that the sender has registered for the receiver.
void revoke_offer(efa_transport* t, efa_request* request) {
  if (request->exposure) {
    t->registrations.drop(static_cast<Registration*>(request->exposure));
    request->exposure = nullptr;
    --t->pulls_open;
  }
  drop_packed(t, request);  // no longer registered, so the pool may free it
}

// The memory to register for `length` bytes of this side, gaps included. Empty if the gaps are too large.
iovec memory_of(const efa_request* request, const Side& side, uint64_t length) {
  if (side.contiguous()) return {request->data.buffer, length};
  const iovec all = extent(side.segments, length);
  return all.iov_len <= kMostExtent * length ? all : iovec{};
}

// Null if the NICs refuse or memory is short; the data is then pushed.
Registration* registered(efa_transport* t, const iovec& memory, unsigned first, unsigned rails,
                         unsigned known, uint64_t access) {
  try {
    return t->registrations.make(t->rails, t->counters, memory.iov_base, memory.iov_len, first, rails, known, access);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// Where the data is, blocks included.
void locate(const Side& side, const iovec& memory, ReadyToSend& ready) {
  ready.address = reinterpret_cast<uintptr_t>(memory.iov_base);
  for (const iovec& segment : side.segments)
    ready.parts[ready.segments++] = {reinterpret_cast<uintptr_t>(segment.iov_base) - ready.address,
                                     segment.iov_len};
}

// Tells a process of this node where the data is.
void offer_in_memory(efa_transport* t, efa_request* request, const Side& side, ReadyToSend& ready) {
  if (side.segments.size() > kMostSegments) return;
  if (side.staged) pack_whole(t, request);
  if (side.staged && !request->packed) return;
  const iovec memory = side.staged            ? iovec{request->packed, request->data.length}
                       : side.contiguous() ? iovec{request->data.buffer, request->data.length}
                                           : extent(side.segments, request->data.length);
  ready.flags |= ReadyToSend::kInMemory;
  locate(side, memory, ready);
}

// Exposes the data for RDMA reads, if that is possible and registration succeeds.
void offer(efa_transport* t, efa_request* request, const Side& side, ReadyToSend& ready) {
  const Protocols& protocols = t->protocols;
  if (!protocols.pulls || request->data.length < protocols.pull_limit || !request->op.peer->pulls) return;
  if (side.segments.size() > kMostSegments) return;
  if (side.staged) pack_whole(t, request);
  iovec memory{request->packed, request->packed ? request->data.length : 0};
  if (!side.staged) memory = memory_of(request, side, request->data.length);
  if (memory.iov_len == 0) return;
  const unsigned rails =
      plan_stripes(request->data.length, t->rails.count(), protocols.stripe, protocols.read).rails;
  Registration* exposure = registered(t, memory, 0, rails, rails, FI_REMOTE_READ);
  if (!exposure) {  // the data is pushed
    drop_packed(t, request);
    return;
  }
  locate(side, memory, ready);
  ready.rails = static_cast<uint8_t>(exposure->rails());
  for (unsigned i = 0; i < ready.rails; ++i) ready.keys[i] = exposure->key(i);
  request->exposure = exposure;
  ++t->pulls_open;
}

void send_ended(efa_transport* t, efa_request* request) {
  --t->long_sends;
  finish(t, request, request->status.result);
}

// One of the events that a send waits for has occurred.
void sender_event(efa_transport* t, efa_request* request) {
  if (--request->awaited == 0) send_ended(t, request);
}

// The ready-to-send message has completed or failed.
void ready_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure* failure) {
  efa_request* request = request_of(op);
  if (!failure || failure->entry) --t->sends_posted;
  if (failure) {
    request->status.result =
        t->closing ? EFA_CANCELED : report_failure(t, describe_send(t, request), op->peer, *failure);
    if (t->ready_to_send.find(request->ready_id)) {
      t->ready_to_send.remove(request->ready_id);
      if (failure->entry) remember_failed_send(t, request);
      revoke_offer(t, request);
      send_ended(t, request);
      return;
    }
    // It was answered, so it has arrived; pieces may still be in flight.
  }
  sender_event(t, request);
}

// The lengths of the sender's segments, for cuts.
std::array<iovec, kMostSegments> lengths_of(const ReadyToSend& ready) {
  std::array<iovec, kMostSegments> lengths{};
  for (unsigned i = 0; i < ready.segments; ++i) lengths[i].iov_len = ready.parts[i].length;
  return lengths;
}

// The transfer of a pull, with the peer's addresses; null if there is no memory or a rail cannot reach the peer.
Transfer* make_pull(efa_transport* t, efa_request* request, efa_peer* peer, const Side& side,
                    const ReadyToSend& ready, uint64_t length, uint64_t piece, unsigned window,
                    unsigned peer_rails_needed) {
  Transfer* transfer = nullptr;
  try {
    std::vector<fi_addr_t> peers = peer_rails(t, peer, peer_rails_needed);
    if (peers.empty()) return nullptr;
    if (side.segments.empty() && ready.segments == 0) {
      transfer = make_transfer(t, request, peer, Move::read, side, length, piece, window);
    } else {
      std::vector<uint64_t> cuts;
      for (uint64_t offset = 0; offset < length; offset += piece) cuts.push_back(offset);
      add_cuts(side.segments, length, cuts);
      add_cuts(Segments(lengths_of(ready)).first(ready.segments), length, cuts);
      transfer = make_cut_transfer(t, request, peer, side, length, std::move(cuts), window);
    }
    transfer->peers = std::move(peers);
  } catch (const std::bad_alloc&) {
  }
  return transfer;
}

// Reads the data; false if it has to be pushed instead.
bool pull(efa_transport* t, efa_request* request, efa_peer* peer, const ReadyToSend& ready, uint64_t length) {
  const Protocols& protocols = t->protocols;
  if (ready.rails == 0 || !protocols.pulls) return false;
  Side side = side_of(t, request);
  const iovec memory = side.staged ? iovec{} : memory_of(request, side, length);
  if (memory.iov_len == 0) side = {true, {}};
  const unsigned known = std::min<unsigned>(ready.rails, t->rails.count());
  const uint64_t most = side.staged ? protocols.staging : protocols.read;
  // The more messages are read at a time, the fewer rails each uses: together they use all rails, with fewer reads.
  const uint64_t least =
      std::min({protocols.stripe * (1 + t->pulls_open), std::max(protocols.stripe, kMostLeastShare), most});
  Stripes stripes = plan_stripes(length, known, least, most);
  unsigned first = stripes.rails < known ? t->next_rail++ % known : 0;
  Registration* local = nullptr;
  if (!side.staged) {
    const auto make = [&] { return registered(t, memory, first, stripes.rails, known, FI_READ); };
    local = make();
    if (!local && first != 0) {
      first = 0;
      local = make();
    }
    if (!local) return false;
    if (local->rails() < stripes.rails) stripes = plan_stripes(length, local->rails(), least, most);
  }
  const unsigned window = side.staged ? protocols.window : std::max(protocols.window, 4 * stripes.rails);
  // Rail 0 replaces a rail that fails, so its address is always needed.
  Transfer* transfer = make_pull(t, request, peer, side, ready, length, stripes.piece, window,
                                 std::min(first + stripes.rails, known));
  if (!transfer) {
    if (local) t->registrations.drop(local);
    return false;
  }
  transfer->rails = stripes.rails;
  transfer->first_rail = first;
  transfer->rails_known = known;
  transfer->remote = ready;
  transfer->local = local;
  ++t->pulls_open;
  advance(t, transfer);
  return true;
}

}  // namespace

void send_ready(efa_transport* t, efa_request* request) {
  ReadyToSend ready{};
  ready.magic = ReadyToSend::kMagic;
  ready.version = kWireVersion;
  const Side side = side_of(t, request);
  ready.flags = side.staged ? ReadyToSend::kPacked : 0;
  request->exposure = request->packed = nullptr;
  ready.request = request->ready_id = t->ready_to_send.add(request);
  ready.length = request->data.length;
  const uint64_t among_others = ++t->long_sends > 1 ? t->protocols.piece_among_others : 0;
  ready.piece = side.staged ? t->protocols.staging
                            : fitting_piece(t, side, std::max(request->op.peer->piece, among_others));
  if (request->op.peer->shm)
    offer_in_memory(t, request, side, ready);
  else
    offer(t, request, side, ready);
  ready.write(request->bounce);
  request->landing = request->bounce;
  request->landing_size = ready.size();
  request->awaited = 2;  // this message's completion and the data's
  request->op.completed = ready_sent;
  request->op.post = t->path->post_message;
  t->path->send_message(t, request);
}

void undo_send_ready(efa_transport* t, efa_request* request) {
  t->ready_to_send.remove(request->ready_id);
  if (t->tags.kind(request->bits) != kKindRts) return;
  revoke_offer(t, request);
  --t->long_sends;
}

void end_unsent(efa_transport* t, efa_request* request, efa_result result) {
  if (t->tags.kind(request->bits) != kKindRts) {
    end_synchronous(t, request, result);
    return;
  }
  t->ready_to_send.remove(request->ready_id);
  revoke_offer(t, request);
  if (request->status.result == EFA_SUCCESS) request->status.result = result;
  sender_event(t, request);
}

void end_sends(efa_transport* t, efa_peer* peer) {
  while (efa_request* request =
             t->ready_to_send.find_if([&](efa_request* each) { return each->op.peer == peer; })) {
    // The request also waits for the completion of its own message.
    end_unsent(t, request, EFA_UNREACHABLE);
  }
}

efa_request* send_named(efa_transport* t, const Control& message) {
  efa_request* request = t->ready_to_send.find(message.request);
  const bool rendezvous = request && t->tags.kind(request->bits) == kKindRts;
  bool possible = request && request->op.peer->uid == message.sender;
  switch (message.type) {
    case ControlType::acknowledge:
      possible = possible && !rendezvous;
      break;
    case ControlType::finished:
      possible =
          possible && rendezvous && message.length <= request->data.length &&
          (request->exposure != nullptr || request->op.peer->shm);
      break;
    case ControlType::clear_to_send:
      possible =
          possible && rendezvous && message.length <= request->data.length &&
          (message.length == 0 || ((message.length - 1) / message.piece <= UINT32_MAX &&
                                   message.piece <= fitting_piece(t, side_of(t, request), UINT64_MAX)));
      break;
    case ControlType::withdrawn:
      possible = possible && request->withdrawing;
      break;
    default:
      break;
  }
  if (possible) return request;
  if (has_failed(t, message.sender)) return nullptr;
  t->fatal(request ? msg::message_impossible(describe_sender(t, message.sender), to_string(message),
                                             to_string(request->op.peer))
                   : msg::message_about_nothing(describe_sender(t, message.sender), to_string(message)));
  return nullptr;
}

void clear_to_send(efa_transport* t, const Control& message) {
  efa_request* request = send_named(t, message);
  if (!request) return;
  if (message.length == 0) {  // matched by a receive of 0 bytes
    ++t->counters.sent_push;
    end_unsent(t, request, EFA_SUCCESS);
    return;
  }
  t->ready_to_send.remove(message.request);
  revoke_offer(t, request);
  Transfer* transfer;
  try {
    transfer = make_transfer(t, request, request->op.peer, Move::send, side_of(t, request), message.length,
                             message.piece, t->protocols.window);
  } catch (const std::bad_alloc&) {
    report_own_failure(
        t, msg::op_begin_send.without_memory(request->data.length, PeerName(request->op.peer).text),
        msg::reason_no_memory.without_memory());
    send_send_failed(t, request->op.peer, message.request, message.handle, 0, 0, 0);
    request->status.result = EFA_OUT_OF_MEMORY;
    sender_event(t, request);
    return;
  }
  transfer->id = message.request;
  transfer->handle = message.handle;
  advance(t, transfer);
}

void finished(efa_transport* t, const Control& message) {
  efa_request* request = send_named(t, message);
  if (!request) return;
  if (!message.failed) {
    efa_counters& counters = t->counters;
    ++(request->op.peer->shm ? counters.sent_copy : counters.sent_pull);
    (request->op.peer->shm ? counters.sent_copy_bytes : counters.sent_pull_bytes) += message.length;
  }
  end_unsent(t, request, message.failed ? EFA_FAILED : EFA_SUCCESS);  // reported by the receiver
}

namespace {

void count_transfer(efa_counters& counters, Move move, uint64_t length) {
  switch (move) {
    case Move::send:
      ++counters.sent_push;
      counters.sent_push_bytes += length;
      break;
    case Move::receive:
      ++counters.received_push;
      counters.received_push_bytes += length;
      break;
    case Move::read:
      ++counters.received_pull;
      counters.received_pull_bytes += length;
      break;
  }
}

}  // namespace

void transfer_ended(efa_transport* t, Transfer* transfer) {
  efa_request* request = transfer->request;
  const Move move = transfer->move;
  const efa_result result = transfer->result;
  if (result == EFA_SUCCESS) count_transfer(t->counters, move, transfer->length);
  if (move == Move::read) {
    --t->pulls_open;
    if (transfer->local) t->registrations.drop(transfer->local);
    if (!t->closing)
      send_finished(t, request->op.peer, transfer->remote.request, transfer->length, result != EFA_SUCCESS);
  }
  if (move == Move::send && result != EFA_SUCCESS && !t->closing)
    send_send_failed(t, request->op.peer, transfer->id, transfer->handle, transfer->next, transfer->lost,
                     transfer->lost_from);
  delete transfer;
  if (move != Move::send) {
    finish(t, request, result == EFA_SUCCESS ? request->status.result : result);
    return;
  }
  if (result != EFA_SUCCESS) request->status.result = result;
  sender_event(t, request);
}

void receive_rendezvous(efa_transport* t, efa_request* request, efa_peer* peer, const ReadyToSend& ready) {
  give_landing(t, request);
  request->kind = kMatchedRequest;
  request->op.peer = peer;
  if (peer->pending.failed()) {  // a receive from any source has matched
    request->status.length = 0;
    finish(t, request, EFA_UNREACHABLE);
    return;
  }
  const uint64_t length = std::min<uint64_t>(ready.length, request->data.length);
  request->status.length = length;
  request->status.result = ready.length > request->data.length ? EFA_TRUNCATED : EFA_SUCCESS;
  if (length && (ready.flags & ReadyToSend::kInMemory) && copy_from_memory(t, request, peer, ready, length)) return;
  if (length && pull(t, request, peer, ready, length)) return;

  // The sender's piece length, unless it is too long for a staging buffer here or for the parts of a receive.
  const Side side = side_of(t, request);
  Control clear = control(t, ControlType::clear_to_send, ready.request);
  clear.length = length;
  clear.piece = fitting_piece(t, side, ready.piece);
  clear.piece = std::max(clear.piece, kPage);  // a tag has 32 bits to number pieces
  // Unique among the transfers in flight: it wraps around after 2^24, or the maximum that the tag has room for.
  clear.handle = t->next_handle = (t->next_handle + 1) & t->tags.max_handle();
  if (length == 0) {
    ++t->counters.received_push;
    send_control(t, peer, clear);
    finish(t, request, request->status.result);
    return;
  }
  Transfer* transfer;
  try {
    transfer = make_transfer(t, request, peer, Move::receive, side, length, clear.piece, t->protocols.window);
  } catch (const std::bad_alloc&) {
    report_own_failure(t, msg::op_begin_receive.without_memory(length, PeerName(peer).text),
                       msg::reason_no_memory.without_memory());
    send_receive_failed(t, peer, ready.request, clear.handle);
    finish(t, request, EFA_OUT_OF_MEMORY);
    return;
  }
  transfer->id = ready.request;
  transfer->handle = clear.handle;
  post_window(t, transfer);  // before clear-to-send
  if (transfer->result == EFA_SUCCESS) {
    transfer->announced = true;
    send_control(t, peer, clear);
  }
  advance(t, transfer);
}

}  // namespace efa
