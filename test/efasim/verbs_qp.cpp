// Verbs: queue pairs - creation, states, and the posting functions, which hand over to queue_pair.cpp.
#include <cerrno>
#include <cstring>
#include <new>

#include "verbs_ops.hpp"

using namespace efasim;

namespace {

// ---- work requests: the functions of ibv_qp_ex ----

void wr_start(ibv_qp_ex* ex) { Qp::of(ex).wr_begin(); }
int wr_complete(ibv_qp_ex* ex) { return Qp::of(ex).wr_end(); }
void wr_abort(ibv_qp_ex* ex) { Qp::of(ex).wr_discard(); }

void wr_send(ibv_qp_ex* ex) { Qp::of(ex).wr_next(SendOp::kSend); }

void wr_send_imm(ibv_qp_ex* ex, __be32 imm) {
  if (SendWr* wr = Qp::of(ex).wr_next(SendOp::kSendImm)) wr->imm = imm;
}

void wr_rdma(ibv_qp_ex* ex, SendOp op, uint32_t rkey, uint64_t address, __be32 imm) {
  SendWr* wr = Qp::of(ex).wr_next(op);
  if (wr == nullptr) return;
  wr->rkey = rkey;
  wr->remote_address = address;
  wr->imm = imm;
}

void wr_rdma_read(ibv_qp_ex* ex, uint32_t rkey, uint64_t address) { wr_rdma(ex, SendOp::kRead, rkey, address, 0); }
void wr_rdma_write(ibv_qp_ex* ex, uint32_t rkey, uint64_t address) { wr_rdma(ex, SendOp::kWrite, rkey, address, 0); }
void wr_rdma_write_imm(ibv_qp_ex* ex, uint32_t rkey, uint64_t address, __be32 imm) {
  wr_rdma(ex, SendOp::kWriteImm, rkey, address, imm);
}

void set_destination(SendWr& wr, ibv_ah* ah, uint32_t qpn, uint32_t qkey) {
  AhSlot& slot = *Ah::of(ah).slot;
  // The NIC may have been registered since.
  if (slot.nic_id == kNoNic) slot.nic_id = Process::get()->fabric->find_nic(slot.gid);
  wr.nic_id = slot.nic_id;
  wr.qpn = qpn;
  wr.qkey = qkey;
}

void wr_set_ud_addr(ibv_qp_ex* ex, ibv_ah* ah, uint32_t qpn, uint32_t qkey) {
  if (SendWr* wr = Qp::of(ex).wr_current()) set_destination(*wr, ah, qpn, qkey);
}

void set_sges(Qp& qp, size_t num, const ibv_sge* list) {
  SendWr* wr = qp.wr_current();
  if (wr == nullptr) return;
  if (num > qp.max_send_sge) {
    qp.violation("work request with %lu SGEs; the queue pair has %lu", num, qp.max_send_sge);
    return qp.wr_fail(EINVAL);
  }
  wr->num_sge = static_cast<uint8_t>(num);
  uint64_t length = 0;
  for (size_t i = 0; i < num; i++) {
    wr->sge[i] = list[i];
    length += list[i].length;
  }
  wr->length = static_cast<uint32_t>(std::min<uint64_t>(length, UINT32_MAX));
}

void wr_set_sge(ibv_qp_ex* ex, uint32_t lkey, uint64_t address, uint32_t length) {
  const ibv_sge sge = {address, length, lkey};
  set_sges(Qp::of(ex), 1, &sge);
}

void wr_set_sge_list(ibv_qp_ex* ex, size_t num, const ibv_sge* list) { set_sges(Qp::of(ex), num, list); }

void set_inline(Qp& qp, size_t num, const ibv_data_buf* list) {
  SendWr* wr = qp.wr_current();
  if (wr == nullptr) return;
  size_t length = 0;
  for (size_t i = 0; i < num; i++) length += list[i].length;
  if (length > qp.max_inline || wr->op == SendOp::kRead) {
    qp.violation("inline data of %lu bytes; the queue pair has %lu", length, qp.max_inline);
    return qp.wr_fail(EINVAL);
  }
  unsigned char* to = wr->inline_data;
  for (size_t i = 0; i < num; i++) {
    if (list[i].length == 0) continue;
    memcpy(to, list[i].addr, list[i].length);
    to += list[i].length;
  }
  // RDMA needs the address of the data: for inline data it is in the work request, which lives long enough.
  wr->is_inline = true;
  wr->num_sge = 1;
  wr->sge[0] = {reinterpret_cast<uint64_t>(wr->inline_data), static_cast<uint32_t>(length), 0};
  wr->length = static_cast<uint32_t>(length);
}

void wr_set_inline_data(ibv_qp_ex* ex, void* data, size_t length) {
  const ibv_data_buf buffer = {data, length};
  set_inline(Qp::of(ex), 1, &buffer);
}

void wr_set_inline_data_list(ibv_qp_ex* ex, size_t num, const ibv_data_buf* list) { set_inline(Qp::of(ex), num, list); }

void fill_functions(Qp* qp) {
  ibv_qp_ex& ex = qp->ex;
  ex.wr_start = wr_start;
  ex.wr_complete = wr_complete;
  ex.wr_abort = wr_abort;
  ex.wr_set_ud_addr = wr_set_ud_addr;
  ex.wr_set_sge = wr_set_sge;
  ex.wr_set_sge_list = wr_set_sge_list;
  ex.wr_set_inline_data = wr_set_inline_data;
  ex.wr_set_inline_data_list = wr_set_inline_data_list;
  // Operations that were not requested at creation stay null, as with rdma-core.
  if (qp->send_ops & IBV_QP_EX_WITH_SEND) ex.wr_send = wr_send;
  if (qp->send_ops & IBV_QP_EX_WITH_SEND_WITH_IMM) ex.wr_send_imm = wr_send_imm;
  if (qp->send_ops & IBV_QP_EX_WITH_RDMA_READ) ex.wr_rdma_read = wr_rdma_read;
  if (qp->send_ops & IBV_QP_EX_WITH_RDMA_WRITE) ex.wr_rdma_write = wr_rdma_write;
  if (qp->send_ops & IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM) ex.wr_rdma_write_imm = wr_rdma_write_imm;
}

// ---- creation ----

const char* check_creation(const Context& context, const ibv_qp_init_attr_ex& attr, uint16_t flags, int* error) {
  const Profile& profile = Process::get()->profile;
  const DeviceFacts& facts = profile.device;
  static_cast<void>(context);
  *error = EOPNOTSUPP;
  if (attr.qp_type != IBV_QPT_UD && attr.qp_type != IBV_QPT_DRIVER) return "a type other than SRD and UD";
  if (attr.comp_mask & ~uint32_t{IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS}) return "unknown attributes";
  uint64_t operations = IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM;
  if (attr.qp_type == IBV_QPT_DRIVER) {
    if (profile.rdma_read) operations |= IBV_QP_EX_WITH_RDMA_READ;
    if (profile.rdma_write) operations |= IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM;
  }
  if ((attr.comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) && (attr.send_ops_flags & ~operations)) {
    return "operations that this device does not have";
  }
  if (flags & ~(profile.rdma_write && facts.unsolicited_write_recv ? kQpUnsolicitedWriteRecv : 0)) {
    return "flags that this device does not have";
  }
  *error = EINVAL;
  if (!(attr.comp_mask & IBV_QP_INIT_ATTR_PD) || attr.pd == nullptr) return "no protection domain";
  if (attr.send_cq == nullptr || attr.recv_cq == nullptr) return "no completion queue";
  if (attr.srq != nullptr) return "a shared receive queue";
  if (attr.cap.max_send_wr > facts.max_sq_wr) return "more send work requests than the device has";
  if (attr.cap.max_recv_wr > facts.max_rq_wr) return "more receive work requests than the device has";
  if (attr.cap.max_send_sge > std::min(facts.max_sq_sge, kMaxSge)) return "too many SGEs to send";
  if (attr.cap.max_recv_sge > std::min(facts.max_rq_sge, kMaxSge)) return "too many SGEs to receive";
  if (attr.cap.max_inline_data > std::min(facts.inline_bytes, kMaxInline)) return "too much inline data";
  return nullptr;
}

void attach_cq(ibv_cq* ibv, Qp* qp) {
  Cq& cq = Cq::of(ibv);
  std::lock_guard<SpinLock> guard(cq.poll_lock);
  if (std::find(cq.qps.begin(), cq.qps.end(), qp) == cq.qps.end()) cq.qps.push_back(qp);
  cq.users++;
}

void detach_cq(ibv_cq* ibv, Qp* qp) {
  Cq& cq = Cq::of(ibv);
  std::lock_guard<SpinLock> guard(cq.poll_lock);
  std::erase(cq.qps, qp);
  cq.users--;
}

ibv_qp* create_qp(ibv_context* ibv, ibv_qp_init_attr_ex* attr, uint16_t flags) {
  Process& process = *Process::get();
  Context& context = Context::of(ibv);
  int error = 0;
  if (const char* why = check_creation(context, *attr, flags, &error)) {
    EFASIM_ERROR("%s: queue pair refused: %s", context.nic->name, why);
    errno = error;
    return nullptr;
  }
  auto* qp = new (std::nothrow) Qp;
  if (qp == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  qp->context = &context;
  qp->pd = &Pd::of(attr->pd);
  qp->is_ud = attr->qp_type == IBV_QPT_UD;
  if (!process.fabric->create_qp(context.nic_id, process.profile.device.max_qp, qp->is_ud, qp->pd->id,
                                 process.settings.limits.ring, &qp->own)) {
    error = errno;
    EFASIM_ERROR("%s: no more queue pairs: at most %u", context.nic->name, process.profile.device.max_qp);
    delete qp;
    errno = error;
    return nullptr;
  }
  qp->unsolicited_write_recv = flags & kQpUnsolicitedWriteRecv;
  qp->send_ops = attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS ? attr->send_ops_flags : 0;
  qp->max_inline = attr->cap.max_inline_data;
  qp->max_send_sge = attr->cap.max_send_sge;
  qp->max_recv_sge = attr->cap.max_recv_sge;
  fill_functions(qp);
  ibv_qp& base = qp->ex.qp_base;
  base.context = ibv;
  base.qp_context = attr->qp_context;
  base.pd = attr->pd;
  base.send_cq = attr->send_cq;
  base.recv_cq = attr->recv_cq;
  base.handle = base.qp_num = qp->own.qpn;
  base.state = IBV_QPS_RESET;
  base.qp_type = attr->qp_type;
  pthread_mutex_init(&base.mutex, nullptr);
  pthread_cond_init(&base.cond, nullptr);
  qp->allocate(std::max(attr->cap.max_send_wr, 1u), attr->cap.max_recv_wr);
  qp->pd->users++;
  attach_cq(base.send_cq, qp);
  attach_cq(base.recv_cq, qp);
  {
    std::lock_guard<std::mutex> guard(process.qps_mutex);
    process.qps.push_back(qp);
  }
  engine_start();
  return &base;
}

// ---- states ----

struct Transition {
  ibv_qp_state from, to;
  int required;  // required attributes, besides the state
};

// The driver's table for SRD. UD requires the same, except rnr_retry, which it ignores.
constexpr Transition kTransitions[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_QKEY},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0},
    {IBV_QPS_INIT, IBV_QPS_RTR, 0},
    {IBV_QPS_RTR, IBV_QPS_RTS, IBV_QP_SQ_PSN},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0},
};

