// The send side of a queue pair: from the posted work request to the packet, and to its completion. What happens in
// between is in queue_pair_progress.cpp, the receive side in receive.cpp, RDMA in rdma.cpp.
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "device.hpp"

namespace efasim {

void Qp::violation(const char* what, uint64_t a, uint64_t b) {
  own.entry->counters.add(kViolations);
  char detail[160];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(detail, sizeof detail, what, static_cast<unsigned long>(a), static_cast<unsigned long>(b));
#pragma GCC diagnostic pop
  EFASIM_ERROR("%s on %s, QP %u: %s", context->nic->name, context->nic->node, own.qpn, detail);
}

void Qp::allocate(uint32_t send_depth, uint32_t receive_depth) {
  ring_ = Ring(own.shared);
  send_.resize(send_depth);
  for (uint32_t i = send_depth; i > 0; i--) free_.push_back(i - 1);
  batch_.reserve(send_depth);
  timers_.reserve(2 * size_t{send_depth});
  delayed_.reserve(own.shared->ring_slots);
  receives_.resize(std::max(receive_depth, 1u));
}

// ---- posting: wr_begin, then per request wr_next and the setters of verbs_qp.cpp, then wr_end ----

void Qp::wr_begin() {
  lock.lock();
  batch_.clear();
  batch_current_ = nullptr;
  batch_error_ = 0;
}

SendWr* Qp::wr_next(SendOp op) {
  batch_current_ = nullptr;
  if (batch_error_) return nullptr;
  if (!usable_for_send()) {
    violation("send posted in state %lu, which is not RTS", ex.qp_base.state);
    wr_fail(EINVAL);
    return nullptr;
  }
  if (free_.empty()) {
    // Ordinary back pressure for libfabric, an error of other programs: reported once.
    if (!reported_full_) {
      EFASIM_INFO("%s, QP %u: the send queue of %zu is full", context->nic->name, own.qpn, send_.size());
    }
    reported_full_ = true;
    wr_fail(ENOMEM);
    return nullptr;
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  batch_.push_back(index);
  SendWr& wr = send_[index];
  wr.wr_id = ex.wr_id;
  wr.op = op;
  wr.num_sge = 0;
  wr.retries = 0;
  wr.is_inline = false;
  wr.at_peer = false;
  wr.forced = Status::kOk;
  wr.length = 0;
  wr.nic_id = kNoNic;
  wr.ack_due = wr.moved = wr.confirmed = 0;
  wr.failed = Status::kOk;
  wr.in_flight = 0;
  wr.remote = nullptr;
  batch_current_ = &wr;
  return &wr;
}

int Qp::wr_end() {
  const int error = batch_error_;
  if (error) {
    for (const uint32_t index : batch_) free_.push_back(index);
  } else {
    for (const uint32_t index : batch_) {
      SendWr& wr = send_[index];
      wr.sequence = next_sequence_++;
      if (next_sequence_ == 0) next_sequence_ = 1;
      wr.epoch = epoch_;
      outstanding_++;
      start(index);
    }
  }
  release_lock();
  return error;
}

void Qp::wr_discard() {
  for (const uint32_t index : batch_) free_.push_back(index);
  release_lock();
}

void Qp::release_lock() {
  local_work_.store(!runnable_.empty() || !timers_.empty() || !delayed_.empty() || !pending_reads_.empty(),
                    std::memory_order_relaxed);
  lock.unlock();
}

// ---- sending ----

void Qp::start(uint32_t index) {
  SendWr& wr = send_[index];
  if (context->nic->dead.load(std::memory_order_relaxed)) return complete(index, Status::kFlushed);
  if (wr.length > (wr.op == SendOp::kSend || wr.op == SendOp::kSendImm
                       ? Process::get()->profile.device.mtu
                       : Process::get()->profile.device.max_rdma_size)) {
    violation("work request of %lu bytes is longer than the device allows", wr.length);
    return complete(index, Status::kLocalBadLength);
  }
  if (!wr.is_inline) {
    const unsigned access = wr.op == SendOp::kRead ? IBV_ACCESS_LOCAL_WRITE : 0;
    for (unsigned i = 0; i < wr.num_sge; i++) {
      if (wr.sge[i].length > 0 && check_local(wr.sge[i], access) == nullptr) {
        return complete(index, Status::kLocalInvalidLkey);
      }
    }
  }
  const Status status = resolve(wr);
  if (status != Status::kOk) {
    if (status == Status::kLocalUnreachableRemote || status == Status::kLocalUnresponsiveRemote) {
      const uint64_t timeout = uint64_t{Process::get()->settings.unresponsive_ms} * 1'000'000;
      return add_timer(now_ns() + timeout, index, TimerAction::kComplete, status);
    }
    return complete(index, status);
  }
  if (!context->faults->idle() && inject_fault(index)) return;
  if (cut_off_since(wr)) return make_runnable(index);
  if (wr.op == SendOp::kSend || wr.op == SendOp::kSendImm ? !send_packet(index) : !rdma_step(index)) {
    make_runnable(index);
  }
}

RemoteQp* Qp::remote_of(uint32_t nic_id, uint32_t qpn) {
  RemoteQp*& cached = remotes_[(nic_id * 31 + qpn) % kRemoteCache];
  if (cached == nullptr || cached->nic_id != nic_id || cached->entry != &cached->nic->qps[qpn % kMaxQps] ||
      !cached->alive()) {
    RemoteQp* fresh = Process::get()->fabric->open_remote(nic_id, qpn);
    if (fresh == nullptr) return nullptr;
    cached = fresh;
  }
  return cached;
}

// Finds the peer and determines what its NIC would answer to any packet.
Status Qp::resolve(SendWr& wr) {
  if (wr.nic_id == kNoNic) return is_ud ? Status::kOk : Status::kLocalUnreachableRemote;
  wr.remote = remote_of(wr.nic_id, wr.qpn);
  if (Process::get()->fabric->nic(wr.nic_id).dead.load(std::memory_order_relaxed)) {
    return Status::kLocalUnresponsiveRemote;
  }
  if (wr.remote == nullptr) return is_ud ? Status::kOk : Status::kRemoteBadDestQpn;
  const QpEntry& entry = *wr.remote->entry;
  const bool accepts = entry.receiving.load(std::memory_order_acquire) && entry.is_ud == is_ud &&
                       entry.qkey.load(std::memory_order_relaxed) == wr.qkey;
  if (accepts) return Status::kOk;
  if (is_ud) {
    wr.remote = nullptr;  // a datagram is lost without notice
    return Status::kOk;
  }
  return Status::kRemoteBadDestQpn;
}

// True if a fault rule decided the result of the work request.
bool Qp::inject_fault(uint32_t index) {
  const int kind = context->faults->fire(FaultKind::kRnr, FaultKind::kKill);
  if (kind < 0) return false;
  own.entry->counters.add(kFaults);
  const FaultKind fault = static_cast<FaultKind>(kind);
  EFASIM_INFO("%s, QP %u: fault %s on request", context->nic->name, own.qpn, fault_name(fault));
  SendWr& wr = send_[index];
  switch (fault) {
    case FaultKind::kRnr:
      acknowledged(index, wr.sequence, Status::kRemoteRnr);
      break;
    case FaultKind::kBadQpn:
      complete(index, Status::kRemoteBadDestQpn);
      break;
    case FaultKind::kAbort:
      complete(index, Status::kRemoteAbort);
      break;
    case FaultKind::kUnresponsive:
      add_timer(now_ns() + uint64_t{Process::get()->settings.unresponsive_ms} * 1'000'000, index,
                TimerAction::kComplete, Status::kLocalUnresponsiveRemote);
      break;
    case FaultKind::kNicDies:
      EFASIM_ERROR("%s on %s: the NIC dies, as requested", context->nic->name, context->nic->node);
      context->nic->dead.store(1);
      complete(index, Status::kFlushed);  // the others follow with the next progress
      break;
    case FaultKind::kKill:
      EFASIM_ERROR("%s, QP %u: this process kills itself, as requested", context->nic->name, own.qpn);
      kill(getpid(), SIGKILL);
      break;
    default:
      return false;
  }
  return true;
}

void Qp::fill_header(const SendWr& wr, uint32_t index, PacketHeader* header) {
  header->due = 0;
  header->length = 0;
  header->imm = wr.imm;
  header->qkey = wr.qkey;
  header->source_generation = own.generation;
  header->source_nic = static_cast<uint16_t>(context->nic_id);
  header->source_qpn = static_cast<uint16_t>(own.qpn);
  header->ack_index = static_cast<uint16_t>(index);
  header->ack_sequence = wr.sequence;
  header->sequence = packet_sequence_;
}

// When `bytes` that leave now arrive at the destination. Counts the packet.
uint64_t Qp::arrival(NicEntry& destination, uint64_t bytes) {
  const LinkModel& link = Process::get()->settings.link;
  const uint32_t number = packet_sequence_++;
  if (!link.enabled()) return 0;
  const uint64_t stream = uint64_t{context->nic_id} << 16 | own.qpn;
  return reserve_lines(link, now_ns(), bytes, context->nic->tx_free, destination.rx_free) +
         random_delay_ns(link, stream, number);
}

bool Qp::send_packet(uint32_t index) {
  SendWr& wr = send_[index];
  Counters& counters = own.entry->counters;
  const bool with_payload = wr.op != SendOp::kWriteImm;  // its data was sent before
  if (wr.remote == nullptr) {                            // a datagram without a receiver
    counters.add(kTxPackets);
    counters.add(kTxBytes, wr.length);
    complete(index, Status::kOk);
    return true;
  }
  Ring ring(wr.remote->shared);
  const uint64_t position = ring.claim(Process::get()->fabric->proc_slot());
  if (position == Ring::kFull) {
    if (!wr.remote->alive()) {
      complete(index, Status::kRemoteBadDestQpn);
      return true;
    }
    return false;
  }
  PacketSlot& slot = ring.slot(position);
  fill_header(wr, index, &slot.header);
  slot.header.op = wr.op == SendOp::kSend      ? PacketOp::kSend
                   : wr.op == SendOp::kSendImm ? PacketOp::kSendImm
                                               : PacketOp::kWriteImm;
  slot.header.remote_length = wr.length;
  if (with_payload) {
    slot.header.length = wr.length;
    gather(wr, slot.payload, 0, wr.length);
  }
  slot.header.due = arrival(*wr.remote->nic, slot.header.length);
  if (!with_payload) slot.header.due = std::max(slot.header.due, wr.ack_due);
  if (slot.header.due) wr.ack_due = slot.header.due + Process::get()->settings.link.latency_ns;
  wr.at_peer = true;
  ring.publish(position);
  counters.add(kTxPackets);
  counters.add(kTxBytes, slot.header.length);
  wake(*wr.remote);
  if (is_ud) complete(index, Status::kOk);  // datagrams are not acknowledged
  return true;
}

// Copies [offset, offset + length) of the work request's data.
bool Qp::gather(SendWr& wr, unsigned char* to, uint64_t offset, uint64_t length) {
  if (wr.is_inline) {
    memcpy(to, wr.inline_data + offset, length);
    return true;
  }
  for (unsigned i = 0; i < wr.num_sge && length > 0; i++) {
    const ibv_sge& sge = wr.sge[i];
    if (offset >= sge.length) {
      offset -= sge.length;
      continue;
    }
    const uint64_t part = std::min<uint64_t>(length, sge.length - offset);
    memcpy(to, reinterpret_cast<const void*>(sge.addr + offset), part);
    to += part;
    length -= part;
    offset = 0;
  }
  return length == 0;
}

const MrEntry* Qp::check_local(const ibv_sge& sge, unsigned access) {
  const MrEntry* mr =
      find_mr(Process::get()->fabric->proc(), sge.lkey, sge.addr, sge.length, access, context->nic_id, pd->id);
  if (mr == nullptr) {
    violation("lkey 0x%lx does not cover the memory of a work request with the access that it needs (%lu bytes)",
              sge.lkey, sge.length);
  }
  return mr;
}

// ---- completing ----

void Qp::complete(uint32_t index, Status status) {
  SendWr& wr = send_[index];
  if (status != Status::kOk && status != Status::kFlushed) {
    own.entry->counters.add(kErrors);
    EFASIM_INFO("%s, QP %u -> NIC %d, QP %u: work request of %u bytes failed: %s", context->nic->name, own.qpn,
                static_cast<int>(wr.nic_id), wr.qpn, wr.length, facts(status).meaning);
  }
  Completion completion = {};
  completion.wr_id = wr.wr_id;
  completion.qp_num = own.qpn;
  completion.status = status;
  completion.rdma_write = wr.op == SendOp::kWrite || wr.op == SendOp::kWriteImm;
  wr.sequence = 0;
  wr.at_peer = false;
  outstanding_--;
  free_.push_back(index);
  push_completion(Cq::of(ex.qp_base.send_cq), completion);
}

void Qp::push_completion(Cq& cq, const Completion& completion) {
  if (cq.push(completion)) return;
  if (!cq.overrun.exchange(true)) {
    violation("overrun of a completion queue of %lu entries: completions are lost, the queue pair fails",
              static_cast<uint64_t>(cq.ex.cqe));
  } else {
    own.entry->counters.add(kViolations);
  }
  ex.qp_base.state = IBV_QPS_ERR;
  own.entry->receiving.store(0, std::memory_order_release);
}

}  // namespace efasim
