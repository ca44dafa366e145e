// Every parameter of the transport: one table, from which the MCA parameters, their checks, the tool and
// docs/parameters.md are made.
//
// NUMBER(name, default, least, greatest, unit, level, text)   SWITCH(name, default, level, text)
// TEXT(name, form, level, text)      level: as MPI_T's, 1-3 user, 4-6 tuner, 7-9 developer. -1 is "automatic"
// where `least` allows it. `form`: PROVIDERS (names), NICS (patterns), NIC_LISTS (for each local rank), POLICY, STATISTICS, PATH.
#pragma once

#include <stdbool.h>

#include "message_catalog.h"

#define EFA_OPTION_TABLE(NUMBER, SWITCH, TEXT)                                                             \
  TEXT(provider_include, PROVIDERS, 1,                                                                     \
       "libfabric providers that may be used, comma-separated, best first (empty: efa; without an EFA "    \
       "NIC, if the component was named by the user, shm, then tcp;ofi_rxm)")                              \
  TEXT(provider_exclude, PROVIDERS, 1, "libfabric providers that must not be used, comma-separated")       \
  TEXT(nic_include, NICS, 2,                                                                               \
       "NICs that may be used: comma-separated shell patterns for names (fi_info's domain, or the device " \
       "in /sys/class/infiniband) or PCI addresses (empty: all)")                                          \
  TEXT(nic_exclude, NICS, 2,                                                                               \
       "NICs that must not be used, as in mtl_efa_nic_include, over which it has precedence")              \
  TEXT(nics, NIC_LISTS, 2,                                                                                 \
       "The NICs of each process, comma-separated; the first carries all short messages. Several lists, "  \
       "separated by semicolons, are assigned by local rank. Overrides all other parameters for NICs")     \
  TEXT(nic_policy, POLICY, 2,                                                                              \
       "How processes choose NICs: near (the nearest), spread (the same number of processes on each), "    \
       "one (all on the first) (empty: near)")                                                             \
  TEXT(path, PATH, 3,                                                                                      \
       "Who matches messages with receives: tagged (the provider), packets (mtl_efa itself) or auto; all " \
       "processes of a job must have the same (empty: auto, which is tagged today)")                       \
  SWITCH(shm, true, 5,                                                                                       \
         "On the path packets: reach processes of the same node through shared memory of mtl_efa's own")     \
  NUMBER(verbose, 0, 0, 100, "level", 1,                                                                   \
         "What to print: 0 errors and warnings, 1 also provider, NIC, NUMA node and protocols of each "    \
         "process, 20 and more for developers")                                                            \
  SWITCH(summary, false, 1, "Print one line per job: provider, NICs per node, rails, protocols, versions") \
  TEXT(statistics, STATISTICS, 1,                                                                          \
       "What MPI_Finalize prints once per job of its performance variables: none, table (sum, least and "  \
       "most, with the rank) or json (empty: none)")                                                       \
  NUMBER(priority, 60, 0, 100, "", 3,                                                                      \
         "Priority of the component, and so of pml/cm, when it is usable (pml/ob1 has 20, pml/ucx 51)")    \
  NUMBER(inject_limit, -1, -1, 65536, "bytes", 5,                                                          \
         "Messages up to this length are injected, without a completion (-1: the provider's inject size)") \
  NUMBER(eager_limit, -1, -1, 1073741824, "bytes", 4,                                                      \
         "Contiguous messages up to this length are sent eagerly, longer ones by rendezvous (-1: by "      \
         "provider)")                                                                                      \
  NUMBER(eager_limit_packed, -1, -1, 1073741824, "bytes", 4,                                               \
         "The eager limit for noncontiguous messages, which are packed first (-1: by provider)")           \
  NUMBER(eager_limit_alone, -1, -1, 1073741824, "bytes", 5,                                                \
         "The eager limit for any message while the process sends no other long message and the peer has " \
         "matched the previous such message; for a peer that can be read by RDMA, only for messages that " \
         "must be packed (-1: by provider; no limit of its own if mtl_efa_eager_limit or "                 \
         "mtl_efa_eager_limit_packed is set)")                                                             \
  NUMBER(chunk_size, -1, -1, 1073741824, "bytes", 5,                                                       \
         "Length of the pieces of a contiguous rendezvous without RDMA (-1: by provider)")                 \
  NUMBER(staging_size, -1, -1, 16777216, "bytes", 5,                                                       \
         "Length of the pieces in which noncontiguous data is packed and sent, at least 4096 (-1: by "     \
         "provider)")                                                                                      \
  NUMBER(staging_memory, 16777216, 65536, 17179869184, "bytes", 5,                                         \
         "Memory of one process for these pieces; when it is used up, each message continues with one "    \
         "piece at a time. The same amount is available for posted noncontiguous receives; further ones "  \
         "wait")                                                                                           \
  NUMBER(unexpected_memory, 67108864, 0, 17179869184, "bytes", 4,                                          \
         "Packet path: memory of one process for messages that no receive has matched; beyond it their "   \
         "senders hold messages back until they are asked for (0: no bound)")                              \
  NUMBER(staging_window, 4, 1, 64, "pieces", 5,                                                            \
         "Pieces that one rendezvous keeps in flight; all rendezvous without RDMA to one peer together "   \
         "keep twice as many")                                                                             \
  NUMBER(progress_batch, 32, 1, 256, "completions", 7,                                                     \
         "Completions read from the completion queue at a time")                                           \
  NUMBER(pull_limit, -1, -1, 1073741824, "bytes", 5,                                                       \
         "Rendezvous messages from this length on are read by RDMA, if NIC and provider support it (-1: "  \
         "by provider)")                                                                                   \
  NUMBER(read_size, 4194304, 65536, 1073741824, "bytes", 5, "Maximum length of one RDMA read")             \
  NUMBER(rails, -1, -1, 8, "NICs", 3,                                                                      \
         "NICs that one process uses for long messages (-1: its share of the node's NICs)")                \
  NUMBER(stripe_size, 32768, 4096, 1073741824, "bytes", 5,                                                 \
         "Minimum share of a long message for which another NIC is used")                                  \
  NUMBER(stall_warning, 60, 0, 86400, "seconds", 3,                                                        \
         "Time without progress of a peer, while operations for it wait, after which a warning names the " \
         "peer; only time that the process spends in MPI counts (0: no warning)")                          \
  NUMBER(send_timeout, 0, 0, 86400, "seconds", 3,                                                          \
         "Time without progress of a peer, counted in the same way, after which the peer fails: all "      \
         "operations with it end with an error, as do all later ones (0: no limit)")                       \
  NUMBER(peer_timeout, 120, 0, 86400, "seconds", 3,                                                        \
         "Time after which a peer that this process waits for fails, if it does not answer pings: it was "  \
         "stopped or has ended, or its host or the network is down. A peer that computes answers. All "     \
         "operations with it, and receives from any source, end with an error (0: wait for ever; set this " \
         "if ranks are stopped in a debugger)")                                                            \
  NUMBER(watchdog, 0, 0, 604800, "seconds", 3,                                                             \
         "Time that an operation may be pending before the process prints once what is pending: with whom, " \
         "since when, in which state; only time that the process spends in MPI counts (0: never)")         \
  NUMBER(dump_signal, 10, 0, 64, "number", 4,                                                              \
         "Signal on which a process prints the same at its next wait in MPI, if the program has no action " \
         "for it (10: SIGUSR1, which mpirun passes on to all processes; 0: none)")                         \
  NUMBER(contact_timeout, 60, 0, 86400, "seconds", 3,                                                      \
         "Time without an answer to the first message to a peer after which a warning names the peer and " \
         "the usual causes, such as a security group (0: no warning)")                                     \
  SWITCH(resolve_eagerly, false, 5, "Resolve all peers in MPI_Init instead of at their first use")

#define EFA_NUMBER(name, ...) long name;
#define EFA_SWITCH(name, ...) bool name;
#define EFA_TEXT(name, ...) char *name;
typedef struct {
  EFA_OPTION_TABLE(EFA_NUMBER, EFA_SWITCH, EFA_TEXT)
} efa_options;
#undef EFA_NUMBER
#undef EFA_SWITCH
#undef EFA_TEXT

#ifdef __cplusplus
extern "C" {
#endif

void efa_options_defaults(efa_options *options);
// Checks every value; false leaves a message in `why` that names the parameter, its value and the range.
bool efa_options_check(const efa_options* options, efa_user_message* why);
// The path that checked options choose: "tagged" or "packets". `by_user`: whether mtl_efa_path names it.
const char* efa_options_path(const efa_options* options, bool* by_user);

#ifdef __cplusplus
}
#endif
