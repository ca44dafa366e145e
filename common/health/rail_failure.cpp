#include "health/rail_failure.hpp"

#include <rdma/fi_eq.h>

#include <cstdlib>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "protocol/rails.hpp"
#include "state.hpp"

namespace efa {

// What is posted there comes back with errors of its own; what waits for it never would.
void drop_rail(efa_transport* t, OpenRail& rail, const efa_failure& failure) {
  if (!rail.failed)
    t->report(msg::nic_failed(this_process(t), rail.nic(), reason_of(t, failure), advice_for(failure)));
  rail.failed = true;
  while (efa_operation* op = t->pending.take_first(rail.pending_reads))
    op->completed(t, op, &kNoEntry, &failure);
}

int handle_endpoint_event(efa_transport* t, OpenRail& rail) {
  fi_eq_err_entry event{};
  if (fi_eq_readerr(rail.eq.get(), &event, 0) <= 0) return 0;
  fi_cq_err_entry entry{};
  entry.prov_errno = event.prov_errno;
  drop_rail(t, rail, {event.err, &entry});
  return 1;
}

void check_first_endpoint(efa_transport* t) {
  fi_eq_err_entry event{};
  if (fi_eq_readerr(t->rails.first.eq.get(), &event, 0) <= 0) return;
  fi_cq_err_entry entry{};
  entry.prov_errno = event.prov_errno;
  // libfabric 2.1 writes the error with either sign.
  const efa_failure failure{std::abs(event.err), &entry};
  if (!t->draining)
    t->fatal(msg::endpoint_failed(this_process(t), reason_of(t, failure), advice_for(failure)));
}

}  // namespace efa
