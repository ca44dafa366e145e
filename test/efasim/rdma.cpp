// RDMA read and write. Two ways to the peer's memory:
// - cross-memory attach (or memcpy within the process): the initiator copies the data, after the checks that the
//   peer's NIC would make against the peer's table of regions in shared memory. The peer's processor is not
//   involved, as with hardware.
// - in packets, where that is forbidden (PID namespaces, Yama, seccomp): requests, data and answers travel through
//   the rings, and the peer's progress or engine handles them.
#include <errno.h>
#include <sys/uio.h>

#include <cstring>

#include "device.hpp"

namespace efasim {
namespace {

// Bytes per turn; small enough that a poll returns in tens of microseconds.
constexpr uint64_t kChunk = 128 * 1024;

// In packets: packets in flight per work request.
constexpr uint32_t kWindow = 16;

// A region of a peer during a transfer: deregistration waits for it.
class RegionUse {
 public:
  RegionUse(RemoteQp& remote, uint32_t key, uint64_t address, uint64_t length, unsigned access) {
    entry_ = const_cast<MrEntry*>(find_mr(*remote.proc, key, address, length, access, remote.nic_id, remote.entry->pd));
    if (entry_ == nullptr) return;
    entry_->users.fetch_add(1, std::memory_order_seq_cst);
    if (entry_->key.load(std::memory_order_seq_cst) != key) release();  // deregistered in between
  }
  ~RegionUse() { release(); }
  RegionUse(const RegionUse&) = delete;
  RegionUse& operator=(const RegionUse&) = delete;
  bool valid() const { return entry_ != nullptr; }

