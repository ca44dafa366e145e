#include "protocol/memory_copy.hpp"

#include <algorithm>
#include <cstddef>

#include "channel/process_memory.hpp"
#include "errors/report.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/requests.hpp"
#include "protocol/segments.hpp"
#include "protocol/transfer.hpp"
#include "state.hpp"

namespace efa {
namespace {

// The sender's blocks.
size_t remote_blocks(const ReadyToSend& ready, iovec* blocks) {
  if (ready.segments == 0) {
    blocks[0] = {reinterpret_cast<void*>(ready.address), ready.length};
    return 1;
  }
  for (unsigned i = 0; i < ready.segments; ++i)
    blocks[i] = {reinterpret_cast<void*>(ready.address + ready.parts[i].offset), ready.parts[i].length};
  return ready.segments;
}

// Drops the first `count` bytes of the blocks.
void skip(iovec*& blocks, size_t& number, size_t count) {
  while (number > 0 && count >= blocks->iov_len) {
    count -= blocks->iov_len;
    ++blocks;
    --number;
  }
  if (number == 0) return;
  blocks->iov_base = static_cast<char*>(blocks->iov_base) + count;
  blocks->iov_len -= count;
}

// `refused`: the sender's memory cannot be read; `no_room`: there is no memory for a buffer or a list. Nothing was stored then.
enum class Copied { all, refused, no_room, unreadable, not_unpacked };

// Into a layout that has to be unpacked: through a buffer.
Copied copy_staged(efa_transport* t, efa_request* request, uint32_t pid, iovec* remote, size_t blocks,
                   uint64_t length) {
  const size_t room = std::min<uint64_t>(length, t->protocols.staging);
  void* buffer = t->buffers.take(room);
  if (!buffer) return Copied::no_room;
  Copied result = Copied::all;
  for (uint64_t offset = 0; offset < length && result == Copied::all;) {
    const size_t size = std::min<uint64_t>(room, length - offset);
    const iovec local{buffer, size};
    if (read_process_memory(pid, &local, 1, remote, blocks) != 0)
      result = offset == 0 ? Copied::refused : Copied::unreadable;
    else if (!t->config.unpack(request->data.layout, offset, buffer, size))
      result = Copied::not_unpacked;
    skip(remote, blocks, size);
    offset += size;
  }
  t->buffers.give(buffer, room);
  return result;
}

Copied copy_direct(const efa_request* request, const Side& side, uint32_t pid, const iovec* remote,
                   size_t blocks, uint64_t length) {
  if (side.contiguous()) {
    const iovec local{request->data.buffer, length};
    return read_process_memory(pid, &local, 1, remote, blocks) == 0 ? Copied::all : Copied::refused;
  }
  iovec local[kMostSegments];
  size_t parts = 0;
  for (const iovec& segment : side.segments) {
    if (length == 0) break;
    if (parts == kMostSegments) return Copied::no_room;
    local[parts] = {segment.iov_base, std::min<size_t>(segment.iov_len, length)};
    length -= local[parts++].iov_len;
  }
  return read_process_memory(pid, local, parts, remote, blocks) == 0 ? Copied::all : Copied::refused;
}

}  // namespace

void send_finished(efa_transport* t, efa_peer* peer, uint64_t request, uint64_t length, bool failed) {
  Control message = control(t, ControlType::finished, request);
  message.length = length;
  message.failed = failed;
  send_control(t, peer, message);
}

bool copy_from_memory(efa_transport* t, efa_request* request, efa_peer* peer, const ReadyToSend& ready,
                      uint64_t length) {
  if (!peer->shm || !peer->reads_memory) return false;
  iovec blocks[kMostSegments];
  const size_t count = remote_blocks(ready, blocks);
  const Side side = side_of(t, request);
  const Copied copied = side.staged ? copy_staged(t, request, peer->pid, blocks, count, length)
                                    : copy_direct(request, side, peer->pid, blocks, count, length);
  if (copied == Copied::refused) peer->reads_memory = false;
  if (copied == Copied::refused || copied == Copied::no_room) return false;
  const bool failed = copied != Copied::all;
  if (!failed) {
    ++t->counters.received_copy;
    t->counters.received_copy_bytes += length;
  } else {
    report_own_failure(t, msg::op_unpack.without_memory(length, request->status.source),
                       copied == Copied::unreadable ? msg::reason_memory_lost.without_memory()
                                                    : msg::reason_unpack.without_memory());
  }
  send_finished(t, peer, ready.request, length, failed);
  finish(t, request, failed ? EFA_FAILED : request->status.result);
  return true;
}

}  // namespace efa
