// Verbs: protection domains, memory regions and address handles.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "log.hpp"
#include "verbs_ops.hpp"

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

using namespace efasim;

namespace efasim {

const MrEntry* find_mr(const ProcShared& proc, uint32_t key, uint64_t address, uint64_t length, unsigned access,
                       uint32_t nic, uint32_t pd) {
  const MrEntry& entry = proc.mrs[key % kMaxMrs];
  if (key == 0 || entry.key.load(std::memory_order_acquire) != key) return nullptr;
  if (entry.nic != nic || entry.pd != pd || (entry.access & access) != access) return nullptr;
  if (address < entry.address || length > entry.length || address - entry.address > entry.length - length) {
    return nullptr;
  }
  return &entry;
}

}  // namespace efasim

namespace {

std::mutex mr_mutex;
uint32_t next_mr = 0;        // where to look for a free entry
uint32_t mr_generation = 1;  // upper half of the next key, so that an old key never matches a new region
uint32_t num_mrs = 0;
uint64_t registered_bytes = 0;

constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which older headers do not have

// The device's part of the kernel, so not through madvise of the C library: libfabric's memory monitor "memhooks" puts a jump
// into that function and removes it again when it is unloaded. valgrind does not see such a change of code and goes on to
// call what is unmapped by then.
int advise(uint64_t start, uint64_t length, int advice) {
  return static_cast<int>(syscall(SYS_madvise, start, length, advice));
}

// Whether the kernel is too old for MADV_POPULATE_WRITE: it refuses memory that may certainly be written.
bool kernel_cannot_tell() {
  static char page[2 * 4096];
  static const bool refused = [] {
    const auto start = (reinterpret_cast<uint64_t>(page) + 4095) & ~uint64_t{4095};
    return advise(start, 4096, kPopulateWrite) != 0;
  }();
  return refused;
}

// Pinning for writing fails for memory that may not be written: ib_umem_get of Linux asks for writable pages then, and so
// does MADV_POPULATE_WRITE (since Linux 5.14).
bool writable(uint64_t address, uint64_t length) {
  constexpr uint64_t kPage = 4096;
  const uint64_t first = address & ~(kPage - 1);
  return advise(first, address + length - first, kPopulateWrite) == 0 || kernel_cannot_tell();
}

// Pinning fails for memory that is not mapped.
bool mapped(uint64_t address, uint64_t length) {
  constexpr uint64_t kPage = 4096, kPagesPerCall = 16384;
  static thread_local unsigned char residency[kPagesPerCall];
  uint64_t at = address & ~(kPage - 1);
  const uint64_t end = address + length;
  while (at < end) {
    const uint64_t part = std::min(end - at, kPage * kPagesPerCall);
    if (mincore(reinterpret_cast<void*>(at), part, residency) != 0 && errno == ENOMEM) return false;
    at += part;
  }
  return true;
}

unsigned supported_access(const Profile& profile) {
  unsigned access = unsigned{IBV_ACCESS_LOCAL_WRITE} | unsigned{IBV_ACCESS_OPTIONAL_RANGE};
  if (profile.rdma_read) access |= IBV_ACCESS_REMOTE_READ;
  if (profile.rdma_write) access |= IBV_ACCESS_REMOTE_WRITE;
  return access;
}

ibv_mr* refuse(int error, const Context& context, const char* why, size_t length) {
  EFASIM_ERROR("%s: registration of %zu bytes refused: %s", context.nic->name, length, why);
  errno = error;
  return nullptr;
}

}  // namespace

