// The transport as the Open MPI shim sees it: peers, requests and the operations on them.
//
// The interface is C because the component must be C: Open MPI's headers do not compile as C++. It has no types of Open
// MPI: a peer is an opaque pointer, a communicator a number, a datatype a pair of callbacks.
//
// Threading: with efa_config.threads, or after efa_begin_threads, every function may be called from any thread, else
// from one thread only; in both cases also from inside a completion callback (`done`). With threads `done` is called
// without the transport's lock, so that it may take locks of the caller's.
#pragma once

#include <rdma/fabric.h>
#include <rdma/fi_eq.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "counters.h"
#include "message_catalog.h"
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

// The result of an operation. Errors other than EFA_TRUNCATED and EFA_CANCELED were reported through efa_config.report
// where they occurred.
typedef enum {
  EFA_SUCCESS = 0,
  EFA_TRUNCATED,      // the message was longer than the receive; the receive's bytes are filled
  EFA_CANCELED,       // cancelled before the match
  EFA_OUT_OF_MEMORY,  // no memory in this process or in the provider
  EFA_UNREACHABLE,    // the peer cannot be reached or stopped answering
  EFA_UNSUPPORTED,    // not supported by the provider or by this transport
  EFA_FAILED          // any other error of the provider
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

// The matching criteria of a message.
typedef struct {
  uint32_t context;   // the communicator's number as the *receiver* knows it
  int32_t self_rank;  // this process's rank in the communicator
  int32_t rank;       // the other side's rank, or EFA_ANY_SOURCE
  int32_t tag;        // MPI tag, negative ones included; EFA_ANY_TAG only with any_tag
  bool any_tag;       // matches every tag >= 0, as MPI_ANY_TAG does
} efa_envelope;

// An operation that has been posted to libfabric, or waits to be posted.
struct efa_operation {
  struct fi_context2 context;  // first: libfabric hands this address back with the completion
  // Called once, with libfabric's entry; `failure` is NULL unless something went wrong.
  void (*completed)(efa_transport*, efa_operation*, const struct fi_cq_tagged_entry*,
                    const struct efa_failure* failure);
  int (*post)(efa_transport*, efa_operation*);  // posts (again); 0 or a negative fi_errno
  efa_operation* next;                          // in a pending list
  efa_peer* peer;                               // NULL: from any source
};

enum { EFA_BOUNCE_SIZE = 256 };

// One send or receive. The caller owns it from efa_*send/efa_*recv until `done` is called.
struct efa_request {
  efa_operation op;
  void (*done)(efa_request*);  // called once, by the thread that finds the completion; may free the request
  void* communicator;          // the caller's, for efa_config.resolve
  efa_data data;
  efa_status status;
  uint64_t bits, ignore;  // tag and mask for the provider
  void* landing;  // where the provider reads or writes: user memory, `bounce` or a pool buffer; NULL for
                  // a receive in place: the first EFA_BOUNCE_SIZE bytes in `bounce`, the rest in data.buffer
  size_t landing_size;
  void* exposure;     // registrations of the data that the receiver may read
  void* packed;       // a pool buffer with all the data of a layout, to be read by RDMA; or NULL
  uint64_t ready_id;  // of a rendezvous or synchronous send: what its receiver calls it
  efa_request *next_open, *previous_open;  // if it is listed: see open_requests.hpp
  int32_t self_rank;
  uint8_t kind;    // RequestKind in open_requests.hpp
  uint8_t listed;  // RequestMarks in open_requests.hpp
  bool withdrawing;  // a send that was cancelled: its receiver was asked to give it up; a receive that was given up,
                     // because its sender failed
  uint8_t awaited;                  // events that must still occur before `done` is called
  uint32_t ask;     // packet path: of a send, the question that it answers, or 0; of a receive that has the mark, its question
  void* held;       // packet path, of a send: its place among those that are held back (HeldSend), or NULL
  uint64_t header[3];               // of a packet in flight: channel/packet.hpp
  uint8_t bounce[EFA_BOUNCE_SIZE];  // see recv.cpp
};

// Who a peer is, for messages and for matching acknowledgements.
typedef struct {
  uint64_t uid;        // unique among all processes that can talk to each other
  int32_t world_rank;  // for messages
  uint32_t job;        // processes of MPI_Comm_spawn and MPI_Comm_connect are of another one
} efa_identity;

typedef struct {
  efa_options options;
  efa_identity self;
  const char* hostname;  // of this node, for messages
  bool threads;          // several threads may call at once
  bool named_by_user;    // a provider other than EFA may be used
  bool all_ranks_local;  // every rank of the job is on this node
  bool spawned;          // by another job, whose ranks may be on other nodes
  int32_t local_rank;    // this process's place among those of the job on this node
  int32_t local_ranks;
  int32_t world_ranks;  // processes of the job
  const char* mpi;      // for messages: "Open MPI 5.0.7"; NULL: unknown. Not copied
  // Prints a message: one paragraph, no newline at the end.
  void (*report)(const efa_user_message*);
  // An error that belongs to no request: prints it and ends the job.
  void (*fatal)(const efa_user_message*);
  // Whether a signal handler is the caller's own and only says why the process ends before it ends it. May be NULL.
  bool (*ends_process)(const void* handler);
  // The peer that has `rank` in `communicator`; NULL after a report.
  efa_peer* (*resolve)(void* communicator, int32_t rank);
  // The card of the peer that was created with this uid, in memory from malloc that the transport frees; NULL if it is
  // not available. Called when a message is first read over several NICs.
  void* (*card)(uint64_t uid, size_t* size);
  // The peer with this uid, which is made if it is not known yet; NULL after having reported why not. May be NULL.
  efa_peer* (*find)(uint64_t uid);
  // Copy `size` packed bytes that begin at byte `offset` of the layout; false on failure.
  bool (*pack)(void* layout, size_t offset, void* to, size_t size);
  bool (*unpack)(void* layout, size_t offset, const void* from, size_t size);
  // The blocks of a layout in the order of its packed bytes, and their number; 0 if it has more than a few. They live as
  // long as the layout. May be NULL.
  uint32_t (*segments)(void* layout, const struct iovec** first);
} efa_config;

// Properties of an open transport that MPI needs.
typedef struct {
  int32_t max_tag;
  uint32_t max_context;
  bool packets;          // the transport matches messages itself (the packet path)
  const char* provider;  // these live as long as the transport
  const char* nic;
} efa_limits;

// --- control path -------------------------------------------------------------------------------------

// True if this machine has an EFA NIC that libfabric can use. Cheap enough to call before selection.
bool efa_available(const efa_options* options);
// True if it has one that cannot be used; `hint` says why.
bool efa_unused(const efa_options* options, efa_user_message* hint);
// Opens the endpoint; NULL after a report.
efa_transport* efa_open(const efa_config* config);
// Reports provider, NICs and the like, as the parameters ask; to be called once the transport is selected.
void efa_say_what_is_used(efa_transport*);
// Replaces efa_config.report, so that efa_open may use another one.
void efa_set_report(efa_transport*, void (*report)(const efa_user_message*));
// Threads may come from now on. No other call may be under way.
void efa_begin_threads(efa_transport*);
void efa_limits_get(const efa_transport*, efa_limits*);
// All counters as they are now.
void efa_counters_get(efa_transport*, efa_counters*);
// The card of this process, by which peers reach it; it lives as long as the transport.
const void* efa_card(const efa_transport*, size_t* size);
// Creates a peer from its card; NULL after a report. Owned by the transport.
efa_peer* efa_peer_create(efa_transport*, const efa_identity*, const void* card, size_t size);
// The same for concurrent calls: returns `*place`, which the first call fills. It is serialized by the transport's lock,
// because progress resolves senders while it holds that lock: a lock of the caller around this call would deadlock.
efa_peer* efa_peer_create_once(efa_transport*, const efa_identity*, const void* card, size_t size,
                               void** place);
void efa_peer_destroy(efa_transport*, efa_peer*);
// A communicator is freed on this process: messages for it that nobody has received are dropped.
void efa_communicator_freed(efa_transport*, uint32_t context);
// Closes everything; requests still open are abandoned, their `done` is not called.
void efa_close(efa_transport*);

// --- data path ----------------------------------------------------------------------------------------

typedef enum {
  EFA_INJECTED,        // sent
  EFA_NOT_INJECTED,    // not tried: use efa_send
  EFA_INJECT_REFUSED,  // the provider did not take it: call efa_inject_refused, then use efa_send
} efa_inject_result;

// Sends at once and without a request if that is possible.
efa_inject_result efa_inject(efa_transport*, efa_peer*, const efa_envelope*, const void* buffer,
                             size_t length);
// Corrects the counters: efa_inject counts a message before the provider is asked, because after it the length would have
// to be kept in a register for that.
void efa_inject_refused(efa_transport*, size_t length);
// Both in one, for callers off the fast path; false: use efa_send.
bool efa_try_inject(efa_transport*, efa_peer*, const efa_envelope*, const void* buffer, size_t length);
// Posts a receive for one source and one tag, if no claimed message and no pending receive precedes it; false: use
// efa_recv. Uses done and the (contiguous) data of the request.
bool efa_try_recv(efa_transport*, efa_request*, efa_peer*, const efa_envelope*);
// efa_inject, efa_try_recv and efa_progress for a transport with efa_limits.packets, and faster there; the others work as well.
efa_inject_result efa_inject_packet(efa_transport*, efa_peer*, const efa_envelope*, const void* buffer,
                                    size_t length);
bool efa_try_recv_packet(efa_transport*, efa_request*, efa_peer*, const efa_envelope*);
int efa_progress_packets(efa_transport*);
// Both use op.peer (NULL for any source), done, communicator and data of the request. If they return an error, the
// request was not started and `done` is not called.
efa_result efa_send(efa_transport*, efa_request*, const efa_envelope*, efa_send_mode);
efa_result efa_recv(efa_transport*, efa_request*, const efa_envelope*);
// A request that nothing has matched yet ends with EFA_CANCELED; others are left alone. A rendezvous or synchronous send
// is given up by its receiver, which has to make progress for it; other sends complete as usual.
void efa_cancel(efa_transport*, efa_request*);
// Look for a message; `peer` NULL for any source. efa_match also takes it out of matching.
efa_result efa_probe(efa_transport*, efa_peer*, void* communicator, const efa_envelope*, bool* found,
                     efa_status*);
efa_result efa_match(efa_transport*, efa_peer*, void* communicator, const efa_envelope*, efa_message**,
                     efa_status*);
// After an error the message is still there to be received.
efa_result efa_recv_matched(efa_transport*, efa_request*, efa_message*);
// Makes progress; returns the number of operations that completed.
int efa_progress(efa_transport*);

#ifdef __cplusplus
}
#endif
