// Rendezvous: the data of a long or synchronous message moves only after its match is known.
//
//     push    sender                               receiver
//               | -- ready to send (tagged) ------->  |  matched like any message
//               | <------- clear to send (control) -- |  first pieces are posted before it leaves
//               | -- piece 0, piece 1, ... -------->  |  each to a receive with a tag of its own
//
//     pull    sender                               receiver
//               | -- ready to send, with keys ----->  |  matched like any message
//               | <====== RDMA reads, all rails ===== |  without a word of the sender
//               | <------------ finished (control) -- |
//
// The sender offers to be read from when its data is registered: contiguous, in few blocks, or packed as a whole if it
// is not long. The receiver decides.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "scheduler.hpp"
#include "transfer.hpp"

namespace efa {
namespace {

// Times as much memory as data that may be registered for a layout of blocks with gaps.
constexpr size_t kMostExtent = 2;

// Up to this length, in bytes, a layout that has to be packed is packed as a whole, so that the receiver can read it: one
// rendezvous instead of ours and the provider's for each piece. Longer ones would cost memory, and packing and transfer
// would no longer overlap.
constexpr uint64_t kMostPackedWhole = 2 * kMiB;

// Bytes of a message that one rail takes at least while many others are read: beyond it nothing is saved.
constexpr uint64_t kMostLeastShare = kMiB;

void pack_whole(efa_transport* t, efa_request* r) {
  const uint64_t length = r->data.length;
  if (length > kMostPackedWhole || t->buffers.is_full(length)) return;
  r->packed = t->buffers.take(length);
  if (!r->packed || t->config.pack(r->data.layout, 0, r->packed, length)) return;
  t->buffers.give(r->packed, length);
  r->packed = nullptr;  // it fails again, and is reported, piece by piece
}

void drop_packed(efa_transport* t, efa_request* r) {
  if (r->packed) t->buffers.give(r->packed, r->data.length);
  r->packed = nullptr;
}

// What a sender keeps registered until the receiver is through with it.
void withdraw(efa_transport* t, efa_request* r) {
  if (r->exposure) {
    t->registrations.drop(static_cast<Registration*>(r->exposure));
    r->exposure = nullptr;
    --t->pulls_open;
  }
  drop_packed(t, r);  // no longer registered: the pool may free it
}

// The memory to register for `length` bytes of this side, gaps included. Empty if those are too much of it: their
// pages would be pinned in vain.
iovec memory_of(const efa_request* r, const Side& side, uint64_t length) {
  if (side.contiguous()) return {r->data.buffer, length};
  const iovec all = extent(side.segments, length);
  return all.iov_len <= kMostExtent * length ? all : iovec{};
}

// Lets the receiver read the data, if that is allowed and the NICs take it.
void offer(efa_transport* t, efa_request* r, const Side& side, ReadyToSend& ready) {
  const Protocols& p = t->protocols;
  if (!p.pulls || r->data.length < p.pull_limit || !r->op.peer->pulls) return;
  if (side.segments.size() > kMostSegments) return;
  if (side.staged) pack_whole(t, r);
  iovec memory{r->packed, r->packed ? r->data.length : 0};
  if (!side.staged) memory = memory_of(r, side, r->data.length);
  if (memory.iov_len == 0) return;
  const unsigned rails = plan_stripes(r->data.length, t->rail_count(), p.stripe, p.read).rails;
  Registration* exposure =
      t->registrations.make(t, memory.iov_base, memory.iov_len, 0, rails, rails, FI_REMOTE_READ);
  if (!exposure) {  // push does it, too
    drop_packed(t, r);
    return;
  }
  ready.address = reinterpret_cast<uintptr_t>(memory.iov_base);
  for (const iovec& segment : side.segments)
    ready.parts[ready.segments++] = {reinterpret_cast<uintptr_t>(segment.iov_base) - ready.address,
                                     segment.iov_len};
  ready.rails = static_cast<uint8_t>(exposure->rails());
  for (unsigned i = 0; i < ready.rails; ++i) ready.keys[i] = exposure->key(i);
  r->exposure = exposure;
  ++t->pulls_open;
}

void send_ended(efa_transport* t, efa_request* r) {
  --t->long_sends;
  finish(t, r, r->status.result);
}

// One of the events that a send waits for.
void sender_event(efa_transport* t, efa_request* r) {
  if (--r->awaited == 0) send_ended(t, r);
}

// The ready-to-send message itself left, or did not.
void ready_sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure* failure) {
  efa_request* r = request_of(op);
  if (!failure || failure->entry) --t->sends_posted;
  if (failure) {
    r->status.result = t->closing ? EFA_CANCELED : report_failure(t, describe_send(t, r), op->peer, *failure);
    if (t->ready_to_send.find(r->ready_id)) {
      t->ready_to_send.remove(r->ready_id);
      withdraw(t, r);
      send_ended(t, r);
      return;
    }
    // It was answered all the same, and so did arrive; pieces may still be on their way.
  }
  sender_event(t, r);
}

Control control(const efa_transport* t, ControlType type, uint64_t request) {
  Control message{};
  message.magic = Control::kMagic;
  message.version = kWireVersion;
  message.type = type;
  message.sender = t->config.self.uid;
  message.request = request;
  return message;
}

void send_finished(efa_transport* t, efa_peer* peer, uint64_t request, uint64_t length, bool failed) {
  Control message = control(t, ControlType::finished, request);
  message.length = length;
  message.failed = failed;
  send_control(t, peer, message);
}

// A sender's segments as lengths, for cuts: where they are is the sender's.
std::array<iovec, kMostSegments> lengths_of(const ReadyToSend& ready) {
  std::array<iovec, kMostSegments> lengths{};
  for (unsigned i = 0; i < ready.segments; ++i) lengths[i].iov_len = ready.parts[i].length;
  return lengths;
}

// Reads the data; false if it has to be pushed instead.
bool pull(efa_transport* t, efa_request* r, efa_peer* peer, const ReadyToSend& ready, uint64_t length) {
  const Protocols& p = t->protocols;
  if (ready.rails == 0 || !p.pulls) return false;
  Side side = side_of(t, r);
  const iovec memory = side.staged ? iovec{} : memory_of(r, side, length);
  if (memory.iov_len == 0) side = {true, {}};
  const unsigned known = std::min<unsigned>(ready.rails, t->rail_count());
  const uint64_t most = side.staged ? p.staging : p.read;
  // The more messages are read at a time the fewer rails each takes: together they fill them all, by fewer reads.
  const uint64_t least =
      std::min({p.stripe * (1 + t->pulls_open), std::max(p.stripe, kMostLeastShare), most});
  Stripes stripes = plan_stripes(length, known, least, most);
  unsigned first = stripes.rails < known ? t->next_rail++ % known : 0;
  Registration* local = nullptr;
  if (!side.staged) {
    const auto make = [&] {
      return t->registrations.make(t, memory.iov_base, memory.iov_len, first, stripes.rails, known, FI_READ);
    };
    local = make();
    if (!local && first != 0) {
      first = 0;
      local = make();
    }
    if (!local) return false;
    if (local->rails() < stripes.rails) stripes = plan_stripes(length, local->rails(), least, most);
  }
  const unsigned window = side.staged ? p.window : std::max(p.window, 4 * stripes.rails);
  Transfer* tr;
  if (side.segments.empty() && ready.segments == 0) {
    tr = make_transfer(r, peer, Move::read, side, length, stripes.piece, window);
  } else {
    std::vector<uint64_t> cuts;
    for (uint64_t offset = 0; offset < length; offset += stripes.piece) cuts.push_back(offset);
    add_cuts(side.segments, length, cuts);
    add_cuts(Segments(lengths_of(ready)).first(ready.segments), length, cuts);
    tr = make_cut_transfer(r, peer, side, length, std::move(cuts), window);
  }
  tr->rails = stripes.rails;
  tr->first_rail = first;
  tr->rails_known = known;
  tr->remote = ready;
  // Rail 0 stands in for one that fails, so its address is always there.
  tr->peers = peer_rails(t, peer, std::min(first + stripes.rails, known));
  tr->local = local;
  if (tr->peers.empty()) {
    if (local) t->registrations.drop(local);
    delete tr;
    return false;
  }
  ++t->pulls_open;
  advance(t, tr);
  return true;
}

}  // namespace

