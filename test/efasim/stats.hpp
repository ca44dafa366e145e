// The counters as text, for --stats, --stats-json and --watch.
#pragma once

#include <string>

#include "shared.hpp"

namespace efasim {

// A table of all NICs that saw traffic and of their queue pairs.
std::string stats_table(const FabricShared& fabric, bool queue_pairs);
// The same as JSON: {"nics": [{"node": ..., "name": ..., "counters": {...}, "qps": [...]}], "total": {...}}
std::string stats_json(const FabricShared& fabric);

}  // namespace efasim
