// The device's log: one line per violation, injected fault or failure, to stderr and, with EFASIM_LOG=FILE, to
// a file that several processes may share (each line is one write to a file opened for appending).
#pragma once

namespace efasim {

enum class LogLevel { kError = 0, kInfo = 1 };

// Sets where lines are written. `path` may be empty (stderr only). Violations are always written, kInfo lines only if
// `verbose`. `quiet`: nothing on stderr, for tests that provoke violations. Called once, before other threads exist.
void log_open(const char* path, bool verbose, bool quiet);

__attribute__((format(printf, 2, 3))) void log_line(LogLevel level, const char* format, ...);

}  // namespace efasim

#define EFASIM_ERROR(...) ::efasim::log_line(::efasim::LogLevel::kError, __VA_ARGS__)
#define EFASIM_INFO(...) ::efasim::log_line(::efasim::LogLevel::kInfo, __VA_ARGS__)
