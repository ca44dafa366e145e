#include <string_view>

#include "base/lists.hpp"
#include "errors/no_exceptions.hpp"
#include "interface/options.h"
#include "interface/statistics.h"
#include "machine/affinity.hpp"

namespace {

namespace msg = efa::msg;
using efa::UserMessage;

bool number_in_range(const char* name, long value, long least, long greatest, const char* unit,
                     UserMessage& why) {
  if (value >= least && value <= greatest) return true;
  why = least == -1 ? msg::parameter_range_automatic(name, value, least, greatest, unit)
                    : msg::parameter_range(name, value, least, greatest, unit);
  return false;
}

bool well_formed_PROVIDERS(const char* name, const char* value, UserMessage& why) {
  if (efa::split_list(value)) return true;
  why = msg::parameter_providers(name, value);
  return false;
}

// Empty entries would be ignored where NICs are chosen; they are probably an error of the user.
bool well_formed_patterns(const char* name, const char* value, const char* separators, UserMessage& why) {
  std::string_view text = value;
  for (size_t end = 0; !text.empty() && end != text.npos;) {
    end = text.find_first_of(separators);
    if (text.substr(0, end).find_first_not_of(" \t") == text.npos ||
        (end != text.npos && end + 1 == text.size())) {
      why = msg::parameter_nics(name, value);
      return false;
    }
    if (end != text.npos) text.remove_prefix(end + 1);
  }
  return true;
}

bool well_formed_NICS(const char* name, const char* value, UserMessage& why) {
  return well_formed_patterns(name, value, ",", why);
}

bool well_formed_NIC_LISTS(const char* name, const char* value, UserMessage& why) {
  return well_formed_patterns(name, value, ",;", why);
}

bool well_formed_POLICY(const char* name, const char* value, UserMessage& why) {
  if (!*value || efa::parse_nic_policy(value)) return true;
  why = msg::parameter_policy(name, value);
  return false;
}

bool well_formed_STATISTICS(const char* name, const char* value, UserMessage& why) {
  if (efa_statistics_form_of(value) >= 0) return true;
  why = msg::parameter_statistics(name, value);
  return false;
}

bool well_formed_PATH(const char* name, const char* value, UserMessage& why) {
  const std::string_view word = value;
  if (word.empty() || word == "auto" || word == "tagged" || word == "packets") return true;
  why = msg::parameter_path(name, value);
  return false;
}

}  // namespace

extern "C" void efa_options_defaults(efa_options* options) {
#define EFA_NUMBER(name, standard, ...) options->name = standard;
#define EFA_SWITCH(name, standard, ...) options->name = standard;
#define EFA_TEXT(name, ...) options->name = nullptr;
  EFA_OPTION_TABLE(EFA_NUMBER, EFA_SWITCH, EFA_TEXT)
#undef EFA_NUMBER
#undef EFA_SWITCH
#undef EFA_TEXT
}

extern "C" bool efa_options_check(const efa_options* options, efa_user_message* why) try {
  UserMessage wrong;
  bool good = true;
#define EFA_NUMBER(name, standard, least, greatest, unit, ...) \
  good = good && number_in_range(#name, options->name, least, greatest, unit, wrong);
#define EFA_SWITCH(name, ...)
#define EFA_TEXT(name, form, ...) \
  good = good && (!options->name || well_formed_##form(#name, options->name, wrong));
  EFA_OPTION_TABLE(EFA_NUMBER, EFA_SWITCH, EFA_TEXT)
#undef EFA_NUMBER
#undef EFA_SWITCH
#undef EFA_TEXT
  if (!good) *why = efa::printable(wrong, wrong.severity());
  return good;
} catch (...) {
  *why = msg::parameter_check_exception.without_memory(efa::current_exception_text());
  return false;
}

extern "C" const char* efa_options_path(const efa_options* options, bool* by_user) {
  const std::string_view word = options->path ? options->path : "";
  *by_user = !word.empty() && word != "auto";
  return word == "packets" ? "packets" : "tagged";
}
