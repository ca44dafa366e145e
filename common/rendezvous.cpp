// Rendezvous: the data of a long or synchronous message moves only after its match is known.
//
//     sender                               receiver
//       | -- ready to send (tagged) ------->  |  matched like any message
//       | <------- clear to send (control) -- |  first pieces are posted before it leaves
//       | -- piece 0, piece 1, ... -------->  |  each to a receive with a tag of its own
//
// Both sides keep at most `window` pieces posted. Contiguous data moves straight between the users'
// buffers; other layouts are packed into, and unpacked from, pool buffers piece by piece, so that packing,
// transfer and unpacking overlap and no buffer grows with the message.
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "transport.hpp"

namespace efa {
namespace {

struct Transfer;

struct Piece {
  efa_operation op;  // first
  Transfer* transfer;
  uint64_t index;
  void* memory;  // in the user's buffer, or from the pool
  size_t size;
  bool busy;      // posted or waiting to be; until it is retired
  bool finished;  // completed; retired in the order of the pieces
};

struct Transfer {
  efa_request* request;
  bool receiving;
  bool advancing = false;
  bool cancelled = false;
  efa_result result = EFA_SUCCESS;
  uint64_t length, piece, count;
  uint32_t handle;
  uint64_t next = 0;     // piece to post
  uint64_t retired = 0;  // pieces done with
  unsigned window;
  std::unique_ptr<Piece[]> slots;

