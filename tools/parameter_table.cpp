// parameter_table    every parameter as Markdown: docs/parameters.md is its output
#include <cstdio>
#include <string>

#include "options.h"
#include "provider_table.hpp"

namespace {

// "1.1 GB" style would hide the exact bound, so powers of two are written with their unit, all else as it is.
std::string bytes(uint64_t value) {
  if (value >= efa::kGiB && value % efa::kGiB == 0) return std::to_string(value / efa::kGiB) + " GiB";
  if (value >= efa::kMiB && value % efa::kMiB == 0) return std::to_string(value / efa::kMiB) + " MiB";
  if (value >= efa::kKiB && value % efa::kKiB == 0) return std::to_string(value / efa::kKiB) + " KiB";
  return std::to_string(value);
}

std::string amount(long value, const char* unit) {
  if (value == -1) return "automatic (-1)";
  return std::string(unit) == "bytes" ? bytes(static_cast<uint64_t>(value)) : std::to_string(value);
}

// The bar would end a cell.
std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\|");
  return text;
}

void number(const char* name, long standard, long least, long greatest, const char* unit, int level,
            const char* text) {
  std::printf("| `mtl_efa_%s` | %s | %s to %s | %s | %d | %s |\n", name, amount(standard, unit).c_str(),
              amount(least, unit).c_str(), amount(greatest, unit).c_str(), unit, level, cell(text).c_str());
}

constexpr const char* kFormPROVIDERS = "list";
constexpr const char* kFormNICS = "list";
constexpr const char* kFormNIC_LISTS = "lists";
constexpr const char* kFormPOLICY = "word";

constexpr const char* kIntroduction =
    R"(# Parameters

<!-- Made by tools/parameter_table.cpp from common/options.h and common/provider_table.hpp; change the tables there. -->

Set one with `mpirun --mca NAME VALUE`, `OMPI_MCA_NAME=VALUE` in the environment, or a line `NAME = VALUE` in
`~/.openmpi/mca-params.conf`. `ompi_info --param mtl efa -l 9` shows them with the values in force. Level: 1 to 3 for
users, 4 to 6 for tuning, 7 to 9 for developers. A value outside its range, or beyond what the provider allows, ends the
job in MPI_Init with a message that names the parameter, the value and the range.

| Parameter | Default | Range | Unit | Level | Meaning |
|---|---|---|---|---:|---|
)";

constexpr const char* kProviderTable =
    R"(
## What *automatic* means

By provider of libfabric, best first; a message longer than the eager limit goes by rendezvous. Bytes unless a unit is
given. *local*: the upper bound of the eager limits to a peer on the same node. `eager_limit_alone` is one only where it
is above the others.

| Provider | `eager_limit` | local | `eager_limit_packed` | `eager_limit_alone` | `chunk_size` | `staging_size` | `pull_limit` |
|---|---:|---:|---:|---:|---:|---:|---:|
)";

}  // namespace

int main() {
  std::fputs(kIntroduction, stdout);
#define NUMBER(name, standard, least, greatest, unit, level, text) \
  number(#name, standard, least, greatest, unit, level, text);
#define SWITCH(name, standard, level, text)                                                              \
  std::printf("| `mtl_efa_%s` | %s | true, false | | %d | %s |\n", #name, (standard) ? "true" : "false", \
              level, cell(text).c_str());
#define TEXT(name, form, level, text) \
  std::printf("| `mtl_efa_%s` | empty | | %s | %d | %s |\n", #name, kForm##form, level, cell(text).c_str());
  EFA_OPTION_TABLE(NUMBER, SWITCH, TEXT)
#undef NUMBER
#undef SWITCH
#undef TEXT
  std::fputs(kProviderTable, stdout);
  for (const auto& row : efa::kProviders)
    std::printf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", row.name.data(),
                bytes(row.eager_limit).c_str(), bytes(row.eager_limit_local).c_str(),
                bytes(row.eager_limit_packed).c_str(),
                row.eager_limit_alone ? bytes(row.eager_limit_alone).c_str() : "-", bytes(row.piece).c_str(),
                bytes(row.staging).c_str(), row.pull_limit ? bytes(row.pull_limit).c_str() : "never");
  return 0;
}