bool allowed(ibv_qp_state from, ibv_qp_state to, int mask) {
  if (to == IBV_QPS_RESET || to == IBV_QPS_ERR) return true;
  for (const Transition& t : kTransitions) {
    if (t.from == from && t.to == to) return (mask & t.required) == t.required;
  }
  return false;
}

}  // namespace

ibv_qp* verbs_create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr) { return create_qp(context, attr, 0); }

int verbs_post_recv(ibv_qp* ibv, ibv_recv_wr* wr, ibv_recv_wr** bad) {
  for (; wr != nullptr; wr = wr->next) {
    if (const int error = Qp::of(ibv).post_receive(*wr)) {
      *bad = wr;
      return error;
    }
  }
  return 0;
}

int verbs_post_send(ibv_qp* ibv, ibv_send_wr* wr, ibv_send_wr** bad) {
  Qp& qp = Qp::of(ibv);
  for (; wr != nullptr; wr = wr->next) {
    if (wr->opcode != IBV_WR_SEND && wr->opcode != IBV_WR_SEND_WITH_IMM) {
      *bad = wr;
      return EINVAL;  // as the driver: RDMA only through ibv_qp_ex
    }
    qp.wr_begin();
    qp.ex.wr_id = wr->wr_id;
    SendWr* next = qp.wr_next(wr->opcode == IBV_WR_SEND ? SendOp::kSend : SendOp::kSendImm);
    if (next != nullptr) {
      next->imm = wr->imm_data;
      set_destination(*next, wr->wr.ud.ah, wr->wr.ud.remote_qpn, wr->wr.ud.remote_qkey);
      if (wr->send_flags & IBV_SEND_INLINE) {
        ibv_data_buf buffers[kMaxSge] = {};
        const int num = std::min<int>(wr->num_sge, kMaxSge);
        for (int i = 0; i < num; i++) {
          buffers[i] = {reinterpret_cast<void*>(wr->sg_list[i].addr), wr->sg_list[i].length};
        }
        set_inline(qp, static_cast<size_t>(num), buffers);
      } else {
        set_sges(qp, static_cast<size_t>(wr->num_sge), wr->sg_list);
      }
    }
    if (const int error = qp.wr_end()) {
      *bad = wr;
      return error;
    }
  }
  return 0;
}

