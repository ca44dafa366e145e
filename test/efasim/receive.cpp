// The receive side of a queue pair: packets from the ring into posted receives, and their acknowledgement.
#include <cerrno>
#include <cstring>

#include "device.hpp"

namespace efasim {
namespace {

// Packets per turn, so that a poll returns also during a stream.
constexpr unsigned kTurn = 64;

}  // namespace

int Qp::post_receive(const ibv_recv_wr& wr) {
  std::lock_guard<SpinLock> guard(lock);
  const ibv_qp_state state = ex.qp_base.state;
  if (state == IBV_QPS_RESET || state == IBV_QPS_ERR) {
    violation("receive posted in state %lu", state);
    return EINVAL;
  }
  if (wr.num_sge > static_cast<int>(max_recv_sge)) {
    violation("receive with %lu SGEs; the queue pair has %lu", static_cast<uint64_t>(wr.num_sge), max_recv_sge);
    return EINVAL;
  }
  if (receive_count_ == receives_.size()) {
    if (!reported_full_) {
      EFASIM_INFO("%s, QP %u: the receive queue of %zu is full", context->nic->name, own.qpn, receives_.size());
    }
    reported_full_ = true;
    return ENOMEM;
  }
  uint32_t tail = receive_head_ + receive_count_;
  if (tail >= receives_.size()) tail -= static_cast<uint32_t>(receives_.size());
  ReceiveWr& receive = receives_[tail];
  receive.wr_id = wr.wr_id;
  receive.num_sge = static_cast<uint32_t>(wr.num_sge);
  for (unsigned i = 0; i < receive.num_sge; i++) receive.sge[i] = wr.sg_list[i];
  receive_count_++;
  return 0;
}

// With a link model, a packet stays in its slot until it arrives; the heap holds positions only.
void Qp::receive() {
  uint64_t now = 0;
  for (unsigned turn = 0; turn < kTurn && ring_.ready(scan_); turn++, scan_++) {
    PacketSlot& slot = ring_.slot(scan_);
    if (slot.header.due) {
      if (now == 0) now = now_ns();
      if (slot.header.due > now || !delayed_.empty()) {
        delayed_.push_back({slot.header.due, scan_});
        std::push_heap(delayed_.begin(), delayed_.end());
        continue;
      }
    }
    deliver(slot);
    ring_.release(scan_);
  }
  if (delayed_.empty()) return;
  now = now_ns();
  while (!delayed_.empty() && delayed_.front().due <= now) {
    const uint64_t position = delayed_.front().position;
    std::pop_heap(delayed_.begin(), delayed_.end());
    delayed_.pop_back();
    deliver(ring_.slot(position));
    ring_.release(position);
  }
}

void Qp::deliver(PacketSlot& slot) {
  const PacketHeader& header = slot.header;
  if (context->nic->dead.load(std::memory_order_relaxed)) return;  // no answer: the sender detects it
  switch (header.op) {
    case PacketOp::kSend:
    case PacketOp::kSendImm:
    case PacketOp::kWriteImm: {
      const Status status = deliver_message(slot);
      if (!is_ud) acknowledge(header, status);
      break;
    }
    case PacketOp::kWriteData:
      acknowledge(header, store_write(slot));
      break;
    case PacketOp::kReadRequest: {
      RemoteQp* remote = remote_of(header.source_nic, header.source_qpn);
      if (remote == nullptr || remote->generation != header.source_generation) break;  // it is gone
      bool blocked = !pending_reads_.empty();
      Status status = Status::kOk;
      if (!blocked) status = serve_read(remote, header, &blocked);
      if (blocked) pending_reads_.push_back({remote, header});
      if (status != Status::kOk) acknowledge(header, status);
      break;
    }
    case PacketOp::kReadResponse:
      take_read_response(slot);
      break;
  }
  if (Process::get()->settings.link.enabled()) count_order(header);
}

Status Qp::deliver_message(const PacketSlot& slot) {
  const PacketHeader& header = slot.header;
  Counters& counters = own.entry->counters;
  const bool is_write = header.op == PacketOp::kWriteImm;
  Completion completion = {};
  completion.qp_num = own.qpn;
  completion.source_qp = header.source_qpn;
  completion.source_nic = header.source_nic;
  completion.source_ahn = context->ahn_of_nic[header.source_nic].load(std::memory_order_relaxed);
  completion.receive = true;
  completion.rdma_write = is_write;
  completion.has_imm = header.op != PacketOp::kSend;
  completion.imm = header.imm;
  completion.length = is_write ? header.remote_length : header.length;

  if (is_write && unsolicited_write_recv) {
    completion.unsolicited = true;  // takes no receive; wr_id is 0
    counters.add(kRxPackets);
    push_completion(Cq::of(ex.qp_base.recv_cq), completion);
    return Status::kOk;
  }
  if (receive_count_ == 0 || context->nic->not_ready.load(std::memory_order_relaxed)) {
    counters.add(is_ud ? kDropped : kRnrSent);
    return Status::kRemoteRnr;
  }
  const ReceiveWr& receive = receives_[receive_head_];
  completion.wr_id = receive.wr_id;
  Status answer = Status::kOk;
  if (!is_write) {
    // A datagram is preceded by 40 bytes for the network header, which count as received.
    uint64_t skip = is_ud ? kUdPrefix : 0;
    completion.length += static_cast<uint32_t>(skip);
    uint64_t room = 0;
    for (unsigned i = 0; i < receive.num_sge; i++) room += receive.sge[i].length;
    if (room < completion.length) {
      violation("message of %lu bytes for a receive of %lu", completion.length, room);
      completion.status = Status::kLocalBadLength;
      answer = Status::kRemoteBadLength;
    }
    const unsigned char* from = slot.payload;
    uint64_t left = header.length;
    for (unsigned i = 0; i < receive.num_sge && completion.status == Status::kOk; i++) {
      const ibv_sge& sge = receive.sge[i];
      if (sge.length == 0) continue;
      if (check_local(sge, IBV_ACCESS_LOCAL_WRITE) == nullptr) {
        completion.status = Status::kLocalInvalidLkey;
        answer = Status::kRemoteBadStatus;
        break;
      }
      const uint64_t skipped = std::min<uint64_t>(skip, sge.length);
      skip -= skipped;
      const uint64_t part = std::min<uint64_t>(left, sge.length - skipped);
      memcpy(reinterpret_cast<void*>(sge.addr + skipped), from, part);
      from += part;
      left -= part;
    }
  }
  if (++receive_head_ == receives_.size()) receive_head_ = 0;
  receive_count_--;
  counters.add(kRxPackets);
  counters.add(kRxBytes, header.length);
  if (completion.status != Status::kOk) counters.add(kErrors);
  push_completion(Cq::of(ex.qp_base.recv_cq), completion);
  return answer;
}

// The sender reads a success when it polls; its engine is woken only for other statuses.
void Qp::acknowledge(const PacketHeader& header, Status status) {
  RemoteQp* remote = remote_of(header.source_nic, header.source_qpn);
  if (remote == nullptr || remote->generation != header.source_generation) return;
  const unsigned index = header.ack_index;
  remote->shared->acks[index].store(uint64_t{header.ack_sequence} << 8 | static_cast<uint64_t>(status),
                                    std::memory_order_relaxed);
  remote->shared->ack_bits[index / 64].fetch_or(uint64_t{1} << (index % 64), std::memory_order_seq_cst);
  if (status != Status::kOk || header.op == PacketOp::kWriteData || header.op == PacketOp::kWriteImm ||
      remote->proc->wake_on_ack.load(std::memory_order_relaxed)) {
    wake(*remote);
  }
}

void Qp::count_order(const PacketHeader& header) {
  const uint32_t sender = uint32_t{header.source_nic} << 16 | header.source_qpn;
  const uint32_t k = (header.source_nic * 31u + header.source_qpn) % kRemoteCache;
  if (last_sender_[k] != sender + 1) {
    last_sender_[k] = sender + 1;
    last_sequence_[k] = header.sequence;
    return;
  }
  if (static_cast<int32_t>(header.sequence - last_sequence_[k]) < 0)
    own.entry->counters.add(kOutOfOrder);
  else
    last_sequence_[k] = header.sequence;
}

void Qp::reject_all(Status status) {
  while (!delayed_.empty()) {
    acknowledge(ring_.slot(delayed_.back().position).header, status);
    delayed_.pop_back();
  }
  for (; ring_.ready(scan_); scan_++) {
    acknowledge(ring_.slot(scan_).header, status);
    ring_.release(scan_);
  }
}

}  // namespace efasim
