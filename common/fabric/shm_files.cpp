#include "fabric/shm_files.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>

namespace efa {
namespace {

constexpr std::string_view kPrefix = "mtl_efa.";
constexpr char kMarks = '=';                       // between a mark's process and the file that it marks
constexpr std::string_view kScheme = "fi_shm://";  // of shm's addresses
constexpr time_t kBeingMadeSeconds = 10;  // the owner of a file without a lock may be about to take it

// Field 22 of /proc/PID/stat. The second field, the program's name, may hold anything, so counting begins after it.
std::optional<uint64_t> start_time(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const auto name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  uint64_t ticks = 0;
  return fields >> ticks ? std::optional(ticks) : std::nullopt;
}

// Reads a number and the separator after it, which the end of the text may stand for.
bool take(std::string_view& text, char separator, uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  if (text.empty()) return true;
  if (text.front() != separator) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<ProcessName> own_process_name() {
  const pid_t pid = getpid();
  struct stat space;
  const auto started = start_time(pid);
  if (!started || stat("/proc/self/ns/pid", &space)) return std::nullopt;
  return ProcessName{pid, *started, space.st_ino};
}

std::string shm_file_name(const ProcessName& process) {
  return std::string(kPrefix) + std::to_string(process.pid) + "." + std::to_string(process.started) + "." +
         std::to_string(process.pid_namespace);
}

std::optional<ProcessName> process_of_shm_file(std::string_view file) {
  if (!file.starts_with(kPrefix)) return std::nullopt;
  file.remove_prefix(kPrefix.size());
  uint64_t pid = 0, started = 0, space = 0;
  file = file.substr(0, file.find_first_of(":="));
  if (!take(file, '.', pid) || !take(file, '.', started) || !take(file, '.', space) || !file.empty())
    return std::nullopt;
  if (pid == 0 || pid > INT32_MAX) return std::nullopt;
  return ProcessName{static_cast<pid_t>(pid), started, space};
}

std::string shm_address() {
  const auto self = own_process_name();
  return self ? std::string(kScheme) + shm_file_name(*self) : "";
}

bool is_dead(const ProcessName& process, const ProcessName& self) {
  if (process.pid_namespace != self.pid_namespace) return false;
  if (kill(process.pid, 0) != 0 && errno == ESRCH) return true;
  const auto started = start_time(process.pid);
  return started && *started != process.started;
}

namespace {

// Whether `name` in the open directory is a regular file of this user.
bool is_own_file(int directory, const char* name, struct stat& file) {
  return fstatat(directory, name, &file, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(file.st_mode) &&
         file.st_uid == geteuid();
}

bool is_locked(int directory, const char* name) {
  const int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  const bool free = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
  if (fd >= 0) close(fd);
  return !free;
}

// Whether the process that made this file, a mark or not, is dead.
bool is_left_behind(int directory, const char* name, const ProcessName& owner, const ProcessName& self) {
  struct stat file;
  if (!is_own_file(directory, name, file)) return false;
  if (owner.pid_namespace == self.pid_namespace) return is_dead(owner, self);
  return time(nullptr) - file.st_mtime > kBeingMadeSeconds && !is_locked(directory, name);
}

}  // namespace

int remove_files_of_dead(const std::string& directory) {
  const auto self = own_process_name();
  DIR* entries = self ? opendir(directory.c_str()) : nullptr;
  if (!entries) return 0;
  const int parent = dirfd(entries);
  int removed = 0;
  while (const dirent* entry = readdir(entries)) {
    const auto owner = process_of_shm_file(entry->d_name);
    const char* const sign = std::strchr(entry->d_name, kMarks);
    if (!owner || !is_left_behind(parent, entry->d_name, *owner, *self)) continue;
    struct stat marked;
    if (sign && is_own_file(parent, sign + 1, marked)) removed += unlinkat(parent, sign + 1, 0) == 0;
    removed += unlinkat(parent, entry->d_name, 0) == 0;
  }
  closedir(entries);
  return removed;
}

std::string shm_file_of_endpoint(std::string_view provider, const std::vector<uint8_t>& address) {
  if (provider == "shm") {
    std::string_view text(reinterpret_cast<const char*>(address.data()), address.size());
    text = text.substr(0, text.find('\0'));
    if (text.starts_with(kScheme)) text.remove_prefix(kScheme.size());
    return std::string(text);
  }
  // The address of libfabric's efa: GID, queue pair, padding, queue key; the name: efa_shm_ep_name_construct (1.17 to 2.6).
  struct {
    uint8_t gid[16];
    uint16_t qpn, padding;
    uint32_t qkey;
  } efa;
  char gid[INET6_ADDRSTRLEN], name[128];
  if (provider != "efa" || address.size() < sizeof efa) return "";
  std::memcpy(&efa, address.data(), sizeof efa);
  if (!inet_ntop(AF_INET6, efa.gid, gid, sizeof gid)) return "";
  std::snprintf(name, sizeof name, "%s_%04x_%08x_%04x", gid, efa.qpn, efa.qkey, getuid());
  return name;
}

void ShmFileMark::set(const std::string& file, const std::string& directory) {
  const auto self = own_process_name();
  if (lock_ >= 0 || file.empty() || file.find('/') != std::string::npos || !self) return;
  std::string path = directory + "/" + file;
  struct stat marked;
  if (lstat(path.c_str(), &marked) || !S_ISREG(marked.st_mode)) return;
  const bool named = process_of_shm_file(file) == self;
  int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
  if (!named) {
    path = directory + "/" + shm_file_name(*self) + kMarks + file;
    flags |= O_CREAT | O_EXCL;
  }
  lock_ = open(path.c_str(), flags, 0600);
  if (lock_ < 0) return;
  flock(lock_, LOCK_EX | LOCK_NB);  // nobody else takes it
  if (!named) mark_ = std::move(path);
}

void ShmFileMark::clear() {
  if (lock_ < 0) return;
  if (!mark_.empty()) unlink(mark_.c_str());
  mark_.clear();
  close(lock_);
  lock_ = -1;
}

uint64_t free_shared_memory() {
  struct statvfs room;
  return statvfs(kSharedMemory, &room) == 0 ? static_cast<uint64_t>(room.f_bsize) * room.f_bavail
                                            : UINT64_MAX;
}

}  // namespace efa
