#include "machine/machine_topology.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace efa {
namespace {

/// As hwloc writes a set: comma-separated 32-bit words, most significant first.
std::string bitmap_text(hwloc_const_bitmap_t bitmap) {
  char* text = nullptr;
  if (hwloc_bitmap_asprintf(&text, bitmap) < 0) return "0x0";
  std::string copy = text;
  std::free(text);
  return copy;
}

/// Writes one machine. Objects are nested as in hwloc's XML: Machine > Package > [Group >] NUMANode, Core > PU, and below
/// each of these the PCI devices that are local to it.
class XmlWriter {
 public:
  explicit XmlWriter(const InstanceType& instance) : instance_(instance) {}

  std::string write() {
    xml_ =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
        "<topology version=\"2.0\">\n";
    open("Machine", 0, 0, instance_.numa_nodes);
    info("DMIProductName", std::string(instance_.name));
    info("DMISysVendor", "Amazon EC2");
    info("Architecture", instance_.cpu == CpuVendor::kGraviton ? "aarch64" : "x86_64");
    for (int package = 0; package < instance_.packages; ++package) write_package(package);
    write_pci(kNoNuma);
    close();
    xml_ += "</topology>\n";
    return std::move(xml_);
  }

 private:
  int numa_per_package() const { return instance_.numa_nodes / instance_.packages; }

  /// First core of a NUMA node. Where cores do not divide evenly, the first nodes have one more.
  int first_core(int numa) const {
    return (instance_.cores() * numa + instance_.numa_nodes - 1) / instance_.numa_nodes;
  }

  /// The PUs of cores [first, last). EC2 numbers the first threads of all cores, then the second threads.
  BitmapPtr pus(int first, int last) const {
    BitmapPtr set(hwloc_bitmap_alloc());
    for (int thread = 0; thread < instance_.threads_per_core && first < last; ++thread) {
      const int base = thread * instance_.cores();
      hwloc_bitmap_set_range(set.get(), static_cast<unsigned>(base + first), base + last - 1);
    }
    return set;
  }

  void write_package(int package) {
    const int first = package * numa_per_package();
    open("Package", package, first, first + numa_per_package());
    for (int numa = first; numa < first + numa_per_package(); ++numa) {
      // hwloc puts NUMA nodes that are smaller than a package below a group of kind "memory" (1001).
      const bool group = numa_per_package() > 1;
      if (group) open("Group", -1, numa, numa + 1, " kind=\"1001\" subkind=\"0\"");
      leaf("NUMANode", numa, first_core(numa), first_core(numa + 1), numa, numa + 1);
      for (int core = first_core(numa); core < first_core(numa + 1); ++core) write_core(core, numa);
      write_pci(numa);
      if (group) close();
    }
    close();
  }

  void write_core(int core, int numa) {
    line("<object type=\"Core\" os_index=\"%d\"%s gp_index=\"%d\">", core,
         sets(pus(core, core + 1), numa, numa + 1).c_str(), next_index_++);
    ++depth_;
    for (int thread = 0; thread < instance_.threads_per_core; ++thread) {
      const int pu = thread * instance_.cores() + core;
      BitmapPtr set(hwloc_bitmap_alloc());
      hwloc_bitmap_only(set.get(), static_cast<unsigned>(pu));
      line("<object type=\"PU\" os_index=\"%d\"%s gp_index=\"%d\"/>", pu, sets(set, numa, numa + 1).c_str(),
           next_index_++);
    }
    close();
  }

  // --- PCI ---

  struct Entry {
    const InstanceDevice* device;
    bool nic;
  };

  /// The devices of a PCI group that are local to `numa`, in the order of their addresses.
  std::vector<Entry> devices(int numa, int group) const {
    std::vector<Entry> found;
    for (const auto& nic : instance_.nics)
      if (nic.numa == numa && nic.pci_group == group) found.push_back({&nic, true});
    for (const auto& accelerator : instance_.accelerators)
      if (accelerator.numa == numa && accelerator.pci_group == group) found.push_back({&accelerator, false});
    std::ranges::sort(found, {}, [](const Entry& entry) { return entry.device->pci; });
    return found;
  }

