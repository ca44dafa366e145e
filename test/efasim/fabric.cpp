#include "fabric.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "log.hpp"
#include "ring.hpp"

namespace efasim {
namespace {

// The registry's lock: flock() of a newly opened file. Threads exclude each other too, and a killed process
// releases the lock.
class RegistryLock {
 public:
  explicit RegistryLock(const std::string& directory)
      : fd_(open((directory + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    while (fd_ >= 0 && flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~RegistryLock() {
    if (fd_ >= 0) close(fd_);
  }
  RegistryLock(const RegistryLock&) = delete;
  RegistryLock& operator=(const RegistryLock&) = delete;
  bool held() const { return fd_ >= 0; }

 private:
  int fd_;
};

void* map_file(int fd, size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// Opens and maps a file of known size; creates it when asked. The descriptor is closed unless keep_fd is given.
void* open_segment(const std::string& path, size_t size, bool create, int* keep_fd = nullptr) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
  if (fd < 0) return nullptr;
  void* memory = nullptr;
  struct stat status;
  if (create && ftruncate(fd, static_cast<off_t>(size)) != 0) goto done;
  if (fstat(fd, &status) != 0 || static_cast<size_t>(status.st_size) < size) goto done;  // would be SIGBUS later
  memory = map_file(fd, size);
done:
  if (memory != nullptr && keep_fd != nullptr)
    *keep_fd = fd;
  else
    close(fd);
  return memory;
}

std::string fabric_path(const std::string& directory) { return directory + "/fabric"; }
std::string proc_path(const std::string& directory, uint32_t slot) {
  return directory + "/proc." + std::to_string(slot);
}
std::string qp_path(const std::string& directory, uint32_t nic, uint32_t qpn, uint32_t generation) {
  return directory + "/qp." + std::to_string(nic) + "." + std::to_string(qpn) + "." + std::to_string(generation);
}

uint64_t pid_namespace() {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

// A record lock belongs to the process: a child does not inherit it, and the process's death releases it. It is
// visible from every PID namespace.
bool owner_lives(const std::string& directory, uint32_t slot) {
  const int fd = open(proc_path(directory, slot).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const bool locked = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(fd);
  return locked;
}

// Removes a dead process from the registry. The registry's lock is held.
void remove_process(FabricShared* shared, const std::string& directory, uint32_t slot) {
  for (uint32_t n = 0; n < kMaxNics; n++) {
    NicEntry& nic = shared->nics[n];
    if (nic.state.load(std::memory_order_acquire) != SlotState::kLive) break;  // NICs are never removed
    for (uint32_t qpn = 0; qpn < kMaxQps; qpn++) {
      QpEntry& entry = nic.qps[qpn];
      if (entry.state.load(std::memory_order_acquire) != SlotState::kLive || entry.proc != slot) continue;
      entry.receiving.store(0, std::memory_order_relaxed);
      entry.state.store(SlotState::kDead, std::memory_order_release);
      unlink(qp_path(directory, n, qpn, entry.generation.load(std::memory_order_relaxed)).c_str());
    }
  }
  shared->procs[slot].state.store(SlotState::kFree, std::memory_order_release);
  unlink(proc_path(directory, slot).c_str());
}

int sweep_locked(FabricShared* shared, const std::string& directory) {
  int alive = 0;
  for (uint32_t slot = 0; slot < kMaxProcs; slot++) {
    if (shared->procs[slot].state.load(std::memory_order_acquire) != SlotState::kLive) continue;
    if (owner_lives(directory, slot)) {
      alive++;
      continue;
    }
    EFASIM_INFO("process %u (number %u) died without closing its devices: reclaimed", shared->procs[slot].pid, slot);
    remove_process(shared, directory, slot);
  }
  return alive;
}

// fe80::/64 with an interface identifier made of the node's name and the NIC's number. GIDs of different nodes must
// differ, because libfabric considers a peer with the GID of a local NIC local.
void make_gid(const std::string& node, unsigned index, uint8_t (&gid)[16]) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : node) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  memset(gid, 0, sizeof gid);
  gid[0] = 0xfe;
  gid[1] = 0x80;
  for (int i = 0; i < 6; i++) gid[8 + i] = static_cast<uint8_t>(hash >> (8 * i));
  gid[14] = static_cast<uint8_t>(index >> 8);
  gid[15] = static_cast<uint8_t>(index + 1);
}

// Finds or makes the node's NIC. The registry's lock is held.
uint32_t register_nic(FabricShared* shared, const std::string& node, unsigned index, const Profile& profile,
                      std::string* error) {
  uint8_t gid[16];
  make_gid(node, index, gid);
  for (uint32_t id = 0; id < kMaxNics; id++) {
    NicEntry& nic = shared->nics[id];
    if (nic.state.load(std::memory_order_relaxed) != SlotState::kLive) {
      nic.index = index;
      snprintf(nic.node, sizeof nic.node, "%s", node.c_str());
      snprintf(nic.name, sizeof nic.name, "%s", profile.nics[index].name.c_str());
      snprintf(nic.profile, sizeof nic.profile, "%s", profile.name.c_str());
      memcpy(nic.gid, gid, sizeof gid);
      nic.state.store(SlotState::kLive, std::memory_order_release);
      return id;
    }
    if (memcmp(nic.gid, gid, sizeof gid) != 0) continue;
    if (node != nic.node || profile.nics[index].name != nic.name) {
      *error =
          "node '" + node + "' is already in the fabric with profile " + nic.profile + "; use another --node or --dir";
      return kNoNic;
    }
    return id;
  }
  *error = "the fabric is full: " + std::to_string(kMaxNics) + " NICs";
  return kNoNic;
}

}  // namespace

std::unique_ptr<Fabric> Fabric::attach(const Settings& settings, const Profile& profile, std::string* error) {
  std::unique_ptr<Fabric> fabric(new Fabric);
  fabric->directory_ = settings.directory;
  fabric->cma_ = settings.cma;
  RegistryLock lock(settings.directory);
  void* memory = lock.held() ? open_segment(fabric_path(settings.directory), sizeof(FabricShared), true) : nullptr;
  if (memory == nullptr) {
    *error =
        "cannot use EFASIM_DIR=" + settings.directory + ": " + strerror(errno) + " (start the program with efasim-run)";
    return nullptr;
  }
  fabric->shared_ = static_cast<FabricShared*>(memory);
  if (fabric->shared_->magic.load() == 0) fabric->shared_->magic.store(kMagic);
  if (fabric->shared_->magic.load() != kMagic) {
    *error = "EFASIM_DIR=" + settings.directory + " was made by another version of the device; remove it";
    return nullptr;
  }
  sweep_locked(fabric->shared_, settings.directory);

  uint32_t slot = 0;
  while (slot < kMaxProcs && fabric->shared_->procs[slot].state.load() == SlotState::kLive) slot++;
  if (slot == kMaxProcs) {
    *error = "the fabric is full: " + std::to_string(kMaxProcs) + " processes";
    return nullptr;
  }
  unlink(proc_path(settings.directory, slot).c_str());
  void* proc = open_segment(proc_path(settings.directory, slot), sizeof(ProcShared), true, &fabric->proc_file_);
  if (proc == nullptr) {
    *error = "cannot make a shared segment in " + settings.directory + ": " + strerror(errno);
    return nullptr;
  }
  struct flock record = {};
  record.l_type = F_WRLCK;
  record.l_whence = SEEK_SET;
  if (fcntl(fabric->proc_file_, F_SETLK, &record) != 0) {
    *error = "cannot lock a file in " + settings.directory + ": " + strerror(errno);
    return nullptr;
  }
  for (unsigned i = 0; i < profile.nics.size(); i++) {
    const uint32_t id = register_nic(fabric->shared_, settings.node, i, profile, error);
    if (id == kNoNic) return nullptr;
    fabric->own_nics_.push_back(id);
  }

  ProcEntry& entry = fabric->shared_->procs[slot];
  entry.pid = static_cast<uint32_t>(getpid());
  entry.pid_namespace = pid_namespace();
  entry.generation = ++fabric->shared_->next_generation;
  fabric->proc_slot_ = slot;
  fabric->proc_ = static_cast<ProcShared*>(proc);
  fabric->proc_->generation = entry.generation;
  fabric->proc_->probe_address = reinterpret_cast<uint64_t>(&fabric->proc_->generation);
  fabric->proc_->magic.store(kMagic, std::memory_order_release);
  entry.state.store(SlotState::kLive, std::memory_order_release);
#ifdef PR_SET_PTRACER
  // Allows the peers to use cross-memory attach where Yama restricts it to descendants. Without Yama the call fails,
  // which has no effect.
  if (settings.cma) prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
#endif
  return fabric;
}

const FabricShared* Fabric::inspect(const std::string& directory) {
  auto* shared = static_cast<FabricShared*>(open_segment(fabric_path(directory), sizeof(FabricShared), false));
  return shared != nullptr && shared->magic.load() == kMagic ? shared : nullptr;
}

int Fabric::sweep(const std::string& directory) {
  RegistryLock lock(directory);
  auto* shared = const_cast<FabricShared*>(inspect(directory));
  if (!lock.held() || shared == nullptr) return 0;
  const int alive = sweep_locked(shared, directory);
  munmap(shared, sizeof *shared);
  return alive;
}

uint32_t Fabric::find_nic(const uint8_t (&gid)[16]) const {
  for (uint32_t id = 0; id < kMaxNics; id++) {
    const NicEntry& nic = shared_->nics[id];
    if (nic.state.load(std::memory_order_acquire) != SlotState::kLive) return kNoNic;
    if (memcmp(nic.gid, gid, sizeof gid) == 0) return id;
  }
  return kNoNic;
}

RemoteQp* Fabric::open_remote(uint32_t nic_id, uint32_t qpn) {
  if (nic_id >= kMaxNics || qpn >= kMaxQps) return nullptr;
  QpEntry& entry = shared_->nics[nic_id].qps[qpn];
  if (entry.state.load(std::memory_order_acquire) != SlotState::kLive) return nullptr;
  const uint32_t generation = entry.generation.load(std::memory_order_relaxed);
  const uint32_t slot = entry.proc;

  std::lock_guard<std::mutex> guard(remotes_mutex_);
  RemoteQp*& cached = remotes_[uint64_t{nic_id} << 32 | qpn];
  if (cached != nullptr && cached->generation == generation) return cached;

  auto* shared =
      static_cast<QpShared*>(open_segment(qp_path(directory_, nic_id, qpn, generation), sizeof(QpShared), false));
  if (shared == nullptr) return nullptr;
  const size_t size = qp_file_size(shared->ring_slots);
  munmap(shared, sizeof *shared);
  shared = static_cast<QpShared*>(open_segment(qp_path(directory_, nic_id, qpn, generation), size, false));
  if (shared == nullptr) return nullptr;

  ProcShared*& proc = remote_procs_[slot];
  if (slot == proc_slot_) proc = proc_;
  if (proc == nullptr || proc->generation != shared_->procs[slot].generation) {
    // The previous mapping stays, because another thread may still use it.
    proc = static_cast<ProcShared*>(open_segment(proc_path(directory_, slot), sizeof(ProcShared), false));
    if (proc == nullptr) {
      munmap(shared, size);
      return nullptr;
    }
  }

  const ProcEntry& owner = shared_->procs[slot];
  uint32_t pid = 0;
  if (cma_ && owner.pid_namespace == pid_namespace()) {
    // Try it: Yama, seccomp, a user namespace or another user may forbid it.
    uint64_t found = 0;
    iovec local = {&found, sizeof found};
    iovec remote = {reinterpret_cast<void*>(proc->probe_address), sizeof found};
    if (process_vm_readv(static_cast<pid_t>(owner.pid), &local, 1, &remote, 1, 0) == sizeof found &&
        found == owner.generation) {
      pid = owner.pid;
    }
  }
  cached =
      new RemoteQp{shared, &entry, &shared_->nics[nic_id], proc, generation, nic_id, slot, pid, slot == proc_slot_};
  return cached;
}

bool Fabric::create_qp(uint32_t nic_id, unsigned max_qp, bool is_ud, uint32_t pd, unsigned ring_slots, OwnQp* qp) {
  RegistryLock lock(directory_);
  if (!lock.held()) return false;
  NicEntry& nic = shared_->nics[nic_id];
  unsigned live = 0;
  for (const QpEntry& entry : nic.qps) live += entry.state.load(std::memory_order_relaxed) == SlotState::kLive;
  if (live >= max_qp) {
    errno = ENOMEM;
    return false;
  }
  // Round robin, so that a QPN is reused as late as possible.
  uint32_t qpn = nic.next_qpn % kMaxQps;
  while (nic.qps[qpn].state.load() == SlotState::kLive) qpn = (qpn + 1) % kMaxQps;
  nic.next_qpn = (qpn + 1) % kMaxQps;

  QpEntry& entry = nic.qps[qpn];
  for (unsigned i = 0; i < kNumCounters; i++) {
    nic.retired.values[i].fetch_add(entry.counters.get(i), std::memory_order_relaxed);
    entry.counters.values[i].store(0, std::memory_order_relaxed);
  }
  const uint32_t generation = entry.generation.load() + 1;
  auto* shared = static_cast<QpShared*>(
      open_segment(qp_path(directory_, nic_id, qpn, generation), qp_file_size(ring_slots), true));
  if (shared == nullptr) {
    EFASIM_ERROR("%s: cannot make the segment of a queue pair in %s: %s", nic.name, directory_.c_str(),
                 strerror(errno));
    errno = ENOMEM;
    return false;
  }
  Ring::initialize(shared, ring_slots);
  shared->magic.store(kMagic, std::memory_order_release);
  entry.generation.store(generation, std::memory_order_relaxed);
  entry.receiving.store(0, std::memory_order_relaxed);
  entry.proc = proc_slot_;
  entry.is_ud = is_ud;
  entry.pd = pd;
  entry.state.store(SlotState::kLive, std::memory_order_release);
  *qp = {shared, &entry, qpn, generation};
  return true;
}

void Fabric::destroy_qp(uint32_t nic_id, OwnQp* qp) {
  RegistryLock lock(directory_);
  qp->entry->receiving.store(0, std::memory_order_relaxed);
  qp->entry->state.store(SlotState::kDead, std::memory_order_release);
  unlink(qp_path(directory_, nic_id, qp->qpn, qp->generation).c_str());
  munmap(qp->shared, qp_file_size(qp->shared->ring_slots));
  qp->shared = nullptr;
}

bool Fabric::check_alive(uint32_t slot) {
  if (slot == proc_slot_ || owner_lives(directory_, slot)) return true;
  RegistryLock lock(directory_);
  if (shared_->procs[slot].state.load() != SlotState::kLive || owner_lives(directory_, slot)) return false;
  EFASIM_INFO("process %u (number %u) died: its queue pairs are gone", shared_->procs[slot].pid, slot);
  remove_process(shared_, directory_, slot);
  return false;
}

void Fabric::leave() {
  RegistryLock lock(directory_);
  if (lock.held()) remove_process(shared_, directory_, proc_slot_);
}

}  // namespace efasim
