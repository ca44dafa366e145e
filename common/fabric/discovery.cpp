#include "fabric/discovery.hpp"

#include <dirent.h>
#include <netinet/in.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

#include "fabric/shm_files.hpp"

namespace efa {
namespace {

bool contains(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Whether the provider supports all of MPI.
bool complete(const std::string& provider, const ProviderRequest& request) {
  return FI_VERSION_GE(request.library, provider_traits(provider).usable_since);
}

std::string version_text(uint32_t version) {
  return std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
}

// The candidate for this process. NICs of a kind are dealt round by local rank; a network interface is the
// loopback when all ranks share the node (always up, never filtered), otherwise one that leaves the node. Ranks of another job
// may be on other nodes.
int pick(const std::vector<Candidate>& candidates, const ProviderRequest& request) {
  const bool within_node = request.all_ranks_local && !request.spawned;
  std::vector<int> fit;
  for (const bool ipv4 : {true, false}) {
    for (const bool up : {true, false}) {
      for (int i = 0; i < static_cast<int>(candidates.size()); ++i) {
        const auto& candidate = candidates[i];
        const bool reaches = candidate.provider == "efa" || candidate.loopback == within_node;
        if (candidate.ipv4 == ipv4 && candidate.link_up == up && reaches) fit.push_back(i);
      }
      if (!fit.empty()) {
        const bool nics = candidates[fit[0]].provider == "efa";
        return fit[nics ? static_cast<size_t>(request.local_rank) % fit.size() : 0];
      }
    }
  }
  return candidates.empty() ? -1 : 0;
}

}  // namespace

bool ProviderRequest::allows(const std::string& provider) const {
  return (include.empty() || contains(include, provider)) && !contains(exclude, provider);
}

std::vector<std::string> preference(const ProviderRequest& request) {
  std::vector<std::string> names;
  if (!request.include.empty()) {
    names = request.include;
  } else {
    for (const auto& row : kProviders) {
      const std::string name(row.name);
      if (name != "efa" && !request.named_by_user) continue;
      if (row.one_node && !request.all_ranks_local) continue;
      if (!complete(name, request)) continue;
      names.push_back(name);
    }
  }
  std::erase_if(names, [&](const std::string& name) { return contains(request.exclude, name); });
  return names;
}

Choice choose(const ProviderRequest& request, const Offer& offer, const Reason& reason,
              const std::vector<std::string>& known_providers) {
  Choice choice;
  for (const auto* list : {&request.include, &request.exclude}) {
    for (const auto& name : *list) {
      if (contains(known_providers, name)) continue;
      choice.why = msg::parameter_provider_unknown(list == &request.include ? "include" : "exclude", name,
                                                   version_text(request.library), join(known_providers));
      return choice;
    }
  }
  const auto names = preference(request);
  for (const auto& name : names) {
    if (!complete(name, request)) {  // only if the user named it
      const uint32_t since = provider_traits(name).usable_since;
      const std::string library = version_text(request.library);
      choice.why = since == kNever ? msg::parameter_provider_incomplete(name, library)
                                   : msg::parameter_provider_too_old(name, library, version_text(since));
      return choice;
    }
    const auto candidates = offer(name);
    const int index = pick(candidates, request);
    if (index < 0) {
      choice.skipped.push_back({name, reason(name)});
      continue;
    }
    choice.index = index;
    choice.provider = name;
    return choice;
  }
  std::vector<std::string> tried;
  for (const auto& each : choice.skipped) tried.push_back(msg::provider_tried(each.provider, each.reason));
  if (names.empty()) tried.push_back(msg::provider_none_allowed());
  choice.why = msg::provider_none(join(tried));
  return choice;
}

UserMessage skipped_words(const Choice& choice) {
  for (const auto& each : choice.skipped)
    if (provider_traits(each.provider).one_node && choice.index >= 0)
      return msg::provider_skipped(each.provider, each.reason, choice.provider);
  return {};
}

uint32_t Discovery::api_version() {
  return std::min<uint32_t>(FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION), fi_version());
}

InfoPtr make_hints(const ProviderTraits& traits) {
  InfoPtr hints(fi_allocinfo());
  if (!hints) return hints;
  hints->caps = FI_MSG | FI_TAGGED | FI_SEND | FI_RECV | FI_DIRECTED_RECV | traits.extra_caps;
  if (traits.name == "efa" && FI_VERSION_LT(fi_version(), kEfaSharesMemorySince))
    hints->caps &= ~FI_LOCAL_COMM;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAS;
  // The transport has a lock of its own when MPI has threads, so the provider needs none.
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
  hints->domain_attr->av_type = FI_AV_TABLE;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  return hints;
}

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(directory.c_str()), closedir);
  std::vector<std::filesystem::path> entries;
  while (const dirent* entry = open ? readdir(open.get()) : nullptr)
    if (entry->d_name[0] != '.') entries.push_back(directory / entry->d_name);
  return entries;
}

