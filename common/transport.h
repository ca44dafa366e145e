// The transport as the Open MPI shim sees it: peers, requests and the operations on them.
//
// C, since the shim must be C (Open MPI's headers do not compile as C++). Nothing here knows Open MPI: a
// peer is an opaque pointer, a communicator a number, a datatype a pair of callbacks.
//
// Threading: with efa_config.threads every function may be called from any thread, and from inside a
// completion callback; without, from one thread only.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_eq.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct efa_transport efa_transport;
typedef struct efa_peer efa_peer;
typedef struct efa_operation efa_operation;
typedef struct efa_request efa_request;
typedef struct efa_message efa_message;  // a matched message that is not received yet (MPI_Mprobe)
struct efa_failure;

enum { EFA_ANY_SOURCE = -1, EFA_ANY_TAG = -1 };

// How an operation ended. Whatever is not EFA_SUCCESS, EFA_TRUNCATED or EFA_CANCELED was reported in words
// where it was found, through efa_config.report.
typedef enum {
  EFA_SUCCESS = 0,
  EFA_TRUNCATED,      // the message was longer than the receive; the receive's bytes are filled
  EFA_CANCELED,       // efa_cancel came before the match
  EFA_OUT_OF_MEMORY,  // no memory here, or none at the provider
  EFA_UNREACHABLE,    // the peer cannot be reached or stopped to answer
  EFA_UNSUPPORTED,    // the provider, or this transport, cannot do it
  EFA_FAILED          // anything else that the provider reports
} efa_result;

typedef enum { EFA_SEND_STANDARD, EFA_SEND_SYNCHRONOUS } efa_send_mode;

typedef struct {
  int32_t source;  // rank of the sender in the communicator
  int32_t tag;     // MPI tag
  size_t length;   // bytes delivered; for a probe the length of the message
  efa_result result;
} efa_status;

// The data of one request: contiguous memory, or a layout that only the caller can read and write.
typedef struct {
  void* buffer;   // first byte when contiguous; unused otherwise
  size_t length;  // bytes, packed
  void* layout;   // NULL: contiguous; otherwise handed to efa_config.pack and .unpack
} efa_data;

// What a message is matched by.
typedef struct {
  uint32_t context;   // the communicator's number as the *receiver* knows it
  int32_t self_rank;  // this process's rank in the communicator
  int32_t rank;       // the other side's rank, or EFA_ANY_SOURCE
  int32_t tag;        // MPI tag, negative ones included; EFA_ANY_TAG only with any_tag
  bool any_tag;       // matches every tag >= 0, as MPI_ANY_TAG does
} efa_envelope;

// Anything that has been, or waits to be, posted to libfabric.
struct efa_operation {
  struct fi_context2 context;  // first: libfabric hands this address back with the completion
  // Called once, with libfabric's entry; `failure` is NULL unless something went wrong.
  void (*completed)(efa_transport*, efa_operation*, const struct fi_cq_tagged_entry*,
                    const struct efa_failure* failure);
  int (*post)(efa_transport*, efa_operation*);  // posts (again); 0 or a negative fi_errno
  efa_operation* next;                          // in a pending list
  efa_peer* peer;                               // NULL: from any source
  uint64_t since_ns;                            // when it began to wait; 0: it does not
};

enum { EFA_BOUNCE_SIZE = 256 };

// One send or receive. The caller owns it from efa_*send/efa_*recv until `done` is called.
struct efa_request {
  efa_operation op;
  void (*done)(efa_request*);  // called once, by whoever finds the completion; may free the request
  void* communicator;          // the caller's, for efa_config.resolve
  efa_data data;
  efa_status status;
  uint64_t bits, ignore;  // tag as it goes to the provider
  void* landing;  // where the provider reads or writes: user memory, `bounce` or a pool buffer; NULL for
                  // a receive in place: the first EFA_BOUNCE_SIZE bytes in `bounce`, the rest in data.buffer
  size_t landing_size;
  void* exposure;     // registrations of what the receiver may read
  void* packed;       // a pool buffer with all the data of a layout, so that it can be read; or NULL
  uint64_t ready_id;  // a rendezvous send's name in ReadyToSend
  int32_t self_rank;
  uint8_t kind;                     // RequestKind in request.hpp
  uint8_t awaited;                  // events that must still come before `done`
  uint8_t bounce[EFA_BOUNCE_SIZE];  // see recv.cpp
};

// Who a peer is, for messages and for matching acknowledgements.
typedef struct {
  uint64_t uid;        // unique among all processes that can talk to each other
  int32_t world_rank;  // for messages
} efa_identity;

typedef enum { EFA_REPORT_ERROR, EFA_REPORT_WARNING, EFA_REPORT_NOTICE, EFA_REPORT_VERBOSE } efa_severity;

