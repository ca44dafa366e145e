#include "sysfs.hpp"

#include <filesystem>
#include <fstream>

namespace efasim {
namespace fs = std::filesystem;
namespace {

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text << "\n";
  if (!file) throw fs::filesystem_error("cannot write", path, std::make_error_code(std::errc::io_error));
}

void link_to(const fs::path& target, const fs::path& path) {
  if (!fs::is_symlink(path)) fs::create_directory_symlink(target, path);
}

std::string hex(unsigned value) {
  char text[16];
  snprintf(text, sizeof text, "0x%04x", value);
  return text;
}

// One NIC: the PCI device, and the two class devices that point at it. The provider takes realpath() of
// device (its last component is the PCI address) and of device/driver.
void write_nic(const fs::path& sys, const Profile& profile, size_t index) {
  const NicProfile& nic = profile.nics[index];
  const fs::path pci = sys / "devices" / ("pci" + nic.pci.substr(0, 7)) / nic.pci;
  fs::create_directories(pci);
  write_file(pci / "vendor", "0x1d0f");
  write_file(pci / "device", hex(profile.device.part));
  write_file(pci / "class", "0x020000");
  write_file(pci / "numa_node", std::to_string(nic.numa_node));
  link_to(sys / "bus/pci/drivers/efa", pci / "driver");
  link_to(pci, sys / "bus/pci/devices" / nic.pci);

  const fs::path ib = pci / "infiniband" / nic.name;
  fs::create_directories(ib / "ports/1/gids");
  link_to(pci, ib / "device");
  char guid[32];
  snprintf(guid, sizeof guid, "0000:0000:0000:%04zx", index + 1);
  write_file(ib / "node_guid", guid);
  write_file(ib / "sys_image_guid", guid);
  write_file(ib / "node_type", "4: usnic");  // what the kernel shows for unspecified devices
  write_file(ib / "ports/1/state", "4: ACTIVE");
  write_file(ib / "ports/1/lid", "0x0");
  write_file(ib / "ports/1/lid_mask_count", "1");
  write_file(ib / "ports/1/rate", std::to_string(profile.line_gbps) + " Gb/sec");
  link_to(ib, sys / "class/infiniband" / nic.name);

  const std::string uverbs = "uverbs" + std::to_string(index);
  const fs::path verbs = pci / "infiniband_verbs" / uverbs;
  fs::create_directories(verbs);
  link_to(pci, verbs / "device");
  write_file(verbs / "ibdev", nic.name);
  write_file(verbs / "abi_version", "1");
  link_to(verbs, sys / "class/infiniband_verbs" / uverbs);
}

}  // namespace

std::string sysfs_path(const Settings& settings) { return settings.directory + "/nodes/" + settings.node + "/sys"; }

bool write_sysfs(const Settings& settings, const Profile& profile, std::string* error) {
  try {
    const fs::path sys = sysfs_path(settings);
    for (const char* directory :
         {"class/infiniband", "class/infiniband_verbs", "bus/pci/devices", "bus/pci/drivers/efa"}) {
      fs::create_directories(sys / directory);
    }
    write_file(sys / "class/infiniband_verbs/abi_version", "6");
    for (size_t i = 0; i < profile.nics.size(); i++) write_nic(sys, profile, i);
    return true;
  } catch (const fs::filesystem_error& failure) {
    *error = failure.what();
    return false;
  }
}

}  // namespace efasim
