// Which provider and which of its NICs a process uses. The choice itself is a pure function over what
// libfabric offers, so that it can be tested without any of the hardware.
#pragma once

#include <rdma/fabric.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "provider_table.hpp"
#include "transport.h"

namespace efa {

struct InfoDeleter {
  void operator()(fi_info* info) const { fi_freeinfo(info); }
};
using InfoPtr = std::unique_ptr<fi_info, InfoDeleter>;

// One way to reach other processes, as libfabric offers it.
struct Candidate {
  std::string provider;
  std::string domain;     // the NIC's name
  bool loopback = false;  // reaches this node only
  bool ipv4 = true;       // false: IPv6 or another family, taken only when there is no other
  bool link_up = true;
  const fi_info* info = nullptr;  // owned by the Discovery it came from
};

struct Wish {
  std::vector<std::string> include, exclude;  // provider names
  bool named_by_user = false;                 // the component was asked for: no EFA NIC needed
  bool all_ranks_local = false;
  int32_t local_rank = 0;
  uint32_t library = 0;  // fi_version()

  bool allows(const std::string& provider) const;
};

struct Choice {
  int index = -1;  // into the candidates of `provider`; -1: none, and `why` says so
  std::string provider;
  std::string why;
};

// Candidates of one provider by name, best first as libfabric orders them; empty if it has none.
using Offer = std::function<std::vector<Candidate>(const std::string& provider)>;

// Names of all providers in the table that `wish` allows, in order of preference.
std::vector<std::string> preference(const Wish& wish);
Choice choose(const Wish& wish, const Offer& offer, const std::vector<std::string>& known_providers);

// EFA devices that the kernel's driver shows; libfabric need not have been used before.
int kernel_efa_devices();

// True if libfabric's variable `name` is set and says yes.
bool switched_on(const char* name);

// What libfabric on this machine offers.
class Discovery {
 public:
  // Sets the variables of kVariables that this libfabric needs, and how shm copies. libfabric reads them when it
  // is first used. Not thread-safe (setenv): during MPI_Init only.
  explicit Discovery(const Wish& wish);
  std::vector<Candidate> offer(const std::string& provider);
  // Every provider that libfabric has here, for the message about an unknown one.
  static std::vector<std::string> known_providers();
  // The API version that was asked for: the newest that both headers and library have.
  static uint32_t api_version();

 private:
  std::vector<InfoPtr> owned_;
};

// Hints for everything this transport needs of an endpoint of `traits`, and nothing more.
InfoPtr make_hints(const ProviderTraits& traits);

}  // namespace efa