extern "C" {

ibv_qp* efadv_create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr, efadv_qp_init_attr* efa, uint32_t length) {
  if (attr->qp_type == IBV_QPT_DRIVER && (length < sizeof efa->comp_mask + sizeof efa->driver_qp_type ||
                                          efa->comp_mask != 0 || efa->driver_qp_type != EFADV_QP_DRIVER_TYPE_SRD)) {
    errno = EINVAL;
    return nullptr;
  }
  uint16_t flags = 0;
#ifdef EFASIM_HAVE_UNSOLICITED
  flags = efa->flags;
#endif
  return create_qp(context, attr, flags);
}

ibv_qp* efadv_create_driver_qp(ibv_pd* pd, ibv_qp_init_attr* attr, uint32_t type) {
  if (type != EFADV_QP_DRIVER_TYPE_SRD) {
    errno = EINVAL;
    return nullptr;
  }
  ibv_qp_init_attr_ex ex = {};
  memcpy(&ex, attr, offsetof(ibv_qp_init_attr_ex, comp_mask));
  ex.comp_mask = IBV_QP_INIT_ATTR_PD;
  ex.pd = pd;
  return create_qp(pd->context, &ex, 0);
}

ibv_qp* ibv_create_qp(ibv_pd* pd, ibv_qp_init_attr* attr) {
  ibv_qp_init_attr_ex ex = {};
  memcpy(&ex, attr, offsetof(ibv_qp_init_attr_ex, comp_mask));  // the plain struct is the extended one's beginning
  ex.comp_mask = IBV_QP_INIT_ATTR_PD;
  ex.pd = pd;
  return create_qp(pd->context, &ex, 0);
}

