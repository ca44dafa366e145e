#include "fabric/efa_presence.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fabric/shm_files.hpp"

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
  for (const auto& entry : entries_of(bus))
    count += word_in(entry / "vendor") == "0x1d0f" && word_in(entry / "device").starts_with("0xefa");
  return count;
}

EfaPresence detect_efa(Discovery* discovery) {
  EfaPresence presence;
  presence.on_bus = efa_functions(kPciDevices);
  presence.in_kernel = kernel_efa_devices();
  const char* filter = std::getenv("FI_PROVIDER");
  presence.filter = filter ? filter : "";
  presence.provider = filter_allows(filter, "efa");
  if (presence.provider && discovery) {
    const auto providers = Discovery::known_providers();
    presence.provider = std::find(providers.begin(), providers.end(), "efa") != providers.end();
    presence.offered = static_cast<int>(discovery->offer("efa").size());
  }
  return presence;
}

MessagePart why_not_usable(const EfaPresence& presence, uint32_t library) {
  if (presence.offered > 0 || !presence.found()) return {};
  if (presence.in_kernel == 0) return msg::efa_no_driver(counted(presence.on_bus, "EFA device"));
  const std::string devices = counted(presence.in_kernel, "EFA device");
  if (!presence.provider && !presence.filter.empty()) return msg::efa_filtered(devices, presence.filter);
  if (!presence.provider)
    return msg::efa_no_provider(devices,
                                std::to_string(FI_MAJOR(library)) + "." + std::to_string(FI_MINOR(library)));
  return msg::efa_not_offered(devices);
}

UserMessage unused_efa(const EfaPresence& presence, const ProviderRequest& request,
                       const std::string& provider) {
  if (!presence.found() || provider == "efa") return {};
  const MessagePart instead = provider.empty() ? MessagePart() : msg::efa_unused_instead(provider);
  // The user's parameters come first, because they decide.
  if (!request.allows("efa")) {
    const bool left_out = request.exclude.empty() || std::find(request.exclude.begin(), request.exclude.end(),
                                                               "efa") == request.exclude.end();
    return msg::efa_unused(left_out ? msg::efa_not_included(joined(request.include))
                                    : msg::efa_excluded(joined(request.exclude)),
                           instead);
  }
  if (const MessagePart why = why_not_usable(presence, request.library); !why.empty())
    return msg::efa_unused(why, instead);
  if (!request.include.empty() && request.include.front() != "efa" && !provider.empty())
    return msg::efa_unused(msg::efa_named_later(joined(request.include), provider), instead);
  return msg::efa_unused(msg::efa_unexplained(), instead);
}

UserMessage efa_without_shared_memory(const std::string& reason) {
  return msg::efa_without_shm(reason.empty() ? msg::no_reason_given().text() : reason,
                              msg::shm_free(free_shared_memory() / kMiB));
}

}  // namespace efa
