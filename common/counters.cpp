#include <cstring>

#include "interface/counters.h"
#include "state.hpp"

static_assert(sizeof(efa_counters) == EFA_COUNTERS * sizeof(uint64_t));

extern "C" const efa_counter_description efa_counter_descriptions[EFA_COUNTERS] = {
#define COUNT(name, text) {#name, EFA_COUNT, "", text},
#define SUM(name, text) {#name, EFA_SUM, "bytes", text},
#define LEVEL(name, unit, text) {#name, EFA_LEVEL, unit, text},
#define MOST(name, unit, text) {#name, EFA_MOST, unit, text},
    EFA_COUNTER_TABLE(COUNT, SUM, LEVEL, MOST)
#undef COUNT
#undef SUM
#undef LEVEL
#undef MOST
};

extern "C" uint64_t efa_counter_at(const efa_counters* counters, unsigned index) {
  uint64_t value;
  std::memcpy(&value, reinterpret_cast<const char*>(counters) + index * sizeof value, sizeof value);
  return value;
}

// The levels, and what is counted elsewhere, are filled in here.
extern "C" void efa_counters_get(efa_transport* t, efa_counters* counters) {
  const efa::Guard guard(t);
  efa_counters& now = *counters;
  now = t->counters;
  now.operations_pending = t->pending.size();
  now.operations_pending_most = t->pending.most();
  now.retries += t->pending.refused();
  if (t->packets) {
    now.unexpected_kept = t->packets->kept;
    now.unexpected_kept_most = t->packets->kept_most;
    now.unexpected_kept_bytes = t->packets->kept_bytes;
  }
  now.sends_in_flight = t->sends_posted;
  now.registrations = t->registrations.regions();
  now.staging_bytes = t->buffers.bytes_used();
  now.staging_bytes_most = t->buffers.most_used();
  now.peers = t->peers.size();
  now.peers_failed = t->failed_peers;
  now.rail_0_bytes += now.sent_push_bytes + now.received_push_bytes;
  // On the packet path these may have gone through shared memory: the channel over the provider has counted its own.
  if (!t->packets)
    now.rail_0_bytes += now.sent_inject_bytes + now.sent_eager_bytes + now.sent_synchronous_bytes +
                        now.received_eager_bytes + now.received_synchronous_bytes;
}
