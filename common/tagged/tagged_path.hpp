// The path on which the provider matches, by its tagged messages.
#pragma once

#include "protocol/path.hpp"

namespace efa {

extern const Path kTaggedPath;

}  // namespace efa