void send_ready(efa_transport* t, efa_request* r) {
  ReadyToSend ready{};
  ready.magic = ReadyToSend::kMagic;
  ready.version = kWireVersion;
  const Side side = side_of(t, r);
  ready.flags = side.staged ? ReadyToSend::kPacked : 0;
  ready.request = r->ready_id = t->ready_to_send.add(r);
  ready.length = r->data.length;
  const uint64_t among_others = ++t->long_sends > 1 ? t->protocols.piece_among_others : 0;
  ready.piece =
      side.staged ? t->protocols.staging : fitting_piece(t, side, std::max(r->op.peer->piece, among_others));
  r->exposure = r->packed = nullptr;
  offer(t, r, side, ready);
  ready.write(r->bounce);
  r->landing = r->bounce;
  r->landing_size = ready.size();
  r->awaited = 2;  // this message's completion and the data's
  r->op.completed = ready_sent;
  r->op.post = post_eager;
  ++t->stats.rendezvous_sent;
  submit_from_call(t, r->op.peer->pending, &r->op);
}

namespace {

// The send that a control message is about; null, after a fatal report, if it cannot be.
efa_request* answered(efa_transport* t, const Control& message) {
  efa_request* r = t->ready_to_send.find(message.request);
  const bool possible =
      r && r->op.peer->uid == message.sender && message.length <= r->data.length &&
      (message.type == ControlType::finished ? r->exposure != nullptr
       : message.length == 0                 ? true
                                             : (message.length - 1) / message.piece <= UINT32_MAX &&
                                   message.piece <= fitting_piece(t, side_of(t, r), UINT64_MAX));
  if (!possible) {
    t->fatal("An impossible message arrived from " + sender_named(t, message.sender) + ": " +
             to_string(message) +
             (r ? ", about a message to " + to_string(r->op.peer) : ", about a message that does not exist") +
             ".");
    return nullptr;
  }
  t->ready_to_send.remove(message.request);
  withdraw(t, r);
  return r;
}

}  // namespace

