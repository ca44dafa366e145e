// All settings. The launcher turns its options into EFASIM_* variables (the table in
// settings.cpp); the library reads them in each process. A value that is not understood is an error that names
// the variable, never a default.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "faults.hpp"
#include "link_model.hpp"

namespace efasim {

// Limits that a test makes small; 0: the device's own (profile.hpp).
struct Limits {
  uint32_t qp = 0;        // queue pairs per NIC
  uint32_t cq = 0;        // completion queues per context
  uint32_t cqe = 0;       // entries per completion queue
  uint32_t mr = 0;        // memory regions per process
  uint64_t mr_bytes = 0;  // registered bytes per process
  uint32_t ah = 0;        // address handles per context
  uint32_t sq = 0;        // send work requests per queue pair
  uint32_t rq = 0;        // receive work requests per queue pair
  uint32_t ring = 128;    // packets on their way to one queue pair; a power of two
};

struct Settings {
  std::string directory;  // of the fabric; empty: no device
  std::string node;       // emulated host; processes with the same name share NICs
  std::string profile;
  uint32_t nics = 0;   // use only the first N of the profile; 0: all
  int rdma_read = -1;  // capability forced on (1) or off (0)
  int rdma_write = -1;
  bool cma = true;                  // cross-memory attach may be used
  uint32_t tick_us = 1000;          // time without a poll after which the engine moves the traffic
  uint32_t unresponsive_ms = 1000;  // time without an answer after which a work request fails
  LinkModel link;
  Limits limits;
  std::vector<FaultRule> faults;
  std::string log;
  bool verbose = false;
  bool quiet = false;
};

// A variable of the environment, for the launcher's help and the documentation.
struct SettingName {
  const char* variable;
  const char* meaning;
};
const std::vector<SettingName>& setting_names();

// Reads the environment and, for variables that are not set there, the file `settings` in the fabric's directory
// (lines VARIABLE=value, written by efasim-run). False and a message for the user on failure.
bool read_settings(Settings* settings, std::string* error);

// "10us", "1.5ms", "250" (nanoseconds); "10G", "400M" bit/s; "64Mi", "1G" bytes; "0.01". False if malformed.
bool parse_duration_ns(const std::string& text, uint64_t* ns);
bool parse_number(const std::string& text, uint64_t* value);
bool parse_probability(const std::string& text, double* value);

// "a=1,b=2" as pairs; a bare word has the value "1".
std::vector<std::pair<std::string, std::string>> parse_pairs(const std::string& text);

}  // namespace efasim
