/* The functions of the MTL: each translates its arguments and calls the transport.
 *
 * Those of the fast path exist twice, for the path that the transport has chosen at set-up (efa_limits.packets); the module
 * has the pointers to one of each. `packets` is a constant in each of them. */
#include "mtl_efa.h"
#include "thread_sanitizer.h"

#include "ompi/mca/pml/base/pml_base_request.h"
#include "opal/runtime/opal_progress.h"

static int error_of(efa_result result)
{
    switch (result) {
    case EFA_SUCCESS:
        return OMPI_SUCCESS;
    case EFA_OUT_OF_MEMORY:
        return OMPI_ERR_OUT_OF_RESOURCE;
    case EFA_UNREACHABLE:
        return OMPI_ERR_UNREACH;
    case EFA_UNSUPPORTED:
        return OMPI_ERR_NOT_SUPPORTED;
    default:
        return OMPI_ERROR;
    }
}

static int mpi_error_of(efa_result result)
{
    if (OPAL_LIKELY(EFA_SUCCESS == result)) {
        return MPI_SUCCESS;
    }
    switch (result) {
    case EFA_CANCELED:
        return MPI_SUCCESS;
    case EFA_TRUNCATED:
        return MPI_ERR_TRUNCATE;
    case EFA_OUT_OF_MEMORY:
        return MPI_ERR_NO_MEM;
    case EFA_UNSUPPORTED:
        return MPI_ERR_UNSUPPORTED_OPERATION;
    case EFA_UNREACHABLE:
        return MPI_ERR_OTHER;
    default:
        return MPI_ERR_INTERN;
    }
}

static mtl_efa_request *request_of(efa_request *core)
{
    return (mtl_efa_request *) ((char *) core - offsetof(mtl_efa_request, core));
}

/* The request with which Open MPI begins an operation. */
static inline mtl_efa_request *begun(mca_mtl_request_t *request)
{
    mtl_efa_called_with(request);
    return (mtl_efa_request *) request;
}

/* Hands the request back to Open MPI, which may use it again at once. */
static inline void complete(mtl_efa_request *request)
{
    void (*callback)(mca_mtl_request_t *) = request->super.completion_callback;

    mtl_efa_completes(&request->super); /* after the last access to it here */
    callback(&request->super);
}

static void send_done(efa_request *core)
{
    mtl_efa_request *request = request_of(core);
    request->super.ompi_req->req_status.MPI_ERROR = mpi_error_of(core->status.result);
    if (OPAL_UNLIKELY(EFA_CANCELED == core->status.result)) {
        request->super.ompi_req->req_status._cancelled = true;
    }
    complete(request);
}

static void recv_done(efa_request *core)
{
    mtl_efa_request *request = request_of(core);
    ompi_status_public_t *status = &request->super.ompi_req->req_status;

    status->MPI_ERROR = mpi_error_of(core->status.result);
    if (OPAL_UNLIKELY(EFA_CANCELED == core->status.result)) {
        status->_cancelled = true;
    } else {
        status->MPI_SOURCE = core->status.source;
        status->MPI_TAG = core->status.tag;
        status->_ucount = core->status.length;
    }
    complete(request);
}

/* A blocking send, or a send without a request of MPI. */
typedef struct blocking_send {
    efa_request core;
    mtl_efa_layout layout;
    bool done; /* atomic: set by the thread that completes the send */
} blocking_send;

static void blocking_done(efa_request *core)
{
    blocking_send *send = (blocking_send *) core;
    __atomic_store_n(&send->done, true, __ATOMIC_RELEASE);
}

static void detached_done(efa_request *core)
{
    free(core); /* with the copy of the data behind it */
}

static inline void send_envelope(const ompi_communicator_t *comm, int dest, int tag, efa_envelope *envelope)
{
    envelope->context = mtl_efa_context(comm, mtl_efa.global_contexts);
    envelope->self_rank = comm->c_my_rank;
    envelope->rank = dest;
    envelope->tag = tag;
    envelope->any_tag = false;
}

