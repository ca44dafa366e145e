#include "log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace efasim {
namespace {

int log_file = -1;
bool log_verbose = false;
bool log_quiet = false;

// Bounds the log of a program that repeats an error.
constexpr unsigned kMaxErrorLines = 1000;
std::atomic<unsigned> error_lines{0};

}  // namespace

void log_open(const char* path, bool verbose, bool quiet) {
  log_verbose = verbose;
  log_quiet = quiet;
  if (path == nullptr || *path == '\0' || log_file >= 0) return;
  log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log_file < 0) EFASIM_ERROR("cannot open the log file %s; lines go to stderr only", path);
}

void log_line(LogLevel level, const char* format, ...) {
  if (level == LogLevel::kInfo && !log_verbose) return;
  bool last = false;
  if (level == LogLevel::kError) {
    const unsigned n = error_lines.fetch_add(1, std::memory_order_relaxed);
    if (n >= kMaxErrorLines) return;
    last = n + 1 == kMaxErrorLines;
  }
  char line[512];
  int length = snprintf(line, sizeof line, "efasim[%d]: ", static_cast<int>(getpid()));
  va_list args;
  va_start(args, format);
  length += vsnprintf(line + length, sizeof line - static_cast<size_t>(length) - 1, format, args);
  va_end(args);
  length = std::min(length, static_cast<int>(sizeof line) - 2);
  line[length++] = '\n';
  for (const int fd : {log_quiet ? -1 : STDERR_FILENO, log_file}) {
    if (fd >= 0 && write(fd, line, static_cast<size_t>(length)) < 0) continue;  // the error cannot be reported anywhere
  }
  if (last) log_line(LogLevel::kInfo, "more errors follow and are only counted");
}

}  // namespace efasim
