// Shared by all programs of this directory: start and end of the program, checks, and message buffers in which every byte
// is checked.
//
// A program includes this file, constructs one Program in main, and calls the expect functions. The first check that fails
// prints rank, file, line, expected and actual value and the current steps, and aborts the job. MPI errors are fatal, as
// MPI's default is, unless a program tests errors and sets MPI_ERRORS_RETURN.
#pragma once

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace efa::mpitest {

using Location = std::source_location;

// ---- Steps: a stack that says what the program does; printed with a failed check and at the runner's time limit ----------

struct Steps {
  static constexpr int kDeepest = 6;
  std::array<std::array<char, 200>, kDeepest> text;
  int depth = 0;
};
inline thread_local Steps steps;

// Describes the enclosing block, for example Step step("%d bytes, %s", size, name(mode)).
class Step {
 public:
  __attribute__((format(printf, 2, 3))) explicit Step(const char* format, ...) {
    if (steps.depth == Steps::kDeepest) std::abort();
    va_list arguments;
    va_start(arguments, format);
    auto& text = steps.text[static_cast<std::size_t>(steps.depth)];
    std::vsnprintf(text.data(), text.size(), format, arguments);
    va_end(arguments);
    ++steps.depth;
  }
  ~Step() { --steps.depth; }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
};

// ---- Checks --------------------------------------------------------------------------------------------

[[noreturn]] inline void fail(const std::string& what, const Location& at) {
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::string_view file = at.file_name();
  file.remove_prefix(std::min(file.size(), file.rfind('/') + 1));
  std::string line = "rank " + std::to_string(rank) + ": " + std::string(file) + ":" +
                     std::to_string(at.line()) + ": " + what;
  for (int i = 0; i < steps.depth; ++i)
    line += std::string("\n    in: ") + steps.text[static_cast<std::size_t>(i)].data();
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::abort();
}

inline void expect(bool holds, const char* what, const Location& at = Location::current()) {
  if (!holds) fail(std::string("does not hold: ") + what, at);
}

template <class Expected, class Got>
void expect_equal(const Expected& expected, const Got& got, const char* what,
                  const Location& at = Location::current()) {
  if (static_cast<std::common_type_t<Expected, Got>>(expected) ==
      static_cast<std::common_type_t<Expected, Got>>(got))
    return;
  fail(std::string(what) + ": expected " + std::to_string(expected) + ", got " + std::to_string(got), at);
}

inline std::string error_text(int code) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<std::size_t>(length));
}

// The result `code` of an MPI call must be of the error class (MPI_SUCCESS, MPI_ERR_TRUNCATE ...).
inline void expect_error(int error_class, int code, const char* what,
                         const Location& at = Location::current()) {
  int got = MPI_SUCCESS;
  MPI_Error_class(code, &got);
  if (got != error_class)
    fail(std::string(what) + ": expected " + error_text(error_class) + ", got " + error_text(code), at);
}

// ---- Payload -------------------------------------------------------------------------------------------

// The bytes of every message are computed from its sender, its tag and its number with that tag, so that a check fails if
// another message was received.
struct Key {
  int source;
  int tag;
  int sequence = 0;
};

// Eight bytes of a key's pattern: splitmix64, so that the bytes of neighbouring keys and offsets are unrelated.
inline std::uint64_t pattern_word(Key key, std::size_t word) {
  std::uint64_t x = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(key.source)) << 48) ^
                    (static_cast<std::uint64_t>(static_cast<std::uint32_t>(key.tag)) << 24) ^
                    static_cast<std::uint32_t>(key.sequence);
  x += (static_cast<std::uint64_t>(word) + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

inline std::uint8_t pattern_byte(Key key, std::size_t offset) {
  return static_cast<std::uint8_t>(pattern_word(key, offset / 8) >> (offset % 8 * 8));
}

inline void fill_pattern(void* where, std::size_t bytes, Key key) {
  auto* out = static_cast<std::uint8_t*>(where);
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t word = pattern_word(key, i / 8);
    std::memcpy(out + i, &word, std::min<std::size_t>(8, bytes - i));
  }
}

