// What libfabric itself says while it is asked for providers and opened.
//
// fi_getinfo tells only that there is nothing (FI_ENODATA): why is known to libfabric's log alone. So its warnings are
// collected for a while. Where the user reads the log (FI_LOG_LEVEL is set) or another part of the process has taken it,
// nothing is collected.
#pragma once

#include <string>
#include <vector>

namespace efa {

struct ProviderWord {
  std::string provider;  // that says it; "core" for libfabric itself
  std::string text;
};

// Collects while it exists. One at a time: during set-up only.
class ProviderWords {
 public:
  ProviderWords();
  ~ProviderWords();
  ProviderWords(const ProviderWords&) = delete;
  ProviderWords& operator=(const ProviderWords&) = delete;

  bool collects() const { return collects_; }
  // Forgets what was said so far.
  void clear();
  const std::vector<ProviderWord>& all() const;
  // Whether any of them contains `text`.
  bool contain(const std::string& text) const;
  // The first that was said by `provider`, or else by libfabric about it; empty if none was.
  std::string of(const std::string& provider) const;

 private:
  bool collects_ = false;
};

}  // namespace efa
