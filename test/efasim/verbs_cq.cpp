// Verbs: completion queues and channels.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "verbs_ops.hpp"

using namespace efasim;

namespace efasim {

bool Cq::push(const Completion& completion) {
  {
    std::lock_guard<SpinLock> guard(lock_);
    const size_t count = count_.load(std::memory_order_relaxed);
    if (count == ring_.size()) return false;
    size_t tail = head_ + count;
    if (tail >= ring_.size()) tail -= ring_.size();
    ring_[tail] = completion;
    count_.store(count + 1, std::memory_order_release);
  }
  if (armed.load(std::memory_order_relaxed) && armed.exchange(false)) {
    Process::get()->fabric->proc().wake_on_ack.fetch_sub(1);
    Cq* self = this;
    const Channel& channel = Channel::of(ex.channel);
    if (write(channel.write_fd, &self, sizeof self) != sizeof self) {
      EFASIM_ERROR("a completion channel is full: %s", strerror(errno));
    }
  }
  return true;
}

bool Cq::pop(Completion* completion) {
  if (count_.load(std::memory_order_acquire) == 0) return false;
  std::lock_guard<SpinLock> guard(lock_);
  const size_t count = count_.load(std::memory_order_relaxed);
  if (count == 0) return false;
  *completion = ring_[head_];
  if (++head_ == ring_.size()) head_ = 0;
  count_.store(count - 1, std::memory_order_relaxed);
  return true;
}

void Cq::forget(uint32_t qp_num) {
  std::lock_guard<SpinLock> guard(lock_);
  size_t kept = 0;
  const size_t count = count_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < count; i++) {
    const Completion completion = ring_[(head_ + i) % ring_.size()];
    if (completion.qp_num != qp_num) ring_[(head_ + kept++) % ring_.size()] = completion;
  }
  count_.store(kept, std::memory_order_relaxed);
}

}  // namespace efasim

