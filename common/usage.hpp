// What a job uses, in words: a line for each process at verbosity 1, a line for the job on request, and a hint where EFA
// is not used.
#pragma once

#include <string>

#include "nic_choice.hpp"
#include "transport.hpp"

namespace efa {

// "rank 3 on host b: provider efa (libfabric 2.1), NIC rdmap0s6 (...), 1 of 4 on this node; ...".
std::string process_line(const efa_transport* t, const NicPick& nic);
// The same of the whole job, as its first process sees it.
std::string job_line(const efa_transport* t, const NicPick& nic);
// Says all of it that the parameters ask for.
void say_what_is_used(efa_transport* t, Discovery& discovery, const Wish& wish, const NicPick& nic);

}  // namespace efa
