// A transport with two peers on a fake fabric: a test decides what the network and the peers do.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fake_fabric.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace fake {

// A strided layout: blocks of `block` bytes, `gap` bytes apart; `segments`: the blocks that efa_config.segments returns, if any.
struct Layout {
  char* base;
  size_t block, gap;
  std::vector<iovec> segments = {};
  std::function<bool(size_t offset)> refuses = {};  // whether packing or unpacking at this offset fails
};

// A request that counts its completions.
struct Request : efa_request {
  Request() : efa_request{} {
    done = [](efa_request* request) { ++static_cast<Request*>(request)->times; };
  }
  int times = 0;
};

// A transport of rank 0 over a fake fabric, with two peers, ranks 1 and 2. It injects up to 64 bytes, sends up to 1024
// bytes (packed: 512) eagerly, and has pieces of 4096 bytes, two in flight. Pulls are off until `protocols.pulls` is set.
class Transport {
 public:
  Transport();
  ~Transport();

  Fabric fabric;
  std::unique_ptr<efa_transport> owned;
  efa_transport* t;
  efa_peer &one, &two;
  efa_peer* third = nullptr;  // rank 3, if a test has made it
  std::vector<std::string> reports, fatals;

  efa_envelope to(int32_t rank, int32_t tag) const { return {5, 0, rank, tag, false}; }
  // The tag bits of a message of `kind` from a peer in the same communicator.
  uint64_t bits(uint64_t kind, int32_t rank, int32_t tag) const {
    return t->tags.send_bits(5, kind, rank, tag);
  }
  // Starts a send or receive of `size` bytes (`layout`: noncontiguous).
  efa_result send(Request& request, efa_peer& peer, int32_t tag, const void* data, size_t size,
                  efa_send_mode mode = EFA_SEND_STANDARD, Layout* layout = nullptr);
  efa_result receive(Request& request, efa_peer* peer, int32_t tag, void* data, size_t size,
                     Layout* layout = nullptr);
  // Selects this transport for the callbacks, if there are several.
  void make_current();
  // Makes progress until the completion queue is empty.
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

// Adds a second NIC, `fabric`, to a transport; its peers have two as well.
void add_rail(Transport& transport, Fabric& fabric);
struct SecondRail {
  explicit SecondRail(Transport& transport) { add_rail(transport, fabric); }
  Fabric fabric;
};

// Takes and completes the first control message that the transport has sent. Throws if there is none.
efa::Control answer(Transport& transport);

// Delivers bytes [offset, offset + size) of `data` to a posted piece receive or read.
void serve(Transport& transport, const Posted& posted, const std::vector<char>& data, size_t offset);

// Pseudo-random bytes.
std::vector<char> pattern(size_t size, unsigned seed = 1);

}  // namespace fake