 private:
  void release() {
    if (entry_ != nullptr) entry_->users.fetch_sub(1, std::memory_order_release);
    entry_ = nullptr;
  }
  MrEntry* entry_;
};

// The pieces of a work request's local memory that [offset, offset + length) covers.
unsigned local_pieces(const SendWr& wr, uint64_t offset, uint64_t length, iovec (&pieces)[kMaxSge]) {
  unsigned n = 0;
  for (unsigned i = 0; i < wr.num_sge && length > 0; i++) {
    const ibv_sge& sge = wr.sge[i];
    if (offset >= sge.length) {
      offset -= sge.length;
      continue;
    }
    const uint64_t part = std::min<uint64_t>(length, sge.length - offset);
    pieces[n++] = {reinterpret_cast<void*>(sge.addr + offset), part};
    length -= part;
    offset = 0;
  }
  return n;
}

bool is_read(const SendWr& wr) { return wr.op == SendOp::kRead; }

}  // namespace

// Moves [moved, moved + length). False: cross-memory attach does not work with this peer, use packets.
bool Qp::rdma_copy(SendWr& wr, uint64_t length, Status* status) {
  RemoteQp& remote = *wr.remote;
  RegionUse region(remote, wr.rkey, wr.remote_address + wr.moved, length,
                   is_read(wr) ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE);
  if (!region.valid()) {
    violation("rkey 0x%lx of the peer does not cover the %lu bytes that an RDMA request needs", wr.rkey, length);
    *status = Status::kRemoteBadAddress;
    return true;
  }
  iovec local[kMaxSge];
  const unsigned pieces = local_pieces(wr, wr.moved, length, local);
  if (remote.same_process) {
    uint64_t at = wr.remote_address + wr.moved;
    for (unsigned i = 0; i < pieces; i++) {
      void* there = reinterpret_cast<void*>(at);
      if (is_read(wr))
        memmove(local[i].iov_base, there, local[i].iov_len);
      else
        memmove(there, local[i].iov_base, local[i].iov_len);
      at += local[i].iov_len;
    }
  } else {
    iovec there = {reinterpret_cast<void*>(wr.remote_address + wr.moved), length};
    const pid_t pid = static_cast<pid_t>(remote.pid);
    const ssize_t moved = is_read(wr) ? process_vm_readv(pid, local, pieces, &there, 1, 0)
                                      : process_vm_writev(pid, local, pieces, &there, 1, 0);
    if (moved < 0 && errno == EPERM) {
      remote.pid = 0;
      return false;
    }
    if (moved < 0 && errno == ESRCH) {
      Process::get()->fabric->check_alive(remote.proc_slot);
      *status = Status::kRemoteBadDestQpn;
      return true;
    }
    if (moved != static_cast<ssize_t>(length)) {
      violation("memory of a registered region is not mapped any more, here or at the peer (%lu of %lu bytes moved)",
                moved > 0 ? static_cast<uint64_t>(moved) : 0, length);
      *status = Status::kRemoteBadAddress;
      return true;
    }
  }
  wr.moved += length;
  remote.entry->counters.add_shared(is_read(wr) ? kReadServedBytes : kWriteReceivedBytes, length);
  *status = Status::kOk;
  return true;
}

bool Qp::rdma_step(uint32_t index) {
  SendWr& wr = send_[index];
  const Process& process = *Process::get();
  if (wr.remote == nullptr) {  // impossible: only datagrams may have no peer
    complete(index, Status::kRemoteBadDestQpn);
    return true;
  }
  if (wr.moved == wr.length && wr.op == SendOp::kWriteImm && wr.in_flight == 0) return send_packet(index);
  if (wr.length == 0) {  // touches no memory, so no key is checked
    rdma_finish(index, Status::kOk);
    return true;
  }
  // The peer's NIC serves RDMA only for NICs that it has an address handle for.
  if (wr.moved == 0 &&
      wr.remote->proc->handles[wr.remote->nic->index % 32][context->nic_id].load(std::memory_order_relaxed) == 0) {
    violation("RDMA to NIC %lu, QP %lu, which has no address handle for this NIC", wr.nic_id, wr.qpn);
    complete(index, Status::kRemoteUnknownPeer);
    return true;
  }
  const bool direct = wr.remote->same_process || wr.remote->pid != 0;
  if (!direct || wr.in_flight > 0 || wr.confirmed > 0) return rdma_packets(index);

  const uint64_t length = std::min<uint64_t>(kChunk, wr.length - wr.moved);
  const LinkModel& link = process.settings.link;
  const uint64_t now = link.enabled() ? now_ns() : 0;  // before the copy, which takes no time in the model
  Status status = Status::kOk;
  if (!rdma_copy(wr, length, &status)) return rdma_packets(index);
  if (status != Status::kOk) {
    complete(index, status);
    return true;
  }
  if (link.enabled()) {
    // The bytes are copied early; their completion is on time. The chunk reserves both lines. The next chunk reserves
    // them only when this one is on the wire, so that other transfers get their share.
    NicEntry& from = is_read(wr) ? *wr.remote->nic : *context->nic;
    NicEntry& to = is_read(wr) ? *context->nic : *wr.remote->nic;
    const bool first = wr.moved == length;
    const uint64_t start = first && is_read(wr) ? now + link.latency_ns : now;  // a read's request travels first
    const uint64_t due = reserve_lines(link, start, length, from.tx_free, to.rx_free);
    const uint64_t stream = uint64_t{context->nic_id} << 16 | own.qpn;
    wr.ack_due = std::max(
        wr.ack_due, due + random_delay_ns(link, stream, packet_sequence_++) + (is_read(wr) ? 0 : link.latency_ns));
    if (wr.moved < wr.length) {
      const uint64_t on_the_wire = due - link.latency_ns - serialisation_ns(link, length);
      add_timer(std::max(now, on_the_wire), index, TimerAction::kResend, Status::kOk);
      return true;
    }
  }
  if (wr.moved < wr.length) return false;
  if (wr.op == SendOp::kWriteImm) return send_packet(index);
  if (wr.ack_due > 0)
    add_timer(wr.ack_due, index, TimerAction::kComplete, Status::kOk);
  else
    rdma_finish(index, Status::kOk);
  return true;
}

// Sends as many packets as window and ring allow. False: there is more to send.
bool Qp::rdma_packets(uint32_t index) {
  SendWr& wr = send_[index];
  const uint32_t mtu = Process::get()->profile.device.mtu;
  Ring ring(wr.remote->shared);
  wr.at_peer = true;
  do {
    if (wr.in_flight >= kWindow || wr.failed != Status::kOk) return true;  // an answer makes it runnable again
    const uint64_t length = std::min<uint64_t>(mtu, wr.length - wr.moved);
    if (!is_read(wr) && aux_free_ == 0) return false;
    const uint64_t position = ring.claim(Process::get()->fabric->proc_slot());
    if (position == Ring::kFull) return false;
    PacketSlot& slot = ring.slot(position);
    fill_header(wr, index, &slot.header);
    slot.header.remote_address = wr.remote_address + wr.moved;
    slot.header.rkey = wr.rkey;
    slot.header.remote_length = static_cast<uint32_t>(length);
    if (is_read(wr)) {
      slot.header.op = PacketOp::kReadRequest;
      slot.header.imm = static_cast<uint32_t>(wr.moved);  // where the answer belongs
    } else {
      const uint32_t k = static_cast<uint32_t>(__builtin_ctzll(aux_free_));
      aux_free_ &= aux_free_ - 1;
      aux_[k] = {index, ++aux_[k].sequence, wr.sequence, static_cast<uint32_t>(length)};
      slot.header.op = PacketOp::kWriteData;
      slot.header.ack_index = static_cast<uint16_t>(send_.size() + k);
      slot.header.ack_sequence = aux_[k].sequence;
      slot.header.length = static_cast<uint32_t>(length);
      gather(wr, slot.payload, wr.moved, length);
    }
    slot.header.due = arrival(*wr.remote->nic, slot.header.length);
    ring.publish(position);
    own.entry->counters.add(kTxPackets);
    own.entry->counters.add(kTxBytes, slot.header.length);
    wr.moved += length;
    wr.in_flight++;
    wake(*wr.remote);
  } while (wr.moved < wr.length);
  return true;
}

// An answer to a packet: `bytes` have arrived, or the request failed.
void Qp::rdma_acknowledged(uint32_t index, uint64_t bytes, Status status) {
  SendWr& wr = send_[index];
  if (wr.in_flight > 0) wr.in_flight--;
  if (status != Status::kOk && wr.failed == Status::kOk) wr.failed = status;
  wr.confirmed += bytes;
  if (wr.failed != Status::kOk) {
    if (!is_read(wr) && wr.in_flight > 0) return;
    return rdma_finish(index, wr.failed);
  }
  if (wr.confirmed == wr.length) {
    if (wr.op == SendOp::kWriteImm) return make_runnable(index);
    return rdma_finish(index, Status::kOk);
  }
  if (wr.moved < wr.length && wr.in_flight == kWindow - 1) make_runnable(index);
}

void Qp::rdma_finish(uint32_t index, Status status) {
  const SendWr& wr = send_[index];
  if (status == Status::kOk) {
    own.entry->counters.add(is_read(wr) ? kReadWrs : kWriteWrs);
    own.entry->counters.add(is_read(wr) ? kReadBytes : kWriteBytes, wr.length);
  }
  complete(index, status);
}

// ---- the responder's side of RDMA in packets ----

Status Qp::store_write(const PacketSlot& slot) {
  const PacketHeader& header = slot.header;
  if (find_mr(Process::get()->fabric->proc(), header.rkey, header.remote_address, header.length,
              IBV_ACCESS_REMOTE_WRITE, context->nic_id, pd->id) == nullptr) {
    violation("a peer's RDMA write names rkey 0x%lx, which does not cover its %lu bytes", header.rkey, header.length);
    return Status::kRemoteBadAddress;
  }
  memcpy(reinterpret_cast<void*>(header.remote_address), slot.payload, header.length);
  own.entry->counters.add_shared(kWriteReceivedBytes, header.length);
  own.entry->counters.add(kRxPackets);
  own.entry->counters.add(kRxBytes, header.length);
  return Status::kOk;
}

Status Qp::serve_read(RemoteQp* remote, const PacketHeader& request, bool* blocked) {
  *blocked = false;
  if (!remote->alive()) return Status::kOk;
  if (find_mr(Process::get()->fabric->proc(), request.rkey, request.remote_address, request.remote_length,
              IBV_ACCESS_REMOTE_READ, context->nic_id, pd->id) == nullptr) {
    violation("a peer's RDMA read names rkey 0x%lx, which does not cover its %lu bytes", request.rkey,
              request.remote_length);
    return Status::kRemoteBadAddress;
  }
  Ring ring(remote->shared);
  const uint64_t position = ring.claim(Process::get()->fabric->proc_slot());
  if (position == Ring::kFull) {
    *blocked = true;
    return Status::kOk;
  }
  PacketSlot& slot = ring.slot(position);
  slot.header = request;
  slot.header.op = PacketOp::kReadResponse;
  slot.header.source_nic = static_cast<uint16_t>(context->nic_id);
  slot.header.source_qpn = static_cast<uint16_t>(own.qpn);
  slot.header.source_generation = own.generation;
  slot.header.sequence = packet_sequence_;
  slot.header.length = request.remote_length;
  memcpy(slot.payload, reinterpret_cast<const void*>(request.remote_address), request.remote_length);
  slot.header.due = arrival(*remote->nic, slot.header.length);
  ring.publish(position);
  Counters& counters = own.entry->counters;
  counters.add_shared(kReadServedBytes, request.remote_length);
  counters.add(kTxPackets);
  counters.add(kTxBytes, request.remote_length);
  wake(*remote);
  return Status::kOk;
}

void Qp::take_read_response(const PacketSlot& slot) {
  const PacketHeader& header = slot.header;
  const uint32_t index = header.ack_index;
  if (index >= send_.size() || send_[index].sequence != header.ack_sequence) return;  // failed meanwhile
  SendWr& wr = send_[index];
  iovec pieces[kMaxSge];
  const unsigned n = local_pieces(wr, header.imm, header.length, pieces);
  const unsigned char* from = slot.payload;
  for (unsigned i = 0; i < n; i++) {
    memcpy(pieces[i].iov_base, from, pieces[i].iov_len);
    from += pieces[i].iov_len;
  }
  own.entry->counters.add(kRxPackets);
  own.entry->counters.add(kRxBytes, header.length);
  rdma_acknowledged(index, header.length, Status::kOk);
}

}  // namespace efasim
