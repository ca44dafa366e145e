// Every parameter of the transport: one table, from which the MCA parameters, their checks, the tool and
// docs/parameters.md are made.
//
// NUMBER(name, default, least, greatest, unit, level, text)   SWITCH(name, default, level, text)
// TEXT(name, form, level, text)      level: as MPI_T's, 1-3 user, 4-6 tuner, 7-9 developer. -1 is "automatic"
// where `least` allows it. `form`: PROVIDERS (names), NICS (patterns), NIC_LISTS (for each local rank), POLICY.
#pragma once

#include <stdbool.h>

#define EFA_OPTION_TABLE(NUMBER, SWITCH, TEXT)                                                             \
  TEXT(provider_include, PROVIDERS, 1,                                                                                \
       "Providers of libfabric that may be used, comma-separated, best first (empty: efa; and if the "     \
       "component was asked for by name and there is no EFA NIC, shm, then tcp;ofi_rxm)")                  \
  TEXT(provider_exclude, PROVIDERS, 1,                                                                     \
       "Providers of libfabric that must not be used, comma-separated")                                    \
  TEXT(nic_include, NICS, 2,                                                                               \
       "NICs that may be used, comma-separated shell patterns for their names (fi_info's domain, or the "  \
       "device in /sys/class/infiniband) or PCI addresses (empty: all)")                                   \
  TEXT(nic_exclude, NICS, 2, "NICs that must not be used, as in mtl_efa_nic_include, which it overrides")  \
  TEXT(nics, NIC_LISTS, 2,                                                                                 \
       "The NICs of each process, the first for all small messages, comma-separated; several such lists, " \
       "separated by semicolons, are dealt out by local rank. Overrides all other choice of NICs")         \
  TEXT(nic_policy, POLICY, 2,                                                                              \
       "How processes choose NICs: near (the nearest), spread (the same number of processes on each), "    \
       "one (all on the first) (empty: near)")                                                             \
  NUMBER(verbose, 0, 0, 100, "level", 1,                                                                   \
         "What to print: 0 nothing but errors, 1 provider, NIC, NUMA node and protocols of each process, " \
         "20 and more for developers")                                                                     \
  SWITCH(summary, false, 1,                                                                                \
         "Print one line for the job: provider, NICs per node, rails, protocols, versions")                \
  NUMBER(priority, 60, 0, 100, "", 3,                                                                      \
         "Priority of the component, and so of pml/cm, when it is usable (pml/ob1 has 20, pml/ucx 51)")    \
  NUMBER(inject_limit, -1, -1, 65536, "bytes", 5,                                                          \
         "Messages up to this length are sent without a completion (-1: as the provider allows)")          \
  NUMBER(eager_limit, -1, -1, 1073741824, "bytes", 4,                                                      \
         "Contiguous messages up to this length are sent at once, longer ones after the receiver has "     \
         "matched (-1: as measured for the provider)")                                                     \
  NUMBER(eager_limit_packed, -1, -1, 1073741824, "bytes", 4,                                               \
         "The same for noncontiguous messages, which are packed first (-1: as measured for the provider)") \
  NUMBER(eager_limit_alone, -1, -1, 1073741824, "bytes", 5,                                                \
         "The same for both while a process sends no other long message; where the peer can be read by RDMA " \
         "only for what has to be packed (-1: as measured for the provider; no more than otherwise if one of the two is set)")       \
  NUMBER(chunk_size, -1, -1, 1073741824, "bytes", 5,                                                       \
         "Length of the pieces in which a contiguous rendezvous sends (-1: as measured for the provider)") \
  NUMBER(staging_size, -1, -1, 16777216, "bytes", 5,                                                       \
         "Length of the pieces in which noncontiguous data is packed and sent, at least 4096 (-1: as "     \
         "measured for the provider)")                                                                     \
  NUMBER(staging_memory, 16777216, 65536, 17179869184, "bytes", 5,                                         \
         "Memory of one process for such pieces; when it is used up each message goes on with one of them at a time") \
  NUMBER(staging_window, 4, 1, 64, "pieces", 5, "Pieces that one rendezvous keeps in flight; all that push to one peer, twice as many")              \
  NUMBER(progress_batch, 32, 1, 256, "completions", 7, "Completions taken from the queue at a time")       \
  NUMBER(pull_limit, -1, -1, 1073741824, "bytes", 5,                                                       \
         "Contiguous messages from this length on are read by RDMA where NIC and provider can (-1: as "    \
         "measured for the provider)")                                                                     \
  NUMBER(read_size, 4194304, 65536, 1073741824, "bytes", 5, "Greatest length of one RDMA read")            \
  NUMBER(rails, -1, -1, 8, "NICs", 3,                                                                      \
         "NICs that one process uses for long messages (-1: its share of the node's)")                      \
  NUMBER(stripe_size, 32768, 4096, 1073741824, "bytes", 5,                                                 \
         "Least share of a long message for which another NIC is used")                                    \
  NUMBER(send_timeout, 120, 1, 86400, "seconds", 3,                                                        \
         "An operation that the provider refuses for this long fails with a message that names the peer")  \
  NUMBER(contact_timeout, 60, 0, 86400, "seconds", 3,                                                      \
         "After this time without an answer to the first message to a peer a warning names it and the usual "\
         "causes, such as a security group (0: never)")                                                    \
  SWITCH(resolve_eagerly, false, 5, "Resolve all peers in MPI_Init rather than when they are first used")

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
// Checks every value; false leaves one paragraph in `why`, naming the parameter, its value and the range.
bool efa_options_check(const efa_options *options, char *why, unsigned long why_size);

#ifdef __cplusplus
}
#endif