  Piece& slot(uint64_t index) { return slots[index % window]; }
  bool staged() const { return request->data.layout != nullptr; }
};

Piece* piece_of(efa_operation* op) {
  return reinterpret_cast<Piece*>(op);
}

int post_piece_receive(efa_transport* t, efa_operation* op) {
  Piece* p = piece_of(op);
  const uint64_t bits = t->tags.piece_bits(p->transfer->handle, static_cast<uint32_t>(p->index));
  return static_cast<int>(
      fi_trecv(t->ep, p->memory, p->size, nullptr, op->peer->address, bits, 0, &op->context));
}

int post_piece_send(efa_transport* t, efa_operation* op) {
  Piece* p = piece_of(op);
  const uint64_t bits = t->tags.piece_bits(p->transfer->handle, static_cast<uint32_t>(p->index));
  const ssize_t error = fi_tsend(t->ep, p->memory, p->size, nullptr, op->peer->address, bits, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

// Makes the next piece ready and posts it. False if there is no memory for it now.
bool post_next(efa_transport* t, Transfer* tr) {
  Piece& p = tr->slot(tr->next);
  const uint64_t offset = tr->next * tr->piece;
  p.index = tr->next;
  p.size = std::min(tr->piece, tr->length - offset);
  p.finished = false;
  if (tr->staged()) {
    p.memory = t->buffers.take(p.size);
    if (!p.memory ||
        (!tr->receiving && !t->config.pack(tr->request->data.layout, offset, p.memory, p.size))) {
      if (p.memory) t->buffers.give(p.memory, p.size);
      tr->result = p.memory ? EFA_FAILED : EFA_OUT_OF_MEMORY;
      return false;
    }
  } else {
    p.memory = static_cast<char*>(tr->request->data.buffer) + offset;
  }
  p.busy = true;
  ++tr->next;
  submit(t, tr->receiving ? t->pending_receives : p.op.peer->pending, &p.op);
  return true;
}

void retire(efa_transport* t, Transfer* tr) {
  Piece& p = tr->slot(tr->retired);
  if (tr->staged()) {
    if (tr->receiving && tr->result == EFA_SUCCESS &&
        !t->config.unpack(tr->request->data.layout, p.index * tr->piece, p.memory, p.size))
      tr->result = EFA_FAILED;
    t->buffers.give(p.memory, p.size);
  }
  p.busy = false;
  ++tr->retired;
}

// After a failure the receives that nothing will match any more are taken back.
void cancel_pieces(efa_transport* t, Transfer* tr) {
  if (tr->cancelled) return;
  tr->cancelled = true;
  for (uint64_t i = tr->retired; i < tr->next; ++i) {
    Piece& p = tr->slot(i);
    if (p.finished) continue;
    if (t->pending.remove(tr->receiving ? t->pending_receives : p.op.peer->pending, &p.op)) {
      p.finished = true;
    } else if (tr->receiving) {
      fi_cancel(&t->ep->fid, &p.op.context);
    }
  }
}

// Retires, posts, and ends the transfer when nothing is left. A handler that is called from inside (a post
// that fails at once) only marks its piece; the outer call sees it.
void advance(efa_transport* t, Transfer* tr) {
  if (tr->advancing) return;
  tr->advancing = true;
  for (bool moved = true; moved;) {
    moved = false;
    while (tr->retired < tr->next && tr->slot(tr->retired).finished) {
      retire(t, tr);
      moved = true;
    }
    while (tr->result == EFA_SUCCESS && tr->next < tr->count && !tr->slot(tr->next).busy) {
      if (!post_next(t, tr)) break;
      moved = true;
    }
    if (tr->result != EFA_SUCCESS) cancel_pieces(t, tr);
  }
  tr->advancing = false;
  const bool ended = tr->retired == tr->next && (tr->next == tr->count || tr->result != EFA_SUCCESS);
  if (!ended) return;

  efa_request* r = tr->request;
  const bool receiving = tr->receiving;
  efa_result result = tr->result;
  delete tr;
  r->transfer = nullptr;
  if (receiving) {
    finish(t, r, result == EFA_SUCCESS ? r->status.result : result);
    return;
  }
  if (result != EFA_SUCCESS) r->status.result = result;
  if (--r->awaited == 0) finish(t, r, r->status.result);
}

void piece_completed(efa_transport* t, efa_operation* op, const efa_completion* c) {
  Piece* p = piece_of(op);
  Transfer* tr = p->transfer;
  if (!tr->receiving && (!c->error || c->entry)) --t->sends_posted;
  if (c->error && tr->result == EFA_SUCCESS) {
    tr->result = t->closing ? EFA_CANCELED
                            : report_failure(t,
                                             std::string(tr->receiving ? "receiving" : "sending") +
                                                 " piece " + std::to_string(p->index) + " of a message of " +
                                                 std::to_string(tr->length) + " bytes " +
                                                 (tr->receiving ? "from" : "to"),
                                             op->peer, *c);
  } else if (!c->error && tr->receiving && c->length != p->size && tr->result == EFA_SUCCESS) {
    t->fatal("A piece of " + std::to_string(c->length) + " bytes came from " + to_string(op->peer) +
             " where " + std::to_string(p->size) + " were announced.");
    tr->result = EFA_FAILED;
  }
  p->finished = true;
  advance(t, tr);
}

// The caller sends what must be sent and then calls advance(); null if there is no memory.
Transfer* start(efa_transport* t, efa_request* r, efa_peer* peer, bool receiving, uint64_t length,
                uint64_t piece, uint32_t handle) {
  auto* tr = new Transfer;
  tr->request = r;
  tr->receiving = receiving;
  tr->length = length;
  tr->piece = piece;
  tr->count = (length + piece - 1) / piece;
  tr->handle = handle;
  tr->window = static_cast<unsigned>(std::min<uint64_t>(tr->count, t->protocols.window));
  tr->slots.reset(new Piece[tr->window]{});
  for (unsigned i = 0; i < tr->window; ++i) {
    Piece& p = tr->slots[i];
    p.transfer = tr;
    p.op.peer = peer;
    p.op.completed = piece_completed;
    p.op.post = receiving ? post_piece_receive : post_piece_send;
  }
  r->transfer = tr;
  return tr;
}

// The ready-to-send message itself left, or did not.
void ready_sent(efa_transport* t, efa_operation* op, const efa_completion* c) {
  efa_request* r = request_of(op);
  if (!c->error || c->entry) --t->sends_posted;
  if (c->error) {
    t->ready_to_send.remove(r->ready_id);
    finish(t, r, t->closing ? EFA_CANCELED : report_failure(t, describe_send(t, r), op->peer, *c));
    return;
  }
  if (--r->awaited == 0) finish(t, r, r->status.result);
}

}  // namespace

void send_ready(efa_transport* t, efa_request* r) {
  ReadyToSend ready{};
  ready.magic = ReadyToSend::kMagic;
  ready.version = kWireVersion;
  ready.flags = r->data.layout ? ReadyToSend::kPacked : 0;
  ready.request = r->ready_id = t->ready_to_send.add(r);
  ready.length = r->data.length;
  ready.piece = r->data.layout ? t->protocols.staging : t->protocols.piece;
  std::memcpy(r->bounce, &ready, sizeof ready);
  r->landing = r->bounce;
  r->landing_size = sizeof ready;
  r->awaited = 2;  // this message's completion and the data's
  r->op.completed = ready_sent;
  r->op.post = post_eager;
  ++t->stats.rendezvous_sent;
  submit(t, r->op.peer->pending, &r->op);
}

void clear_to_send(efa_transport* t, const Control& message) {
  efa_request* r = t->ready_to_send.find(message.request);
  if (!r || r->op.peer->uid != message.sender || message.length > r->data.length ||
      (message.length && (message.length - 1) / message.piece > UINT32_MAX)) {
    t->fatal("An impossible message arrived from " + (r ? to_string(r->op.peer) : std::string("a peer")) +
             ": " + to_string(message) + ".");
    return;
  }
  t->ready_to_send.remove(message.request);
  if (message.length == 0) {  // the receive was for nothing, but it did match
    if (--r->awaited == 0) finish(t, r, r->status.result);
    return;
  }
  advance(t, start(t, r, r->op.peer, false, message.length, message.piece, message.handle));
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

  // Packed on either side means pieces of a staging buffer's length, else the sender's choice.
  const bool packed = r->data.layout || (ready.flags & ReadyToSend::kPacked);
  Control clear{};
  clear.magic = Control::kMagic;
  clear.version = kWireVersion;
  clear.type = ControlType::clear_to_send;
  clear.sender = t->config.self.uid;
  clear.request = ready.request;
  clear.length = length;
  clear.piece = packed ? std::min(ready.piece, t->protocols.staging) : ready.piece;
  // Unique among the transfers in flight: it comes round after 2^24, or what the tag has room for.
  clear.handle = t->next_handle = (t->next_handle + 1) & t->tags.max_handle();
  if (length == 0) {
    send_control(t, peer, clear);
    finish(t, r, r->status.result);
    return;
  }
  Transfer* tr = start(t, r, peer, true, length, clear.piece, clear.handle);
  tr->advancing = true;  // nothing ends before the sender has heard
  while (tr->next < tr->count && !tr->slot(tr->next).busy && tr->result == EFA_SUCCESS)
    if (!post_next(t, tr)) break;
  tr->advancing = false;
  send_control(t, peer, clear);
  advance(t, tr);
}

}  // namespace efa