ibv_qp_ex* ibv_qp_to_qp_ex(ibv_qp* ibv) { return Qp::of(ibv).send_ops ? &Qp::of(ibv).ex : nullptr; }

int ibv_modify_qp(ibv_qp* ibv, ibv_qp_attr* attr, int mask) {
  Qp& qp = Qp::of(ibv);
  std::lock_guard<SpinLock> guard(qp.lock);
  const ibv_qp_state from = ibv->state;
  const ibv_qp_state to = mask & IBV_QP_STATE ? attr->qp_state : from;
  if (((mask & IBV_QP_CUR_STATE) && attr->cur_qp_state != from) || !allowed(from, to, mask)) {
    qp.violation("modification from state %lu to %lu is not allowed, or lacks an attribute", from, to);
    return EINVAL;
  }
  if ((mask & IBV_QP_PORT) && attr->port_num != 1) return EINVAL;
  if ((mask & IBV_QP_PKEY_INDEX) && attr->pkey_index != 0) return EINVAL;
  if (mask & IBV_QP_RNR_RETRY) {
    if (attr->rnr_retry > 7) return EINVAL;
    qp.rnr_retry = attr->rnr_retry;
  }
  if (mask & IBV_QP_QKEY) qp.own.entry->qkey.store(attr->qkey, std::memory_order_relaxed);
  if (mask & IBV_QP_STATE) {
    ibv->state = to;
    const bool receiving = to == IBV_QPS_RTR || to == IBV_QPS_RTS;
    qp.own.entry->receiving.store(receiving, std::memory_order_release);
    if (to == IBV_QPS_ERR || to == IBV_QPS_RESET) qp.flush();
  }
  return 0;
}

