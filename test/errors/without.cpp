// without CALL PROGRAM [ARGUMENT...]   Runs a program whose system calls CALL fail with "Operation not permitted", as under the
//                                      seccomp profile of a container.
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "../unit/forbid.hpp"

int main(int argc, char** argv) {
  constexpr struct {
    const char* name;
    long number;
  } kCalls[] = {{"memfd_create", SYS_memfd_create}, {"process_vm_readv", SYS_process_vm_readv}};
  if (argc > 2)
    for (const auto& call : kCalls)
      if (std::strcmp(argv[1], call.name) == 0) {
        forbid(call.number, EPERM);
        execvp(argv[2], argv + 2);
        std::perror(argv[2]);
        return 2;
      }
  std::fprintf(stderr, "usage: without memfd_create|process_vm_readv PROGRAM [ARGUMENT...]\n");
  return 2;
}
