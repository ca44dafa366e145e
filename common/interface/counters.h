// Every counter of a transport: one table, from which the counters themselves, the MPI_T performance variables, the table
// that MPI_Finalize prints and docs/performance-variables.md are made.
//
// COUNT(name, text): events; SUM(name, text): bytes; both only grow. LEVEL(name, unit, text): the value now.
// MOST(name, unit, text): the greatest value so far.
//
// The first four are counted for every message on the fast path, in the cache line of the transport that it reads anyway:
// one addition to memory each. The number of the messages and their bytes are not neighbours, because GCC would add to both
// with vector instructions, which are more. All others are off the fast path. The lock of the transport covers them.
#pragma once

#include <stdint.h>

#define EFA_RAIL_COUNTERS(SUM)                                                                               \
  SUM(rail_0_bytes,                                                                                          \
      "Data that the provider moved over rail 0, the first NIC, or inside the node through shared memory "   \
      "of its own: sent by inject, eagerly and by push; received eagerly and by push; read by RDMA. Reads "  \
      "by peers from this process are counted at the peer only. What goes through the shared memory of "     \
      "mtl_efa (mtl_efa_path packets) is not included")                                                      \
  SUM(rail_1_bytes, "Data that this process read by RDMA over rail 1")                                       \
  SUM(rail_2_bytes, "Data that this process read by RDMA over rail 2")                                       \
  SUM(rail_3_bytes, "Data that this process read by RDMA over rail 3")                                       \
  SUM(rail_4_bytes, "Data that this process read by RDMA over rail 4")                                       \
  SUM(rail_5_bytes, "Data that this process read by RDMA over rail 5")                                       \
  SUM(rail_6_bytes, "Data that this process read by RDMA over rail 6")                                       \
  SUM(rail_7_bytes, "Data that this process read by RDMA over rail 7")

