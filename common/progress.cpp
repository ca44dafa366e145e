// Taking completions from the queue and posting what had to wait.
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#include "transport.hpp"

namespace efa {
namespace {

constexpr unsigned kMostBatch = 256;  // the parameter's upper bound

// An error entry names its operation, or none when the endpoint itself failed.
void take_error(efa_transport* t, Rail& rail) {
  fi_cq_err_entry entry{};
  char data[256];
  entry.err_data = data;
  entry.err_data_size = sizeof data;
  const ssize_t got = fi_cq_readerr(rail.cq.get(), &entry, 0);
  if (got == -FI_EAGAIN) return;
  if (got < 0) {
    t->fatal(std::string("fi_cq_readerr failed on ") + rail.nic() + ": " +
             fi_strerror(static_cast<int>(-got)));
    return;
  }
  efa_completion c;
  c.length = entry.len;
  c.data = entry.data;
  c.tag = entry.tag;
  c.error = entry.err;
  c.entry = &entry;
  if (!entry.op_context && &rail != &t->rail) {
    rail.failed = true;  // whatever is posted there comes back with errors of its own
    t->report(EFA_REPORT_WARNING, describe_failure(t, std::string("the additional NIC ") + rail.nic(), c) +
                                      " It is not used any more; the first NIC takes its share.");
    return;
  }
  if (!entry.op_context) {
    t->fatal(describe_failure(t, "the endpoint", c) +
             " The provider does not tell which message it was, so the job cannot go on.");
    return;
  }
  auto* op = static_cast<efa_operation*>(entry.op_context);
  op->completed(t, op, &c);
}

// Hands up to `batch` completions of a rail to their operations; how many there were.
int poll(efa_transport* t, Rail& rail, fid_cq* cq, unsigned batch) {
  fi_cq_tagged_entry entries[kMostBatch];
  const ssize_t got = fi_cq_read(cq, entries, batch);
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
    return static_cast<int>(got);
  }
  if (got == -FI_EAGAIN) [[likely]]
    return 0;
  if (got == -FI_EAVAIL) {
    take_error(t, rail);
    return 1;
  }
  t->fatal(std::string("fi_cq_read failed on ") + rail.nic() + ": " + fi_strerror(static_cast<int>(-got)));
  return 0;
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
  int done = efa::poll(t, t->rail, t->cq, t->batch);
  // The further rails have work only while data is read over them, by us or from us.
  if (t->pulls_open) [[unlikely]]
    for (auto& rail : t->more_rails) done += efa::poll(t, *rail, rail->cq.get(), t->batch);
  if (!t->pending.empty()) done += t->pending.drain(t, efa::monotonic_ns());
  if (t->threads) t->mutex.unlock();
  return done;
}