extern "C" {

ibv_pd* ibv_alloc_pd(ibv_context* context) {
  auto* pd = new (std::nothrow) Pd;
  if (pd == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  pd->ibv.context = context;
  pd->id = Process::get()->next_pd.fetch_add(1);
  return &pd->ibv;
}

int ibv_dealloc_pd(ibv_pd* ibv) {
  Pd* pd = &Pd::of(ibv);
  if (pd->users.load() > 0) {
    if (!Process::get()->exiting)
      EFASIM_ERROR("protection domain freed while %u objects use it", pd->users.load());
    return EBUSY;
  }
  delete pd;
  return 0;
}

ibv_mr* ibv_reg_mr_iova2(ibv_pd* pd, void* address, size_t length, uint64_t iova, unsigned access) {
  const Process& process = *Process::get();
  Context& context = Context::of(pd->context);
  const uint64_t start = reinterpret_cast<uint64_t>(address);
  const Limits& limits = process.settings.limits;
  if (iova != start) return refuse(EOPNOTSUPP, context, "an iova other than the address", length);
  if (length == 0 || start + length < start) return refuse(EINVAL, context, "bad length", length);
  if (access & ~supported_access(process.profile)) {
    return refuse(EOPNOTSUPP, context, "an access right that this device does not have", length);
  }
  if (context.faults->fire(FaultKind::kMrRefused, FaultKind::kMrRefused) >= 0) {
    return refuse(ENOMEM, context, "fault on request", length);
  }
  if (!mapped(start, length)) return refuse(EFAULT, context, "not all of it is mapped", length);
  if ((access & (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)) && !writable(start, length)) {
    // No misuse: libfabric asks for what the device can do, and does without.
    EFASIM_INFO("%zu bytes are not registered: not all of them may be written", length);
    errno = EFAULT;
    return nullptr;
  }
  if (limits.mr_bytes && length > limits.mr_bytes) return refuse(ENOMEM, context, "limit mr_bytes", length);

  auto* mr = new (std::nothrow) Mr;
  if (mr == nullptr) return refuse(ENOMEM, context, "out of memory", length);
  std::lock_guard<std::mutex> guard(mr_mutex);
  if (num_mrs >= process.profile.device.max_mr || (limits.mr_bytes && registered_bytes + length > limits.mr_bytes)) {
    delete mr;
    return refuse(ENOMEM, context, "limit of registered regions or bytes (EFASIM_LIMITS mr, mr_bytes)", length);
  }
  MrEntry* table = process.fabric->proc().mrs;
  while (table[next_mr].key.load(std::memory_order_relaxed) != 0 || table[next_mr].users.load() > 0) {
    next_mr = (next_mr + 1) % kMaxMrs;
  }
  MrEntry& entry = table[next_mr];
  const uint32_t key = mr_generation << 16 | next_mr;
  mr_generation = mr_generation == 0xffff ? 1 : mr_generation + 1;
  entry.address = start;
  entry.length = length;
  entry.access = access;
  entry.pd = Pd::of(pd).id;
  entry.nic = context.nic_id;
  entry.key.store(key, std::memory_order_release);
  num_mrs++;
  registered_bytes += length;
  mr->index = next_mr;
  next_mr = (next_mr + 1) % kMaxMrs;
  Pd::of(pd).users++;

  mr->ibv.context = pd->context;
  mr->ibv.pd = pd;
  mr->ibv.addr = address;
  mr->ibv.length = length;
  mr->ibv.handle = mr->index;
  mr->ibv.lkey = mr->ibv.rkey = key;
  EFASIM_INFO("registered %zu bytes with key %08x: peers may%s%s", length, key,
              access & IBV_ACCESS_REMOTE_READ ? " read" : (access & IBV_ACCESS_REMOTE_WRITE ? "" : " do nothing"),
              access & IBV_ACCESS_REMOTE_WRITE ? " write" : "");
  return &mr->ibv;
}

ibv_mr* ibv_reg_mr(ibv_pd* pd, void* address, size_t length, int access) {
  return ibv_reg_mr_iova2(pd, address, length, reinterpret_cast<uint64_t>(address), static_cast<unsigned>(access));
}

ibv_mr* ibv_reg_mr_iova(ibv_pd* pd, void* address, size_t length, uint64_t iova, int access) {
  return ibv_reg_mr_iova2(pd, address, length, iova, static_cast<unsigned>(access));
}

ibv_mr* ibv_reg_dmabuf_mr(ibv_pd* pd, uint64_t, size_t length, uint64_t, int, int) {
  return refuse(EOPNOTSUPP, Context::of(pd->context), "dma-buf memory is not emulated", length);
}

int ibv_dereg_mr(ibv_mr* ibv) {
  Mr* mr = &Mr::of(ibv);
  MrEntry& entry = Process::get()->fabric->proc().mrs[mr->index];
  {
    std::lock_guard<std::mutex> guard(mr_mutex);
    entry.key.store(0, std::memory_order_seq_cst);
    num_mrs--;
    registered_bytes -= ibv->length;
  }
  // Wait for peers that are copying to or from it, because the memory may be reused afterwards. A peer that is killed
  // meanwhile never decrements `users`; its copy has ended.
  const uint64_t give_up = now_ns() + 1'000'000'000;
  while (entry.users.load(std::memory_order_acquire) > 0) {
    if (now_ns() > give_up) {
      EFASIM_INFO("a peer that used a memory region is gone");
      entry.users.store(0);
      break;
    }
    sched_yield();
  }
  Pd::of(ibv->pd).users--;
  EFASIM_INFO("released the %zu bytes with key %08x", ibv->length, ibv->lkey);
  delete mr;
  return 0;
}

int efadv_query_mr(ibv_mr*, struct efadv_mr_attr* attr, uint32_t length) {
  memset(attr, 0, length);  // the interconnect is unknown: every validity bit is 0
  return 0;
}

ibv_ah* ibv_create_ah(ibv_pd* pd, ibv_ah_attr* attr) {
  Process& process = *Process::get();
  Context& context = Context::of(pd->context);
  const auto fail = [&](int error, const char* why) -> ibv_ah* {
    EFASIM_ERROR("%s: address handle refused: %s", context.nic->name, why);
    errno = error;
    return nullptr;
  };
  if (attr->port_num != 1) return fail(EINVAL, "port is not 1");
  if (context.faults->fire(FaultKind::kAhExhausted, FaultKind::kAhExhausted) >= 0) {
    return fail(ENOMEM, "fault on request");
  }
  std::lock_guard<std::mutex> guard(context.mutex);
  AhSlot* slot = nullptr;
  size_t number = 0, unused = context.handles.size();
  unsigned used = 0;
  for (size_t i = 0; i < context.handles.size(); i++) {
    AhSlot* candidate = context.handles[i];
    if (candidate->users == 0) {
      unused = std::min(unused, i);
      continue;
    }
    used++;
    if (memcmp(candidate->gid, attr->grh.dgid.raw, sizeof candidate->gid) == 0) {
      slot = candidate;
      number = i;
      break;
    }
  }
  if (slot == nullptr) {
    if (used >= process.profile.device.max_ah) return fail(ENOMEM, "all address handles are in use (limit ah)");
    if (unused == context.handles.size()) context.handles.push_back(new AhSlot);
    slot = context.handles[unused];
    number = unused;
    memcpy(slot->gid, attr->grh.dgid.raw, sizeof slot->gid);
    slot->nic_id = process.fabric->find_nic(slot->gid);
  }
  if (slot->nic_id == kNoNic) slot->nic_id = process.fabric->find_nic(slot->gid);
  slot->users++;
  if (slot->nic_id != kNoNic) {
    context.ahn_of_nic[slot->nic_id].store(static_cast<uint16_t>(number));
    process.fabric->proc().handles[context.nic_index % 32][slot->nic_id].fetch_add(1);
  }
  auto* ah = new Ah;
  ah->ibv.context = pd->context;
  ah->ibv.pd = pd;
  ah->ibv.handle = static_cast<uint32_t>(number);
  ah->number = static_cast<uint16_t>(number);
  ah->slot = slot;
  Pd::of(pd).users++;
  return &ah->ibv;
}

int ibv_destroy_ah(ibv_ah* ibv) {
  Ah* ah = &Ah::of(ibv);
  Context& context = Context::of(ibv->context);
  std::lock_guard<std::mutex> guard(context.mutex);
  AhSlot& slot = *ah->slot;
  if (slot.nic_id != kNoNic) {
    Process::get()->fabric->proc().handles[context.nic_index % 32][slot.nic_id].fetch_sub(1);
    if (slot.users == 1) context.ahn_of_nic[slot.nic_id].store(Context::kNoAhn);
  }
  if (--slot.users == 0) slot.nic_id = kNoNic;
  Pd::of(ibv->pd).users--;
  delete ah;
  return 0;
}

int efadv_query_ah(ibv_ah* ibv, efadv_ah_attr* attr, uint32_t length) {
  if (length < offsetof(efadv_ah_attr, reserved)) return EINVAL;
  memset(attr, 0, length);
  attr->ahn = Ah::of(ibv).number;
  return 0;
}

}  // extern "C"
