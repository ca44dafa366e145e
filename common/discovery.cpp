#include "discovery.hpp"

#include <netinet/in.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

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

// Can every call of MPI be served?
bool complete(const std::string& provider, const Wish& wish) {
  return FI_VERSION_GE(wish.library, provider_traits(provider).usable_since);
}

std::string version_text(uint32_t version) {
  return std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
}

// The candidate for this process. NICs of a kind are dealt round by local rank; a network interface is the
// loopback when all ranks share the node (always up, never filtered), otherwise one that leaves the node.
int pick(const std::vector<Candidate>& candidates, const Wish& wish) {
  std::vector<int> fit;
  for (const bool ipv4 : {true, false}) {
    for (const bool up : {true, false}) {
      for (int i = 0; i < static_cast<int>(candidates.size()); ++i) {
        const auto& c = candidates[i];
        const bool reaches = c.provider == "efa" || c.loopback == wish.all_ranks_local;
        if (c.ipv4 == ipv4 && c.link_up == up && reaches) fit.push_back(i);
      }
      if (!fit.empty()) {
        const bool nics = candidates[fit[0]].provider == "efa";
        return fit[nics ? static_cast<size_t>(wish.local_rank) % fit.size() : 0];
      }
    }
  }
  return candidates.empty() ? -1 : 0;
}

}  // namespace

bool Wish::allows(const std::string& provider) const {
  return (include.empty() || contains(include, provider)) && !contains(exclude, provider);
}

std::vector<std::string> preference(const Wish& wish) {
  std::vector<std::string> names;
  if (!wish.include.empty()) {
    names = wish.include;
  } else {
    for (const auto& row : kProviders) {
      const std::string name(row.name);
      if (name != "efa" && !wish.named_by_user) continue;
      if (row.one_node && !wish.all_ranks_local) continue;
      if (!complete(name, wish)) continue;
      names.push_back(name);
    }
  }
  std::erase_if(names, [&](const std::string& name) { return contains(wish.exclude, name); });
  return names;
}

Choice choose(const Wish& wish, const Offer& offer, const std::vector<std::string>& known_providers) {
  Choice choice;
  for (const auto* list : {&wish.include, &wish.exclude}) {
    for (const auto& name : *list) {
      if (contains(known_providers, name)) continue;
      choice.why = "The parameter mtl_efa_provider_" +
                   std::string(list == &wish.include ? "include" : "exclude") + " names \"" + name +
                   "\", which this libfabric (" + version_text(wish.library) +
                   ") does not have. It has: " + join(known_providers) + ".";
      return choice;
    }
  }
  const auto names = preference(wish);
  for (const auto& name : names) {
    if (!complete(name, wish)) {  // only if the user named it
      const uint32_t since = provider_traits(name).usable_since;
      choice.why = "The parameter mtl_efa_provider_include names \"" + name +
                   "\", which cannot carry all of MPI in libfabric " + version_text(wish.library) +
                   " (probes and long unexpected messages fail)" +
                   (since == kNever ? std::string() : "; from " + version_text(since) + " on it can") +
                   ". Name another one, such as tcp;ofi_rxm.";
      return choice;
    }
    const auto candidates = offer(name);
    const int index = pick(candidates, wish);
    if (index < 0) continue;
    choice.index = index;
    choice.provider = name;
    return choice;
  }
  choice.why = "No provider of libfabric that may be used here can carry MPI messages (tried: " +
               (names.empty() ? std::string("none is allowed") : join(names)) +
               "). fi_info lists what libfabric finds on this machine; the parameters "
               "mtl_efa_provider_include and mtl_efa_provider_exclude say what may be used.";
  return choice;
}

uint32_t Discovery::api_version() {
  return std::min<uint32_t>(FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION), fi_version());
}

InfoPtr make_hints(const ProviderTraits& traits) {
  InfoPtr hints(fi_allocinfo());
  if (!hints) return hints;
  hints->caps = FI_MSG | FI_TAGGED | FI_SEND | FI_RECV | FI_DIRECTED_RECV | traits.extra_caps;
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

int kernel_efa_devices() {
  constexpr const char* kAmazon = "0x1d0f";  // PCI vendor
  int count = 0;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", none)) {
    std::string vendor;
    std::ifstream(entry.path() / "device/vendor") >> vendor;
    count += vendor == kAmazon;
  }
  return count;
}

bool switched_on(const char* name) {
  const char* set = std::getenv(name);
  if (!set) return false;
  constexpr std::string_view kYes[] = {"1", "yes", "on", "true"};
  return std::find(std::begin(kYes), std::end(kYes), set) != std::end(kYes);
}

Discovery::Discovery(const Wish& wish) {
  for (const auto& row : kVariables)
    if (fi_version() < row.until) setenv(row.name, row.value, /*overwrite=*/0);
  if (!wish.allows("efa") || kernel_efa_devices() == 0) setenv(kCrossMemoryAttachOff, "1", /*overwrite=*/0);
}

std::vector<Candidate> Discovery::offer(const std::string& provider) {
  InfoPtr hints = make_hints(provider_traits(provider));
  if (!hints) return {};
  hints->fabric_attr->prov_name = strdup(provider.c_str());
  fi_info* list = nullptr;
  if (fi_getinfo(api_version(), nullptr, nullptr, 0, hints.get(), &list) != 0) return {};
  owned_.emplace_back(list);

  std::vector<Candidate> candidates;
  std::set<std::string> seen;  // an entry for each address format: the first of a domain is enough
  for (const fi_info* info = list; info; info = info->next) {
    // A name matches every stack of providers that contains it.
    if (provider != info->fabric_attr->prov_name) continue;
    // efa-direct is no tagged endpoint; it does not come here, but its name is what tells it apart.
    if (info->fabric_attr->name && std::strcmp(info->fabric_attr->name, "efa-direct") == 0) continue;
    Candidate c;
    c.provider = provider;
    c.domain = info->domain_attr->name ? info->domain_attr->name : "";
    c.info = info;
    c.ipv4 = info->addr_format != FI_SOCKADDR_IN6;
    c.loopback = c.domain == "lo";
    c.link_up = !info->nic || !info->nic->link_attr || info->nic->link_attr->state != FI_LINK_DOWN;
    if (!seen.insert(c.domain + (c.ipv4 ? "4" : "6")).second) continue;
    candidates.push_back(std::move(c));
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