#define EFA_COUNTER_TABLE(COUNT, SUM, LEVEL, MOST)                                                           \
  COUNT(sent_inject,                                                                                         \
        "Messages whose send was complete at once: the provider took them with fi_tinject or fi_inject, or " \
        "they were put into the shared memory of a peer on this node (mtl_efa_path packets)")                \
  COUNT(received_eager,                                                                                      \
        "Messages received whose data came with them: the sender injected them or sent "                     \
        "them eagerly, which the receiver cannot tell apart")                                                \
  SUM(sent_inject_bytes, "Data of the messages in sent_inject")                                              \
  SUM(received_eager_bytes, "Data of the messages in received_eager, as far as the receive had room for it") \
  COUNT(sent_eager, "Messages sent eagerly: the data is in the message, and the send has completed")         \
  SUM(sent_eager_bytes, "Data of the messages in sent_eager")                                                \
  COUNT(sent_synchronous, "Synchronous messages sent eagerly and matched by their receiver")                 \
  SUM(sent_synchronous_bytes, "Data of the messages in sent_synchronous")                                    \
  COUNT(sent_pull, "Messages sent by rendezvous that the receiver has read by RDMA")                         \
  SUM(sent_pull_bytes, "Data of the messages in sent_pull that was read")                                    \
  COUNT(sent_copy, "Messages sent by rendezvous that a receiver on this node has copied out of this process's memory") \
  SUM(sent_copy_bytes, "Data of the messages in sent_copy that was copied")                                  \
  COUNT(sent_push, "Messages sent by rendezvous in pieces; also those that a receive of 0 bytes matched")    \
  SUM(sent_push_bytes, "Data of the messages in sent_push that was sent")                                    \
  COUNT(received_synchronous, "Synchronous messages received whose data came with them")                     \
  SUM(received_synchronous_bytes,                                                                            \
      "Data of the messages in received_synchronous, as far as the receive had room for it")                 \
  COUNT(received_pull, "Messages received by rendezvous whose data this process read by RDMA")               \
  SUM(received_pull_bytes, "Data of the messages in received_pull that was read")                            \
  COUNT(received_copy,                                                                                       \
        "Messages received by rendezvous whose data this process copied out of the memory of a sender on "    \
        "this node")                                                                                         \
  SUM(received_copy_bytes, "Data of the messages in received_copy that was copied")                          \
  COUNT(received_push,                                                                                       \
        "Messages received by rendezvous in pieces; also those that a receive of 0 bytes "                   \
        "matched")                                                                                           \
  SUM(received_push_bytes, "Data of the messages in received_push that was received")                        \
  LEVEL(unexpected_claimed, "messages",                                                                      \
        "Unmatched messages that this process has taken out of the provider's queue, for a probe or "        \
        "because the provider refused receives. Those still in the provider's queue are not included: "      \
        "libfabric does not tell their number")                                                              \
  MOST(unexpected_claimed_most, "messages", "The greatest number of such messages at a time")                \
  COUNT(messages_claimed, "Messages that were taken out of the provider's queue in this way")                \
  LEVEL(unexpected_kept, "messages",                                                                         \
        "Unmatched messages in this process's memory (mtl_efa_path packets)")                               \
  MOST(unexpected_kept_most, "messages", "The greatest number of such messages at a time")                   \
  LEVEL(unexpected_kept_bytes, "bytes", "Their data")                                                        \
  COUNT(sends_held,                                                                                          \
        "Messages that were held back, because their receiver keeps many unmatched ones "                  \
        "(mtl_efa_unexpected_memory)")                                                                     \
  COUNT(grants_owed,                                                                                         \
        "Times that a sender had to wait, because this process kept many unmatched messages")               \
  LEVEL(operations_pending, "operations",                                                                    \
        "Operations that the provider refused (FI_EAGAIN), or for which the shared memory of a peer had no " \
        "room, and that wait to be posted again")                                                            \
  MOST(operations_pending_most, "operations", "The greatest number of such operations at a time")            \
  COUNT(operations_deferred, "Operations that had to wait: refused, or behind a refused one")                \
  COUNT(retries,                                                                                             \
        "Posts that the provider refused with FI_EAGAIN, or for which the shared memory of a peer had no "   \
        "room, each of which is repeated later")                                                             \
  LEVEL(sends_in_flight, "operations",                                                                       \
        "Sends of messages, pieces and control messages that the provider has taken and not completed")      \
  LEVEL(registrations, "memory regions", "Memory regions registered for RDMA, one for each buffer and rail") \
  COUNT(registrations_made,                                                                                  \
        "Memory regions registered for RDMA since the start; libfabric may have found "                      \
        "them in its cache")                                                                                 \
  COUNT(registrations_refused, "Memory regions that the provider did not register")                          \
  LEVEL(staging_bytes, "bytes", "Buffers in use for packed sends, for rendezvous and for claimed messages")  \
  MOST(staging_bytes_most, "bytes", "The greatest size of these buffers at a time")                          \
  LEVEL(peers, "processes", "Processes whose address this process has resolved")                             \
  COUNT(first_contacts,                                                                                      \
        "Processes that this process has begun to send to; not counted if "                                  \
        "mtl_efa_contact_timeout is 0, nor for a peer that is reached through the shared memory of mtl_efa") \
  COUNT(failures, "Operations that failed with an error of the provider or of this process")                 \
  COUNT(peers_failed, "Processes given up, with all operations to them")                                     \
  EFA_RAIL_COUNTERS(SUM)

#define EFA_FIELD(name, ...) uint64_t name;
typedef struct {
  EFA_COUNTER_TABLE(EFA_FIELD, EFA_FIELD, EFA_FIELD, EFA_FIELD)
} efa_counters;
#undef EFA_FIELD

enum {
#define EFA_ONE(name, ...) +1
  EFA_COUNTERS = EFA_COUNTER_TABLE(EFA_ONE, EFA_ONE, EFA_ONE, EFA_ONE)
#undef EFA_ONE
};

typedef enum { EFA_COUNT, EFA_SUM, EFA_LEVEL, EFA_MOST } efa_counter_kind;

typedef struct {
  const char* name;
  efa_counter_kind kind;
  const char* unit;
  const char* text;
} efa_counter_description;

#ifdef __cplusplus
extern "C" {
#endif

// In the order of the fields of efa_counters.
extern const efa_counter_description efa_counter_descriptions[EFA_COUNTERS];
uint64_t efa_counter_at(const efa_counters* counters, unsigned index);

#ifdef __cplusplus
}
#endif
