// The data transfer of one rendezvous: the message is cut into pieces, a window of which is posted at any time.
//
// Contiguous data, and layouts of few long blocks, move directly between the users' buffers. Other layouts are packed
// into, and unpacked from, pool buffers piece by piece, so that packing, transfer and unpacking overlap and the memory
// does not grow with the message. Pieces complete in any order and are retired in order.
//
// All pushes to one peer together have at most Protocols::peer_window pieces in flight; other transfers wait in a ring at
// the peer, first come, first served. With only a window per message, many concurrent messages would be sent in
// alternating pieces, which is unfavourable for the caches of both sides.
//
// When one side of a push fails it notifies the other (failed_transfers.cpp). A failed sender stops, waits for the pieces in
// flight, and reports how many it posted and which of them failed. A failed receiver continues to receive and discards the
// data, until all pieces have arrived or the sender has named the lost ones: if a receive were cancelled earlier, its piece
// would stay in the provider's unexpected queue, where a later transfer with the same handle would match it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "interface/transport.h"
#include "protocol/registration.hpp"
#include "protocol/segments.hpp"
#include "protocol/wire.hpp"

namespace efa {

struct Transfer;

struct Piece {
  efa_operation op;  // first
  Transfer* transfer;
  uint64_t index;
  void* memory;  // in the user's buffer, or from the pool; null: in several segments
  size_t size;
  unsigned rail;
  bool busy;      // posted or waiting to be posted, until it is retired
  bool finished;  // completed; retired in the order of the pieces
  bool retried;   // the provider refused it once with an error other than FI_EAGAIN
};

// The layout of the data on this side.
struct Side {
  bool staged = false;  // packed and unpacked through pool buffers
  Segments segments;    // blocks of a layout that is not staged; empty: contiguous or staged
  bool contiguous() const { return !staged && segments.empty(); }
};
// The side of a request.
Side side_of(const efa_transport* t, const efa_request* request);
// The maximum piece length, at most `wanted`, with which this side can send or receive.
uint64_t fitting_piece(const efa_transport* t, const Side& side, uint64_t wanted);

enum class Move : uint8_t {
  send,     // push, sender's side
  receive,  // push, receiver's side
  read,     // pull, receiver's side
};

struct Transfer {
  Transfer() = default;
  ~Transfer();
  Transfer(const Transfer&) = delete;

  efa_transport* owner = nullptr;  // its list contains this transfer
  Transfer *next_open = nullptr, *previous_open = nullptr;
  efa_request* request = nullptr;
  Side side;
  Move move;
  bool advancing = false;
  bool gave_up = false;              // give_up() was called after a failure
  bool announced = false;            // push, receiver: clear-to-send was sent
  bool discarding = false;           // push, receiver: failed, and receives the pieces in flight
  bool peer_ended = false;           // the sender has sent send_failed, or the peer has failed
  Transfer* next_waiting = nullptr;  // in the ring of its peer; null if it is not in it
  efa_result result = EFA_SUCCESS;
  uint64_t length, piece, count;
  uint64_t next = 0;     // piece to post
  uint64_t retired = 0;  // number of retired pieces
  unsigned window;
  unsigned rails = 1;  // number of rails in use, from `first_rail` on
  unsigned first_rail = 0;
  unsigned rails_known = 1;  // rails of both sides; rail numbers wrap around here
  std::unique_ptr<Piece[]> slots;

  uint64_t id = 0;         // the message's, at its sender
  uint32_t handle = 0;     // push: identifies this transfer in the tags of its pieces
  uint64_t lost = 0;       // push: bit i is set if the sender's piece `lost_from` + i does not arrive
  uint64_t lost_from = 0;  // the piece of bit 0

  ReadyToSend remote{};           // pull: the location of the data
  Registration* local = nullptr;  // pull, not staged: its destination
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
  bool is_lost(uint64_t index) const {
    return index >= lost_from && index - lost_from < 64 && (lost >> (index - lost_from) & 1);
  }
  // More pieces are to be posted.
  bool goes_on() const { return next < count && (result == EFA_SUCCESS || discarding); }
};

// Creates a transfer of request->data with `length` bytes in pieces of `piece`; advance() starts and ends it. Throws
// std::bad_alloc, like make_cut_transfer().
Transfer* make_transfer(efa_transport* t, efa_request* request, efa_peer* peer, Move move, const Side& side,
                        uint64_t length, uint64_t piece, unsigned window);
// The same for a pull that has segments on either side: `cuts` instead of even pieces.
Transfer* make_cut_transfer(efa_transport* t, efa_request* request, efa_peer* peer, const Side& side,
                            uint64_t length, std::vector<uint64_t> cuts, unsigned window);
// Posts as many pieces as the window allows, without ending the transfer: receives must be posted before clear-to-send.
void post_window(efa_transport* t, Transfer* transfer);
// Retires and posts pieces; calls transfer_ended when no piece is left. Reentrant.
void advance(efa_transport* t, Transfer* transfer);

// The open transfer of that kind with this peer, message id and handle; null if there is none.
Transfer* find_transfer(const efa_transport* t, Move move, uint64_t uid, uint64_t id, uint32_t handle);
// Push, receiver: pieces beyond the first `posted`, and those in transfer->lost, do not arrive. Cancels their receives.
void expect_only(efa_transport* t, Transfer* transfer, uint64_t posted);

// Ends the transfers with a failed peer, when the provider has returned their memory.
void end_transfers(efa_transport* t, const efa_peer* peer);

}  // namespace efa
