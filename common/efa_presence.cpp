#include "efa_presence.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace efa {
namespace {

std::string word_in(const std::filesystem::path& path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

std::string joined(const std::vector<std::string>& list) {
  std::string text;
  for (const auto& each : list) text += (text.empty() ? "" : ",") + each;
  return text;
}

}  // namespace

std::string counted(int count, const char* thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

int efa_functions(const std::string& bus) {
  int count = 0;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(bus, none))
    count +=
        word_in(entry.path() / "vendor") == "0x1d0f" && word_in(entry.path() / "device").starts_with("0xefa");
  return count;
}

EfaPresence look_for_efa(Discovery& discovery) {
  EfaPresence presence;
  presence.on_bus = efa_functions(kPciDevices);
  presence.in_kernel = kernel_efa_devices();
  const auto providers = Discovery::known_providers();
  presence.provider = std::find(providers.begin(), providers.end(), "efa") != providers.end();
  presence.offered = static_cast<int>(discovery.offer("efa").size());
  const char* filter = std::getenv("FI_PROVIDER");
  presence.filter = filter ? filter : "";
  return presence;
}

std::string why_not_usable(const EfaPresence& presence, uint32_t library) {
  if (presence.offered > 0 || !presence.found()) return "";
  if (presence.in_kernel == 0)
    return "the machine has " + counted(presence.on_bus, "EFA device") +
           " on its PCI bus, but the kernel's driver shows none. Load the driver (modprobe efa; the EFA "
           "installer brings "
           "it), in a container pass /dev/infiniband through.";
  const std::string shown = "the kernel shows " + counted(presence.in_kernel, "EFA device") + ", but ";
  if (!presence.provider && !presence.filter.empty())
    return shown + "the environment variable FI_PROVIDER is \"" + presence.filter +
           "\", which leaves out libfabric's efa provider. Unset it.";
  if (!presence.provider)
    return shown + "this libfabric (" + std::to_string(FI_MAJOR(library)) + "." +
           std::to_string(FI_MINOR(library)) +
           ") has no efa provider. Use the one of the EFA installer (/opt/amazon/efa/lib64 first in "
           "LD_LIBRARY_PATH), or Debian 13's.";
  return shown +
         "libfabric offers none. FI_LOG_LEVEL=warn fi_info -p efa says why; usual: no permission for "
         "/dev/infiniband/uverbs*.";
}

std::string unused_efa(const EfaPresence& presence, const Wish& wish, const std::string& provider) {
  if (!presence.found() || provider == "efa") return "";
  const std::string instead =
      provider.empty() ? "" : " MPI messages go over libfabric's provider " + provider + ".";
  const std::string found = "EFA device found but not used: ";
  // What the user asked for comes first: it alone decides.
  if (!wish.allows("efa")) {
    const bool left_out = wish.exclude.empty() ||
                          std::find(wish.exclude.begin(), wish.exclude.end(), "efa") == wish.exclude.end();
    return found + "the parameter mtl_efa_provider_" + (left_out ? "include" : "exclude") + " (\"" +
           joined(left_out ? wish.include : wish.exclude) + "\") " +
           (left_out ? "does not name efa." : "names efa.") + instead;
  }
  if (const std::string why = why_not_usable(presence, wish.library); !why.empty())
    return found + why + instead;
  if (!wish.include.empty() && wish.include.front() != "efa" && !provider.empty())
    return found + "the parameter mtl_efa_provider_include (\"" + joined(wish.include) + "\") names " +
           provider + " before efa." + instead;
  return found + "no parameter of this component says why." + instead;
}

}  // namespace efa
