// A queue pair after its work requests have been posted: acknowledgements, retries, timers, and work requests whose
// peer, NIC or process dies.
#include <algorithm>

#include "device.hpp"

namespace efasim {
namespace {

// Time between the answer "receiver not ready" and the next attempt; doubles with each, six times. The hardware's
// timer is not public.
constexpr uint64_t kRnrDelayNs = 20'000;
constexpr unsigned kRnrDoublings = 6;
constexpr uint32_t kRnrForever = 7;

// Time between two attempts to use a full ring.
constexpr uint64_t kFullRingRetryNs = 100'000;

// Housekeeping checks work requests that were sent at least this many housekeepings ago.
constexpr uint32_t kOldEpochs = 2;

}  // namespace

// ---- answers and time ----

void Qp::take_acks() {
  const uint32_t words = (static_cast<uint32_t>(send_.size()) + kAuxAcks + 63) / 64;
  for (uint32_t w = 0; w < words; w++) {
    if (own.shared->ack_bits[w].load(std::memory_order_relaxed) == 0) continue;
    uint64_t bits = own.shared->ack_bits[w].exchange(0, std::memory_order_acquire);
    while (bits) {
      const uint32_t index = w * 64 + static_cast<uint32_t>(__builtin_ctzll(bits));
      bits &= bits - 1;
      const uint64_t ack = own.shared->acks[index].load(std::memory_order_relaxed);
      const uint32_t sequence = static_cast<uint32_t>(ack >> 8);
      const Status status = static_cast<Status>(ack & 0xff);
      if (index < send_.size()) {
        acknowledged(index, sequence, status);
        continue;
      }
      const uint32_t k = index - static_cast<uint32_t>(send_.size());
      if (k >= kAuxAcks || aux_[k].sequence != sequence || (aux_free_ >> k & 1)) continue;
      aux_free_ |= uint64_t{1} << k;
      if (send_[aux_[k].index].sequence == aux_[k].wr_sequence) {
        rdma_acknowledged(aux_[k].index, aux_[k].length, status);
      }
    }
  }
}

void Qp::acknowledged(uint32_t index, uint32_t sequence, Status status) {
  SendWr& wr = send_[index];
  if (wr.sequence != sequence || sequence == 0) return;  // of an earlier use, which has failed meanwhile
  if (status == Status::kRemoteRnr) {
    wr.at_peer = false;
    own.entry->counters.add(kRnrReceived);
    if (rnr_retry == kRnrForever || wr.retries < rnr_retry) {
      const uint64_t delay = kRnrDelayNs << std::min<unsigned>(wr.retries, kRnrDoublings);
      if (wr.retries < 255) wr.retries++;
      return add_timer(std::max(now_ns(), wr.ack_due) + delay, index, TimerAction::kResend, status);
    }
  }
  if (wr.op == SendOp::kRead || wr.op == SendOp::kWrite) {  // an RDMA read in packets was refused
    return rdma_acknowledged(index, 0, status);
  }
  if (wr.ack_due && wr.ack_due > now_ns()) return add_timer(wr.ack_due, index, TimerAction::kComplete, status);
  if (wr.op == SendOp::kWriteImm) return rdma_finish(index, status);
  complete(index, status);
}

void Qp::add_timer(uint64_t due, uint32_t index, TimerAction action, Status status) {
  timers_.push_back({due, index, send_[index].sequence, action, status});
  std::push_heap(timers_.begin(), timers_.end());
}

void Qp::run_timers() {
  const uint64_t now = now_ns();
  while (!timers_.empty() && timers_.front().due <= now) {
    const Timer timer = timers_.front();
    std::pop_heap(timers_.begin(), timers_.end());
    timers_.pop_back();
    SendWr& wr = send_[timer.index];
    if (wr.sequence != timer.sequence) continue;
    if (timer.action == TimerAction::kResend) {
      if (wr.retries > 0 && !context->faults->idle() && inject_fault(timer.index)) continue;
      make_runnable(timer.index);
    } else if (wr.op == SendOp::kSend || wr.op == SendOp::kSendImm) {
      complete(timer.index, timer.status);
    } else {
      rdma_finish(timer.index, timer.status);
    }
  }
}

// One turn for each work request that waits for room or has data to move.
void Qp::run_pending() {
  for (size_t turns = runnable_.size(); turns > 0 && !runnable_.empty(); turns--) {
    const auto [index, sequence] = runnable_.front();
    runnable_.pop_front();
    SendWr& wr = send_[index];
    if (wr.sequence != sequence) continue;  // completed meanwhile
    const Status status = resolve(wr);
    if (status != Status::kOk) {
      complete(index, status);
      continue;
    }
    if (cut_off_since(wr)) {
      make_runnable(index);
      continue;
    }
    const bool is_message = wr.op == SendOp::kSend || wr.op == SendOp::kSendImm;
    if (!(is_message ? send_packet(index) : rdma_step(index))) make_runnable(index);
  }
  while (!pending_reads_.empty()) {
    bool blocked = false;
    const PendingRead& read = pending_reads_.front();
    const Status status = serve_read(read.remote, read.request, &blocked);
    if (blocked) break;
    if (status != Status::kOk) acknowledge(read.request, status);
    pending_reads_.pop_front();
  }
}

void Qp::flush() {
  runnable_.clear();
  timers_.clear();
  for (uint32_t i = 0; i < send_.size(); i++) {
    if (send_[i].sequence) complete(i, Status::kFlushed);
  }
  while (receive_count_ > 0) {
    Completion completion = {};
    completion.wr_id = receives_[receive_head_].wr_id;
    completion.qp_num = own.qpn;
    completion.status = Status::kFlushed;
    completion.receive = true;
    receive_head_ = (receive_head_ + 1) % static_cast<uint32_t>(receives_.size());
    receive_count_--;
    push_completion(Cq::of(ex.qp_base.recv_cq), completion);
  }
}

// ---- progress ----

// Races are intended: the next call finds what this one misses.
bool Qp::work_visible() const {
  if (ring_.ready(scan_) || local_work_.load(std::memory_order_relaxed)) return true;
  if (outstanding() == 0) return false;
  const uint32_t words = (static_cast<uint32_t>(send_.size()) + kAuxAcks + 63) / 64;
  for (uint32_t w = 0; w < words; w++) {
    if (own.shared->ack_bits[w].load(std::memory_order_relaxed)) return true;
  }
  return context->nic->dead.load(std::memory_order_relaxed) != 0;
}

uint64_t Qp::cut_off_since(const SendWr& wr) const {
  const uint64_t own_link = context->nic->link_down_since.load(std::memory_order_relaxed);
  if (own_link || wr.nic_id == kNoNic) return own_link;
  return Process::get()->fabric->nic(wr.nic_id).link_down_since.load(std::memory_order_relaxed);
}

void Qp::progress(bool by_engine) {
  if (!work_visible() || !lock.try_lock()) return;
  if (by_engine) own.entry->counters.add(kEngineProgress);
  if (context->nic->dead.load(std::memory_order_relaxed) && ex.qp_base.state != IBV_QPS_ERR) {
    ex.qp_base.state = IBV_QPS_ERR;
    own.entry->receiving.store(0, std::memory_order_release);
    flush();
  }
  if (context->nic->link_down_since.load(std::memory_order_relaxed)) return release_lock();  // all stays where it is
  if (outstanding_) take_acks();
  receive();
  if (!timers_.empty()) run_timers();
  if (!runnable_.empty() || !pending_reads_.empty()) run_pending();
  release_lock();
}

uint64_t Qp::next_due() const {
  uint64_t due = ~uint64_t{0};
  if (!timers_.empty()) due = std::min(due, timers_.front().due);
  if (!delayed_.empty()) due = std::min(due, delayed_.front().due);
  if (ring_.ready(scan_)) due = 0;  // more than one turn's worth
  if (!runnable_.empty() || !pending_reads_.empty()) {
    // RDMA by cross-memory attach continues at once; what waits for room in a ring is tried again soon.
    bool moving = false;
    for (const Runnable& item : runnable_) {
      const SendWr& wr = send_[item.index];
      moving |= (wr.op != SendOp::kSend && wr.op != SendOp::kSendImm && wr.moved < wr.length);
    }
    due = std::min(due, moving ? 0 : now_ns() + kFullRingRetryNs);
  }
  return due;
}

// On hardware the kernel destroys the queue pairs of a process that dies. Here its peers must detect the death
// themselves.
void Qp::housekeeping() {
  epoch_++;
  Fabric& fabric = *Process::get()->fabric;
  const int owner = ring_.claimed_by(scan_);
  if (owner >= 0 && !fabric.check_alive(static_cast<uint32_t>(owner))) {
    ring_.release(scan_);  // its sender died between claiming and publishing
    scan_++;
  }
  const uint64_t patience = uint64_t{Process::get()->settings.unresponsive_ms} * 1'000'000;
  uint32_t last_checked = kMaxProcs;
  for (uint32_t i = 0; outstanding_ > 0 && i < send_.size(); i++) {
    SendWr& wr = send_[i];
    if (wr.sequence == 0 || wr.remote == nullptr || epoch_ - wr.epoch < kOldEpochs) continue;
    if (wr.remote->proc_slot != last_checked && wr.remote->alive()) fabric.check_alive(wr.remote->proc_slot);
    last_checked = wr.remote->proc_slot;
    const uint64_t cut_off = cut_off_since(wr);
    if (cut_off && now_ns() > cut_off + patience) {
      complete(i, Status::kLocalUnresponsiveRemote);
      continue;
    }
    if (wr.remote->nic->dead.load(std::memory_order_relaxed))
      complete(i, Status::kLocalUnresponsiveRemote);
    else if (!wr.remote->alive())
      complete(i, Status::kRemoteBadDestQpn);
  }
}

}  // namespace efasim
