// NICs that fail: a further one is given up, and the job ends without the first.
#pragma once

#include "fabric/completion.hpp"
#include "interface/transport.h"
#include "protocol/rails.hpp"

namespace efa {

// Gives up a further rail: operations that wait for it end with the failure and are repeated on the first rail.
void drop_rail(efa_transport* t, OpenRail& rail, const efa_failure& failure);
// Checks whether the endpoint of a further rail failed; returns the number of operations that this ended.
int handle_endpoint_event(efa_transport* t, OpenRail& rail);
// Ends the job if rail 0's endpoint has failed.
void check_first_endpoint(efa_transport* t);

}  // namespace efa