void clear_to_send(efa_transport* t, const Control& message) {
  efa_request* r = answered(t, message);
  if (!r) return;
  if (message.length == 0) {  // the receive was for nothing, but it did match
    sender_event(t, r);
    return;
  }
  auto* tr = make_transfer(r, r->op.peer, Move::send, side_of(t, r), message.length, message.piece,
                           t->protocols.window);
  tr->handle = message.handle;
  advance(t, tr);
}

void finished(efa_transport* t, const Control& message) {
  efa_request* r = answered(t, message);
  if (!r) return;
  if (message.failed) r->status.result = EFA_FAILED;  // the receiver has said why
  sender_event(t, r);
}

void transfer_ended(efa_transport* t, Transfer* tr) {
  efa_request* r = tr->request;
  const Move move = tr->move;
  const efa_result result = tr->result;
  if (move == Move::read) {
    --t->pulls_open;
    if (tr->local) t->registrations.drop(tr->local);
    if (!t->closing) send_finished(t, r->op.peer, tr->remote.request, tr->length, result != EFA_SUCCESS);
  }
  delete tr;
  if (move != Move::send) {
    finish(t, r, result == EFA_SUCCESS ? r->status.result : result);
    return;
  }
  if (result != EFA_SUCCESS) r->status.result = result;
  sender_event(t, r);
}

void receive_rendezvous(efa_transport* t, efa_request* r, efa_peer* peer, const ReadyToSend& ready) {
  r->kind = kMatchedRequest;
  r->op.peer = peer;
  if (r->landing && r->landing != r->bounce && r->landing != r->data.buffer)
    t->buffers.give(r->landing, r->landing_size);
  r->landing = nullptr;
  const uint64_t length = std::min<uint64_t>(ready.length, r->data.length);
  r->status.length = length;
  r->status.result = ready.length > r->data.length ? EFA_TRUNCATED : EFA_SUCCESS;
  ++t->stats.rendezvous_received;
  if (length && pull(t, r, peer, ready, length)) return;

  // The sender's choice, unless it is too long for a staging buffer here or for the parts of a receive.
  const Side side = side_of(t, r);
  Control clear = control(t, ControlType::clear_to_send, ready.request);
  clear.length = length;
  clear.piece = fitting_piece(t, side, ready.piece);
  clear.piece = std::max(clear.piece, kPage);  // a tag has 32 bits to number pieces
  // Unique among the transfers in flight: it comes round after 2^24, or what the tag has room for.
  clear.handle = t->next_handle = (t->next_handle + 1) & t->tags.max_handle();
  if (length == 0) {
    send_control(t, peer, clear);
    finish(t, r, r->status.result);
    return;
  }
  auto* tr = make_transfer(r, peer, Move::receive, side, length, clear.piece, t->protocols.window);
  tr->handle = clear.handle;
  post_window(t, tr);  // nothing ends before the sender has heard
  send_control(t, peer, clear);
  advance(t, tr);
}

}  // namespace efa
