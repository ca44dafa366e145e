// Taking completions from the queue and posting what had to wait.
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#include "transport.hpp"

namespace efa {
namespace {

constexpr unsigned kMostBatch = 256;  // the parameter's upper bound

// An error entry names its operation, or none when the endpoint itself failed.
void take_error(efa_transport* t) {
  fi_cq_err_entry entry{};
  char data[256];
  entry.err_data = data;
  entry.err_data_size = sizeof data;
  const ssize_t got = fi_cq_readerr(t->cq, &entry, 0);
  if (got == -FI_EAGAIN) return;
  if (got < 0) {
    t->fatal(std::string("fi_cq_readerr failed on ") + t->rail.nic() + ": " +
             fi_strerror(static_cast<int>(-got)));
    return;
  }
  efa_completion c;
  c.length = entry.len;
  c.data = entry.data;
  c.tag = entry.tag;
  c.error = entry.err;
  c.entry = &entry;
  if (!entry.op_context) {
    t->fatal(describe_failure(t, "the endpoint", c) +
             " The provider does not tell which message it was, so the job cannot go on.");
    return;
  }
  auto* op = static_cast<efa_operation*>(entry.op_context);
  op->completed(t, op, &c);
}

}  // namespace

void submit(efa_transport* t, PendingList& list, efa_operation* op) {
  if (list.empty()) {
    const int error = op->post(t, op);
    if (error == 0) return;
    if (error != -FI_EAGAIN) {
      efa_completion failed;
      failed.error = -error;
      op->completed(t, op, &failed);
      return;
    }
  }
  ++t->stats.deferred;
  t->pending.add(list, op, monotonic_ns());
}

}  // namespace efa

extern "C" int efa_progress(efa_transport* t) {
  if (t->threads && !t->mutex.try_lock()) return 0;  // another thread is at it
  fi_cq_tagged_entry entries[efa::kMostBatch];
  int done = 0;
  const ssize_t got = fi_cq_read(t->cq, entries, t->batch);
  if (got > 0) {
    for (ssize_t i = 0; i < got; ++i) {
      const fi_cq_tagged_entry& entry = entries[i];
      auto* op = static_cast<efa_operation*>(entry.op_context);
      efa_completion c;
      c.length = entry.len;
      c.data = entry.data;
      c.tag = entry.tag;
      op->completed(t, op, &c);
    }
    done = static_cast<int>(got);
  } else if (got == -FI_EAVAIL) {
    efa::take_error(t);
    done = 1;
  } else if (got != -FI_EAGAIN) {
    t->fatal(std::string("fi_cq_read failed on ") + t->rail.nic() + ": " +
             fi_strerror(static_cast<int>(-got)));
  }
  if (!t->pending.empty()) done += t->pending.drain(t, efa::monotonic_ns());
  if (t->threads) t->mutex.unlock();
  return done;
}
