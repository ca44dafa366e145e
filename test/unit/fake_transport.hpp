// A transport with two peers on top of a fake fabric, so that a test decides what the network and the peers do.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fake_fabric.hpp"
#include "transport.hpp"

namespace fake {

// A strided layout: blocks of `block` bytes, `gap` bytes apart; `segments`, if the transport is told of them.
struct Layout {
  char* base;
  size_t block, gap;
  std::vector<iovec> segments = {};
};

// A request that counts how often it was completed.
struct Request : efa_request {
  Request() : efa_request{} {
    done = [](efa_request* r) { ++static_cast<Request*>(r)->times; };
  }
  int times = 0;
};

// A transport over a fake fabric with two peers, ranks 1 and 2; itself rank 0. Inject up to 64 bytes, eager
// up to 1024 (packed 512), pieces of 4096 with two in flight; pulling is off until `protocols.pulls` is set.
class Transport {
 public:
  Transport();
  ~Transport();

  Fabric fabric;
  std::unique_ptr<efa_transport> owned;
  efa_transport* t;
  efa_peer &one, &two;
  std::vector<std::string> reports, fatals;

  efa_envelope to(int32_t rank, int32_t tag) const { return {5, 0, rank, tag, false}; }
  // Bits with which a message of `kind` from a peer in the same communicator comes.
  uint64_t bits(uint64_t kind, int32_t rank, int32_t tag) const {
    return t->tags.send_bits(5, kind, rank, tag);
  }
  // Begins a send or receive of `size` bytes (`layout`: noncontiguous).
  efa_result send(Request& r, efa_peer& peer, int32_t tag, const void* data, size_t size,
                  efa_send_mode mode = EFA_SEND_STANDARD, Layout* layout = nullptr);
  efa_result receive(Request& r, efa_peer* peer, int32_t tag, void* data, size_t size,
                     Layout* layout = nullptr);
  // Progress until nothing is left to be read from the queue.
  void progress();

  efa::ReadyToSend ready(uint64_t request, uint64_t length, uint64_t piece = 4096) const;
  efa::Control control(efa::ControlType type, const efa_peer& from, uint64_t request, uint64_t length = 0,
                       uint64_t piece = 4096) const;
  void arrive(const efa::ReadyToSend& ready, int32_t rank, int32_t tag) {
    uint8_t bytes[sizeof ready];
    ready.write(bytes);
    fabric.arrive(bits(efa::kKindRts, rank, tag), static_cast<uint64_t>(rank), bytes, ready.size());
    progress();
  }
  void arrive(const efa::Control& message) {
    fabric.arrive_control(&message, sizeof message);
    progress();
  }
};

// Gives a transport a second NIC, `fabric`; its peers have two as well.
void add_rail(Transport& x, Fabric& fabric);
struct SecondRail {
  explicit SecondRail(Transport& x) { add_rail(x, fabric); }
  Fabric fabric;
};

// The control message that was sent last; it is completed. Throws if it is none.
efa::Control answer(Transport& x);

// Delivers bytes [offset, offset + size) of `data` to a posted piece receive or read.
void serve(Transport& x, const Posted& p, const std::vector<char>& data, size_t offset);

// Bytes that differ from place to place.
std::vector<char> pattern(size_t size, unsigned seed = 1);

}  // namespace fake
