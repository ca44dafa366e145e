#include "channel/shm_words.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>

#include "channel/process_memory.hpp"

namespace efa {

std::string to_string(const ShmFailure& failure) {
  return std::string(failure.call) + ": " + std::strerror(failure.error);
}

// The calls are those of shm_segment.cpp, whose table is in docs/shm.md.
MessagePart remedy_for(const ShmFailure& failure) {
  const std::string_view call = failure.call;
  const auto is = [&](auto... errors) { return ((failure.error == errors) || ...); };
  if (is(EMFILE, ENFILE)) return msg::remedy_descriptors();
  if (call == "memfd_create" && is(EPERM, ENOSYS)) return msg::remedy_seccomp_memfd();
  if (call == "RLIMIT_FSIZE") return msg::remedy_file_size(shm_segment_size());
  if (call == "mmap" && is(ENOMEM)) return msg::remedy_address_space(shm_segment_size());
  if (call == "prctl PR_GET_DUMPABLE") return msg::remedy_dumpable();
  if (call == "readlink /proc/self" || (call.find("/proc/s") != call.npos && is(ENOENT)))
    return msg::remedy_proc();
  if (is(EACCES, EPERM)) return msg::remedy_one_user();
  if (is(ENOSPC)) return msg::remedy_senders(kShmSlots);
  return msg::remedy_shm_unknown();
}

MessagePart remedy_for_reading() {
  const int scope = ptrace_scope();
  return scope > 1 ? msg::remedy_ptrace_scope(scope) : msg::remedy_readv();
}

}  // namespace efa