int ibv_query_qp(ibv_qp* ibv, ibv_qp_attr* attr, int, ibv_qp_init_attr* init) {
  const Qp& qp = Qp::of(ibv);
  memset(attr, 0, sizeof *attr);
  attr->qp_state = attr->cur_qp_state = ibv->state;
  attr->qkey = qp.own.entry->qkey.load();
  attr->port_num = 1;
  attr->rnr_retry = static_cast<uint8_t>(qp.rnr_retry);
  attr->cap.max_inline_data = qp.max_inline;
  attr->cap.max_send_sge = qp.max_send_sge;
  attr->cap.max_recv_sge = qp.max_recv_sge;
  if (init != nullptr) {
    memset(init, 0, sizeof *init);
    init->qp_context = ibv->qp_context;
    init->send_cq = ibv->send_cq;
    init->recv_cq = ibv->recv_cq;
    init->qp_type = ibv->qp_type;
    init->cap = attr->cap;
  }
  return 0;
}

// SRD delivers out of order: the last byte may arrive before others.
int ibv_query_qp_data_in_order(ibv_qp*, enum ibv_wr_opcode, uint32_t) { return 0; }

int ibv_destroy_qp(ibv_qp* ibv) {
  Qp* qp = &Qp::of(ibv);
  Process& process = *Process::get();
  {
    std::lock_guard<std::mutex> guard(process.qps_mutex);
    std::erase(process.qps, qp);
  }
  detach_cq(ibv->send_cq, qp);
  detach_cq(ibv->recv_cq, qp);
  {
    std::lock_guard<SpinLock> guard(qp->lock);
    qp->own.entry->receiving.store(0, std::memory_order_seq_cst);
    qp->reject_all(Status::kRemoteBadDestQpn);
  }
  // As the driver: completions of a destroyed queue pair are dropped.
  Cq::of(ibv->send_cq).forget(ibv->qp_num);
  Cq::of(ibv->recv_cq).forget(ibv->qp_num);
  process.fabric->destroy_qp(qp->context->nic_id, &qp->own);
  qp->pd->users--;
  delete qp;
  return 0;
}

// EFA has none; calls fail.
ibv_srq* ibv_create_srq(ibv_pd*, ibv_srq_init_attr*) {
  errno = EOPNOTSUPP;
  return nullptr;
}

}  // extern "C"