// Compares all bytes, and reports the first wrong one and the number of wrong ones.
inline void expect_pattern(const void* where, std::size_t bytes, Key key,
                           const Location& at = Location::current()) {
  const auto* in = static_cast<const std::uint8_t*>(where);
  std::size_t wrong = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::size_t n = std::min<std::size_t>(8, bytes - i);
    const std::uint64_t word = pattern_word(key, i / 8);
    if (std::memcmp(in + i, &word, n) == 0) continue;
    for (std::size_t j = i; j < i + n; ++j)
      if (in[j] != pattern_byte(key, j) && wrong++ == 0) first = j;
  }
  if (wrong == 0) return;
  char text[200];
  std::snprintf(text, sizeof text,
                "%zu of %zu bytes of the message (source %d, tag %d, sequence %d) are wrong, "
                "the first at offset %zu: expected 0x%02x, got 0x%02x",
                wrong, bytes, key.source, key.tag, key.sequence, first, pattern_byte(key, first), in[first]);
  fail(text, at);
}

// A message buffer of `size` bytes between two guards, `shift` bytes off 64-byte alignment. It is poisoned first, so that
// any byte that a receive wrote outside its message is found.
class Buffer {
 public:
  static constexpr std::uint8_t kPoison = 0xe5;

  explicit Buffer(std::size_t size, std::size_t shift = 0)
      : size_(size), shift_(shift), memory_(kGuard + shift + size + kGuard) {
    poison();
  }

  void* data() { return memory_.data() + kGuard + shift_; }
  std::uint8_t* bytes() { return memory_.data() + kGuard + shift_; }
  std::size_t size() const { return size_; }
  int count() const { return static_cast<int>(size_); }

  void fill(Key key) { fill_pattern(data(), size_, key); }
  void poison() { std::fill(memory_.begin(), memory_.end(), kPoison); }

  // The buffer must hold the first `received` bytes of the key's message, and nothing else may have been written.
  void expect_message(Key key, std::size_t received, const Location& at = Location::current()) {
    expect(received <= size_, "the message fits the buffer", at);
    expect_pattern(data(), received, key, at);
    expect_untouched_from(received, at);
  }
  void expect_message(Key key, const Location& at = Location::current()) { expect_message(key, size_, at); }

  // Nothing may have been written before the buffer, nor at or behind `offset`.
  void expect_untouched_from(std::size_t offset, const Location& at = Location::current()) {
    check_poison(0, kGuard + shift_, at);
    check_poison(kGuard + shift_ + offset, memory_.size(), at);
  }

 private:
  void check_poison(std::size_t begin, std::size_t end, const Location& at) {
    for (std::size_t i = begin; i < end; ++i) {
      if (memory_[i] == kPoison) continue;
      const auto offset = static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(kGuard + shift_);
      fail("a byte outside the message was written, at offset " + std::to_string(offset) +
               " of a buffer of " + std::to_string(size_) + " bytes",
           at);
    }
  }

  static constexpr std::size_t kGuard = 64;
  std::size_t size_;
  std::size_t shift_;
  std::vector<std::uint8_t> memory_;
};

// Message sizes in bytes at and around the thresholds of protocols: inject, EFA's packets (8928 bytes or less), eager,
// medium, RDMA read. Some are odd.
inline constexpr std::array<int, 31> kSizes{0,     1,     7,     8,      9,       31,      32,     33,
                                            63,    64,    65,    127,    128,     129,     1000,   3840,
                                            4096,  4097,  8191,  8192,   8900,    9001,    16384,  16385,
                                            65535, 65536, 65537, 131071, 1048575, 1048577, 3000017};

// ---- Statuses ------------------------------------------------------------------------------------------

inline void expect_status(const MPI_Status& status, int source, int tag, int count,
                          MPI_Datatype type = MPI_BYTE, const Location& at = Location::current()) {
  int got = -1;
  MPI_Get_count(&status, type, &got);
  expect_equal(source, status.MPI_SOURCE, "source in the status", at);
  expect_equal(tag, status.MPI_TAG, "tag in the status", at);
  expect_equal(count, got, "count in the status", at);
}