  void write_pci(int numa) {
    for (int group = 0; group <= UINT8_MAX; ++group) {
      const auto entries = devices(numa, group);
      if (entries.empty()) continue;
      if (instance_.pcie_switches)
        write_switch(entries);
      else
        write_root_bus(entries);
    }
  }

  void write_root_bus(const std::vector<Entry>& entries) {
    const PciAddress first = entries.front().device->pci;
    open_host_bridge(first.domain, first.bus, entries.back().device->pci.bus);
    for (const Entry& entry : entries) write_device(entry);
    close();
  }

  /// Root port, the switch's upstream port, and a downstream port per device: on p5 and later, bus N carries
  /// the root port, N+1 the upstream port, N+2 the downstream ports, and each device has one of the next
  /// buses.
  void write_switch(const std::vector<Entry>& entries) {
    const PciAddress first = entries.front().device->pci;
    const int last_bus = entries.back().device->pci.bus;
    const int root_bus = first.bus - 3;
    open_host_bridge(first.domain, root_bus, last_bus);
    open_bridge({first.domain, static_cast<uint8_t>(root_bus), 0, 0}, 1, root_bus + 1, last_bus);
    open_bridge({first.domain, static_cast<uint8_t>(root_bus + 1), 0, 0}, 2, root_bus + 2, last_bus);
    for (size_t port = 0; port < entries.size(); ++port) {
      const PciAddress downstream{first.domain, static_cast<uint8_t>(root_bus + 2),
                                  static_cast<uint8_t>(port / 8), static_cast<uint8_t>(port % 8)};
      open_bridge(downstream, 3, entries[port].device->pci.bus, entries[port].device->pci.bus);
      write_device(entries[port]);
      close();
    }
    close();
    close();
    close();
  }

  void open_host_bridge(int domain, int first_bus, int last_bus) {
    line(
        "<object type=\"Bridge\" gp_index=\"%d\" bridge_type=\"0-1\" depth=\"0\" "
        "bridge_pci=\"%04x:[%02x-%02x]\">",
        next_index_++, domain, first_bus, last_bus);
    ++depth_;
  }

  void open_bridge(const PciAddress& pci, int depth, int first_bus, int last_bus) {
    line(
        "<object type=\"Bridge\" gp_index=\"%d\" bridge_type=\"1-1\" depth=\"%d\" "
        "bridge_pci=\"%04x:[%02x-%02x]\" "
        "pci_busid=\"%s\" pci_type=\"0604 [1d0f:0200] [1d0f:0200] 00\" pci_link_speed=\"0.000000\">",
        next_index_++, depth, unsigned{pci.domain}, first_bus, last_bus, to_string(pci).c_str());
    ++depth_;
  }

  void write_device(const Entry& entry) {
    const PciAddress& pci = entry.device->pci;
    if (!entry.nic) {
      // Class 0302 is a 3D controller, 0880 a system peripheral; NVIDIA and Annapurna Labs (Amazon).
      const bool neuron =
          instance_.accelerator.starts_with("Inf") || instance_.accelerator.starts_with("Train");
      line(
          "<object type=\"PCIDev\" gp_index=\"%d\" pci_busid=\"%s\" pci_type=\"%s [0000:0000] 00\" "
          "pci_link_speed=\"0.000000\">",
          next_index_++, to_string(pci).c_str(), neuron ? "0880 [1d0f:0000]" : "0302 [10de:0000]");
      ++depth_;
      info("PCIDevice", std::string(instance_.accelerator));
      close();
      return;
    }
    const unsigned part = instance_.nic_part;
    line(
        "<object type=\"PCIDev\" gp_index=\"%d\" pci_busid=\"%s\" pci_type=\"0200 [1d0f:%04x] [1d0f:%04x] "
        "00\" "
        "pci_link_speed=\"%f\">",
        next_index_++, to_string(pci).c_str(), part, part, instance_.nic_gbps / 8.0);
    ++depth_;
    info("PCIVendor", "Amazon.com, Inc.");
    info("PCIDevice", "Elastic Fabric Adapter (EFA)");
    line("<object type=\"OSDev\" gp_index=\"%d\" name=\"%s\" osdev_type=\"3\">", next_index_++,
         rdma_device_name(pci).c_str());
    ++depth_;
    // PMIx computes distances only for devices with GUIDs; this one is unique on the node.
    char guid[20];
    std::snprintf(guid, sizeof guid, "1d0f:%04x:%02x%02x:%04x", unsigned{pci.domain}, unsigned{pci.bus},
                  unsigned{pci.device}, 1 + unsigned{pci.function});
    info("NodeGUID", guid);
    info("SysImageGUID", "0000:0000:0000:0000");
    info("Port1State", "4");  // active
    close();
    close();
  }