static inline void recv_envelope(const ompi_communicator_t *comm, int src, int tag, efa_envelope *envelope)
{
    envelope->context = mtl_efa_context(comm, mtl_efa.global_contexts);
    envelope->self_rank = comm->c_my_rank;
    envelope->rank = MPI_ANY_SOURCE == src ? EFA_ANY_SOURCE : src;
    envelope->tag = tag;
    envelope->any_tag = MPI_ANY_TAG == tag;
}

/* The peer of a receive: null for any source. False if it cannot be resolved. */
static inline bool recv_peer(ompi_communicator_t *comm, int src, efa_peer **peer)
{
    *peer = NULL;
    if (MPI_ANY_SOURCE == src) {
        return true;
    }
    *peer = mtl_efa_peer(comm, src);
    return NULL != *peer;
}

static inline efa_send_mode mode_of(mca_pml_base_send_mode_t mode)
{
    return MCA_PML_BASE_SEND_SYNCHRONOUS == mode ? EFA_SEND_SYNCHRONOUS : EFA_SEND_STANDARD;
}

/* The arguments of a send. They wait on the stack for the case that the message cannot be injected: kept in
 * registers over the call of the provider, they would cost every message about ten instructions. */
typedef struct send_arguments {
    ompi_communicator_t *comm;
    opal_convertor_t *convertor;
    int dest, tag;
    mca_pml_base_send_mode_t mode;
} send_arguments;

/* Makes the compiler write them there now. */
static inline void keep_on_stack(const send_arguments *arguments)
{
    __asm__("" : : "m"(*arguments));
}

/* A send with a request on the stack: it cannot be injected, or its peer is not known yet. */
static MTL_EFA_SLOW int send_and_wait(const send_arguments *arguments, efa_inject_result injected)
{
    blocking_send send;
    efa_envelope envelope;
    efa_result result;
    int error = mtl_efa_data_of(arguments->convertor, &send.layout, &send.core.data);

    if (EFA_INJECT_REFUSED == injected) {
        efa_inject_refused(mtl_efa.transport, arguments->convertor->local_size);
    }
    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    send.core.op.peer = mtl_efa_peer(arguments->comm, arguments->dest);
    if (OPAL_UNLIKELY(NULL == send.core.op.peer)) {
        return OMPI_ERR_UNREACH;
    }
    send_envelope(arguments->comm, arguments->dest, arguments->tag, &envelope);
    send.core.done = blocking_done;
    send.core.communicator = arguments->comm;
    send.done = false;
    result = efa_send(mtl_efa.transport, &send.core, &envelope, mode_of(arguments->mode));
    if (EFA_SUCCESS == result) {
        while (!__atomic_load_n(&send.done, __ATOMIC_ACQUIRE)) {
            opal_progress();
        }
        result = send.core.status.result;
    }
    return error_of(result);
}

/* Short messages leave at once. Synchronous and buffered sends need more than that. */
static inline efa_inject_result inject(ompi_communicator_t *comm, int dest, int tag,
                                       const opal_convertor_t *convertor, mca_pml_base_send_mode_t mode,
                                       bool packets)
{
    efa_peer *peer = mtl_efa_known_peer(comm, dest);
    efa_envelope envelope;
    efa_data data;

    if (OPAL_UNLIKELY(NULL == peer || mode <= MCA_PML_BASE_SEND_BUFFERED ||
                      !mtl_efa_contiguous(convertor, &data))) {
        return EFA_NOT_INJECTED;
    }
    send_envelope(comm, dest, tag, &envelope);
    return packets ? efa_inject_packet(mtl_efa.transport, peer, &envelope, data.buffer, data.length)
                   : efa_inject(mtl_efa.transport, peer, &envelope, data.buffer, data.length);
}

