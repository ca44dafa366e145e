// What a job uses, as text: a line per process at verbosity 1, a line per job on request, and a notice if EFA is not used.
#pragma once

#include <string>

#include "fabric/nic_choice.hpp"
#include "state.hpp"

namespace efa {

// "rank 3 on host b: provider efa (libfabric 2.1), NIC rdmap0s6 (...), 1 of 4 on this node; ...".
UserMessage process_line(const efa_transport* t, const NicPick& nic);
// The same for the job, from its first process.
UserMessage job_line(const efa_transport* t, const NicPick& nic);
// Prepares what efa_say_what_is_used() says: all of it that the parameters ask for.
void describe_usage(efa_transport* t, Discovery& discovery, const ProviderRequest& request,
                    const NicPick& nic);

}  // namespace efa
