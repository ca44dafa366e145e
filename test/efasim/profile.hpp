// What a NIC of an instance type can do: EC2's facts from the project's instance table (common/machine/instances.hpp),
// and the facts of the device itself, by its generation, from the table in profile.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/machine/instances.hpp"
#include "settings.hpp"

namespace efasim {

// The device's own facts, by PCI device number.
struct DeviceFacts {
  uint16_t part;
  const char* generation;
  uint32_t mtu;  // bytes of one SRD message
  uint32_t max_sq_wr;
  uint32_t max_rq_wr;
  uint32_t max_sq_sge;
  uint32_t max_rq_sge;
  uint32_t inline_bytes;
  uint32_t max_qp;
  uint32_t max_cq;
  uint32_t max_cqe;
  uint32_t max_mr;
  uint32_t max_ah;
  uint32_t max_rdma_size;
  bool unsolicited_write_recv;
  const char* source;
};

const std::vector<DeviceFacts>& device_table();

// One NIC as the provider and hwloc see it.
struct NicProfile {
  std::string name;  // "rdmap16s27"
  std::string pci;   // "0000:10:1b.0"
  int numa_node;     // -1: unknown
};

struct Profile {
  std::string name;
  DeviceFacts device;
  bool rdma_read;
  bool rdma_write;
  uint32_t line_gbps;  // of one NIC; shown to the user, not a limit (EFASIM_LINK sets one)
  std::vector<NicProfile> nics;
};

// The profile with the settings' limits and capabilities applied. False and a message if there is no such one.
bool make_profile(const Settings& settings, Profile* profile, std::string* error);

// "name  NICs  Gbit/s  RDMA ..." lines of all profiles.
std::string list_profiles();

constexpr const char* kDefaultProfile = "p4d.24xlarge";

}  // namespace efasim
