#pragma once

#include "pair.hpp"

namespace raw {

// Runs the pattern for every size; process 0 prints. Both processes call it.
void measure(const Options& options);

}  // namespace raw
