// The files in /dev/shm by which the peers of a node find this process over libfabric's providers shm and efa.
//
// libfabric names them after the process id alone. A file that a killed process left then stops the next one that gets
// its id (smr_retry_map refuses with FI_EBUSY), and of two processes with the same id in different PID namespaces that
// share /dev/shm the second removes the first one's. So the names are ours: process id, time at which the process
// started, PID namespace. Since they say whose they are, what killed processes left is removed here.
//
// efa names its files, of 16 MiB for each endpoint, after the endpoint. So an empty file beside each tells its process: a
// mark. The process holds a lock on what has its name, which the kernel releases when it ends. That can be seen from
// another PID namespace, where process ids say nothing: of containers that share /dev/shm.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace efa {

struct ProcessName {
  pid_t pid = 0;
  uint64_t started = 0;        // clock ticks after the machine's start, as in /proc/PID/stat
  uint64_t pid_namespace = 0;  // inode of /proc/PID/ns/pid

  bool operator==(const ProcessName&) const = default;
};

// This process; nothing where /proc does not tell.
std::optional<ProcessName> own_process_name();

// "mtl_efa.PID.STARTED.NAMESPACE", to which libfabric appends ":UID:ENDPOINT"; and back, for a name that begins so.
std::string shm_file_name(const ProcessName& process);
std::optional<ProcessName> process_of_shm_file(std::string_view file);

// The address that the provider shm names a file by: fi_info.src_addr; empty where /proc does not tell.
std::string shm_address();

// Certainly: of this PID namespace, and the process is gone or another one has its id.
bool is_dead(const ProcessName& process, const ProcessName& self);

// Removes the files in `directory` that are named as above, those that they mark, and the marks, if they belong to this
// user and their process is dead; how many.
int remove_files_of_dead(const std::string& directory);

inline constexpr const char* kSharedMemory = "/dev/shm";

// The name of the file of an endpoint with this address; empty for providers that have none.
std::string shm_file_of_endpoint(std::string_view provider, const std::vector<uint8_t>& address);

// Tells whose file it is while it is in use: by a mark, "mtl_efa.PID.STARTED.NAMESPACE=FILE", unless its name does, and by a
// lock. Both end with the object.
class ShmFileMark {
 public:
  ShmFileMark() = default;
  ShmFileMark(const ShmFileMark&) = delete;
  ShmFileMark& operator=(const ShmFileMark&) = delete;
  ~ShmFileMark() { clear(); }

  // Marks `file` in `directory`, if it is there. If that cannot be done, it stays unmarked.
  void set(const std::string& file, const std::string& directory = kSharedMemory);
  void clear();

 private:
  std::string mark_;  // empty: the file itself is locked
  int lock_ = -1;
};

// Bytes that are free there; UINT64_MAX if that cannot be found out.
uint64_t free_shared_memory();

}  // namespace efa
