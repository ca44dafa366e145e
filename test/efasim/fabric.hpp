// The fabric: a directory that stands for the network. This is one process's view of it: its own entries, the NICs
// and queue pairs of other processes, and the removal of processes that died without closing their devices.
//
// Control path only; the data path uses RemoteQp. All functions may be called by any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "profile.hpp"
#include "settings.hpp"
#include "shared.hpp"

namespace efasim {

// A queue pair to send to, mapped. Lives until the process ends, as a cache entry; `generation` and the entry's
// state tell whether it is still the same one.
struct RemoteQp {
  QpShared* shared;
  QpEntry* entry;
  NicEntry* nic;
  ProcShared* proc;
  uint32_t generation;
  uint32_t nic_id;
  uint32_t proc_slot;
  uint32_t pid;  // 0: cannot be reached by cross-memory attach
  bool same_process;

  bool alive() const {
    return entry->state.load(std::memory_order_acquire) == SlotState::kLive &&
           entry->generation.load(std::memory_order_relaxed) == generation;
  }
};

// This process's own queue pair in the registry.
struct OwnQp {
  QpShared* shared = nullptr;
  QpEntry* entry = nullptr;
  uint32_t qpn = 0;
  uint32_t generation = 0;
};

class Fabric {
 public:
  // Attaches to the directory, registers this process and the node's NICs, and removes dead processes. Null and a
  // message for the user on failure.
  static std::unique_ptr<Fabric> attach(const Settings& settings, const Profile& profile, std::string* error);

  // For the launcher: maps the registry without registering. Null if there is none.
  static const FabricShared* inspect(const std::string& directory);
  // For the launcher: removes dead processes; returns how many are still alive.
  static int sweep(const std::string& directory);

  NicEntry& nic(uint32_t id) { return shared_->nics[id]; }
  uint32_t own_nic(unsigned index) const { return own_nics_[index]; }
  uint32_t proc_slot() const { return proc_slot_; }
  ProcShared& proc() { return *proc_; }

  // The NIC with that GID, or kNoNic.
  uint32_t find_nic(const uint8_t (&gid)[16]) const;

  // Null: no such queue pair, or it died.
  RemoteQp* open_remote(uint32_t nic_id, uint32_t qpn);

  // False with errno: ENOMEM when the NIC has no free queue pair.
  bool create_qp(uint32_t nic_id, unsigned max_qp, bool is_ud, uint32_t pd, unsigned ring_slots, OwnQp* qp);
  void destroy_qp(uint32_t nic_id, OwnQp* qp);

  // Whether the process still holds its lock. If it does not, removes the process and its queue pairs.
  bool check_alive(uint32_t proc_slot);

  // At the end of the process: removes its entries.
  void leave();

 private:
  Fabric() = default;

  std::string directory_;
  FabricShared* shared_ = nullptr;
  ProcShared* proc_ = nullptr;
  uint32_t proc_slot_ = 0;
  int proc_file_ = -1;
  std::vector<uint32_t> own_nics_;
  bool cma_ = true;
  std::mutex remotes_mutex_;
  std::unordered_map<uint64_t, RemoteQp*> remotes_;         // by NIC and QPN; replaced when the generation changes
  std::unordered_map<uint32_t, ProcShared*> remote_procs_;  // by slot; likewise
};

}  // namespace efasim
