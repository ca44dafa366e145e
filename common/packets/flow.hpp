// Flow control of the packet path: the memory of a process for messages that no receive has matched is bounded
// (mtl_efa_unexpected_memory), and yet every program that is right by the MPI standard ends.
//
// Windows. A sender may send each peer messages that cost so many bytes, matched or not. When half of that is used up it
// says so (window_used), and the receiver grants as much again while its memory is not full. Else it owes the grant: it
// gives it when memory has become free.
//
//     sender                                   receiver
//       | -- messages ... ----------------------> |
//       | -- window used: n bytes --------------> |
//       | <------------ window granted: n bytes - |  now, or when the memory allows
//
// Held back. A sender that has used up its window keeps further messages: their requests are not complete. A receive that
// finds no match asks the peers that are owed a grant; they hold the only messages that it does not know. A message that is asked for overtakes
// those before it, which do not match. Its receive takes it, and nobody else, so matching is as without windows:
//
//       | <---------- ask: source, tag, number -- |  a receive is posted
//       | -- offer -----------------------------> |  the first message that matches, now or later
//       | <------------------- take (or decline) - |  unless another message has matched the receive meanwhile
//       | -- answer: the message ---------------> |
//
// Between an offer and its answer the sender gives nothing else of that communicator, so that all questions are answered in
// their order. A grant makes all questions void; the sender then sends what it holds in order.
//
// The window costs the fast path a comparison and a subtraction for each message. Receivers pay nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace efa {

// Bytes that a message costs its receiver besides its data while it is kept: KeptMessage and malloc's own.
constexpr uint32_t kMessageCost = 192;

inline int32_t cost_of(size_t length) {
  return static_cast<int32_t>(kMessageCost + length);
}

// How a process divides the memory, bytes:
//
//     1/2   above that, no grants
//     1/8   the windows that every process of the job has from the start, if they were all used at once
//     1/4   wider windows for peers that send much
//     1/8   messages that go beyond their window, one for each peer, and tables
struct Budget {
  static constexpr int32_t kLeastHalf = 2048, kMostHalf = 256 << 10;

  Budget() = default;
  // `memory`: 0 for no bound.
  Budget(uint64_t memory, uint64_t processes)
      : bounded(memory > 0),
        stop(memory / 2),
        resume(memory / 4),
        growth(memory / 4),
        half(bounded ? static_cast<int32_t>(std::clamp<uint64_t>(memory / 16 / std::max<uint64_t>(processes, 1),
                                                                 kLeastHalf, kMostHalf))
                     : INT32_MAX) {}

  bool bounded = false;
  uint64_t stop = 0, resume = 0;  // grants stop above the one, and begin again below the other
  uint64_t growth = 0;            // that windows may grow by, all together
  int32_t half = INT32_MAX;       // of the window that a peer has from the start
};
constexpr int32_t kMostWindow = 2 << 20;  // bytes that a window may grow to

}  // namespace efa
