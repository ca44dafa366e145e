// Reading another process's memory: parts, errors, the right process.
#include "channel/process_memory.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace efa;

namespace {

uint32_t own_pid() {
  return static_cast<uint32_t>(getpid());
}

int exit_of(const std::function<int()>& what) {
  const pid_t pid = fork();
  if (pid == 0) _exit(what());
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

// `bytes` in `parts` parts at random ends, some of them empty; in memory at `at`, with gaps.
std::vector<iovec> cut(uint8_t* at, size_t bytes, size_t parts, std::mt19937& random) {
  std::vector<size_t> ends(parts - 1);
  for (size_t& end : ends) end = random() % (bytes + 1);
  ends.push_back(bytes);
  std::sort(ends.begin(), ends.end());
  std::vector<iovec> list;
  for (size_t i = 0, begin = 0; i < parts; begin = ends[i++])
    list.push_back({at + begin + 3 * i, ends[i] - begin});
  return list;
}

}  // namespace

TEST_CASE("Lists of any number of parts are read as one") {
  std::mt19937 random(1);
  struct Lists {
    size_t bytes, local, remote;
  };
  for (const Lists lists : {Lists{100, 1, 1},
                            {100, 1, 7},
                            {100, 7, 1},
                            {5000, 64, 65},
                            {5000, 65, 64},
                            {100'000, 3000, 1},
                            {100'000, 1, 3000},
                            {300'000, 3000, 2500},
                            {50, 200, 300},
                            {0, 5, 3}}) {
    INFO(lists.bytes << " bytes, " << lists.local << " and " << lists.remote << " parts");
    std::vector<uint8_t> there(lists.bytes + 3 * lists.remote), here(lists.bytes + 3 * lists.local, 0xee);
    for (uint8_t& byte : there) byte = static_cast<uint8_t>(random() % 200);
    const auto to = cut(here.data(), lists.bytes, lists.local, random);
    const auto from = cut(there.data(), lists.bytes, lists.remote, random);
    REQUIRE(read_process_memory(own_pid(), to.data(), to.size(), from.data(), from.size()) == 0);
    std::vector<uint8_t> expected, found;
    for (const iovec& part : from) {
      const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
      expected.insert(expected.end(), bytes, bytes + part.iov_len);
    }
    size_t untouched = here.size();
    for (const iovec& part : to) {
      const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
      found.insert(found.end(), bytes, bytes + part.iov_len);
      untouched -= part.iov_len;
    }
    CHECK(found == expected);
    CHECK(static_cast<size_t>(std::count(here.begin(), here.end(), 0xee)) == untouched);
  }
}

TEST_CASE("The shorter list ends the read") {
  uint8_t there[100], here[100] = {};
  std::iota(std::begin(there), std::end(there), 1);
  const iovec to{here, 10}, from{there, 100}, small{there, 5}, all{here, 100};
  REQUIRE(read_process_memory(own_pid(), &to, 1, &from, 1) == 0);
  CHECK(here[9] == 10);
  CHECK(here[10] == 0);
  std::memset(here, 0, sizeof here);
  REQUIRE(read_process_memory(own_pid(), &all, 1, &small, 1) == 0);
  CHECK(here[4] == 5);
  CHECK(here[5] == 0);
  CHECK(read_process_memory(own_pid(), nullptr, 0, &small, 1) == 0);
  CHECK(read_process_memory(own_pid(), &all, 1, nullptr, 0) == 0);
}

TEST_CASE("A child reads its parent's memory, and probes it") {
  const uint8_t cookie[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  std::vector<uint8_t> data(3 << 20);
  std::iota(data.begin(), data.end(), 0);
  const uint32_t parent = own_pid();
  const auto at = reinterpret_cast<uintptr_t>(cookie);
  const int exit = exit_of([&] {
    allow_any_reader();  // of the child: no help for the parent's memory
    if (const int error = probe_process_memory(parent, at, cookie)) return error;
    std::vector<uint8_t> here(data.size());
    std::fill(data.begin(), data.end(), 0);  // the child's copy
    const iovec to{here.data(), here.size()}, from{data.data(), data.size()};
    if (const int error = read_process_memory(parent, &to, 1, &from, 1)) return error;
    for (size_t i = 0; i < here.size(); ++i)
      if (here[i] != static_cast<uint8_t>(i)) return 250;
    return 0;
  });
  // A container may forbid the call, and Yama a child's look at its parent.
  if (exit == EPERM || exit == ENOSYS)
    WARN("process_vm_readv of the parent is forbidden here");
  else
    CHECK(exit == 0);
}

TEST_CASE("A probe tells another process from the right one") {
  uint8_t cookie[16] = {1, 2, 3};
  const auto at = reinterpret_cast<uintptr_t>(cookie);
  uint8_t expected[16] = {1, 2, 3};
  CHECK(probe_process_memory(own_pid(), at, expected) == 0);
  CHECK(cost_of_reading(own_pid(), at) < 1'000'000'000);
  CHECK(cost_of_reading(own_pid(), 16) == UINT64_MAX);
  for (uint8_t& byte : expected) {
    byte ^= 0x40;
    CHECK(probe_process_memory(own_pid(), at, expected) == ESTALE);
    byte ^= 0x40;
  }
  CHECK(probe_process_memory(own_pid(), 16, expected) == ESTALE);
  CHECK(probe_process_memory(own_pid(), UINT64_MAX - 3, expected) == ESTALE);
}

TEST_CASE("Errors are those of the system") {
  uint8_t here[8192];
  const iovec to{here, sizeof here};
  const pid_t dead = fork();
  if (dead == 0) _exit(0);
  waitpid(dead, nullptr, 0);
  CHECK(read_process_memory(static_cast<uint32_t>(dead), &to, 1, &to, 1) == ESRCH);
  const uint8_t cookie[16] = {};
  CHECK(probe_process_memory(static_cast<uint32_t>(dead), 4096, cookie) == ESRCH);

  // The second of two pages cannot be read: in one part, in two, and in the second call.
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  char* const pages =
      static_cast<char*>(mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::memset(pages, 5, page);
  REQUIRE(mprotect(pages + page, page, PROT_NONE) == 0);
  std::vector<uint8_t> room(2 * page);
  const iovec all{room.data(), room.size()};
  const iovec one{pages, 2 * page};
  CHECK(read_process_memory(own_pid(), &all, 1, &one, 1) == EFAULT);
  const iovec two[] = {{pages, page}, {pages + page, page}};
  CHECK(read_process_memory(own_pid(), &all, 1, two, 2) == EFAULT);
  std::vector<iovec> many(600, iovec{pages, 1});
  many.push_back({pages + page, 1});
  CHECK(read_process_memory(own_pid(), &all, 1, many.data(), many.size()) == EFAULT);
  many.pop_back();
  CHECK(read_process_memory(own_pid(), &all, 1, many.data(), many.size()) == 0);
  munmap(pages, 2 * page);
}

TEST_CASE("Another user's memory is refused") {
  if (geteuid() != 0) return;
  const uint8_t cookie[16] = {7};
  const uint32_t parent = own_pid();
  const int exit = exit_of([&] {
    if (setgid(65534) != 0 || setuid(65534) != 0) return 250;
    return probe_process_memory(parent, reinterpret_cast<uintptr_t>(cookie), cookie);
  });
  CHECK((exit == EPERM || exit == ENOSYS));
}

TEST_CASE("Readers are allowed only where Yama restricts them") {
  const int exit = exit_of([] {
    char scope = '0';
    if (FILE* const file = fopen("/proc/sys/kernel/yama/ptrace_scope", "r")) {
      scope = static_cast<char>(fgetc(file));
      fclose(file);
    }
    const bool allowed = allow_any_reader();
    reset_readers();
    return allowed == (scope == '1') ? 0 : 1;
  });
  CHECK(exit == 0);
}
