// Reading the memory of another process of the node (process_vm_readv): one copy, from the sender's buffer to the
// receiver's.
//
// Linux allows what it allows a debugger that attaches: the same user, a dumpable process, and whatever the security
// modules add. Under Yama with ptrace_scope 1 (Ubuntu's default) a process reads its descendants' memory only, so ranks,
// which are siblings, cannot; unless the process that is read has named readers: allow_any_reader(). seccomp of containers
// may forbid the call altogether. So each peer is probed.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace efa {

// Whether the process `pid` is the one that has `expected` (16 bytes) at `cookie_address`, and its memory can be read. 0, or an
// errno value: ESTALE if it is another process.
int probe_process_memory(uint32_t pid, uint64_t cookie_address, const uint8_t (&expected)[16]);

// Nanoseconds of one call that reads the 16 bytes of such a cookie: the least of a few, UINT64_MAX if they cannot be read.
// 550 on a virtual Xeon; mitigations in the kernel can make it several times that.
uint64_t cost_of_reading(uint32_t pid, uint64_t cookie_address);

// Reads the remote parts, one after the other, into the local ones. As many bytes are read as the shorter list has; both
// may have any number of parts, empty ones too. 0, or an errno value (EPERM, ESRCH, EFAULT, ...); then the local memory may have
// been written in part.
int read_process_memory(uint32_t pid, const iovec* local, size_t local_parts, const iovec* remote,
                        size_t remote_parts);

// Lets the other processes of this user read this one's memory where Yama restricts that to its ancestors
// (ptrace_scope 1); does nothing elsewhere. Returns whether it did. The price: until reset_readers(), a compromised
// process of the same user can attach to this one, as on systems without Yama. Only the process that is read can
// call it, so each process of a job would; only if nothing else works.
bool allow_any_reader();
// Yama's kernel.yama.ptrace_scope; 0 without Yama.
int ptrace_scope();
void reset_readers();

}  // namespace efa
