// What happens to a message once its receive is known, on either path: short ones are stored, others are answered.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/user_message.hpp"
#include "interface/transport.h"

namespace efa {

// Copies the part of a message that is in the bounce. 8 to 16 bytes are copied without a call, because most
// latency-critical messages are that short.
inline void copy_head(void* to, const uint8_t* bounce, size_t size) {
  if (size >= 8 && size <= 16) [[likely]] {
    uint64_t first, last;
    std::memcpy(&first, bounce, 8);
    std::memcpy(&last, bounce + size - 8, 8);
    std::memcpy(to, &first, 8);
    std::memcpy(static_cast<char*>(to) + size - 8, &last, 8);
  } else if (size > 0) {
    std::memcpy(to, bounce, std::min<size_t>(size, EFA_BOUNCE_SIZE));
  }
}

// Moves `size` bytes of a message, cut to the length of the receive, to the user's memory. `bytes`: the message, or the
// request's bounce, which has its first EFA_BOUNCE_SIZE bytes while the rest is in place. False if unpacking fails.
bool store(efa_transport* t, efa_request* request, const void* bytes, size_t size);
// Completes or continues a receive whose status names source and tag. `bits`: the message's kind and all else that its
// acknowledgement names; `bytes`: as for store(), `length` of them have arrived.
void deliver_matched(efa_transport* t, efa_request* request, uint64_t bits, const void* bytes, size_t length);
// Ends the job for a matched message that cannot be answered, because its sender would wait forever. `peer`: null if the
// sender is not known.
void cannot_answer(efa_transport* t, efa_request* request, const efa_peer* peer, size_t length);
// The error for such a message.
FatalMessage unanswerable(const efa_transport* t, const efa_peer* peer, int32_t source, size_t length);
// The sender of the message that `request` received from `source`; null, after a report, if it cannot be resolved.
efa_peer* sender_of(efa_transport* t, const efa_request* request, int32_t source);

}  // namespace efa
