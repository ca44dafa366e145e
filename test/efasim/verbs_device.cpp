// Verbs: finding, opening and querying NICs.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "verbs_ops.hpp"

#undef ibv_query_port

using namespace efasim;

namespace {

constexpr uint32_t kVendor = 0x1d0f;  // Amazon

uint64_t guid_of(const NicEntry& nic) {
  uint64_t guid;
  memcpy(&guid, nic.gid + 8, sizeof guid);
  return guid;
}

int query_device_ex(ibv_context* context, const ibv_query_device_ex_input*, ibv_device_attr_ex* attr, size_t size) {
  ibv_device_attr base;
  const int error = ibv_query_device(context, &base);
  if (error) return error;
  memset(attr, 0, size);
  attr->orig_attr = base;
  return 0;
}

int query_port(ibv_context* context, uint8_t port, ibv_port_attr* attr, size_t size) {
  if (port != 1) return EINVAL;
  ibv_port_attr full = {};
  const NicEntry& nic = *Context::of(context).nic;
  const bool down = nic.dead.load() || nic.link_down_since.load();
  full.state = down ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
  full.max_mtu = full.active_mtu = IBV_MTU_4096;
  full.gid_tbl_len = 1;
  full.pkey_tbl_len = 1;
  full.max_msg_sz = Process::get()->profile.device.mtu;
  full.lmc = 1;
  full.phys_state = down ? 3 : 5;
  full.link_layer = IBV_LINK_LAYER_UNSPECIFIED;
  full.active_speed = 32;  // EDR; width 4x: what every EFA generation reports, whatever its rate
  full.active_width = 2;
  memcpy(attr, &full, std::min(size, sizeof full));
  return 0;
}

}  // namespace