static inline int begin_send(ompi_communicator_t *comm, int dest, int tag, opal_convertor_t *convertor,
                             mca_pml_base_send_mode_t mode, bool packets)
{
    const send_arguments arguments = {comm, convertor, dest, tag, mode};
    efa_inject_result result;

    mtl_efa_called();
    keep_on_stack(&arguments);
    result = inject(comm, dest, tag, convertor, mode, packets);
    if (OPAL_LIKELY(EFA_INJECTED == result)) {
        return OMPI_SUCCESS;
    }
    return send_and_wait(&arguments, result);
}

MTL_EFA_FAST int mtl_efa_send(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                              opal_convertor_t *convertor, mca_pml_base_send_mode_t mode)
{
    (void) mtl;
    return begin_send(comm, dest, tag, convertor, mode, false);
}

MTL_EFA_FAST int mtl_efa_send_packets(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                                      opal_convertor_t *convertor, mca_pml_base_send_mode_t mode)
{
    (void) mtl;
    return begin_send(comm, dest, tag, convertor, mode, true);
}

static void complete_at_once(mtl_efa_request *request)
{
    request->core.kind = 0; /* nothing left to cancel */
    request->super.ompi_req->req_status.MPI_ERROR = MPI_SUCCESS;
    complete(request);
}

/* A persistent buffered send: a copy is sent, and the request is complete (persistent_buffered.c). */
static int isend_copy(ompi_communicator_t *comm, int dest, int tag, opal_convertor_t *convertor,
                      mtl_efa_request *request)
{
    efa_envelope envelope;
    efa_request *copy;
    efa_data data;
    efa_result result;
    int error = mtl_efa_data_of(convertor, &request->layout, &data); /* contiguous: pml/cm has packed it */

    copy = OMPI_SUCCESS == error ? malloc(sizeof *copy + data.length) : NULL;
    if (NULL != copy) {
        copy->done = detached_done;
        copy->communicator = comm;
        copy->data = (efa_data){.buffer = copy + 1, .length = data.length};
        if (data.length > 0) {
            memcpy(copy->data.buffer, data.buffer, data.length);
        }
    }
    if (!mtl_efa_describe_users_data(&request->super, comm, dest, tag, convertor)) {
        error = OMPI_ERR_NOT_SUPPORTED;
    }
    if (NULL == copy || OMPI_SUCCESS != error) {
        free(copy);
        return OMPI_SUCCESS == error ? OMPI_ERR_OUT_OF_RESOURCE : error;
    }
    copy->op.peer = mtl_efa_peer(comm, dest);
    send_envelope(comm, dest, tag, &envelope);
    result = NULL == copy->op.peer ? EFA_UNREACHABLE
                                   : efa_send(mtl_efa.transport, copy, &envelope, EFA_SEND_STANDARD);
    if (EFA_SUCCESS != result) {
        free(copy);
        return error_of(result);
    }
    complete_at_once(request);
    return OMPI_SUCCESS;
}

static MTL_EFA_SLOW int isend_with_request(const send_arguments *arguments, efa_inject_result injected,
                                           mtl_efa_request *request)
{
    const bool buffered = MCA_PML_BASE_SEND_BUFFERED == arguments->mode;
    efa_envelope envelope;
    int error;

    if (EFA_INJECT_REFUSED == injected) {
        efa_inject_refused(mtl_efa.transport, arguments->convertor->local_size);
    }
    if (buffered && request->super.ompi_req->req_persistent) {
        return isend_copy(arguments->comm, arguments->dest, arguments->tag, arguments->convertor, request);
    }
    error = mtl_efa_data_of(arguments->convertor, &request->layout, &request->core.data);
    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    request->core.op.peer = mtl_efa_peer(arguments->comm, arguments->dest);
    if (OPAL_UNLIKELY(NULL == request->core.op.peer)) {
        return OMPI_ERR_UNREACH;
    }
    send_envelope(arguments->comm, arguments->dest, arguments->tag, &envelope);
    if (buffered && efa_try_inject(mtl_efa.transport, request->core.op.peer, &envelope,
                                   request->core.data.buffer, request->core.data.length)) {
        complete_at_once(request);
        return OMPI_SUCCESS;
    }
    request->core.done = send_done;
    request->core.communicator = arguments->comm;
    return error_of(efa_send(mtl_efa.transport, &request->core, &envelope, mode_of(arguments->mode)));
}

