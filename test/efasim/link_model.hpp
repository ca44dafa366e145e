// The link model: when a packet arrives. It computes with times that the caller passes, so that it can be tested
// with literals. The two line clocks are in shared memory, because all processes that use a NIC share its line.
//
//   send line free   rx line free
//        |                |
//   [ serialise ]---latency---[ serialise, cut through ] -> due
//
// One packet alone arrives after latency + bytes / rate; a stream runs at the rate of the slowest line.
// Headers and acknowledgements take no bandwidth. Congestion control and multiple paths are not modelled.
#pragma once

#include <atomic>
#include <cstdint>

namespace efasim {

struct LinkModel {
  uint64_t latency_ns = 0;
  uint64_t bits_per_second = 0;  // per NIC and direction; 0 = no limit
  uint64_t jitter_ns = 0;        // each packet is late by a uniform random time up to this
  double reorder = 0;            // probability that a packet is held back by reorder_ns, so that others overtake
  uint64_t reorder_ns = 50'000;
  double loss = 0;               // probability that a packet is lost each time it is sent; the NIC sends it again
  uint64_t resend_ns = 500'000;  // after this time
  uint64_t seed = 1;

  bool enabled() const { return latency_ns || bits_per_second || jitter_ns || reorder > 0 || loss > 0; }
};

// A repeatable random number in [0, 1): a function of the seed, the stream (a queue pair's address) and the
// number of the packet in it, so it does not depend on the order in which processes call it.
double random_unit(uint64_t seed, uint64_t stream, uint64_t number);

// Time on the line, in ns.
uint64_t serialisation_ns(const LinkModel& link, uint64_t bytes);

// Reserves both lines for `bytes` from `now` on and returns when the last byte arrives.
uint64_t reserve_lines(const LinkModel& link, uint64_t now, uint64_t bytes, std::atomic<uint64_t>& tx_free,
                       std::atomic<uint64_t>& rx_free);

// Delay of a packet by jitter, reordering and loss, ns.
uint64_t random_delay_ns(const LinkModel& link, uint64_t stream, uint64_t number);

}  // namespace efasim