int kernel_efa_devices() {
  constexpr const char* kAmazon = "0x1d0f";  // PCI vendor
  const char* moved = std::getenv("SYSFS_PATH");
  const std::filesystem::path root = moved && *moved ? moved : "/sys";
  int count = 0;
  for (const auto& entry : entries_of(root / "class/infiniband")) {
    std::string vendor;
    std::ifstream(entry / "device/vendor") >> vendor;
    count += vendor == kAmazon;
  }
  return count;
}

namespace {

// As libfabric compares: without regard to case.
bool is_one_of(const char* text, std::initializer_list<const char*> words) {
  return text &&
         std::any_of(words.begin(), words.end(), [&](const char* word) { return !strcasecmp(text, word); });
}

// Less room in /dev/shm than shm may want: libfabric wants a segment for each core, which shows as 16 MiB (2.1).
bool shared_memory_is_short() {
  constexpr uint64_t kSegment = 16 * kMiB;
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return free_shared_memory() < static_cast<uint64_t>(std::max(cores, 1L)) * kSegment;
}

}  // namespace

bool switched_on(const char* name) {
  return is_one_of(std::getenv(name), {"1", "yes", "on", "true"});
}

bool switched_off(const char* name) {
  return is_one_of(std::getenv(name), {"0", "no", "off", "false"});
}

bool filter_allows(const char* filter, const std::string& provider) {
  if (!filter || !*filter) return true;
  const bool excludes = *filter == '^';
  std::istringstream names(filter + excludes);
  std::string name;
  while (std::getline(names, name, ','))
    if (!strcasecmp(name.c_str(), provider.c_str())) return !excludes;
  return excludes;
}

std::string Discovery::reason(const std::string& provider) const {
  const auto found = reasons_.find(provider);
  return found == reasons_.end() ? msg::provider_found_nothing() : found->second;
}

std::vector<Candidate> Discovery::offer(const std::string& provider) {
  InfoPtr hints = make_hints(provider_traits(provider));
  if (!hints) return {};
  hints->fabric_attr->prov_name = strdup(provider.c_str());
  fi_info* list = nullptr;
  words_.clear();
  if (const int error = fi_getinfo(api_version(), nullptr, nullptr, 0, hints.get(), &list)) {
    std::string& reason = reasons_[provider];
    reason = words_.of(provider);
    const bool unsaid = reason.empty() && error == -FI_ENODATA;
    if (reason.empty()) reason = unsaid ? msg::provider_found_nothing().text() : fi_strerror(-error);
    if (provider_traits(provider).one_node &&
        (shared_memory_is_short() || reason.find("space") != std::string::npos))
      reason = msg::provider_reason_shm(unsaid ? fi_strerror(FI_ENOSPC) : reason,
                                        msg::shm_free(free_shared_memory() / kMiB));
    return {};
  }
  owned_.emplace_back(list);

  std::vector<Candidate> candidates;
  std::set<std::string> seen;  // an entry for each address format: the first of a domain is enough
  for (const fi_info* info = list; info; info = info->next) {
    // A name matches every stack of providers that contains it.
    if (provider != info->fabric_attr->prov_name) continue;
    // efa-direct is no tagged endpoint; it does not come here, but its name is what tells it apart.
    if (info->fabric_attr->name && std::strcmp(info->fabric_attr->name, "efa-direct") == 0) continue;
    Candidate candidate;
    candidate.provider = provider;
    candidate.domain = info->domain_attr->name ? info->domain_attr->name : "";
    candidate.info = info;
    candidate.ipv4 = info->addr_format != FI_SOCKADDR_IN6;
    candidate.loopback = candidate.domain == "lo";
    candidate.link_up = !info->nic || !info->nic->link_attr || info->nic->link_attr->state != FI_LINK_DOWN;
    if (!seen.insert(candidate.domain + (candidate.ipv4 ? "4" : "6")).second) continue;
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

std::vector<std::string> Discovery::known_providers() {
  std::vector<std::string> names;
  fi_info* list = nullptr;
  if (fi_getinfo(api_version(), nullptr, nullptr, FI_PROV_ATTR_ONLY, nullptr, &list) == 0) {
    for (const fi_info* info = list; info; info = info->next) {
      const std::string name = info->fabric_attr->prov_name;
      if (!contains(names, name)) names.push_back(name);
    }
    fi_freeinfo(list);
  }
  // Layered providers are stacked by name and not in that list.
  const auto has = [&](const char* name) { return contains(names, name); };
  for (const auto& row : kProviders) {
    const std::string name(row.name);
    const auto layer = name.find(';');
    if (layer != std::string::npos && has(name.substr(0, layer).c_str()) &&
        has(name.substr(layer + 1).c_str()))
      names.push_back(name);
  }
  return names;
}

}  // namespace efa
