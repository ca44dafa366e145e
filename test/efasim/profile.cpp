#include "profile.hpp"

#include <algorithm>
#include <cstdio>

namespace efasim {
namespace {

// From published output of `ibv_devinfo -v` and `fi_info` where there is any. The others are values with which
// libfabric's unmodified provider works.
constexpr const char* kSourceQueues =
    "MTU 8928, inline 32 and 2 SGEs: libfabric's and rdma-core's EFA sources; depths and table sizes: assumed, "
    "values that libfabric's provider accepts";

}  // namespace

const std::vector<DeviceFacts>& device_table() {
  static const std::vector<DeviceFacts> table = {
      // part   gen    mtu   sq   rq    sge   inl qp    cq    cqe    mr     ah    rdma size  unsolicited
      {0xefa0, "efa0", 8928, 512, 2048, 2, 2, 32, 1024, 1024, 32768, 65535, 4096, 1u << 30, false, kSourceQueues},
      {0xefa1, "efa1", 8928, 512, 2048, 2, 2, 32, 1024, 1024, 32768, 65535, 4096, 1u << 30, false, kSourceQueues},
      {0xefa2, "efa2", 8928, 512, 2048, 2, 2, 32, 1024, 1024, 32768, 65535, 4096, 1u << 30, true, kSourceQueues},
      {0xefa3, "efa3", 8928, 512, 2048, 2, 2, 32, 1024, 1024, 32768, 65535, 4096, 1u << 30, true, kSourceQueues},
  };
  return table;
}

bool make_profile(const Settings& settings, Profile* profile, std::string* error) {
  const std::string name = settings.profile.empty() ? kDefaultProfile : settings.profile;
  const efa::InstanceType* type = efa::find_instance(name);
  if (type == nullptr) {
    *error = "unknown profile '" + name + "'; efasim-run --list-profiles shows those that exist";
    return false;
  }
  const auto& table = device_table();
  const auto device =
      std::find_if(table.begin(), table.end(), [&](const DeviceFacts& facts) { return facts.part == type->nic_part; });
  if (device == table.end()) {
    *error = "profile '" + name + "': no facts about its device in test/efasim/profile.cpp";
    return false;
  }
  profile->name = name;
  profile->device = *device;
  profile->rdma_read = settings.rdma_read >= 0 ? settings.rdma_read != 0 : type->rdma_read;
  profile->rdma_write = settings.rdma_write >= 0 ? settings.rdma_write != 0 : type->rdma_write;
  profile->line_gbps = type->nic_gbps;
  if (settings.nics > type->nics.size()) {
    *error = "profile '" + name + "' has " + std::to_string(type->nics.size()) + " NICs, not " +
             std::to_string(settings.nics);
    return false;
  }
  for (const efa::InstanceDevice& nic : type->nics) {
    if (settings.nics && profile->nics.size() == settings.nics) break;
    profile->nics.push_back({efa::rdma_device_name(nic.pci), to_string(nic.pci), nic.numa});
  }

  DeviceFacts& facts = profile->device;
  const auto limit = [](uint32_t wanted, uint32_t* value) {
    if (wanted) *value = std::min(wanted, *value);
  };
  limit(settings.limits.qp, &facts.max_qp);
  limit(settings.limits.cq, &facts.max_cq);
  limit(settings.limits.cqe, &facts.max_cqe);
  limit(settings.limits.mr, &facts.max_mr);
  limit(settings.limits.ah, &facts.max_ah);
  limit(settings.limits.sq, &facts.max_sq_wr);
  limit(settings.limits.rq, &facts.max_rq_wr);
  return true;
}

std::string list_profiles() {
  std::string text = "profile            NICs  Gbit/s each  device  RDMA\n";
  for (const efa::InstanceType& type : efa::instances()) {
    char line[160];
    snprintf(line, sizeof line, "%-18.*s %4zu  %11u  0x%04x  %s\n", static_cast<int>(type.name.size()),
             type.name.data(), type.nics.size(), type.nic_gbps, type.nic_part,
             type.rdma_write ? "read, write" : (type.rdma_read ? "read" : "-"));
    text += line;
  }
  return text;
}

}  // namespace efasim
