// The device's counters, per queue pair. A NIC's counters are the sums over its queue pairs, destroyed ones included.
// One table has the names that tests and --stats use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace efasim {

enum Counter : unsigned {
  kTxPackets,
  kTxBytes,
  kRxPackets,
  kRxBytes,
  kReadWrs,
  kReadBytes,
  kReadServedBytes,
  kWriteWrs,
  kWriteBytes,
  kWriteReceivedBytes,
  kRnrSent,
  kRnrReceived,
  kOutOfOrder,
  kDropped,
  kErrors,
  kViolations,
  kFaults,
  kEngineProgress,
  kNumCounters
};

struct CounterName {
  const char* name;
  const char* meaning;
};

inline constexpr CounterName kCounterNames[kNumCounters] = {
    {"tx_packets", "packets that left: sends, and RDMA with immediate data or without cross-memory attach"},
    {"tx_bytes", "payload bytes of those packets"},
    {"rx_packets", "packets delivered"},
    {"rx_bytes", "payload bytes of those packets"},
    {"rdma_reads", "RDMA read work requests that completed without error"},
    {"rdma_read_bytes", "bytes they fetched"},
    {"rdma_read_served_bytes", "bytes that RDMA reads of others took from here"},
    {"rdma_writes", "RDMA write work requests that completed without error"},
    {"rdma_write_bytes", "bytes they stored"},
    {"rdma_write_received_bytes", "bytes that RDMA writes of others stored here"},
    {"rnr_sent", "packets refused because no receive was posted"},
    {"rnr_received", "refusals that packets from here met, retries included"},
    {"out_of_order", "packets delivered before one that the same sender sent earlier"},
    {"dropped", "datagrams dropped (UD only)"},
    {"errors", "completions with an error status, flushes excluded"},
    {"violations", "uses that break a rule of the device; each has a line in the log"},
    {"faults", "faults injected on request"},
    {"engine", "times that the device's own thread moved something because the program did not poll"},
};

// Written only by the owner of the queue pair, under its lock, with plain stores. Exception: the two counters
// *_served and *_received of RDMA, to which the peer's process adds atomically.
struct Counters {
  std::atomic<uint64_t> values[kNumCounters];

  void add(Counter counter, uint64_t n = 1) {
    values[counter].store(values[counter].load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void add_shared(Counter counter, uint64_t n) { values[counter].fetch_add(n, std::memory_order_relaxed); }
  uint64_t get(unsigned counter) const { return values[counter].load(std::memory_order_relaxed); }
};

}  // namespace efasim
