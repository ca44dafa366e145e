#include "protocol/transfer.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <string>
#include <utility>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/segments.hpp"
#include "protocol/submit.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {
namespace {

Piece* piece_of(efa_operation* op) {
  return reinterpret_cast<Piece*>(op);
}

// Shorter pieces are packed: that is cheaper than passing single blocks to the provider.
constexpr uint64_t kLeastSegmentedPiece = 16 * kKiB;

// The memory of a piece of a push; returns the number of parts. A piece with too many parts was refused (answered()).
size_t parts_of(const efa_transport* t, const Piece* piece, iovec* parts) {
  if (!piece->memory)
    return cut(piece->transfer->side.segments, piece->index * piece->transfer->piece, piece->size, parts,
               t->protocols.parts);
  parts[0] = {piece->memory, piece->size};
  return 1;
}

int post_receive(efa_transport* t, efa_operation* op) {
  Piece* piece = piece_of(op);
  const uint64_t bits = t->tags.piece_bits(piece->transfer->handle, static_cast<uint32_t>(piece->index));
  iovec parts[kMostParts];
  const size_t count = parts_of(t, piece, parts);
  return static_cast<int>(fi_trecvv(t->ep, parts, nullptr, count, op->peer->address, bits, 0, &op->context));
}

int post_send(efa_transport* t, efa_operation* op) {
  Piece* piece = piece_of(op);
  const uint64_t bits = t->tags.piece_bits(piece->transfer->handle, static_cast<uint32_t>(piece->index));
  iovec parts[kMostParts];
  const size_t count = parts_of(t, piece, parts);
  const ssize_t error = fi_tsendv(t->ep, parts, nullptr, count, op->peer->address, bits, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

// The peer's address of byte `offset` of the message.
uint64_t remote_address(const ReadyToSend& remote, uint64_t offset) {
  if (remote.segments == 0) return remote.address + offset;
  const auto* part = remote.parts;
  for (; offset >= part->length; ++part) offset -= part->length;
  return remote.address + part->offset + offset;
}

int post_read(efa_transport* t, efa_operation* op) {
  Piece* piece = piece_of(op);
  Transfer* transfer = piece->transfer;
  Rail& rail = t->rails.at(piece->rail);
  return static_cast<int>(fi_read(rail.ep.get(), piece->memory, piece->size,
                                  transfer->local ? transfer->local->descriptor(piece->rail) : nullptr,
                                  transfer->peers[piece->rail],
                                  remote_address(transfer->remote, transfer->offset(piece->index)),
                                  transfer->remote.keys[piece->rail % transfer->remote.rails], &op->context));
}

// The list in which a piece waits if the provider refuses it.
PendingList& pending_of(efa_transport* t, const Piece& piece) {
  switch (piece.transfer->move) {
    case Move::send:
      return piece.op.peer->pending;
    case Move::receive:
      return t->pending_internal;
    case Move::read:
      break;
  }
  return t->rails.at(piece.rail).pending_reads;
}

// `wanted`, or rail 0 if that rail has failed. If rail 0 fails, the job ends.
unsigned working_rail(efa_transport* t, unsigned wanted) {
  return wanted && t->rails.at(wanted).failed ? 0 : wanted;
}

// The counter of the bytes read over a rail.
uint64_t& rail_bytes(efa_counters& counters, unsigned rail) {
  static_assert(offsetof(efa_counters, rail_7_bytes) ==
                offsetof(efa_counters, rail_0_bytes) + (kMostRails - 1) * sizeof(uint64_t));
  return *reinterpret_cast<uint64_t*>(reinterpret_cast<char*>(&counters) +
                                      offsetof(efa_counters, rail_0_bytes) + rail * sizeof(uint64_t));
}

// ---- pushes to one peer: `waiting` is the last of a ring ---------------------------------------------

void enter_ring(efa_peer* peer, Transfer* transfer) {
  if (transfer->next_waiting) return;
  Transfer*& last = peer->waiting;
  transfer->next_waiting = last ? last->next_waiting : transfer;
  if (last) last->next_waiting = transfer;
  last = transfer;
}

void leave_ring(efa_peer* peer, Transfer* transfer) {
  if (!transfer->next_waiting) return;
  Transfer* before = peer->waiting;
  while (before->next_waiting != transfer) before = before->next_waiting;
  before->next_waiting = transfer->next_waiting;
  if (peer->waiting == transfer) peer->waiting = before == transfer ? nullptr : before;
  transfer->next_waiting = nullptr;
}

// A piece has completed: resumes waiting transfers. The peer may have been destroyed with the request of the piece.
void resume_waiting(efa_transport* t, efa_peer* peer) {
  while (peer->state != PeerState::unused && peer->waiting && peer->pieces_sent < t->protocols.peer_window) {
    Transfer* first = peer->waiting->next_waiting;
    leave_ring(peer, first);
    advance(t, first);
  }
}

// ---- pieces ------------------------------------------------------------------------------------------

// Reports a failure of this side at a piece. Allocates no memory.
template <efa_message_id operation, efa_message_id reason>
[[gnu::noinline]] void report_piece(efa_transport* t, const Transfer* transfer, const Piece& piece,
                                    const MessageMaker<operation>& what, const MessageMaker<reason>& why) {
  report_own_failure(t, what.without_memory(piece.index, transfer->length, PeerName(piece.op.peer).text),
                     why.without_memory());
}

// Prepares the next piece and posts it. False if that failed, or has to wait: beyond the limit of staging memory each
// transfer has one piece at a time; with no piece, two processes could wait for each other.
bool post_next(efa_transport* t, Transfer* transfer) {
  if (transfer->side.staged && !transfer->discarding && transfer->next > transfer->retired &&
      t->buffers.is_full(transfer->size(transfer->next)))
    return false;
  Piece& piece = transfer->slot(transfer->next);
  if (transfer->move == Move::send && piece.op.peer->pieces_sent >= t->protocols.peer_window) {
    enter_ring(piece.op.peer, transfer);
    return false;
  }
  const uint64_t offset = transfer->offset(transfer->next);
  piece.index = transfer->next;
  piece.size = transfer->size(transfer->next);
  piece.rail = working_rail(t, transfer->rail(transfer->next));
  piece.finished = piece.retried = false;
  if (transfer->discarding && transfer->is_lost(piece.index)) {  // nothing to receive
    piece.memory = nullptr;
    piece.busy = piece.finished = true;
    ++transfer->next;
    return true;
  }
  if (transfer->side.staged && transfer->discarding) {
    piece.memory = t->overflow.memory.get();
  } else if (transfer->side.staged) {
    piece.memory = t->buffers.take(piece.size);
    if (!piece.memory) {
      transfer->result = EFA_OUT_OF_MEMORY;
      if (transfer->into_memory())
        report_piece(t, transfer, piece, msg::op_receive_piece, msg::reason_no_staging);
      else
        report_piece(t, transfer, piece, msg::op_pack_piece, msg::reason_no_staging);
      return false;
    }
    if (!transfer->into_memory() &&
        !t->config.pack(transfer->request->data.layout, offset, piece.memory, piece.size)) {
      t->buffers.give(piece.memory, piece.size);
      transfer->result = EFA_FAILED;
      report_piece(t, transfer, piece, msg::op_pack_piece, msg::reason_pack);
      return false;
    }
  } else if (transfer->side.segments.empty()) {
    piece.memory = static_cast<char*>(transfer->request->data.buffer) + offset;
  } else {
    piece.memory = transfer->move == Move::read ? at(transfer->side.segments, offset) : nullptr;
  }
  piece.busy = true;
  ++transfer->next;
  if (transfer->move == Move::send) ++piece.op.peer->pieces_sent;
  submit(t, pending_of(t, piece), &piece.op);
  return true;
}

void retire(efa_transport* t, Transfer* transfer) {
  Piece& piece = transfer->slot(transfer->retired);
  if (transfer->side.staged && piece.memory && piece.memory != t->overflow.memory.get()) {
    if (transfer->into_memory() && transfer->result == EFA_SUCCESS &&
        !t->config.unpack(transfer->request->data.layout, transfer->offset(piece.index), piece.memory,
                          piece.size)) {
      transfer->result = EFA_FAILED;
      report_piece(t, transfer, piece, msg::op_unpack_piece, msg::reason_unpack);
    }
    t->buffers.give(piece.memory, piece.size);
  }
  piece.busy = false;
  ++transfer->retired;
}

// Records a piece whose send failed or was not posted. All such pieces are within one window: after the first of them no
// more pieces are posted.
void lose(Transfer* transfer, uint64_t index) {
  if (transfer->lost == 0) transfer->lost_from = transfer->retired;
  transfer->lost |= uint64_t{1} << (index - transfer->lost_from);
}

// Removes pieces that still wait to be posted.
void take_back_waiting(efa_transport* t, Transfer* transfer) {
  for (uint64_t i = transfer->retired; i < transfer->next; ++i) {
    Piece& piece = transfer->slot(i);
    if (piece.finished || !t->pending.remove(pending_of(t, piece), &piece.op)) continue;
    piece.finished = true;
    if (transfer->move != Move::send) continue;
    --piece.op.peer->pieces_sent;
    lose(transfer, i);
  }
}

// After the first failure.
void give_up(efa_transport* t, Transfer* transfer) {
  transfer->gave_up = true;
  if (transfer->move != Move::receive) {
    take_back_waiting(t, transfer);
    return;
  }
  if (transfer->announced && !t->closing) transfer->discarding = true;
  if (!transfer->peer_ended && !t->closing)
    send_receive_failed(t, transfer->slot(0).op.peer, transfer->id, transfer->handle);
  if (!transfer->discarding) expect_only(t, transfer, 0);
}

// If a further rail failed, posts the piece on rail 0. True if the piece is in flight again.
bool retry_on_first_rail(efa_transport* t, Piece* piece, const efa_failure& failure) {
  if (piece->transfer->move != Move::read || piece->rail == 0 || t->closing) return false;
  OpenRail& rail = t->rails.at(piece->rail);
  if (!rail.failed) {
    rail.failed = true;
    t->report(msg::nic_read_failed(this_process(t), rail.nic(), to_string(piece->op.peer),
                                   reason_of(t, failure), advice_for(failure), t->rails.first.nic()));
  }
  piece->rail = 0;
  submit(t, t->rails.first.pending_reads, &piece->op);
  return true;
}

efa_result piece_failed(efa_transport* t, const Transfer* transfer, const Piece& piece,
                        const efa_failure& failure) {
  const std::string peer = to_string(piece.op.peer);
  return report_failure(t,
                        transfer->into_memory() ? msg::op_receive_piece(piece.index, transfer->length, peer)
                                                : msg::op_send_piece(piece.index, transfer->length, peer),
                        piece.op.peer, failure);
}

void piece_completed(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
                     const efa_failure* failure) {
  Piece* piece = piece_of(op);
  Transfer* transfer = piece->transfer;
  efa_peer* const peer = op->peer;
  const bool sent = transfer->move == Move::send;
  if (sent && (!failure || failure->entry)) --t->sends_posted;
  if (failure && transfer->result == EFA_SUCCESS) {
    if (retry_on_first_rail(t, piece, *failure)) return;
    transfer->result = t->closing ? EFA_CANCELED : piece_failed(t, transfer, *piece, *failure);
  } else if (!failure && transfer->move == Move::receive && entry->len != piece->size &&
             transfer->result == EFA_SUCCESS) {
    t->fatal(msg::piece_impossible(entry->len, to_string(op->peer), piece->size));
    transfer->result = EFA_FAILED;
  }
  if (failure && sent) lose(transfer, piece->index);
  if (!failure && transfer->move == Move::read) rail_bytes(t->counters, piece->rail) += piece->size;
  // The piece may arrive although there is no receive for it.
  const bool refused = failure && !failure->entry && transfer->move == Move::receive && transfer->announced &&
                       !transfer->peer_ended;
  if (refused && !piece->retried && !t->closing) {
    piece->retried = true;
    submit(t, pending_of(t, *piece), &piece->op);
    advance(t, transfer);
    return;
  }
  piece->finished = true;
  if (sent) --peer->pieces_sent;
  advance(t, transfer);
  if (sent) resume_waiting(t, peer);
}

}  // namespace

Side side_of(const efa_transport* t, const efa_request* request) {
  Side side;
  if (!request->data.layout) return side;
  const iovec* first = nullptr;
  const uint32_t count = t->config.segments ? t->config.segments(request->data.layout, &first) : 0;
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

Transfer* make(efa_transport* t, efa_request* request, efa_peer* peer, Move move, const Side& side,
               uint64_t length, uint64_t count, unsigned window) {
  auto transfer = std::make_unique<Transfer>();
  transfer->request = request;
  transfer->side = side;
  transfer->move = move;
  transfer->length = length;
  transfer->count = count;
  transfer->window = static_cast<unsigned>(std::min<uint64_t>(transfer->count, window));
  transfer->slots.reset(new Piece[transfer->window]{});
  for (unsigned i = 0; i < transfer->window; ++i) {
    Piece& piece = transfer->slots[i];
    piece.transfer = transfer.get();
    piece.op.peer = peer;
    piece.op.completed = piece_completed;
    piece.op.post = move == Move::send ? post_send : move == Move::receive ? post_receive : post_read;
  }
  transfer->owner = t;
  transfer->next_open = t->transfers;
  if (transfer->next_open) transfer->next_open->previous_open = transfer.get();
  return t->transfers = transfer.release();
}

}  // namespace

Transfer::~Transfer() {
  if (!owner) return;
  (previous_open ? previous_open->next_open : owner->transfers) = next_open;
  if (next_open) next_open->previous_open = previous_open;
}

Transfer* make_transfer(efa_transport* t, efa_request* request, efa_peer* peer, Move move, const Side& side,
                        uint64_t length, uint64_t piece, unsigned window) {
  // Without overflow: `piece` may be any value from a peer.
  const uint64_t count = length / piece + (length % piece != 0);
  Transfer* transfer = make(t, request, peer, move, side, length, count, window);
  transfer->piece = piece;
  return transfer;
}

Transfer* make_cut_transfer(efa_transport* t, efa_request* request, efa_peer* peer, const Side& side,
                            uint64_t length, std::vector<uint64_t> cuts, unsigned window) {
  Transfer* transfer = make(t, request, peer, Move::read, side, length, cuts.size(), window);
  transfer->cuts = std::move(cuts);
  return transfer;
}

Transfer* find_transfer(const efa_transport* t, Move move, uint64_t uid, uint64_t id, uint32_t handle) {
  for (Transfer* transfer = t->transfers; transfer; transfer = transfer->next_open)
    if (transfer->move == move && transfer->id == id && transfer->handle == handle &&
        transfer->slots[0].op.peer->uid == uid)
      return transfer;
  return nullptr;
}

void expect_only(efa_transport* t, Transfer* transfer, uint64_t posted) {
  transfer->count = std::min(transfer->count, posted);
  for (uint64_t i = transfer->retired; i < transfer->next; ++i) {
    Piece& piece = transfer->slot(i);
    if (piece.finished || (i < posted && !transfer->is_lost(i))) continue;
    if (t->pending.remove(pending_of(t, piece), &piece.op))
      piece.finished = true;
    else
      fi_cancel(&t->ep->fid, &piece.op.context);  // a receive that has matched meanwhile completes as usual
  }
}

void end_transfers(efa_transport* t, const efa_peer* peer) {
  // The end of a transfer may end others, so the search restarts each time.
  for (Transfer* transfer = t->transfers; transfer;) {
    // For pieces, or for the peer's send_failed.
    const bool waits = transfer->move == Move::receive && !transfer->peer_ended;
    if (transfer->slots[0].op.peer != peer || (transfer->result != EFA_SUCCESS && !waits)) {
      transfer = transfer->next_open;
      continue;
    }
    if (transfer->result == EFA_SUCCESS) transfer->result = EFA_UNREACHABLE;
    if (waits) {
      transfer->peer_ended = true;
      expect_only(t, transfer, 0);
    }
    advance(t, transfer);
    transfer = t->transfers;
  }
}

void post_window(efa_transport* t, Transfer* transfer) {
  transfer->advancing = true;
  while (transfer->goes_on() && !transfer->slot(transfer->next).busy)
    if (!post_next(t, transfer)) break;
  transfer->advancing = false;
}

// A handler that is called from inside (a post that fails at once) only marks its piece; the outer call continues.
void advance(efa_transport* t, Transfer* transfer) {
  if (transfer->advancing) return;
  transfer->advancing = true;
  for (bool moved = true; moved;) {
    moved = false;
    while (transfer->retired < transfer->next && transfer->slot(transfer->retired).finished) {
      retire(t, transfer);
      moved = true;
    }
    while (transfer->goes_on() && !transfer->slot(transfer->next).busy) {
      if (!post_next(t, transfer)) break;
      moved = true;
    }
    if (transfer->result != EFA_SUCCESS && !transfer->gave_up) {
      give_up(t, transfer);
      moved = true;
    }
  }
  transfer->advancing = false;
  if (transfer->retired != transfer->next || transfer->goes_on()) return;
  efa_peer* const peer = transfer->move == Move::send ? transfer->request->op.peer : nullptr;
  if (peer) leave_ring(peer, transfer);
  transfer_ended(t, transfer);
  if (peer) resume_waiting(t, peer);
}

}  // namespace efa
