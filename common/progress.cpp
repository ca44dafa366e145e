// Taking completions from the queue and posting what had to wait.
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#include "transport.hpp"

namespace efa {
namespace {

constexpr unsigned kMostBatch = 256;  // the parameter's upper bound

// A further rail broke. What is posted there comes back with errors of its own; what waits for it never would.
void drop_rail(efa_transport* t, Rail& rail, const efa_failure& failure) {
  if (!rail.failed)
    t->report(EFA_REPORT_WARNING,
              describe_failure(t, std::string("the additional NIC ") + rail.nic(), failure) +
                  " It is not used any more; the first NIC takes its share.");
  rail.failed = true;
  while (efa_operation* op = t->pending.take_first(rail.pending_reads))
    op->completed(t, op, &kNoEntry, &failure);
}

// Looks whether a further rail's endpoint broke; how many operations ended by it.
int take_event(efa_transport* t, Rail& rail) {
  fi_eq_err_entry event{};
  if (fi_eq_readerr(rail.eq.get(), &event, 0) <= 0) return 0;
  fi_cq_err_entry entry{};
  entry.prov_errno = event.prov_errno;
  drop_rail(t, rail, {event.err, &entry});
  return 1;
}

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
  const efa_failure failure{entry.err, &entry};
  if (!entry.op_context && &rail != &t->rail) {
    drop_rail(t, rail, failure);
    return;
  }
  if (!entry.op_context) {
    t->fatal(describe_failure(t, "the endpoint", failure) +
             " The provider does not tell which message it was, so the job cannot go on.");
    return;
  }
  fi_cq_tagged_entry known{};
  known.len = entry.len;
  known.data = entry.data;
  known.tag = entry.tag;
  auto* op = static_cast<efa_operation*>(entry.op_context);
  op->completed(t, op, &known, &failure);
}

// What a queue said instead of completions; how many operations ended by it.
[[gnu::noinline]] int take_other(efa_transport* t, Rail& rail, ssize_t got) {
  if (got == -FI_EAVAIL) {
    take_error(t, rail);
    return 1;
  }
  t->fatal(std::string("fi_cq_read failed on ") + rail.nic() + ": " + fi_strerror(static_cast<int>(-got)));
  return 0;
}

// Hands up to `batch` completions of a rail to their operations; how many there were.
[[gnu::always_inline]] inline int poll(efa_transport* t, Rail& rail, fid_cq* cq) {
  fi_cq_tagged_entry entries[kMostBatch];
  const ssize_t got = fi_cq_read(cq, entries, t->batch);
  if (got > 0) {
    for (const fi_cq_tagged_entry *entry = entries, *end = entries + got; entry != end; ++entry) {
      auto* op = static_cast<efa_operation*>(entry->op_context);
      op->completed(t, op, entry, nullptr);
    }
    return static_cast<int>(got);
  }
  if (got == -FI_EAGAIN || got == 0) [[likely]]
    return 0;
  return take_other(t, rail, got);
}

// What is seldom open: the further rails, which have work only while data is read over them, by us or from us; and
// operations that wait.
[[gnu::noinline]] int progress_rest(efa_transport* t) {
  int done = 0;
  if (t->pulls_open)
    for (auto& rail : t->more_rails) {
      done += poll(t, *rail, rail->cq.get());
      // Reads that wait may wait because the endpoint is broken; those that are posted tell by themselves.
      if (!rail->pending_reads.empty()) done += take_event(t, *rail);
    }
  if (!t->pending.empty()) done += t->pending.drain(t, monotonic_ns());
  return done;
}

[[gnu::always_inline]] inline int progress(efa_transport* t) {
  int done = poll(t, t->rail, t->cq);
  if (t->pulls_open || !t->pending.empty()) [[unlikely]]
    done += progress_rest(t);
  if (done == 0 && t->contacts.open()) [[unlikely]]
    t->contacts.poll(t);
  return done;
}

[[gnu::noinline]] int progress_among_threads(efa_transport* t) {
  if (!t->mutex.try_lock()) return 0;  // another thread is at it
  const int done = progress(t);
  t->mutex.unlock();
  return done;
}

}  // namespace

[[gnu::noinline]] void submit_refused(efa_transport* t, PendingList& list, efa_operation* op, int error) {
  if (error != 0 && error != -FI_EAGAIN) {
    const efa_failure failure{-error};
    op->completed(t, op, &kNoEntry, &failure);
    return;
  }
  ++t->stats.deferred;
  t->pending.add(list, op, monotonic_ns());
}

void submit(efa_transport* t, PendingList& list, efa_operation* op) {
  int error = 0;
  if (!list.empty() && list.awaits_first()) [[unlikely]]
    t->contacts.begin(op);
  if (list.empty()) {
    error = op->post(t, op);
    if (error == 0) return;
  }
  submit_refused(t, list, op, error);
}

void submit_from_call(efa_transport* t, PendingList& list, efa_operation* op) {
  const uint64_t deferred = t->stats.deferred;
  submit(t, list, op);
  if (t->stats.deferred == deferred || t->making_room) [[likely]]
    return;
  t->making_room = true;
  progress(t);
  t->making_room = false;
}

}  // namespace efa

extern "C" int efa_progress(efa_transport* t) {
  return t->threads ? efa::progress_among_threads(t) : efa::progress(t);
}
