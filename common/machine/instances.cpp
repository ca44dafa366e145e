#include "machine/instances.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace efa {
namespace {

using enum CpuVendor;
using Source = InstanceSource;
constexpr Source kNccl = Source::kOfiNccl;
constexpr Source kFabt = Source::kFabtests;
constexpr Source kLog = Source::kLog;
constexpr Source kGuess = Source::kAssumed;

template <size_t N>
using Devices = std::array<InstanceDevice, N>;

constexpr InstanceDevice at(uint8_t bus, uint8_t slot, int8_t numa, uint8_t group) {
  return {PciAddress{0, bus, slot, 0}, numa, group};
}

/// `per_group` devices on consecutive buses from each of `first_buses` on (slot 0 of each bus: behind a PCIe
/// switch, every device has a bus of its own). The first half of the groups is on NUMA node 0, the other
/// on 1.
template <size_t kPerGroup, size_t kGroups>
constexpr auto behind_switches(const std::array<uint8_t, kGroups>& first_buses) {
  Devices<kPerGroup * kGroups> devices{};
  for (size_t group = 0; group < kGroups; ++group)
    for (size_t i = 0; i < kPerGroup; ++i)
      devices[group * kPerGroup + i] = at(static_cast<uint8_t>(first_buses[group] + i), 0,
                                          group < kGroups / 2 ? 0 : 1, static_cast<uint8_t>(group));
  return devices;
}

/// `per_bus` devices in consecutive slots of each of four root buses, two per NUMA node: p4d and its
/// relatives.
template <size_t kPerBus>
constexpr auto on_root_buses(uint8_t first_slot) {
  constexpr std::array<uint8_t, 4> kBuses{0x10, 0x20, 0x90, 0xa0};
  Devices<kPerBus * 4> devices{};
  for (size_t group = 0; group < 4; ++group)
    for (size_t i = 0; i < kPerBus; ++i)
      devices[group * kPerBus + i] = at(kBuses[group], static_cast<uint8_t>(first_slot + i),
                                        group < 2 ? 0 : 1, static_cast<uint8_t>(group));
  return devices;
}

/// `N` devices in consecutive slots of root bus 0, of which the machine does not tell the NUMA node.
template <size_t N>
constexpr auto on_bus_zero(uint8_t first_slot) {
  Devices<N> devices{};
  for (size_t i = 0; i < N; ++i) devices[i] = at(0, static_cast<uint8_t>(first_slot + i), kNoNuma, 0);
  return devices;
}

// --- CPU instances ---
constexpr auto kNicBus0 = on_bus_zero<1>(0x06);  // "rdmap0s6" in AWS' own examples
constexpr Devices<1> kNicMetal{at(0x18, 0, 0, 0)};
constexpr Devices<2> kNicPerPackage{at(0x00, 0x06, 0, 0), at(0x80, 0x06, 1, 1)};
constexpr Devices<2> kNicPerPackage4Numa{at(0x00, 0x06, 0, 0), at(0x80, 0x06, 2, 1)};

// --- accelerated instances: NICs, then accelerators ---
constexpr auto kP3dnGpus = on_bus_zero<8>(0x16);
constexpr Devices<8> kG4dnMetalGpus{at(0x19, 0, 0, 0), at(0x1a, 0, 0, 0), at(0x35, 0, 0, 1),
                                    at(0x36, 0, 0, 1), at(0xe7, 0, 1, 2), at(0xe8, 0, 1, 2),
                                    at(0xf4, 0, 1, 3), at(0xf5, 0, 1, 3)};
constexpr auto kInf1Chips = on_bus_zero<16>(0x0f);
constexpr auto kG5Nics = on_bus_zero<1>(0x15);
constexpr auto kG5Gpus = on_bus_zero<8>(0x16);
constexpr auto kG6Gpus = behind_switches<2>(std::array<uint8_t, 4>{0x9b, 0xa0, 0xbb, 0xc0});
constexpr Devices<1> kG6Nics{at(0x9a, 0, 0, 0)};
constexpr auto kG6eNics = behind_switches<2>(std::array<uint8_t, 2>{0x9b, 0xbc});
constexpr auto kG6eGpus = behind_switches<4>(std::array<uint8_t, 2>{0x9d, 0xbe});
constexpr auto kG7eNics = behind_switches<1>(std::array<uint8_t, 4>{0x91, 0xa2, 0xb3, 0xc4});
constexpr auto kG7eGpus = behind_switches<2>(std::array<uint8_t, 4>{0x92, 0xa3, 0xb4, 0xc5});

constexpr auto kP4dNics = on_root_buses<1>(0x1b);
constexpr auto kP4dGpus = on_root_buses<2>(0x1c);
constexpr auto kP5Nics =
    behind_switches<4>(std::array<uint8_t, 8>{0x4f, 0x60, 0x71, 0x82, 0x93, 0xa4, 0xb5, 0xc6});
constexpr auto kP5Gpus =
    behind_switches<1>(std::array<uint8_t, 8>{0x53, 0x64, 0x75, 0x86, 0x97, 0xa8, 0xb9, 0xca});
constexpr Devices<1> kP5SmallNics{at(0x4f, 0, 0, 0)};
constexpr Devices<1> kP5SmallGpus{at(0x53, 0, 0, 0)};
constexpr auto kP5enNics = behind_switches<4>(std::array<uint8_t, 4>{0x55, 0x6e, 0x87, 0xa0});
constexpr auto kP5enGpus = behind_switches<2>(std::array<uint8_t, 4>{0x59, 0x72, 0x8b, 0xa4});
constexpr auto kP6B200Nics = behind_switches<2>(std::array<uint8_t, 4>{0x4f, 0x60, 0x71, 0x84});
constexpr auto kP6B200Gpus = behind_switches<2>(std::array<uint8_t, 4>{0x51, 0x62, 0x75, 0x86});
constexpr auto kP6B300Nics =
    behind_switches<2>(std::array<uint8_t, 8>{0x56, 0x65, 0x74, 0x83, 0x92, 0xa1, 0xb0, 0xbf});
constexpr auto kP6B300Gpus =
    behind_switches<1>(std::array<uint8_t, 8>{0x58, 0x67, 0x76, 0x85, 0x94, 0xa3, 0xb2, 0xc1});

constexpr auto kTrn1Nics = on_root_buses<2>(0x1a);
constexpr auto kTrn1nNics = on_root_buses<4>(0x18);
constexpr auto kTrn1Chips = on_root_buses<4>(0x1c);
constexpr auto kTrn2Nics =
    behind_switches<2>(std::array<uint8_t, 8>{0x56, 0x6c, 0x82, 0x98, 0xb3, 0xc9, 0xdf, 0xf5});
constexpr auto kTrn2Chips =
    behind_switches<2>(std::array<uint8_t, 8>{0x58, 0x6e, 0x84, 0x9a, 0xb5, 0xcb, 0xe1, 0xf7});

constexpr std::span<const InstanceDevice> kNone{};

// PCI device numbers by generation of the NIC. The guide gives the generation of every type (EFA v1 to v4);
// the numbers are recorded on p4d (v1), p5 (v2), p5en (v3) and p6 (v4).
constexpr uint16_t kEfa0 = 0xefa0, kEfa1 = 0xefa1, kEfa2 = 0xefa2, kEfa3 = 0xefa3;

// clang-format off
constexpr InstanceType kInstances[] = {
//                                 thr/ pack-                                           Gbit/s        source of      RDMA                                                 source of    PCIe
//  name              CPU    vCPUs core ages NUMA source  NICs                          a NIC  part   PCI     NUMA   read   write  accelerators                          PCI, NUMA    switches
  {"c5n.9xlarge",    kIntel,    36, 2, 1, 1, kGuess, kNicBus0,                            50, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"c5n.18xlarge",   kIntel,    72, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"c5n.metal",      kIntel,    72, 2, 2, 2, kGuess, kNicMetal,                          100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"i3en.24xlarge",  kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"i3en.metal",     kIntel,    96, 2, 2, 2, kGuess, kNicMetal,                          100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"m5dn.24xlarge",  kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"m5n.24xlarge",   kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"r5dn.24xlarge",  kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},
  {"r5n.24xlarge",   kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "", kNone,                            kGuess, false},

  {"c6a.48xlarge",   kAmd,     192, 2, 2, 4, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c6gn.16xlarge",  kGraviton, 64, 1, 1, 1, kGuess, kNicBus0,                           100, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c6i.32xlarge",   kIntel,   128, 2, 2, 2, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c6in.32xlarge",  kIntel,   128, 2, 2, 2, kGuess, kNicPerPackage,                     100, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"m6i.32xlarge",   kIntel,   128, 2, 2, 2, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"r6i.32xlarge",   kIntel,   128, 2, 2, 2, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c7a.48xlarge",   kAmd,     192, 1, 2, 4, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c7g.16xlarge",   kGraviton, 64, 1, 1, 1, kGuess, kNicBus0,                            30, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c7gn.16xlarge",  kGraviton, 64, 1, 1, 1, kGuess, kNicBus0,                           200, kEfa2, kGuess, kGuess, true,  false, "", kNone,                            kGuess, false},
  {"c7i.48xlarge",   kIntel,   192, 2, 2, 2, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"r7iz.32xlarge",  kIntel,   128, 2, 2, 2, kGuess, kNicBus0,                            50, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c8g.48xlarge",   kGraviton,192, 1, 2, 2, kGuess, kNicBus0,                            50, kEfa2, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c8gn.48xlarge",  kGraviton,192, 1, 2, 2, kGuess, kNicPerPackage,                     300, kEfa3, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"c8i.96xlarge",   kIntel,   384, 2, 2, 6, kGuess, kNicBus0,                           100, kEfa3, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},

  {"hpc6a.48xlarge", kAmd,      96, 1, 2, 4, kGuess, kNicBus0,                           100, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"hpc6id.32xlarge",kIntel,    64, 1, 2, 2, kGuess, kNicPerPackage,                     100, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"hpc7a.12xlarge", kAmd,      24, 1, 2, 4, kGuess, kNicPerPackage4Numa,                150, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"hpc7a.24xlarge", kAmd,      48, 1, 2, 4, kGuess, kNicPerPackage4Numa,                150, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"hpc7a.48xlarge", kAmd,      96, 1, 2, 4, kGuess, kNicPerPackage4Numa,                150, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"hpc7a.96xlarge", kAmd,     192, 1, 2, 4, kGuess, kNicPerPackage4Numa,                150, kEfa1, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},
  {"hpc7g.4xlarge",  kGraviton, 16, 1, 1, 1, kGuess, kNicBus0,                           200, kEfa2, kGuess, kGuess, true,  false, "", kNone,                            kGuess, false},
  {"hpc7g.8xlarge",  kGraviton, 32, 1, 1, 1, kGuess, kNicBus0,                           200, kEfa2, kGuess, kGuess, true,  false, "", kNone,                            kGuess, false},
  {"hpc7g.16xlarge", kGraviton, 64, 1, 1, 1, kGuess, kNicBus0,                           200, kEfa2, kGuess, kGuess, true,  false, "", kNone,                            kGuess, false},
  {"hpc8a.96xlarge", kAmd,     192, 1, 2, 2, kGuess, kNicPerPackage,                     150, kEfa3, kGuess, kGuess, true,  true,  "", kNone,                            kGuess, false},

  {"p3dn.24xlarge",  kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "V100", kP3dnGpus,                    kGuess, false},
  {"g4dn.metal",     kIntel,    96, 2, 2, 2, kGuess, kNicMetal,                          100, kEfa0, kGuess, kGuess, false, false, "T4", kG4dnMetalGpus,                 kGuess, true},
  {"g5.48xlarge",    kAmd,     192, 2, 2, 2, kNccl,  kG5Nics,                            100, kEfa0, kNccl,  kNccl,  false, false, "A10G", kG5Gpus,                      kNccl,  false},
  {"g6.48xlarge",    kAmd,     192, 2, 2, 2, kGuess, kG6Nics,                            100, kEfa1, kGuess, kGuess, true,  true,  "L4", kG6Gpus,                        kGuess, true},
  {"g6e.48xlarge",   kAmd,     192, 2, 2, 2, kGuess, kG6eNics,                           100, kEfa1, kLog,   kGuess, true,  true,  "L40S", kG6eGpus,                     kGuess, true},
  {"g7e.48xlarge",   kIntel,   192, 2, 2, 2, kGuess, kG7eNics,                           400, kEfa3, kLog,   kGuess, true,  true,  "RTX PRO Server 6000", kG7eGpus,      kGuess, true},
  {"p4d.24xlarge",   kIntel,    96, 2, 2, 2, kNccl,  kP4dNics,                           100, kEfa0, kNccl,  kNccl,  true,  false, "A100", kP4dGpus,                     kNccl,  false},
  {"p4de.24xlarge",  kIntel,    96, 2, 2, 2, kNccl,  kP4dNics,                           100, kEfa0, kNccl,  kNccl,  true,  false, "A100 80GB", kP4dGpus,                kNccl,  false},
  {"p5.4xlarge",     kAmd,      16, 2, 1, 1, kGuess, kP5SmallNics,                       100, kEfa1, kGuess, kGuess, true,  true,  "H100", kP5SmallGpus,                 kGuess, true},
  {"p5.48xlarge",    kAmd,     192, 2, 2, 2, kLog,   kP5Nics,                            100, kEfa1, kLog,   kLog,   true,  true,  "H100", kP5Gpus,                      kLog,   true},
  {"p5e.48xlarge",   kAmd,     192, 2, 2, 2, kGuess, kP5Nics,                            100, kEfa1, kGuess, kGuess, true,  true,  "H200", kP5Gpus,                      kGuess, true},
  {"p5en.48xlarge",  kIntel,   192, 2, 2, 2, kNccl,  kP5enNics,                          200, kEfa2, kNccl,  kNccl,  true,  true,  "H200", kP5enGpus,                    kNccl,  true},
  {"p6-b200.48xlarge",kIntel,  192, 2, 2, 2, kNccl,  kP6B200Nics,                        400, kEfa3, kNccl,  kNccl,  true,  true,  "B200", kP6B200Gpus,                  kNccl,  true},
  {"p6-b300.48xlarge",kIntel,  192, 2, 2, 2, kNccl,  kP6B300Nics,                        400, kEfa3, kNccl,  kNccl,  true,  true,  "B300", kP6B300Gpus,                  kNccl,  true},

  {"inf1.24xlarge",  kIntel,    96, 2, 2, 2, kGuess, kNicBus0,                           100, kEfa0, kGuess, kGuess, false, false, "Inferentia", kInf1Chips,             kGuess, false},
  {"trn1.32xlarge",  kIntel,   128, 2, 2, 2, kGuess, kTrn1Nics,                          100, kEfa1, kGuess, kGuess, true,  true,  "Trainium", kTrn1Chips,               kGuess, false},
  {"trn1n.32xlarge", kIntel,   128, 2, 2, 2, kGuess, kTrn1nNics,                         100, kEfa1, kGuess, kGuess, true,  true,  "Trainium", kTrn1Chips,               kGuess, false},
  {"trn2.48xlarge",  kIntel,   192, 2, 2, 2, kGuess, kTrn2Nics,                          200, kEfa2, kFabt,  kGuess, true,  true,  "Trainium2", kTrn2Chips,              kGuess, true},
};
// clang-format on

struct SourceText {
  std::string_view name;
  std::string_view description;
};

// In the order of InstanceSource.
constexpr SourceText kSources[] = {
    {"EC2",
     "EC2 DescribeInstanceTypes, as published by https://karpenter.sh/docs/reference/instance-types/ "
     "(aws/karpenter-provider-aws 1d927085d, August 2026)"},
    {"EFA guide",
     "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html, supported instance types (2026)"},
    {"aws-ofi-nccl",
     "https://github.com/aws/aws-ofi-nccl: tests/unit/fixtures/topology (hwloc XML recorded on p4d, p5en, "
     "p6) "
     "and topology/ (NCCL topology of p4d, p4de, g5)"},
    {"fabtests",
     "https://github.com/ofiwg/libfabric: fabtests/pytest/efa/efa_common.py (EFA of each Trainium2 device)"},
    {"log", "output of lscpu, lstopo, fi_info, ibv_devinfo or nvidia-smi in public issues and articles"},
    {"assumed", "not public; a plausible layout that nobody has confirmed"},
};
static_assert(std::size(kSources) == static_cast<size_t>(Source::kAssumed) + 1);

}  // namespace

std::string_view name(InstanceSource source) {
  return kSources[static_cast<size_t>(source)].name;
}

std::string_view describe(InstanceSource source) {
  return kSources[static_cast<size_t>(source)].description;
}

std::span<const InstanceType> instances() {
  return kInstances;
}

const InstanceType* find_instance(std::string_view instance_name) {
  const auto* found = std::ranges::find(kInstances, instance_name, &InstanceType::name);
  return found == std::end(kInstances) ? nullptr : found;
}

std::string rdma_device_name(const PciAddress& pci) {
  // rdma-core's persistent naming (kernel-boot/rdma_rename.c): PCI domain and function only where not zero.
  std::string device = "rdma";
  if (pci.domain) device += "P" + std::to_string(pci.domain);
  device += "p" + std::to_string(pci.bus) + "s" + std::to_string(pci.device);
  if (pci.function) device += "f" + std::to_string(pci.function);
  return device;
}

}  // namespace efa