namespace {

// Unlike hardware, the peer's device needs a core. Where there are fewer cores than processes, a poller that found
// nothing for about ten microseconds yields. With a core for each process, sched_yield() returns at once.
constexpr unsigned kIdlePolls = 512;

bool next(Cq& cq) {
  if (cq.pop(&cq.current)) return true;
  cq.polls.store(cq.polls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  for (Qp* qp : cq.qps) qp->progress(false);
  if (cq.pop(&cq.current)) {
    cq.idle_polls = 0;
    return true;
  }
  if (++cq.idle_polls % kIdlePolls == 0) sched_yield();
  return false;
}

void show(Cq& cq) {
  cq.ex.wr_id = cq.current.wr_id;
  cq.ex.status = facts(cq.current.status).verbs;
}

int start_poll(ibv_cq_ex* ex, ibv_poll_cq_attr* attr) {
  if (attr != nullptr && attr->comp_mask != 0) return EINVAL;
  Cq& cq = Cq::of(ex);
  cq.poll_lock.lock();
  if (!next(cq)) {
    cq.poll_lock.unlock();
    return ENOENT;
  }
  show(cq);
  return 0;
}

int next_poll(ibv_cq_ex* ex) {
  Cq& cq = Cq::of(ex);
  if (!cq.pop(&cq.current)) return ENOENT;
  show(cq);
  return 0;
}

void end_poll(ibv_cq_ex* ex) { Cq::of(ex).poll_lock.unlock(); }

// rdma-core reports RDMA reads as sends, because the device's completion does not distinguish them (libefa 56).
ibv_wc_opcode opcode_of(const Completion& c) {
  if (c.receive) return c.rdma_write ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV;
  return c.rdma_write ? IBV_WC_RDMA_WRITE : IBV_WC_SEND;
}

ibv_wc_opcode read_opcode(ibv_cq_ex* ex) { return opcode_of(Cq::of(ex).current); }
uint32_t read_vendor_err(ibv_cq_ex* ex) { return static_cast<uint32_t>(Cq::of(ex).current.status); }
uint32_t read_byte_len(ibv_cq_ex* ex) { return Cq::of(ex).current.receive ? Cq::of(ex).current.length : 0; }
__be32 read_imm_data(ibv_cq_ex* ex) { return Cq::of(ex).current.imm; }
uint32_t read_qp_num(ibv_cq_ex* ex) { return Cq::of(ex).current.qp_num; }
uint32_t read_src_qp(ibv_cq_ex* ex) { return Cq::of(ex).current.source_qp; }
unsigned read_wc_flags(ibv_cq_ex* ex) { return Cq::of(ex).current.has_imm ? unsigned{IBV_WC_WITH_IMM} : 0; }
uint32_t read_slid(ibv_cq_ex* ex) { return Cq::of(ex).current.source_ahn; }
uint8_t read_zero(ibv_cq_ex*) { return 0; }

Cq& of_efadv(efadv_cq* efadv) { return *reinterpret_cast<decltype(Cq::efadv)*>(efadv)->cq; }

int wc_read_sgid(efadv_cq* efadv, ibv_gid* gid) {
  const Cq& cq = of_efadv(efadv);
  // As the driver: the GID is reported only for a sender without an address handle.
  if (!cq.current.receive || cq.current.source_ahn != Context::kNoAhn) return -ENOENT;
  memcpy(gid->raw, Process::get()->fabric->nic(cq.current.source_nic).gid, sizeof gid->raw);
  return 0;
}

#ifdef EFASIM_HAVE_UNSOLICITED
bool wc_is_unsolicited(efadv_cq* efadv) { return of_efadv(efadv).current.unsolicited; }
#endif

ibv_cq_ex* make_cq(ibv_context* ibv, uint32_t entries, void* user, ibv_comp_channel* channel) {
  const DeviceFacts& facts = Process::get()->profile.device;
  Context& context = Context::of(ibv);
  std::lock_guard<std::mutex> guard(context.mutex);
  if (entries == 0 || entries > facts.max_cqe || context.num_cqs >= facts.max_cq) {
    EFASIM_ERROR("%s: completion queue of %u entries refused: at most %u entries, and %u queues", context.nic->name,
                 entries, facts.max_cqe, facts.max_cq);
    errno = entries == 0 || entries > facts.max_cqe ? EINVAL : ENOMEM;
    return nullptr;
  }
  auto* cq = new (std::nothrow) Cq;
  if (cq == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  cq->allocate(entries);
  cq->efadv.cq = cq;
  cq->ex.context = ibv;
  cq->ex.channel = channel;
  cq->ex.cq_context = user;
  cq->ex.cqe = static_cast<int>(entries);
  cq->ex.start_poll = start_poll;
  cq->ex.next_poll = next_poll;
  cq->ex.end_poll = end_poll;
  cq->ex.read_opcode = read_opcode;
  cq->ex.read_vendor_err = read_vendor_err;
  cq->ex.read_byte_len = read_byte_len;
  cq->ex.read_imm_data = read_imm_data;
  cq->ex.read_qp_num = read_qp_num;
  cq->ex.read_src_qp = read_src_qp;
  cq->ex.read_wc_flags = read_wc_flags;
  cq->ex.read_slid = read_slid;
  cq->ex.read_sl = read_zero;
  cq->ex.read_dlid_path_bits = read_zero;
  pthread_mutex_init(&cq->ex.mutex, nullptr);
  pthread_cond_init(&cq->ex.cond, nullptr);
  if (channel != nullptr) channel->refcnt++;
  context.num_cqs++;
  return &cq->ex;
}

}  // namespace

ibv_cq_ex* verbs_create_cq_ex(ibv_context* context, ibv_cq_init_attr_ex* attr) {
  efadv_cq_init_attr none = {};
  return efadv_create_cq(context, attr, &none, sizeof none);
}

int verbs_poll_cq(ibv_cq* ibv, int entries, ibv_wc* wc) {
  Cq& cq = Cq::of(ibv);
  std::lock_guard<SpinLock> guard(cq.poll_lock);
  int n = 0;
  while (n < entries && (n == 0 ? next(cq) : cq.pop(&cq.current))) {
    const Completion& c = cq.current;
    ibv_wc& out = wc[n++];
    memset(&out, 0, sizeof out);
    out.wr_id = c.wr_id;
    out.status = facts(c.status).verbs;
    out.opcode = opcode_of(c);
    out.vendor_err = static_cast<uint32_t>(c.status);
    out.byte_len = c.receive ? c.length : 0;
    out.imm_data = c.imm;
    out.qp_num = c.qp_num;
    out.src_qp = c.source_qp;
    out.wc_flags = c.has_imm ? unsigned{IBV_WC_WITH_IMM} : 0;
    out.slid = c.source_ahn;
  }
  return n;
}

int verbs_req_notify_cq(ibv_cq* ibv, int) {
  Cq& cq = Cq::of(ibv);
  if (cq.ex.channel == nullptr) return EINVAL;
  if (!cq.armed.exchange(true)) Process::get()->fabric->proc().wake_on_ack.fetch_add(1);
  return 0;
}

extern "C" {

ibv_cq_ex* efadv_create_cq(ibv_context* context, ibv_cq_init_attr_ex* attr, efadv_cq_init_attr* efa, uint32_t length) {
  const Profile& profile = Process::get()->profile;
  constexpr uint64_t kSupported = IBV_WC_STANDARD_FLAGS;
  uint64_t supported_efa = kWcWithSgid;
#ifdef EFASIM_HAVE_UNSOLICITED
  if (profile.rdma_write && profile.device.unsolicited_write_recv) supported_efa |= kWcWithIsUnsolicited;
#else
  static_cast<void>(profile);
#endif
  if (length < sizeof efa->comp_mask + sizeof efa->wc_flags || efa->comp_mask != 0) {
    errno = EINVAL;
    return nullptr;
  }
  if ((efa->wc_flags & ~supported_efa) || (attr->wc_flags & ~kSupported) || attr->comp_mask) {
    errno = EOPNOTSUPP;
    return nullptr;
  }
  ibv_cq_ex* ex = make_cq(context, attr->cqe, attr->cq_context, attr->channel);
  if (ex == nullptr) return nullptr;
  Cq& cq = Cq::of(ex);
  if (efa->wc_flags & kWcWithSgid) cq.efadv.table.wc_read_sgid = wc_read_sgid;
#ifdef EFASIM_HAVE_UNSOLICITED
  if (efa->wc_flags & kWcWithIsUnsolicited) cq.efadv.table.wc_is_unsolicited = wc_is_unsolicited;
#endif
  return ex;
}

efadv_cq* efadv_cq_from_ibv_cq_ex(ibv_cq_ex* ex) { return &Cq::of(ex).efadv.table; }

ibv_cq* ibv_create_cq(ibv_context* context, int entries, void* user, ibv_comp_channel* channel, int) {
  ibv_cq_ex* ex = make_cq(context, static_cast<uint32_t>(std::max(entries, 0)), user, channel);
  return ex != nullptr ? ibv_cq_ex_to_cq(ex) : nullptr;
}

int ibv_destroy_cq(ibv_cq* ibv) {
  Cq* cq = &Cq::of(ibv);
  if (cq->users.load() > 0) {
    if (!Process::get()->exiting)
      EFASIM_ERROR("completion queue destroyed while %d queue pairs use it", cq->users.load());
    return EBUSY;
  }
  if (cq->armed.exchange(false)) Process::get()->fabric->proc().wake_on_ack.fetch_sub(1);
  if (cq->ex.channel != nullptr) cq->ex.channel->refcnt--;
  Context& context = Context::of(ibv->context);
  {
    std::lock_guard<std::mutex> guard(context.mutex);
    context.num_cqs--;
  }
  delete cq;
  return 0;
}

ibv_comp_channel* ibv_create_comp_channel(ibv_context* context) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return nullptr;
  auto* channel = new (std::nothrow) Channel;
  if (channel == nullptr) {
    close(ends[0]);
    close(ends[1]);
    errno = ENOMEM;
    return nullptr;
  }
  channel->ibv.context = context;
  channel->ibv.fd = ends[0];
  channel->write_fd = ends[1];
  return &channel->ibv;
}

int ibv_destroy_comp_channel(ibv_comp_channel* ibv) {
  Channel* channel = &Channel::of(ibv);
  if (ibv->refcnt > 0) return EBUSY;
  close(ibv->fd);
  close(channel->write_fd);
  delete channel;
  return 0;
}

int ibv_get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) {
  Cq* ready = nullptr;
  if (read(channel->fd, &ready, sizeof ready) != sizeof ready) return -1;
  *cq = ibv_cq_ex_to_cq(&ready->ex);
  *user = ready->ex.cq_context;
  return 0;
}

void ibv_ack_cq_events(ibv_cq*, unsigned) {}

}  // extern "C"
