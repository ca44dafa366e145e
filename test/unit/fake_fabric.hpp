// A libfabric endpoint that does nothing by itself. A test can inspect, refuse, complete or fail each posted operation, and
// deliver any message.
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
  std::vector<uint8_t> bytes;     // of a send: its data at the time of the post
  const void* from = nullptr;     // of a send: its buffer, in use until the send completes
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
  std::deque<int> events;  // errors in the event queue, positive fi_errno

  std::deque<Posted> posted;                // in order of posting, without completed ones
  std::deque<int> refuse;                   // results of the next posts (FI_EAGAIN, ...); 0: accept
  std::function<bool(const Posted&)> full;  // called for every post; true: refuses it with FI_EAGAIN
  // How many of the next reads of the completion queue, for entries and for errors, fail with FI_EINTR.
  int interrupted = 0, interrupts_errors = 0;
  std::function<int(const Posted&)> refuse_when;  // called for posts beyond `refuse`; returns 0 or the error
  // Called when a peek, or a receive with FI_CLAIM, is posted. These are answered at once and not added to `posted`.
  std::function<void(const Posted&)> on_peek, on_claim;
  std::function<void()> on_idle;               // called when the queue is read and is empty
  std::function<void(const Posted&)> on_post;  // called for every other accepted post
  int refuse_registration = 0;
  int registrations = 0;  // open ones
  int addresses_removed = 0;

  size_t count(Call call) const;
  // Removes the first post of that kind, which must exist, and returns it.
  Posted take(Call call);

  // Adds an entry to the completion queue.
  void complete(const Posted& post, size_t length = 0, uint64_t tag = 0, uint64_t data = 0);
  // Adds an error entry. `tag` and `data`: of the message concerned, if the provider reports them.
  void fail(void* context, int error, int provider_error = 0, uint64_t tag = ~uint64_t{0}, uint64_t data = 0);
  // A tagged message arrives, for the first posted receive that matches it, which must exist.
  void arrive(uint64_t tag, uint64_t data, const void* bytes, size_t size);
  // An untagged message arrives.
  void arrive_control(const void* bytes, size_t size);

  ssize_t read_queue(fi_cq_tagged_entry* entries, size_t count);
  ssize_t read_error(fi_cq_err_entry* entry);
  // Returns 0 or the negative error for the caller of libfabric.
  int accept(Posted post);

 private:
  struct Event {
    fi_cq_tagged_entry entry{};
    int error = 0, provider_error = 0;
  };
  std::deque<Event> events_;
};

// Copies `size` bytes into the parts, in order.
void scatter(const std::vector<iovec>& into, const void* bytes, size_t size);

}  // namespace fake
