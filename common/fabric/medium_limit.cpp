#include "fabric/medium_limit.hpp"

#include <rdma/fi_errno.h>
#include <rdma/providers/fi_prov.h>

#include <cstdlib>
#include <string>

namespace efa {
namespace {

constexpr const char* kVariable = "FI_EFA_INTER_MAX_MEDIUM_MESSAGE_SIZE";
constexpr uint64_t kProvidersOwn = 64 * kKiB;
// From which the value is read once for the whole process.
constexpr uint32_t kReadOnceSince = FI_VERSION(2, 0);

bool first_use_was_ours = false;  // of libfabric in this process

}  // namespace

// Every variable that libfabric itself knows is declared when it initializes itself.
bool libfabric_is_initialized() {
  char* level = nullptr;
  return fi_param_get(nullptr, "log_level", &level) != -FI_ENOENT;
}

uint64_t medium_limit(const char* user, bool ours, uint32_t library) {
  if (user) return std::strtoull(user, nullptr, 0);
  return ours || library < kReadOnceSince ? kLongestMedium : kProvidersOwn;
}

MediumLimit::MediumLimit() {
  const char* user = std::getenv(kVariable);
  if (!libfabric_is_initialized()) first_use_was_ours = true;
  in_force_ = medium_limit(user, first_use_was_ours, fi_version());
  if (user) return;
  set_here_ = setenv(kVariable, std::to_string(kLongestMedium).c_str(), 1) == 0;
}

MediumLimit::~MediumLimit() {
  if (set_here_) unsetenv(kVariable);
}

}  // namespace efa