static inline int begin_isend(ompi_communicator_t *comm, int dest, int tag, opal_convertor_t *convertor,
                              mca_pml_base_send_mode_t mode, mca_mtl_request_t *mtl_request, bool packets)
{
    const send_arguments arguments = {comm, convertor, dest, tag, mode};
    efa_inject_result result;
    mtl_efa_request *request = begun(mtl_request);

    keep_on_stack(&arguments);
    result = inject(comm, dest, tag, convertor, mode, packets);
    if (OPAL_LIKELY(EFA_INJECTED == result)) {
        complete_at_once(request);
        return OMPI_SUCCESS;
    }
    return isend_with_request(&arguments, result, request);
}

MTL_EFA_FAST int mtl_efa_isend(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                               opal_convertor_t *convertor, mca_pml_base_send_mode_t mode, bool blocking,
                               mca_mtl_request_t *mtl_request)
{
    (void) mtl;
    (void) blocking;
    return begin_isend(comm, dest, tag, convertor, mode, mtl_request, false);
}

MTL_EFA_FAST int mtl_efa_isend_packets(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                                       opal_convertor_t *convertor, mca_pml_base_send_mode_t mode,
                                       bool blocking, mca_mtl_request_t *mtl_request)
{
    (void) mtl;
    (void) blocking;
    return begin_isend(comm, dest, tag, convertor, mode, mtl_request, true);
}

/* Any source, any layout, and peers that are not known yet. */
static MTL_EFA_SLOW int irecv_otherwise(ompi_communicator_t *comm, int src, int tag,
                                        opal_convertor_t *convertor, mtl_efa_request *request)
{
    efa_envelope envelope;
    int error = mtl_efa_data_of(convertor, &request->layout, &request->core.data);

    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    if (OPAL_UNLIKELY(!recv_peer(comm, src, &request->core.op.peer))) {
        return OMPI_ERR_UNREACH;
    }
    recv_envelope(comm, src, tag, &envelope);
    request->core.communicator = comm;
    return error_of(efa_recv(mtl_efa.transport, &request->core, &envelope));
}

static inline int begin_irecv(ompi_communicator_t *comm, int src, int tag, opal_convertor_t *convertor,
                              mca_mtl_request_t *mtl_request, bool packets)
{
    mtl_efa_request *request = begun(mtl_request);

    request->core.done = recv_done;
    if (OPAL_LIKELY(src >= 0 && MPI_ANY_TAG != tag && mtl_efa_contiguous(convertor, &request->core.data))) {
        efa_peer *peer = mtl_efa_known_peer(comm, src);
        efa_envelope envelope;

        recv_envelope(comm, src, tag, &envelope);
        if (OPAL_LIKELY(NULL != peer) &&
            OPAL_LIKELY(packets ? efa_try_recv_packet(mtl_efa.transport, &request->core, peer, &envelope)
                                : efa_try_recv(mtl_efa.transport, &request->core, peer, &envelope))) {
            return OMPI_SUCCESS;
        }
    }
    return irecv_otherwise(comm, src, tag, convertor, request);
}

MTL_EFA_FAST int mtl_efa_irecv(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag,
                               opal_convertor_t *convertor, mca_mtl_request_t *mtl_request)
{
    (void) mtl;
    return begin_irecv(comm, src, tag, convertor, mtl_request, false);
}

MTL_EFA_FAST int mtl_efa_irecv_packets(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag,
                                       opal_convertor_t *convertor, mca_mtl_request_t *mtl_request)
{
    (void) mtl;
    return begin_irecv(comm, src, tag, convertor, mtl_request, true);
}