typedef struct {
  efa_options options;
  efa_identity self;
  const char* hostname;  // of this node, for messages
  bool threads;          // MPI_THREAD_MULTIPLE
  bool named_by_user;    // a provider other than EFA may be used
  bool all_ranks_local;  // every rank of the job is on this node
  int32_t local_rank;    // this process's place among those of the job on this node
  int32_t local_ranks;
  int32_t world_ranks;  // processes of the job
  const char* mpi;      // for messages: "Open MPI 5.0.7"; NULL: unknown. Not copied
  // One paragraph for a person; no newline at the end.
  void (*report)(efa_severity, const char* text);
  // An error that belongs to no request: must not return to a healthy program.
  void (*fatal)(const char* text);
  // The peer that has `rank` in `communicator`; NULL after having reported why not.
  efa_peer* (*resolve)(void* communicator, int32_t rank);
  // Once more the card of the peer that was made with this uid, in memory from malloc that becomes the
  // transport's; NULL if it is not to be had. Asked when a message is first read over several NICs.
  void* (*card)(uint64_t uid, size_t* size);
  // Copies `size` packed bytes that begin at byte `offset` of the layout; return false if they cannot.
  bool (*pack)(void* layout, size_t offset, void* to, size_t size);
  bool (*unpack)(void* layout, size_t offset, const void* from, size_t size);
  // The blocks of a layout that has no more than a few, in the order of its packed bytes; how many, 0 if it has
  // more. They live as long as the layout. May be NULL.
  uint32_t (*segments)(void* layout, const struct iovec** first);
} efa_config;

// What MPI must know of the transport once it is open.
typedef struct {
  int32_t max_tag;
  uint32_t max_context;
  const char* provider;  // these live as long as the transport
  const char* nic;
} efa_limits;

// --- control path -------------------------------------------------------------------------------------

// True if this machine has an EFA NIC that libfabric can use. Cheap enough to call before selection.
bool efa_available(const efa_options* options);
// True if it has one that is not available; `hint` says what keeps it from being used.
bool efa_unused(const efa_options* options, char* hint, size_t size);
// Opens the endpoint; NULL after having reported why not.
efa_transport* efa_open(const efa_config* config);
// Replaces efa_config.report; efa_open itself may want to speak through another one.
void efa_set_report(efa_transport*, void (*report)(efa_severity, const char* text));
void efa_limits_get(const efa_transport*, efa_limits*);
// The bytes by which peers find this process; they live as long as the transport.
const void* efa_card(const efa_transport*, size_t* size);
// Makes a peer from its card; NULL after having reported why not. Owned by the transport.
efa_peer* efa_peer_create(efa_transport*, const efa_identity*, const void* card, size_t size);
// The same for threads that may come at once: what is in `*place`, which the first of them fills. The transport's own
// lock decides, for progress resolves senders while it holds that: a lock of the caller's around this would deadlock.
efa_peer* efa_peer_create_once(efa_transport*, const efa_identity*, const void* card, size_t size,
                               void** place);
void efa_peer_destroy(efa_transport*, efa_peer*);
// Closes everything; requests still open are abandoned, their `done` is not called.
void efa_close(efa_transport*);

// --- data path ----------------------------------------------------------------------------------------

// Sends now and without a request if that is possible; false: use efa_send.
bool efa_try_inject(efa_transport*, efa_peer*, const efa_envelope*, const void* buffer, size_t length);
// Receives in place, from one source and with one tag, if nothing is in the way; false: use efa_recv. Takes done
// and (contiguous) data from the request.
bool efa_try_recv(efa_transport*, efa_request*, efa_peer*, const efa_envelope*);
// Both take op.peer (NULL for any source), done, communicator and data from the request. An error returned
// means that the request was not begun and `done` will not be called.
efa_result efa_send(efa_transport*, efa_request*, const efa_envelope*, efa_send_mode);
efa_result efa_recv(efa_transport*, efa_request*, const efa_envelope*);
// A request of a receive that nothing has matched yet ends with EFA_CANCELED; others are left alone.
void efa_cancel(efa_transport*, efa_request*);
// Looks for a message; `peer` NULL for any source. efa_match also takes it out of matching.
efa_result efa_probe(efa_transport*, efa_peer*, void* communicator, const efa_envelope*, bool* found,
                     efa_status*);
efa_result efa_match(efa_transport*, efa_peer*, void* communicator, const efa_envelope*, efa_message**,
                     efa_status*);
efa_result efa_recv_matched(efa_transport*, efa_request*, efa_message*);
// Moves everything on; the number of operations that completed.
int efa_progress(efa_transport*);

#ifdef __cplusplus
}
#endif