// The status that MPI specifies for operations with MPI_PROC_NULL.
inline void expect_proc_null_status(const MPI_Status& status, const Location& at = Location::current()) {
  expect_status(status, MPI_PROC_NULL, MPI_ANY_TAG, 0, MPI_BYTE, at);
}

// The status that MPI specifies for null and inactive requests.
inline void expect_empty_status(const MPI_Status& status, const Location& at = Location::current()) {
  expect_status(status, MPI_ANY_SOURCE, MPI_ANY_TAG, 0, MPI_BYTE, at);
}

// ---- Progress ------------------------------------------------------------------------------------------

// Makes progress for a while, so that messages on their way arrive as unexpected ones. No check may depend on how many
// have arrived.
inline void make_progress(std::chrono::microseconds duration = std::chrono::microseconds(300)) {
  const auto end = std::chrono::steady_clock::now() + duration;
  do {
    int found = 0;
    MPI_Iprobe(0, 12345, MPI_COMM_SELF, &found, MPI_STATUS_IGNORE);
    expect(found == 0, "a probe for an absent message finds nothing");
  } while (std::chrono::steady_clock::now() < end);
}

// The operation must stay incomplete while it is tested for `duration`.
inline void expect_incomplete(MPI_Request& request, const char* what,
                              std::chrono::milliseconds duration = std::chrono::milliseconds(10),
                              const Location& at = Location::current()) {
  const auto end = std::chrono::steady_clock::now() + duration;
  do {
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) fail(std::string("completed too early: ") + what, at);
  } while (std::chrono::steady_clock::now() < end);
}

// Zero-byte messages that order the steps of two ranks.
inline void give_token(int to, int tag, MPI_Comm comm) {
  MPI_Send(nullptr, 0, MPI_BYTE, to, tag, comm);
}
inline void take_token(int from, int tag, MPI_Comm comm) {
  MPI_Recv(nullptr, 0, MPI_BYTE, from, tag, comm, MPI_STATUS_IGNORE);
}

// ---- The program ---------------------------------------------------------------------------------------

// Handler of SIGUSR1, which the runner sends at the time limit (not SIGTERM, which mpirun uses): prints the current steps.
// It calls only functions that are safe in a signal handler.
inline void print_steps_and_exit(int) {
  const auto put = [](const char* text) { return write(STDERR_FILENO, text, std::strlen(text)); };
  put("ended at the time limit\n");
  for (int i = 0; i < steps.depth; ++i) {
    put("    in: ");
    put(steps.text[static_cast<std::size_t>(i)].data());
    put("\n");
  }
  _exit(1);
}

// The constructor starts MPI. The destructor finalizes it and prints the line that the runner counts, one per rank: after
// MPI_Finalize, so that a crash in it is a failure too.
class Program {
 public:
  Program(int argc, char** argv, int min_ranks, int thread_level = MPI_THREAD_SINGLE) {
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(&argc, &argv, thread_level, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    std::signal(SIGUSR1, print_steps_and_exit);
    std::string_view path = argv[0];
    name_ = path.substr(path.rfind('/') + 1);
    if (provided < thread_level) {
      std::fprintf(stderr, "%s: needs thread level %d, MPI gives %d\n", name_.c_str(), thread_level,
                   provided);
      MPI_Abort(MPI_COMM_WORLD, 2);
    }
    if (size < min_ranks) {
      if (rank == 0) std::fprintf(stderr, "%s: needs at least %d ranks\n", name_.c_str(), min_ranks);
      MPI_Abort(MPI_COMM_WORLD, 2);
    }
  }
  ~Program() {
    MPI_Barrier(MPI_COMM_WORLD);
    finish(name_.c_str(), rank, size);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Finalizes MPI and prints that line; for programs without a Program object.
  static void finish(const char* name, int rank, int size) {
    MPI_Finalize();
    char line[128];
    const int length = std::snprintf(line, sizeof line, "end of test %s, rank %d of %d\n", name, rank, size);
    if (write(STDOUT_FILENO, line, static_cast<std::size_t>(length)) != length) std::abort();
  }

  int rank = -1;
  int size = 0;

 private:
  std::string name_;
};

}  // namespace efa::mpitest
