// The topology that hwloc, and so Open MPI, uses: a file for HWLOC_XMLFILE.
#pragma once

#include <string>

#include "profile.hpp"

namespace efasim {

// `whole_machine`: packages, NUMA nodes, cores and NICs of the instance type. Otherwise this machine's own
// processors, with the profile's NICs as its only I/O devices. False and a message on failure.
bool write_topology(const Profile& profile, bool whole_machine, const std::string& path, std::string* error);

}  // namespace efasim
