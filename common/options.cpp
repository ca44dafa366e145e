#include "options.h"

#include <cstdio>
#include <sstream>
#include <string>
#include <string_view>

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

bool list_well_formed(const char* name, const char* value, std::string& why) {
  if (!value || efa::split_list(value)) return true;
  why =
      std::string("The parameter mtl_efa_") + name + " is \"" + value +
      "\", but must be a comma-separated list of provider names such as \"efa,shm\", without empty entries, "
      "spaces or '^'.";
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
#define EFA_TEXT(name, ...) good = good && list_well_formed(#name, options->name, text);
  EFA_OPTION_TABLE(EFA_NUMBER, EFA_SWITCH, EFA_TEXT)
#undef EFA_NUMBER
#undef EFA_SWITCH
#undef EFA_TEXT
  if (!good) std::snprintf(why, why_size, "%s", text.c_str());
  return good;
}
