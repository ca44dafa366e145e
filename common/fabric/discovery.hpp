// Which provider and which of its NICs a process uses. The choice is a pure function of what libfabric offers, so that it
// can be tested without hardware.
#pragma once

#include <rdma/fabric.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/user_message.hpp"
#include "fabric/provider_table.hpp"
#include "fabric/provider_words.hpp"
#include "interface/transport.h"

namespace efa {

struct InfoDeleter {
  void operator()(fi_info* info) const { fi_freeinfo(info); }
};
using InfoPtr = std::unique_ptr<fi_info, InfoDeleter>;

// One entry that libfabric offers: a provider and a NIC or interface.
struct Candidate {
  std::string provider;
  std::string domain;     // the NIC's name
  bool loopback = false;  // reaches this node only
  bool ipv4 = true;       // false: IPv6 or another family, taken only when there is no other
  bool link_up = true;
  const fi_info* info = nullptr;  // owned by the Discovery it came from
};

struct ProviderRequest {
  std::vector<std::string> include, exclude;  // provider names
  bool named_by_user = false;                 // the component was asked for: no EFA NIC needed
  bool all_ranks_local = false;
  bool spawned = false;  // by another job, whose ranks may be on other nodes
  int32_t local_rank = 0;
  uint32_t library = 0;  // fi_version()

  bool allows(const std::string& provider) const;
};

// A provider that was tried in vain.
struct Skipped {
  std::string provider;
  std::string reason;  // libfabric's, or "nothing found"
};

struct Choice {
  int index = -1;  // into the candidates of `provider`; -1: none, and `why` says so
  std::string provider;
  UserMessage why;
  std::vector<Skipped> skipped;  // before `provider`
};

// Candidates of one provider by name, best first as libfabric orders them; empty if it has none.
using Offer = std::function<std::vector<Candidate>(const std::string& provider)>;

// Why it has none.
using Reason = std::function<std::string(const std::string& provider)>;

// Names of all providers in the table that `request` allows, in order of preference.
std::vector<std::string> preference(const ProviderRequest& request);
Choice choose(const ProviderRequest& request, const Offer& offer, const Reason& reason,
              const std::vector<std::string>& known_providers);
// What a user should know of a choice that passed over a provider of the node that would have been faster; empty if it
// passed over none.
UserMessage skipped_words(const Choice& choice);

// EFA devices that the kernel's driver shows below $SYSFS_PATH (as libibverbs has it; /sys). libfabric is not used for
// that.
int kernel_efa_devices();

// The entries of a directory, none if it cannot be read. std::filesystem::directory_iterator of libstdc++ ends the process
// if it finds no memory: it allocates in functions that are noexcept.
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory);

// True if libfabric's variable `name` is set and says yes; no.
bool switched_on(const char* name);
bool switched_off(const char* name);

// Whether the variable FI_PROVIDER, `filter` (may be null), lets libfabric have a provider.
bool filter_allows(const char* filter, const std::string& provider);

// What libfabric on this machine offers.
class Discovery {
 public:
  // libfabric is used for the first time by offer() or known_providers().
  std::vector<Candidate> offer(const std::string& provider);
  // Why that was empty.
  std::string reason(const std::string& provider) const;
  // What libfabric has said since the last offer().
  const ProviderWords& words() const { return words_; }
  // Every provider that libfabric has here, for the message about an unknown one.
  static std::vector<std::string> known_providers();
  // The API version that was asked for: the newest that both headers and library have.
  static uint32_t api_version();

 private:
  std::vector<InfoPtr> owned_;
  ProviderWords words_;
  std::map<std::string, std::string> reasons_;
};

// Hints for everything this transport needs of an endpoint of `traits`, and nothing more.
InfoPtr make_hints(const ProviderTraits& traits);

}  // namespace efa
