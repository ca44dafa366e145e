// Progress: reading completions, and all that is done when there are none.
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "health/peer_failure.hpp"
#include "health/rail_failure.hpp"
#include "interface/transport.h"
#include "packets/arrival.hpp"
#include "peers/pending.hpp"
#include "protocol/rails.hpp"
#include "state.hpp"
#include "tagged/waiting_receives.hpp"
#include "tagged/withdraw.hpp"

namespace efa {
namespace {

constexpr unsigned kMostBatch = 256;  // the parameter's upper bound

// An error entry has the context of its operation, or none if the endpoint itself failed.
void handle_error_entry(efa_transport* t, OpenRail& rail) {
  fi_cq_err_entry entry{};
  char data[256];
  entry.err_data = data;
  entry.err_data_size = sizeof data;
  const ssize_t got = fi_cq_readerr(rail.cq.get(), &entry, 0);
  if (got == -FI_EAGAIN || got == -FI_EINTR) return;
  if (got < 0) {
    t->fatal(msg::queue_failed("fi_cq_readerr", rail.nic(), fi_strerror(static_cast<int>(-got))));
    return;
  }
  const efa_failure failure{entry.err, &entry};
  if (!entry.op_context && &rail != &t->rails.first) {
    drop_rail(t, rail, failure);
    return;
  }
  if (!entry.op_context && t->draining) {  // an injected message to a process that has left MPI already
    t->report(msg::message_lost_closing(this_process(t), reason_of(t, failure), advice_for(failure)));
    return;
  }
  if (!entry.op_context) {
    t->fatal(msg::endpoint_failed(this_process(t), reason_of(t, failure), advice_for(failure)));
    return;
  }
  fi_cq_tagged_entry known{};
  known.len = entry.len;
  known.data = entry.data;
  known.tag = entry.tag;
  auto* op = static_cast<efa_operation*>(entry.op_context);
  op->completed(t, op, &known, &failure);
}

// Handles an error of fi_cq_read; returns the number of operations that it ended.
[[gnu::noinline]] int handle_queue_error(efa_transport* t, OpenRail& rail, ssize_t got) {
  if (got == -FI_EINTR) return 0;  // a signal handler ran; the next poll tells
  if (got == -FI_EAVAIL) {
    handle_error_entry(t, rail);
    return 1;
  }
  t->fatal(msg::queue_failed("fi_cq_read", rail.nic(), fi_strerror(static_cast<int>(-got))));
  return 0;
}

// Passes up to `batch` completions of a rail to their operations; returns their number.
// `waiting`: others wait, so that each operation that ends counts as a step of its peer.
template <bool waiting>
[[gnu::always_inline]] inline int poll(efa_transport* t, OpenRail& rail, fid_cq* cq) {
  fi_cq_tagged_entry entries[kMostBatch];
  const ssize_t got = fi_cq_read(cq, entries, t->batch);
  if (got > 0) {
    t->completions += static_cast<size_t>(got);
    for (const fi_cq_tagged_entry *entry = entries, *end = entries + got; entry != end; ++entry) {
      auto* op = static_cast<efa_operation*>(entry->op_context);
      if (waiting && op->peer) ++op->peer->steps;
      op->completed(t, op, entry, nullptr);
    }
    return static_cast<int>(got);
  }
  if (got == -FI_EAGAIN || got == 0) [[likely]]
    return 0;
  return handle_queue_error(t, rail, got);
}

[[gnu::noinline]] void look_around(efa_transport* t) {
  if_memory_allows([&] {
    const uint64_t now_ns = monotonic_ns();
    if (t->contacts.open()) t->contacts.look(t, now_ns);
    t->liveness.look(t, now_ns);
    t->unacknowledged.look(t, now_ns);
    if (t->rails.first.eq) check_first_endpoint(t);
    if (t->watchdog) t->watchdog->look(t, now_ns);
  });
}

// A poll that found nothing: in one of 64 such polls the clock is read, which costs more than the poll.
inline void idle(efa_transport* t) {
  if (++t->idle_polls % 64 == 0) [[unlikely]]
    look_around(t);
}

// Passes completions of rail 0 to their operations, in the order of completion also if a handler makes progress: packets
// must be matched in that order. Returns their number.
int poll_in_order(efa_transport* t) {
  CompletionBatch& batch = t->packets->batch;
  int done = 0;
  if (batch.next == batch.count) {
    const ssize_t got = fi_cq_read(t->cq, batch.entries, std::min<size_t>(t->batch, CompletionBatch::kMost));
    batch.next = 0;
    batch.count = got > 0 ? static_cast<size_t>(got) : 0;
    if (got <= 0) return got == -FI_EAGAIN || got == 0 ? 0 : handle_queue_error(t, t->rails.first, got);
  }
  while (batch.next < batch.count) {
    const fi_cq_tagged_entry entry = batch.entries[batch.next++];
    ++t->completions;
    ++done;
    auto* op = static_cast<efa_operation*>(entry.op_context);
    if (op->peer) ++op->peer->steps;
    op->completed(t, op, &entry, nullptr);
  }
  return done;
}

int poll_provider(efa_transport* t) {
  const int done = poll_in_order(t);
  t->packets->provider_polls.read(done > 0);
  return done;
}

int poll_channels(efa_transport* t) {
  Packets& packets = *t->packets;
  int done = packets.shm.is_open() ? poll_shared_memory(t) : 0;
  t->completions += static_cast<unsigned>(done);
  const bool expected = packets.distant_peers || t->sends_posted || t->transfers || !packets.shm.is_open();
  if (expected || packets.provider_polls.due()) done += poll_provider(t);
  return done;
}

// With what is seldom open: the further rails, which have work only while data is read over them, by us or from us; and
// operations that wait.
[[gnu::noinline]] int progress_all(efa_transport* t) {
  int done = t->packets ? poll_channels(t) : poll<true>(t, t->rails.first, t->cq);
  if (t->claims.in_vain) done += poll<true>(t, t->rails.first, t->cq);  // that answer stood before what counts
  if (t->pulls_open)
    for (auto& rail : t->rails.more) {
      done += poll<true>(t, *rail, rail->cq.get());
      // Reads may wait because the endpoint has failed; posted reads complete with errors.
      if (!rail->pending_reads.empty()) done += handle_endpoint_event(t, *rail);
    }
  if (!t->pending.empty()) {
    done += t->packets ? t->pending.serve(t, t->controls.pending) + t->pending.serve(t, t->pending_internal)
                       : serve_receives(t);
    done += t->pending.drain(t);
  }
  done -= std::exchange(t->claims.in_vain, 0);
  if_memory_allows([&] {
    if (t->pending.ring_empty())
      t->stalls.all_moved(t);
    else
      t->stalls.poll(t);
  });
  if (done == 0) idle(t);
  if (!t->withdrawals.empty()) serve_withdrawals(t);
  if (!t->undeliverable.empty()) [[unlikely]]
    fail_undeliverable(t);
  return done;
}

[[gnu::always_inline]] inline int progress(efa_transport* t) {
  if (t->pulls_open || !t->pending.empty()) [[unlikely]]
    return progress_all(t);
  const int done = poll<false>(t, t->rails.first, t->cq);
  if (done == 0) idle(t);
  return done;
}

[[gnu::noinline]] int progress_otherwise(efa_transport* t) {
  if (!t->threads) return progress_all(t);
  if (!t->lock.try_lock()) return 0;  // another thread makes progress
  const std::unique_lock guard(t->lock, std::adopt_lock);
  return t->packets ? progress_all(t) : progress(t);
}

}  // namespace

}  // namespace efa

// A handler that throws has not finished its operation, and nobody can be told of it.
extern "C" int efa_progress(efa_transport* t) try {
  return t->progress_otherwise ? efa::progress_otherwise(t) : efa::progress(t);
} catch (...) {
  efa::fatal_exception(t, efa::msg::op_complete);
  return 1;
}

// While nothing is expected but packets of this node.
extern "C" int efa_progress_packets(efa_transport* t) try {
  if (t->slow_packets) [[unlikely]]
    return efa_progress(t);
  efa::Packets& packets = *t->packets;
  const uint64_t others = t->pulls_open | t->pending.size() | t->sends_posted | packets.distant_peers |
                          reinterpret_cast<uintptr_t>(t->transfers);
  if (others || !packets.shm.is_open()) [[unlikely]]
    return efa_progress(t);
  int done = efa::poll_shared_memory(t);
  t->completions += static_cast<unsigned>(done);
  if (packets.provider_polls.due()) [[unlikely]]
    done += efa::poll_provider(t);
  if (done == 0) efa::idle(t);
  return done;
} catch (...) {
  efa::fatal_exception(t, efa::msg::op_complete);
  return 1;
}