  // --- text ---

  std::string sets(const BitmapPtr& cpus, int first_numa, int last_numa) const {
    BitmapPtr nodes(hwloc_bitmap_alloc());
    hwloc_bitmap_set_range(nodes.get(), static_cast<unsigned>(first_numa), last_numa - 1);
    const std::string cpu_text = bitmap_text(cpus.get()), node_text = bitmap_text(nodes.get());
    return " cpuset=\"" + cpu_text + "\" complete_cpuset=\"" + cpu_text + "\" nodeset=\"" + node_text +
           "\" complete_nodeset=\"" + node_text + "\"";
  }

  /// Opens an object that covers NUMA nodes [first_numa, last_numa). os_index < 0: it has none.
  void open(const char* type, int os_index, int first_numa, int last_numa,
            const std::string& attributes = "") {
    const std::string index = os_index < 0 ? "" : " os_index=\"" + std::to_string(os_index) + "\"";
    std::string all = sets(pus(first_core(first_numa), first_core(last_numa)), first_numa, last_numa);
    if (depth_ == 0) {  // only the root has the allowed sets
      const std::string rest = all;
      all += " allowed_cpuset=\"" + bitmap_text(pus(0, instance_.cores()).get()) + "\" allowed_nodeset=\"";
      BitmapPtr nodes(hwloc_bitmap_alloc());
      hwloc_bitmap_set_range(nodes.get(), 0, instance_.numa_nodes - 1);
      all += bitmap_text(nodes.get()) + "\"";
    }
    line("<object type=\"%s\"%s%s gp_index=\"%d\"%s>", type, index.c_str(), all.c_str(), next_index_++,
         attributes.c_str());
    ++depth_;
  }

  void leaf(const char* type, int os_index, int begin_core, int end_core, int first_numa, int last_numa) {
    line("<object type=\"%s\" os_index=\"%d\"%s gp_index=\"%d\"/>", type, os_index,
         sets(pus(begin_core, end_core), first_numa, last_numa).c_str(), next_index_++);
  }

  void close() {
    --depth_;
    line("</object>");
  }

  void info(const char* info_name, const std::string& value) {
    line("<info name=\"%s\" value=\"%s\"/>", info_name, value.c_str());
  }

  [[gnu::format(printf, 2, 3)]] void line(const char* format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    xml_.append(static_cast<size_t>(2 * (depth_ + 1)), ' ').append(text).append("\n");
  }

  const InstanceType& instance_;
  std::string xml_;
  int depth_ = 0;
  int next_index_ = 1;  ///< gp_index, unique over all objects
};

}  // namespace

std::string to_hwloc_xml(const InstanceType& instance) {
  return XmlWriter(instance).write();
}

TopologyPtr load_topology(const std::string& hwloc_xml) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return nullptr;
  TopologyPtr topology(raw);
  // hwloc wants the length with the terminating zero.
  if (hwloc_topology_set_xmlbuffer(raw, hwloc_xml.c_str(), static_cast<int>(hwloc_xml.size()) + 1) != 0 ||
      hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_ALL) != 0 ||
      hwloc_topology_load(raw) != 0)
    return nullptr;
  return topology;
}

}  // namespace efa
