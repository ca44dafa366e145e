// What the user is told where processes of a node cannot share memory, or cannot read each other's.
#pragma once

#include <string>

#include "base/user_message.hpp"
#include "channel/shm_segment.hpp"

namespace efa {

// "memfd_create: Operation not permitted".
std::string to_string(const ShmFailure& failure);
// What to do about it.
MessagePart remedy_for(const ShmFailure& failure);
// What to do if other processes' memory cannot be read.
MessagePart remedy_for_reading();

}  // namespace efa
