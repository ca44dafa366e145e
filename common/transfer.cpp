#include "transfer.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <string>
#include <utility>

namespace efa {
namespace {

Piece* piece_of(efa_operation* op) {
  return reinterpret_cast<Piece*>(op);
}

// Below that it pays to pack instead of handing single blocks to the provider.
constexpr uint64_t kLeastSegmentedPiece = 16 * kKiB;

// Where a piece of a push lies; the number of parts. A piece that has too many is refused before (answered()).
size_t parts_of(const efa_transport* t, const Piece* p, iovec* parts) {
  if (!p->memory)
    return cut(p->transfer->side.segments, p->index * p->transfer->piece, p->size, parts, t->protocols.parts);
  parts[0] = {p->memory, p->size};
  return 1;
}

int post_receive(efa_transport* t, efa_operation* op) {
  Piece* p = piece_of(op);
  const uint64_t bits = t->tags.piece_bits(p->transfer->handle, static_cast<uint32_t>(p->index));
  iovec parts[kMostParts];
  const size_t count = parts_of(t, p, parts);
  return static_cast<int>(fi_trecvv(t->ep, parts, nullptr, count, op->peer->address, bits, 0, &op->context));
}

int post_send(efa_transport* t, efa_operation* op) {
  Piece* p = piece_of(op);
  const uint64_t bits = t->tags.piece_bits(p->transfer->handle, static_cast<uint32_t>(p->index));
  iovec parts[kMostParts];
  const size_t count = parts_of(t, p, parts);
  const ssize_t error = fi_tsendv(t->ep, parts, nullptr, count, op->peer->address, bits, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

// Where the peer has the byte `offset` of the message.
uint64_t remote_address(const ReadyToSend& remote, uint64_t offset) {
  if (remote.segments == 0) return remote.address + offset;
  const auto* part = remote.parts;
  for (; offset >= part->length; ++part) offset -= part->length;
  return remote.address + part->offset + offset;
}

int post_read(efa_transport* t, efa_operation* op) {
  Piece* p = piece_of(op);
  Transfer* tr = p->transfer;
  Rail& rail = t->rail_at(p->rail);
  return static_cast<int>(fi_read(rail.ep.get(), p->memory, p->size,
                                  tr->local ? tr->local->descriptor(p->rail) : nullptr, tr->peers[p->rail],
                                  remote_address(tr->remote, tr->offset(p->index)),
                                  tr->remote.keys[p->rail % tr->remote.rails], &op->context));
}

// Where a piece waits if the provider refuses it for now.
PendingList& pending_of(efa_transport* t, const Piece& p) {
  switch (p.transfer->move) {
    case Move::send:
      return p.op.peer->pending;
    case Move::receive:
      return t->pending_receives;
    case Move::read:
      break;
  }
  return t->rail_at(p.rail).pending_reads;
}

// A rail that works, from `wanted` on; rail 0 carries the matching, and nothing goes on without it.
unsigned working_rail(efa_transport* t, unsigned wanted) {
  return wanted && t->rail_at(wanted).failed ? 0 : wanted;
}

// ---- pushes to one peer: `waiting` is the last of a ring ---------------------------------------------

void wait_for_others(efa_peer* peer, Transfer* tr) {
  if (tr->next_waiting) return;
  Transfer*& last = peer->waiting;
  tr->next_waiting = last ? last->next_waiting : tr;
  if (last) last->next_waiting = tr;
  last = tr;
}

void wait_no_more(efa_peer* peer, Transfer* tr) {
  if (!tr->next_waiting) return;
  Transfer* before = peer->waiting;
  while (before->next_waiting != tr) before = before->next_waiting;
  before->next_waiting = tr->next_waiting;
  if (peer->waiting == tr) peer->waiting = before == tr ? nullptr : before;
  tr->next_waiting = nullptr;
}

// A piece has made room for others. The peer may be gone with the request that the piece ended.
void let_others(efa_transport* t, efa_peer* peer) {
  while (peer->state != PeerState::unused && peer->waiting && peer->pieces_sent < t->protocols.peer_window) {
    Transfer* first = peer->waiting->next_waiting;
    wait_no_more(peer, first);
    advance(t, first);
  }
}

// ---- pieces ------------------------------------------------------------------------------------------

// Makes the next piece ready and posts it. False if that failed, or has to wait: beyond the bound on staging memory a
// message has one piece at a time, for none at all could wait for a peer that waits likewise.
bool post_next(efa_transport* t, Transfer* tr) {
  if (tr->side.staged && tr->next > tr->retired && t->buffers.is_full(tr->size(tr->next))) return false;
  Piece& p = tr->slot(tr->next);
  if (tr->move == Move::send && p.op.peer->pieces_sent >= t->protocols.peer_window) {
    wait_for_others(p.op.peer, tr);
    return false;
  }
  const uint64_t offset = tr->offset(tr->next);
  p.index = tr->next;
  p.size = tr->size(tr->next);
  p.rail = working_rail(t, tr->rail(tr->next));
  p.finished = false;
  if (tr->side.staged) {
    p.memory = t->buffers.take(p.size);
    if (!p.memory ||
        (!tr->into_memory() && !t->config.pack(tr->request->data.layout, offset, p.memory, p.size))) {
      if (p.memory) t->buffers.give(p.memory, p.size);
      tr->result = p.memory ? EFA_FAILED : EFA_OUT_OF_MEMORY;
      return false;
    }
  } else if (tr->side.segments.empty()) {
    p.memory = static_cast<char*>(tr->request->data.buffer) + offset;
  } else {
    p.memory = tr->move == Move::read ? at(tr->side.segments, offset) : nullptr;
  }
  p.busy = true;
  ++tr->next;
  if (tr->move == Move::send) ++p.op.peer->pieces_sent;
  submit(t, pending_of(t, p), &p.op);
  return true;
}

void retire(efa_transport* t, Transfer* tr) {
  Piece& p = tr->slot(tr->retired);
  if (tr->side.staged) {
    if (tr->into_memory() && tr->result == EFA_SUCCESS &&
        !t->config.unpack(tr->request->data.layout, tr->offset(p.index), p.memory, p.size))
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
    if (t->pending.remove(pending_of(t, p), &p.op)) {
      p.finished = true;
      if (tr->move == Move::send) --p.op.peer->pieces_sent;
    } else if (tr->move == Move::receive) {
      fi_cancel(&t->ep->fid, &p.op.context);
    }
  }
}

std::string describe(const Transfer* tr, const Piece* p) {
  return std::string(tr->into_memory() ? "receiving" : "sending") + " piece " + std::to_string(p->index) +
         " of a message of " + std::to_string(tr->length) + " bytes " + (tr->into_memory() ? "from" : "to");
}

// A further rail broke: what it carried goes by the first one. True if the piece is on its way again.
bool take_other_rail(efa_transport* t, Piece* p, const efa_failure& failure) {
  if (p->transfer->move != Move::read || p->rail == 0 || t->closing) return false;
  Rail& rail = t->rail_at(p->rail);
  if (!rail.failed) {
    rail.failed = true;
    t->report(EFA_REPORT_WARNING, describe_failure(t,
                                                   std::string("reading over the additional NIC ") +
                                                       rail.nic() + " from " + to_string(p->op.peer),
                                                   failure) +
                                      " This NIC is not used any more; its share goes over " + t->rail.nic() +
                                      ".");
  }
  p->rail = 0;
  submit(t, t->rail.pending_reads, &p->op);
  return true;
}

void piece_completed(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                     const efa_failure* failure) {
  Piece* p = piece_of(op);
  Transfer* tr = p->transfer;
  efa_peer* const peer = op->peer;
  const bool sent = tr->move == Move::send;
  if (sent && (!failure || failure->entry)) --t->sends_posted;
  if (failure && tr->result == EFA_SUCCESS) {
    if (take_other_rail(t, p, *failure)) return;
    tr->result = t->closing ? EFA_CANCELED : report_failure(t, describe(tr, p), op->peer, *failure);
  } else if (!failure && tr->move == Move::receive && entry->len != p->size && tr->result == EFA_SUCCESS) {
    t->fatal("A piece of " + std::to_string(entry->len) + " bytes came from " + to_string(op->peer) +
             " where " + std::to_string(p->size) + " were announced.");
    tr->result = EFA_FAILED;
  }
  p->finished = true;
  if (sent) --peer->pieces_sent;
  advance(t, tr);
  if (sent) let_others(t, peer);
}

}  // namespace

Side side_of(const efa_transport* t, const efa_request* r) {
  Side side;
  if (!r->data.layout) return side;
  const iovec* first = nullptr;
  const uint32_t count = t->config.segments ? t->config.segments(r->data.layout, &first) : 0;
  side.segments = {first, count};
  side.staged = count == 0 || longest_piece(side.segments, t->protocols.parts) < kLeastSegmentedPiece;
  if (side.staged) side.segments = {};
  return side;
}

uint64_t fitting_piece(const efa_transport* t, const Side& side, uint64_t wanted) {
  if (side.staged) return std::min(wanted, t->protocols.staging);
  return side.segments.empty() ? wanted : std::min(wanted, longest_piece(side.segments, t->protocols.parts));
}

namespace {

Transfer* make(efa_request* r, efa_peer* peer, Move move, const Side& side, uint64_t length, uint64_t count,
               unsigned window) {
  auto* tr = new Transfer;
  tr->request = r;
  tr->side = side;
  tr->move = move;
  tr->length = length;
  tr->count = count;
  tr->window = static_cast<unsigned>(std::min<uint64_t>(tr->count, window));
  tr->slots.reset(new Piece[tr->window]{});
  for (unsigned i = 0; i < tr->window; ++i) {
    Piece& p = tr->slots[i];
    p.transfer = tr;
    p.op.peer = peer;
    p.op.completed = piece_completed;
    p.op.post = move == Move::send ? post_send : move == Move::receive ? post_receive : post_read;
  }
  return tr;
}

}  // namespace

Transfer* make_transfer(efa_request* r, efa_peer* peer, Move move, const Side& side, uint64_t length,
                        uint64_t piece, unsigned window) {
  const uint64_t count = length / piece + (length % piece != 0);  // `piece` may be a peer's, and anything
  Transfer* tr = make(r, peer, move, side, length, count, window);
  tr->piece = piece;
  return tr;
}

Transfer* make_cut_transfer(efa_request* r, efa_peer* peer, const Side& side, uint64_t length,
                            std::vector<uint64_t> cuts, unsigned window) {
  Transfer* tr = make(r, peer, Move::read, side, length, cuts.size(), window);
  tr->cuts = std::move(cuts);
  return tr;
}

void post_window(efa_transport* t, Transfer* tr) {
  tr->advancing = true;
  while (tr->next < tr->count && !tr->slot(tr->next).busy && tr->result == EFA_SUCCESS)
    if (!post_next(t, tr)) break;
  tr->advancing = false;
}

// A handler that is called from inside (a post that fails at once) only marks its piece; the outer call sees
// it.
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
  if (tr->retired != tr->next || (tr->next != tr->count && tr->result == EFA_SUCCESS)) return;
  efa_peer* const peer = tr->move == Move::send ? tr->request->op.peer : nullptr;
  if (peer) wait_no_more(peer, tr);
  transfer_ended(t, tr);
  if (peer) let_others(t, peer);
}

}  // namespace efa