/* Not MPI_ERROR: a call that returns one status leaves it alone (MPI 4.0, 3.2.5). */
static void set_status(ompi_status_public_t *status, const efa_status *found)
{
    if (MPI_STATUS_IGNORE != status) {
        status->MPI_SOURCE = found->source;
        status->MPI_TAG = found->tag;
        status->_cancelled = false;
        status->_ucount = found->length;
    }
}

int mtl_efa_iprobe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *flag,
                   ompi_status_public_t *status)
{
    efa_peer *peer;
    efa_envelope envelope;
    efa_status found;
    bool matched = false;
    efa_result result;

    mtl_efa_called();
    *flag = 0;
    if (!recv_peer(comm, src, &peer)) {
        return OMPI_ERR_UNREACH;
    }
    recv_envelope(comm, src, tag, &envelope);
    result = efa_probe(((mtl_efa_module *) mtl)->transport, peer, comm, &envelope, &matched, &found);
    if (matched) {
        *flag = 1;
        set_status(status, &found);
    }
    return error_of(result);
}

static ompi_message_t *new_handle(void)
{
    ompi_message_t *handle;

    mtl_efa_lock_free_begin();
    handle = ompi_message_alloc();
    mtl_efa_lock_free_end();
    return handle;
}

static void return_handle(ompi_message_t *handle)
{
    mtl_efa_lock_free_begin();
    ompi_message_return(handle);
    mtl_efa_lock_free_end();
}

int mtl_efa_improbe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *matched,
                    ompi_message_t **message, ompi_status_public_t *status)
{
    efa_peer *peer;
    efa_envelope envelope;
    efa_status found;
    efa_message *taken = NULL;
    ompi_message_t *handle;
    efa_result result;

    mtl_efa_called();
    *matched = 0;
    if (!recv_peer(comm, src, &peer)) {
        return OMPI_ERR_UNREACH;
    }
    handle = new_handle(); /* first: once matched, a message without a handle would be lost */
    if (OPAL_UNLIKELY(NULL == handle)) {
        return OMPI_ERR_OUT_OF_RESOURCE;
    }
    recv_envelope(comm, src, tag, &envelope);
    result = efa_match(((mtl_efa_module *) mtl)->transport, peer, comm, &envelope, &taken, &found);
    if (NULL == taken) {
        return_handle(handle);
        return error_of(result);
    }
    handle->comm = comm;
    handle->req_ptr = taken;
    handle->peer = found.source;
    handle->count = found.length;
    *message = handle;
    *matched = 1;
    set_status(status, &found);
    return OMPI_SUCCESS;
}

int mtl_efa_imrecv(mca_mtl_base_module_t *mtl, opal_convertor_t *convertor, ompi_message_t **message,
                   mca_mtl_request_t *mtl_request)
{
    mtl_efa_request *request = begun(mtl_request);
    int error = mtl_efa_data_of(convertor, &request->layout, &request->core.data);
    efa_message *taken = (*message)->req_ptr;
    efa_result result;

    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    request->core.op.peer = NULL;
    request->core.done = recv_done;
    request->core.communicator = (*message)->comm;
    result = efa_recv_matched(((mtl_efa_module *) mtl)->transport, &request->core, taken);
    if (OPAL_LIKELY(EFA_SUCCESS == result)) { /* otherwise the message can still be received */
        return_handle(*message);
        *message = MPI_MESSAGE_NULL;
    }
    return error_of(result);
}

int mtl_efa_cancel(mca_mtl_base_module_t *mtl, mca_mtl_request_t *mtl_request, int flag)
{
    mtl_efa_request *request = (mtl_efa_request *) mtl_request;

    (void) flag;
    /* A request that was never started has nothing of ours in it yet. */
    if (OMPI_REQUEST_ACTIVE == mtl_request->ompi_req->req_state && !REQUEST_COMPLETE(mtl_request->ompi_req)) {
        efa_cancel(((mtl_efa_module *) mtl)->transport, &request->core);
    }
    return OMPI_SUCCESS;
}
