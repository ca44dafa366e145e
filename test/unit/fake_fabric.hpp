// A libfabric endpoint that does nothing by itself: what is posted to it can be looked at, refused,
// completed, failed or answered with any message, so that a test decides what the network does. And a
// transport on top of it.
#pragma once

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport.hpp"

namespace fake {

enum class Call { inject, send, tagged_send, receive, tagged_receive, peek, read, cancel };

// One accepted call.
struct Posted {
  Call call{};
  void* context = nullptr;
  uint64_t tag = 0, ignore = 0, data = 0, flags = 0;
  fi_addr_t peer = FI_ADDR_UNSPEC;
  std::vector<uint8_t> bytes;     // of a send, as they were when it was posted
  const void* from = nullptr;     // where a send has them; theirs until it completes
  size_t parts = 1;               // of a send
  std::vector<iovec> into;        // of a receive or a read
  uint64_t address = 0, key = 0;  // of a read
};

class Fabric {
 public:
  Fabric();
  Fabric(const Fabric&) = delete;

  fid_ep ep{};
  fid_cq cq{};
  fid_av av{};
  fid_domain domain{};
  fid_eq eq{};
  std::deque<int> events;  // errors that the event queue has, positive fi_errno

  std::deque<Posted> posted;  // in order; completed ones are gone
  std::deque<int> refuse;  // what the next posts answer (FI_EAGAIN, ...) instead of being accepted; 0: accept
  // Asked when a peek, or a receive with FI_CLAIM, is posted: such are answered at once and not kept.
  std::function<void(const Posted&)> on_peek, on_claim;
  std::function<void(const Posted&)> on_post;  // told of everything else that is accepted
  int refuse_registration = 0;
  int registrations = 0;  // open ones

  size_t count(Call call) const;
  // The first post of that kind, which must be there, taken out.
  Posted take(Call call);

  // What the completion queue says next.
  void complete(const Posted& post, size_t length = 0, uint64_t tag = 0, uint64_t data = 0);
  // `tag` and `data`: of the message that did it, if the provider says so.
  void fail(void* context, int error, int provider_error = 0, uint64_t tag = ~uint64_t{0}, uint64_t data = 0);
  // A tagged message comes: goes to the first posted receive that matches it, which must exist.
  void arrive(uint64_t tag, uint64_t data, const void* bytes, size_t size);
  // An untagged one.
  void arrive_control(const void* bytes, size_t size);

  ssize_t read_queue(fi_cq_tagged_entry* entries, size_t count);
  ssize_t read_error(fi_cq_err_entry* entry);
  // 0 or an error to answer with.
  int accept(Posted post);

 private:
  struct Event {
    fi_cq_tagged_entry entry{};
    int error = 0, provider_error = 0;
  };
  std::deque<Event> events_;
};

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