extern "C" {

ibv_device** ibv_get_device_list(int* num) {
  Process* process = Process::get();
  const size_t n = process != nullptr ? process->devices.size() : 0;
  auto** list = static_cast<ibv_device**>(calloc(n + 1, sizeof(ibv_device*)));
  if (list == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  for (size_t i = 0; i < n; i++) list[i] = &process->devices[i];
  if (num != nullptr) *num = static_cast<int>(n);
  return list;
}

void ibv_free_device_list(ibv_device** list) { free(list); }

const char* ibv_get_device_name(ibv_device* device) { return device->name; }

int ibv_get_device_index(ibv_device* device) { return static_cast<int>(device - Process::get()->devices.data()); }

__be64 ibv_get_device_guid(ibv_device* device) {
  Fabric& fabric = *Process::get()->fabric;
  return guid_of(fabric.nic(fabric.own_nic(static_cast<unsigned>(ibv_get_device_index(device)))));
}

ibv_context* ibv_open_device(ibv_device* device) {
  Process* process = Process::get();
  if (process == nullptr) return nullptr;
  auto* context = new (std::nothrow) Context;
  if (context == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  context->nic_index = static_cast<unsigned>(ibv_get_device_index(device));
  context->nic_id = process->fabric->own_nic(context->nic_index);
  context->nic = &process->fabric->nic(context->nic_id);
  context->faults =
      new FaultInjector(process->settings.faults, process->settings.link.seed, process->settings.node,
                        static_cast<int>(context->nic_index), static_cast<int>(process->fabric->proc_slot()));
  for (auto& ahn : context->ahn_of_nic) ahn.store(Context::kNoAhn, std::memory_order_relaxed);

  verbs_context& verbs = context->verbs;
  verbs.sz = sizeof verbs;
  verbs.query_port = query_port;
  verbs.query_device_ex = query_device_ex;
  verbs.create_cq_ex = verbs_create_cq_ex;
  verbs.create_qp_ex = verbs_create_qp_ex;
  ibv_context& plain = verbs.context;
  plain.device = device;
  plain.cmd_fd = plain.async_fd = -1;
  plain.num_comp_vectors = 1;
  plain.abi_compat = __VERBS_ABI_IS_EXTENDED;
  plain.ops.post_send = verbs_post_send;
  plain.ops.post_recv = verbs_post_recv;
  plain.ops.poll_cq = verbs_poll_cq;
  plain.ops.req_notify_cq = verbs_req_notify_cq;
  pthread_mutex_init(&plain.mutex, nullptr);
  return &plain;
}

int ibv_close_device(ibv_context* ibv) {
  Context* context = &Context::of(ibv);
  for (AhSlot* slot : context->handles) delete slot;
  delete context->faults;
  delete context;
  return 0;
}

int ibv_query_device(ibv_context* ibv, ibv_device_attr* attr) {
  const DeviceFacts& facts = Process::get()->profile.device;
  const Limits& limits = Process::get()->settings.limits;
  const Context& context = Context::of(ibv);
  memset(attr, 0, sizeof *attr);
  snprintf(attr->fw_ver, sizeof attr->fw_ver, "0.0.0.0");
  attr->node_guid = attr->sys_image_guid = guid_of(*context.nic);
  attr->max_mr_size = limits.mr_bytes ? limits.mr_bytes : uint64_t{1} << 40;
  attr->page_size_cap = 0xfffff000;
  attr->vendor_id = kVendor;
  attr->vendor_part_id = facts.part;
  attr->max_qp = static_cast<int>(facts.max_qp);
  attr->max_qp_wr = static_cast<int>(std::min(facts.max_sq_wr, facts.max_rq_wr));
  attr->max_sge = static_cast<int>(std::min(facts.max_sq_sge, facts.max_rq_sge));
  attr->max_sge_rd = 1;
  attr->max_cq = static_cast<int>(facts.max_cq);
  attr->max_cqe = static_cast<int>(facts.max_cqe);
  attr->max_mr = static_cast<int>(facts.max_mr);
  attr->max_pd = 1024;
  attr->max_ah = static_cast<int>(facts.max_ah);
  attr->max_pkeys = 1;
  attr->phys_port_cnt = 1;
  return 0;
}

int efadv_query_device(ibv_context*, efadv_device_attr* attr, uint32_t length) {
  const Profile& profile = Process::get()->profile;
  if (length < offsetof(efadv_device_attr, device_caps)) return EINVAL;
  efadv_device_attr full = {};
  full.max_sq_wr = profile.device.max_sq_wr;
  full.max_rq_wr = profile.device.max_rq_wr;
  full.max_sq_sge = static_cast<uint16_t>(profile.device.max_sq_sge);
  full.max_rq_sge = static_cast<uint16_t>(profile.device.max_rq_sge);
  full.inline_buf_size = static_cast<uint16_t>(profile.device.inline_bytes);
  full.device_caps = EFADV_DEVICE_ATTR_CAPS_RNR_RETRY | EFADV_DEVICE_ATTR_CAPS_CQ_WITH_SGID;
  if (profile.rdma_read) full.device_caps |= EFADV_DEVICE_ATTR_CAPS_RDMA_READ;
  if (profile.rdma_write) full.device_caps |= kCapsRdmaWrite;
  if (profile.rdma_write && profile.device.unsolicited_write_recv) full.device_caps |= kCapsUnsolicitedWriteRecv;
  if (profile.rdma_read || profile.rdma_write) full.max_rdma_size = profile.device.max_rdma_size;
  memcpy(attr, &full, std::min<size_t>(length, sizeof full));
  return 0;
}

int ibv_query_port(ibv_context* context, uint8_t port, _compat_ibv_port_attr* attr) {
  // The compatibility struct is the first part of ibv_port_attr.
  return query_port(context, port, reinterpret_cast<ibv_port_attr*>(attr), offsetof(ibv_port_attr, port_cap_flags2));
}

int ibv_query_gid(ibv_context* context, uint8_t port, int index, ibv_gid* gid) {
  if (port != 1 || index != 0) return EINVAL;
  memcpy(gid->raw, Context::of(context).nic->gid, sizeof gid->raw);
  return 0;
}

int ibv_query_pkey(ibv_context*, uint8_t port, int index, __be16* pkey) {
  if (port != 1 || index != 0) return -1;
  *pkey = 0xffff;
  return 0;
}

int ibv_fork_init() { return 0; }
ibv_fork_status ibv_is_fork_initialized() { return IBV_FORK_UNNEEDED; }

// Asynchronous events are never generated; the descriptor never becomes readable.
int ibv_get_async_event(ibv_context*, ibv_async_event*) {
  errno = EOPNOTSUPP;
  return -1;
}
void ibv_ack_async_event(ibv_async_event*) {}

}  // extern "C"
