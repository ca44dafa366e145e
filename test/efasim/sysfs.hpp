// The sysfs tree from which libfabric and others read a NIC's PCI address, driver and GUIDs.
#pragma once

#include <string>

#include "profile.hpp"
#include "settings.hpp"

namespace efasim {

// Writes DIR/nodes/NODE/sys. Existing links are kept. False and a message on failure.
bool write_sysfs(const Settings& settings, const Profile& profile, std::string* error);

// The value of SYSFS_PATH for the programs.
std::string sysfs_path(const Settings& settings);

}  // namespace efasim
