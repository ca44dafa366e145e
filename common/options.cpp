#include "options.h"

#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>

#include "affinity.hpp"
#include "lists.hpp"

namespace {

bool number_in_range(const char* name, long value, long least, long greatest, const char* unit,
                     std::string& why) {
  if (value >= least && value <= greatest) return true;
  std::ostringstream out;
  out << "The parameter mtl_efa_" << name << " is " << value << ", but must be from " << least << " to "
      << greatest;
  if (*unit) out << " " << unit;
  if (least == -1) out << " (-1: automatic)";
  out << ".";
  why = out.str();
  return false;
}

bool well_formed_PROVIDERS(const char* name, const char* value, std::string& why) {
  if (efa::split_list(value)) return true;
  why =
      std::string("The parameter mtl_efa_") + name + " is \"" + value +
      "\", but must be a comma-separated list of provider names such as \"efa,shm\", without empty entries, "
      "spaces or '^'.";
  return false;
}

// Empty entries would be ignored where NICs are chosen; here they are most likely a slip.
bool well_formed_patterns(const char* name, const char* value, const char* separators, std::string& why) {
  std::string_view text = value;
  for (size_t end = 0; !text.empty() && end != text.npos;) {
    end = text.find_first_of(separators);
    if (text.substr(0, end).find_first_not_of(" \t") == text.npos ||
        (end != text.npos && end + 1 == text.size())) {
      why = std::string("The parameter mtl_efa_") + name + " is \"" + value +
            "\", which has an empty entry. It must list NICs, such as \"rdmap16s27\" or \"rdmap*\".";
      return false;
    }
    if (end != text.npos) text.remove_prefix(end + 1);
  }
  return true;
}

bool well_formed_NICS(const char* name, const char* value, std::string& why) {
  return well_formed_patterns(name, value, ",", why);
}

bool well_formed_NIC_LISTS(const char* name, const char* value, std::string& why) {
  return well_formed_patterns(name, value, ",;", why);
}

bool well_formed_POLICY(const char* name, const char* value, std::string& why) {
  if (!*value || efa::parse_nic_policy(value)) return true;
  why = std::string("The parameter mtl_efa_") + name + " is \"" + value +
        "\", but must be near, spread or one.";
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

extern "C" bool efa_options_check(const efa_options* options, char* why, unsigned long why_size) {
  std::string text;
  bool good = true;
#define EFA_NUMBER(name, standard, least, greatest, unit, ...) \
  good = good && number_in_range(#name, options->name, least, greatest, unit, text);
#define EFA_SWITCH(name, ...)
#define EFA_TEXT(name, form, ...) \
  good = good && (!options->name || well_formed_##form(#name, options->name, text));
  EFA_OPTION_TABLE(EFA_NUMBER, EFA_SWITCH, EFA_TEXT)
#undef EFA_NUMBER
#undef EFA_SWITCH
#undef EFA_TEXT
  if (!good) std::snprintf(why, why_size, "%s", text.c_str());
  return good;
}
