#include "topology.hpp"

#include <hwloc.h>

#include <cstdio>
#include <fstream>

#include "common/machine/machine_topology.hpp"

namespace efasim {
namespace {

// hwloc has no call to add a PCI device, so that the NICs go into its XML as text. Indices need only be unique.
std::string nics_xml(const Profile& profile) {
  std::string xml;
  unsigned index = 1'000'000;
  for (size_t i = 0; i < profile.nics.size(); i++) {
    const NicProfile& nic = profile.nics[i];
    const std::string domain = nic.pci.substr(0, 4), bus = nic.pci.substr(5, 2);
    char text[1200];
    snprintf(text, sizeof text,
             "    <object type=\"Bridge\" gp_index=\"%u\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"%s:[%s-%s]\">\n"
             "      <object type=\"PCIDev\" gp_index=\"%u\" pci_busid=\"%s\" "
             "pci_type=\"0200 [1d0f:%04x] [1d0f:%04x] 00\" pci_link_speed=\"%f\">\n"
             "        <info name=\"PCIVendor\" value=\"Amazon.com, Inc.\"/>\n"
             "        <info name=\"PCIDevice\" value=\"Elastic Fabric Adapter (EFA)\"/>\n"
             "        <object type=\"OSDev\" gp_index=\"%u\" name=\"%s\" osdev_type=\"3\">\n"
             "          <info name=\"NodeGUID\" value=\"0000:0000:0000:%04zx\"/>\n"
             "          <info name=\"SysImageGUID\" value=\"0000:0000:0000:%04zx\"/>\n"
             "          <info name=\"Port1State\" value=\"4\"/>\n"
             "        </object>\n      </object>\n    </object>\n",
             index, domain.c_str(), bus.c_str(), bus.c_str(), index + 1, nic.pci.c_str(), profile.device.part,
             profile.device.part, profile.line_gbps / 8.0, index + 2, nic.name.c_str(), i + 1, i + 1);
    xml += text;
    index += 3;
  }
  return xml;
}

bool this_machine_xml(std::string* xml) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0) return false;
  char* buffer = nullptr;
  int length = 0;
  const bool ok = hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE) == 0 &&
                  hwloc_topology_load(topology) == 0 &&
                  hwloc_topology_export_xmlbuffer(topology, &buffer, &length, 0) == 0;
  if (ok) {
    *xml = buffer;
    hwloc_free_xmlbuffer(topology, buffer);
  }
  hwloc_topology_destroy(topology);
  return ok;
}

}  // namespace

bool write_topology(const Profile& profile, bool whole_machine, const std::string& path, std::string* error) {
  std::string xml;
  if (whole_machine) {
    efa::InstanceType instance = *efa::find_instance(profile.name);
    instance.nics = instance.nics.first(profile.nics.size());
    xml = efa::to_hwloc_xml(instance);
  } else {
    if (!this_machine_xml(&xml)) {
      *error = "hwloc cannot load this machine's topology; try --topology none";
      return false;
    }
    // The machine is the outermost object; what is below it follows in any order, I/O last.
    const size_t support = xml.find("<support ");
    const size_t end_of_machine = xml.rfind("  </object>", support);
    if (end_of_machine == std::string::npos) {
      *error = "hwloc's XML is not as expected; try --topology none";
      return false;
    }
    xml.insert(end_of_machine, nics_xml(profile));
  }
  std::ofstream file(path);
  file << xml;
  if (!file.flush()) {
    *error = "cannot write " + path;
    return false;
  }
  return true;
}

}  // namespace efasim
