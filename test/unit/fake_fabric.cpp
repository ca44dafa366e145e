#include "fake_fabric.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "no_memory.hpp"

namespace fake {
namespace {

Fabric* self(fid_ep* ep) {
  return static_cast<Fabric*>(ep->fid.context);
}

std::vector<uint8_t> copy(const void* bytes, size_t size) {
  const auto* first = static_cast<const uint8_t*>(bytes);
  return {first, first + size};
}

Posted outgoing(Call call, const void* bytes, size_t size, fi_addr_t peer, uint64_t tag, uint64_t data,
                void* context) {
  MemoryAvailable available;
  Posted post;
  post.call = call;
  post.bytes = copy(bytes, size);
  post.from = bytes;
  post.peer = peer;
  post.tag = tag;
  post.data = data;
  post.context = context;
  return post;
}

Posted incoming(Call call, const iovec* iov, size_t count, fi_addr_t peer, uint64_t tag, uint64_t ignore,
                void* context) {
  MemoryAvailable available;
  Posted post;
  post.call = call;
  post.into.assign(iov, iov + count);
  post.peer = peer;
  post.tag = tag;
  post.ignore = ignore;
  post.context = context;
  return post;
}

ssize_t tagged_send(fid_ep* ep, const void* buffer, size_t size, void*, fi_addr_t to, uint64_t tag,
                    void* context) {
  return self(ep)->accept(outgoing(Call::tagged_send, buffer, size, to, tag, 0, context));
}
ssize_t send_parts(fid_ep* ep, Call call, const iovec* iov, size_t count, fi_addr_t to, uint64_t tag,
                   void* context) {
  MemoryAvailable available;
  Posted post = outgoing(call, iov[0].iov_base, iov[0].iov_len, to, tag, 0, context);
  for (size_t i = 1; i < count; ++i) {
    const auto part = copy(iov[i].iov_base, iov[i].iov_len);
    post.bytes.insert(post.bytes.end(), part.begin(), part.end());
  }
  post.parts = count;
  return self(ep)->accept(std::move(post));
}
ssize_t tagged_sendv(fid_ep* ep, const iovec* iov, void**, size_t count, fi_addr_t to, uint64_t tag,
                     void* context) {
  return send_parts(ep, Call::tagged_send, iov, count, to, tag, context);
}
ssize_t tagged_senddata(fid_ep* ep, const void* buffer, size_t size, void*, uint64_t data, fi_addr_t to,
                        uint64_t tag, void* context) {
  return self(ep)->accept(outgoing(Call::tagged_send, buffer, size, to, tag, data, context));
}
ssize_t tagged_inject(fid_ep* ep, const void* buffer, size_t size, fi_addr_t to, uint64_t tag) {
  return self(ep)->accept(outgoing(Call::inject, buffer, size, to, tag, 0, nullptr));
}
ssize_t tagged_injectdata(fid_ep* ep, const void* buffer, size_t size, uint64_t data, fi_addr_t to,
                          uint64_t tag) {
  return self(ep)->accept(outgoing(Call::inject, buffer, size, to, tag, data, nullptr));
}
ssize_t tagged_recv(fid_ep* ep, void* buffer, size_t size, void*, fi_addr_t from, uint64_t tag,
                    uint64_t ignore, void* context) {
  const iovec iov{buffer, size};
  return self(ep)->accept(incoming(Call::tagged_receive, &iov, 1, from, tag, ignore, context));
}
ssize_t tagged_recvv(fid_ep* ep, const iovec* iov, void**, size_t count, fi_addr_t from, uint64_t tag,
                     uint64_t ignore, void* context) {
  return self(ep)->accept(incoming(Call::tagged_receive, iov, count, from, tag, ignore, context));
}
ssize_t tagged_recvmsg(fid_ep* ep, const fi_msg_tagged* msg, uint64_t flags) {
  Posted post = incoming(flags & FI_PEEK ? Call::peek : Call::tagged_receive, msg->msg_iov, msg->iov_count,
                         msg->addr, msg->tag, msg->ignore, msg->context);
  post.flags = flags;
  return self(ep)->accept(std::move(post));
}
ssize_t plain_send(fid_ep* ep, const void* buffer, size_t size, void*, fi_addr_t to, void* context) {
  return self(ep)->accept(outgoing(Call::send, buffer, size, to, 0, 0, context));
}
ssize_t plain_sendv(fid_ep* ep, const iovec* iov, void**, size_t count, fi_addr_t to, void* context) {
  return send_parts(ep, Call::send, iov, count, to, 0, context);
}
ssize_t plain_inject(fid_ep* ep, const void* buffer, size_t size, fi_addr_t to) {
  return self(ep)->accept(outgoing(Call::inject, buffer, size, to, 0, 0, nullptr));
}
ssize_t plain_recv(fid_ep* ep, void* buffer, size_t size, void*, fi_addr_t from, void* context) {
  const iovec iov{buffer, size};
  return self(ep)->accept(incoming(Call::receive, &iov, 1, from, 0, 0, context));
}
ssize_t rma_read(fid_ep* ep, void* buffer, size_t size, void*, fi_addr_t from, uint64_t address, uint64_t key,
                 void* context) {
  const iovec iov{buffer, size};
  Posted post = incoming(Call::read, &iov, 1, from, 0, 0, context);
  post.address = address;
  post.key = key;
  return self(ep)->accept(std::move(post));
}
ssize_t cancel(fid* object, void* context) {
  auto* fabric = static_cast<Fabric*>(object->context);
  const auto at = std::find_if(fabric->posted.begin(), fabric->posted.end(),
                               [&](const Posted& post) { return post.context == context; });
  if (at == fabric->posted.end()) return -FI_ENOENT;
  fabric->posted.erase(at);
  fabric->fail(context, FI_ECANCELED);
  return 0;
}
int close_nothing(fid*) {
  return 0;
}
ssize_t queue_read(fid_cq* cq, void* to, size_t count) {
  return static_cast<Fabric*>(cq->fid.context)->read_queue(static_cast<fi_cq_tagged_entry*>(to), count);
}
ssize_t queue_error(fid_cq* cq, fi_cq_err_entry* to, uint64_t) {
  return static_cast<Fabric*>(cq->fid.context)->read_error(to);
}
const char* queue_words(fid_cq*, int error, const void*, char*, size_t) {
  return error == 13 ? "Unresponsive receiver" : "";
}
ssize_t event_error(fid_eq* eq, fi_eq_err_entry* to, uint64_t) {
  auto& events = static_cast<Fabric*>(eq->fid.context)->events;
  if (events.empty()) return -FI_EAGAIN;
  to->err = events.front();
  to->prov_errno = 13;
  events.pop_front();
  return sizeof *to;
}
int insert(fid_av* av, const void*, size_t count, fi_addr_t* to, uint64_t, void*) {
  static_cast<void>(av);
  *to = 77;
  return static_cast<int>(count);
}
int forget(fid_av* av, fi_addr_t*, size_t count, uint64_t) {
  static_cast<Fabric*>(av->fid.context)->addresses_removed += static_cast<int>(count);
  return 0;
}
int look_up(fid_av*, fi_addr_t, void*, size_t*) {
  return -FI_EINVAL;
}

struct Region {
  fid_mr mr{};
  Fabric* fabric = nullptr;
};
int close_region(fid* object) {
  auto* region = reinterpret_cast<Region*>(object);
  --region->fabric->registrations;
  delete region;
  return 0;
}
fi_ops region_ops = [] {
  fi_ops ops{};
  ops.size = sizeof ops;
  ops.close = close_region;
  return ops;
}();
int register_memory(fid* domain, const void*, size_t, uint64_t, uint64_t, uint64_t, uint64_t, fid_mr** out,
                    void*) {
  auto* fabric = static_cast<Fabric*>(domain->context);
  if (fabric->refuse_registration) return -fabric->refuse_registration;
  MemoryAvailable available;
  auto* region = new Region;
  region->fabric = fabric;
  region->mr.fid.ops = &region_ops;
  region->mr.key = 4711;
  ++fabric->registrations;
  *out = &region->mr;
  return 0;
}

fi_ops object_ops = [] {
  fi_ops ops{};
  ops.size = sizeof ops;
  ops.close = close_nothing;
  return ops;
}();
fi_ops_ep ep_ops = [] {
  fi_ops_ep ops{};
  ops.size = sizeof ops;
  ops.cancel = cancel;
  return ops;
}();
fi_ops_tagged tagged_ops = [] {
  fi_ops_tagged ops{};
  ops.size = sizeof ops;
  ops.recv = tagged_recv;
  ops.recvv = tagged_recvv;
  ops.recvmsg = tagged_recvmsg;
  ops.send = tagged_send;
  ops.sendv = tagged_sendv;
  ops.senddata = tagged_senddata;
  ops.inject = tagged_inject;
  ops.injectdata = tagged_injectdata;
  return ops;
}();
fi_ops_msg msg_ops = [] {
  fi_ops_msg ops{};
  ops.size = sizeof ops;
  ops.recv = plain_recv;
  ops.send = plain_send;
  ops.sendv = plain_sendv;
  ops.inject = plain_inject;
  return ops;
}();
fi_ops_rma rma_ops = [] {
  fi_ops_rma ops{};
  ops.size = sizeof ops;
  ops.read = rma_read;
  return ops;
}();
fi_ops_cq cq_ops = [] {
  fi_ops_cq ops{};
  ops.size = sizeof ops;
  ops.read = queue_read;
  ops.readerr = queue_error;
  ops.strerror = queue_words;
  return ops;
}();
fi_ops_eq eq_ops = [] {
  fi_ops_eq ops{};
  ops.size = sizeof ops;
  ops.readerr = event_error;
  return ops;
}();
fi_ops_av av_ops = [] {
  fi_ops_av ops{};
  ops.size = sizeof ops;
  ops.insert = insert;
  ops.remove = forget;
  ops.lookup = look_up;
  return ops;
}();
fi_ops_mr mr_ops = [] {
  fi_ops_mr ops{};
  ops.size = sizeof ops;
  ops.reg = register_memory;
  return ops;
}();

}  // namespace

Fabric::Fabric() {
  ep.fid.context = cq.fid.context = av.fid.context = domain.fid.context = eq.fid.context = this;
  ep.fid.ops = cq.fid.ops = av.fid.ops = domain.fid.ops = eq.fid.ops = &object_ops;
  ep.ops = &ep_ops;
  ep.tagged = &tagged_ops;
  ep.msg = &msg_ops;
  ep.rma = &rma_ops;
  cq.ops = &cq_ops;
  av.ops = &av_ops;
  eq.ops = &eq_ops;
  domain.mr = &mr_ops;
  ep.fid.fclass = FI_CLASS_EP;
}

size_t Fabric::count(Call call) const {
  return static_cast<size_t>(
      std::count_if(posted.begin(), posted.end(), [&](const Posted& post) { return post.call == call; }));
}

Posted Fabric::take(Call call) {
  const auto at =
      std::find_if(posted.begin(), posted.end(), [&](const Posted& post) { return post.call == call; });
  if (at == posted.end()) throw std::logic_error("nothing of that kind is posted");
  Posted found = std::move(*at);
  posted.erase(at);
  return found;
}

int Fabric::accept(Posted post) {
  MemoryAvailable available;
  if (!refuse.empty()) {
    const int error = refuse.front();
    refuse.pop_front();
    if (error) return -error;
  }
  if (full && full(post)) return -FI_EAGAIN;
  if (refuse_when)
    if (const int error = refuse_when(post)) return -error;
  if (post.call == Call::peek) {
    if (!on_peek) return -FI_ENOMSG;
    on_peek(post);
  } else if (post.flags & FI_CLAIM && on_claim) {
    on_claim(post);
  } else {
    if (on_post) on_post(post);
    posted.push_back(std::move(post));
  }
  return 0;
}

void Fabric::complete(const Posted& post, size_t length, uint64_t tag, uint64_t data) {
  MemoryAvailable available;
  Event event;
  event.entry.op_context = post.context;
  event.entry.len = length;
  event.entry.tag = tag;
  event.entry.data = data;
  events_.push_back(event);
}

void Fabric::fail(void* context, int error, int provider_error, uint64_t tag, uint64_t data) {
  MemoryAvailable available;
  Event event;
  event.entry.op_context = context;
  event.entry.tag = tag;
  event.entry.data = data;
  event.error = error;
  event.provider_error = provider_error;
  events_.push_back(event);
}

void scatter(const std::vector<iovec>& into, const void* bytes, size_t size) {
  const auto* from = static_cast<const char*>(bytes);
  for (const iovec& part : into) {
    const size_t now = std::min(size, part.iov_len);
    if (now) std::memcpy(part.iov_base, from, now);
    from += now;
    size -= now;
  }
}

void Fabric::arrive(uint64_t tag, uint64_t data, const void* bytes, size_t size) {
  const auto at = std::find_if(posted.begin(), posted.end(), [&](const Posted& post) {
    return post.call == Call::tagged_receive && ((post.tag ^ tag) & ~post.ignore) == 0;
  });
  if (at == posted.end()) throw std::logic_error("no receive matches");
  const Posted receive = *at;
  posted.erase(at);
  scatter(receive.into, bytes, size);
  complete(receive, size, tag, data);
}

void Fabric::arrive_control(const void* bytes, size_t size) {
  const Posted receive = take(Call::receive);
  scatter(receive.into, bytes, size);
  complete(receive, size);
}

ssize_t Fabric::read_queue(fi_cq_tagged_entry* entries, size_t count) {
  if (interrupted && interrupted--) return -FI_EINTR;
  size_t done = 0;
  while (done < count && !events_.empty() && !events_.front().error) {
    entries[done++] = events_.front().entry;
    events_.pop_front();
  }
  if (done) return static_cast<ssize_t>(done);
  if (events_.empty() && on_idle) on_idle();
  return events_.empty() ? -FI_EAGAIN : -FI_EAVAIL;
}

ssize_t Fabric::read_error(fi_cq_err_entry* entry) {
  if (interrupts_errors && interrupts_errors--) return -FI_EINTR;
  if (events_.empty() || !events_.front().error) return -FI_EAGAIN;
  entry->op_context = events_.front().entry.op_context;
  entry->err = events_.front().error;
  entry->prov_errno = events_.front().provider_error;
  entry->tag = events_.front().entry.tag;
  entry->data = events_.front().entry.data;
  events_.pop_front();
  return 1;
}

}  // namespace fake
