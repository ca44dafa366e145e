#include "fabric/provider_words.hpp"

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_ext.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

namespace efa {
namespace {

std::mutex mutex;  // providers may have threads of their own
std::vector<ProviderWord> words;
constexpr size_t kMostWords = 64;

int enabled(const fi_provider*, fi_log_level level, fi_log_subsys, uint64_t) {
  return level == FI_LOG_WARN;
}
int ready(const fi_provider* provider, fi_log_level level, fi_log_subsys subsystem, uint64_t flags, uint64_t*) {
  return enabled(provider, level, subsystem, flags);
}
// Called by libfabric, which is C. Without memory the word is left out.
void log(const fi_provider* provider, fi_log_level, fi_log_subsys, const char*, int, const char* message) try {
  std::string text = message ? message : "";
  while (!text.empty() && (text.back() == '\n' || text.back() == '.' || text.back() == ' ')) text.pop_back();
  const std::lock_guard guard(mutex);
  if (words.size() < kMostWords && !text.empty())
    words.push_back({provider && provider->name ? provider->name : "core", std::move(text)});
} catch (...) {
}

fi_ops_log operations = {sizeof(fi_ops_log), enabled, ready, log};
fid_logging taken = {};

}  // namespace

ProviderWords::ProviderWords() {
  clear();
  if (std::getenv("FI_LOG_LEVEL")) return;
  taken = {};
  taken.ops = &operations;
  collects_ = fi_import_log(FI_VERSION(1, 13), 0, &taken) == 0;
}

ProviderWords::~ProviderWords() {
  if (collects_) fi_close(&taken.fid);  // gives the log back to libfabric
}

void ProviderWords::clear() {
  const std::lock_guard guard(mutex);
  words.clear();
}

const std::vector<ProviderWord>& ProviderWords::all() const {
  return words;
}

bool ProviderWords::contain(const std::string& text) const {
  return std::any_of(words.begin(), words.end(),
                     [&](const ProviderWord& word) { return word.text.find(text) != std::string::npos; });
}

std::string ProviderWords::of(const std::string& provider) const {
  for (const auto& word : words)
    if (word.provider == provider) return word.text;
  for (const auto& word : words)
    if (word.provider == "core" && word.text.find("provider " + provider + " ") != std::string::npos) return word.text;
  return "";
}

}  // namespace efa
