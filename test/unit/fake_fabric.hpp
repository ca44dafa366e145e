// A libfabric endpoint that does nothing by itself: what is posted to it can be looked at, refused,
// completed, failed or answered with any message, so that a test decides what the network does.
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
#include <vector>

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

}  // namespace fake
