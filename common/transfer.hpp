// The data of one rendezvous on its way: cut into pieces, a window of which is posted at any time.
//
// Contiguous data moves straight between the users' buffers, and so do layouts of few long blocks; others are
// packed into, and unpacked from, pool buffers piece by piece, so that packing, transfer and unpacking overlap
// and no buffer grows with the message. Pieces complete in any order and are retired in theirs.
//
// All pushes to one peer together have at most Protocols::peer_window pieces under way; the others wait in a ring at the
// peer, first come, first served. With a window for each message alone, sixteen messages at once would be torn into
// pieces of all of them, and neither side's cache would still know any.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "segments.hpp"
#include "transport.hpp"

namespace efa {

struct Transfer;

struct Piece {
  efa_operation op;  // first
  Transfer* transfer;
  uint64_t index;
  void* memory;  // in the user's buffer, or from the pool; null: in several segments
  size_t size;
  unsigned rail;
  bool busy;      // posted or waiting to be; until it is retired
  bool finished;  // completed; retired in the order of the pieces
};

// How this side's data lies.
struct Side {
  bool staged = false;  // it is packed through buffers of the pool
  Segments segments;    // of a layout that need not be; empty: contiguous or staged
  bool contiguous() const { return !staged && segments.empty(); }
};
// The side of a request.
Side side_of(const efa_transport* t, const efa_request* r);
// The longest piece, at most `wanted`, by which this side can send or receive.
uint64_t fitting_piece(const efa_transport* t, const Side& side, uint64_t wanted);

enum class Move : uint8_t {
  send,     // push, sender's side
  receive,  // push, receiver's side
  read,     // pull, receiver's side
};

struct Transfer {
  efa_request* request;
  Side side;
  Move move;
  bool advancing = false;
  bool cancelled = false;
  Transfer* next_waiting = nullptr;  // in the ring of its peer; null if it is not in it
  efa_result result = EFA_SUCCESS;
  uint64_t length, piece, count;
  uint64_t next = 0;     // piece to post
  uint64_t retired = 0;  // pieces done with
  unsigned window;
  unsigned rails = 1;  // that take part, from `first_rail` on
  unsigned first_rail = 0;
  unsigned rails_known = 1;  // to both sides; after the last comes the first again
  std::unique_ptr<Piece[]> slots;

  uint32_t handle = 0;  // push: names this transfer in the pieces' tags

  ReadyToSend remote{};           // pull: where the data is
  Registration* local = nullptr;  // pull, not staged: where it goes
  std::vector<uint64_t>
      cuts;  // pull with segments: where pieces begin, each within one segment of either side
  std::vector<fi_addr_t> peers;  // pull: the sender's address on each rail

  Piece& slot(uint64_t index) { return slots[index % window]; }
  uint64_t offset(uint64_t index) const { return cuts.empty() ? index * piece : cuts[index]; }
  uint64_t size(uint64_t index) const {
    return (index + 1 == count ? length : offset(index + 1)) - offset(index);
  }
  unsigned rail(uint64_t index) const {
    return (first_rail + static_cast<unsigned>(index % rails)) % rails_known;
  }
  bool into_memory() const { return move != Move::send; }
};

// Makes a transfer of r->data with `length` bytes in pieces of `piece`; advance() begins and ends it.
Transfer* make_transfer(efa_request* r, efa_peer* peer, Move move, const Side& side, uint64_t length,
                        uint64_t piece, unsigned window);
// The same for a pull that has segments on either side: `cuts` instead of even pieces.
Transfer* make_cut_transfer(efa_request* r, efa_peer* peer, const Side& side, uint64_t length,
                            std::vector<uint64_t> cuts, unsigned window);
// Posts as much as the window takes, without ending anything: for what must be posted before a peer is told.
void post_window(efa_transport* t, Transfer* tr);
// Retires, posts, and when nothing is left hands the transfer to transfer_ended. Reentrant.
void advance(efa_transport* t, Transfer* tr);

// In rendezvous.cpp: all pieces are retired or taken back. Deletes the transfer and completes its request.
void transfer_ended(efa_transport* t, Transfer* tr);

}  // namespace efa
