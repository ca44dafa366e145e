// Memory for data that nobody wants: what lies beyond the end of a receive, and pieces of failed transfers. It is never read.
#pragma once

#include <sys/uio.h>
#include <algorithm>
#include <cstddef>
#include <memory>

#include "interface/transport.h"

namespace efa {

// Providers that do not handle truncation reliably get receives with an overflow part, so that every receive has room for
// the longest message.
struct Overflow {
  iovec part_short{};       // the overflow part of a receive of at most EFA_BOUNCE_SIZE bytes
  size_t parts_short = 1;   // 2 if part_short is in use
  size_t receive_room = 0;  // bytes that every receive must have, overflow included; 0: no overflow
  std::unique_ptr<char[]> memory;

  // Gives every receive room for messages of up to `longest` bytes: see recv.cpp.
  void give_room(size_t longest) {
    receive_room = longest;
    part_short = {memory.get(), longest - std::min<size_t>(longest, EFA_BOUNCE_SIZE)};
    parts_short = part_short.iov_len ? 2 : 1;
  }
};

}  // namespace efa
