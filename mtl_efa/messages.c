/* The MTL's functions: each translates its arguments and calls the transport. */
#include "mtl_efa.h"

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

static void send_done(efa_request *core)
{
    mtl_efa_request *request = request_of(core);
    request->super.ompi_req->req_status.MPI_ERROR = mpi_error_of(core->status.result);
    request->super.completion_callback(&request->super);
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
    request->super.completion_callback(&request->super);
}

/* A send that the caller waits for, or that nobody waits for. */
typedef struct blocking_send {
    efa_request core;
    mtl_efa_layout layout;
    volatile bool done;
} blocking_send;

static void blocking_done(efa_request *core)
{
    blocking_send *send = (blocking_send *) core;
    opal_atomic_wmb();
    send->done = true;
}

static void detached_done(efa_request *core)
{
    free(core); /* with the copy of the data behind it */
}

static inline void send_envelope(const ompi_communicator_t *comm, int dest, int tag, efa_envelope *envelope)
{
    envelope->context = mtl_efa_context(comm, mtl_efa.usual_contexts);
    envelope->self_rank = comm->c_my_rank;
    envelope->rank = dest;
    envelope->tag = tag;
    envelope->any_tag = false;
}

static inline void recv_envelope(const ompi_communicator_t *comm, int src, int tag, efa_envelope *envelope)
{
    envelope->context = mtl_efa_context(comm, mtl_efa.usual_contexts);
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

/* With a request, on this stack: what cannot be injected, or whose peer is not known yet. */
static MTL_EFA_SLOW int send_and_wait(ompi_communicator_t *comm, int dest, int tag,
                                      opal_convertor_t *convertor, mca_pml_base_send_mode_t mode)
{
    blocking_send send;
    efa_envelope envelope;
    efa_result result;
    int error = mtl_efa_data_of(convertor, &send.layout, &send.core.data);

    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    send.core.op.peer = mtl_efa_peer(comm, dest);
    if (OPAL_UNLIKELY(NULL == send.core.op.peer)) {
        return OMPI_ERR_UNREACH;
    }
    send_envelope(comm, dest, tag, &envelope);
    send.core.done = blocking_done;
    send.core.communicator = comm;
    send.done = false;
    result = efa_send(mtl_efa.transport, &send.core, &envelope, mode_of(mode));
    if (EFA_SUCCESS == result) {
        while (!send.done) {
            opal_progress();
        }
        opal_atomic_rmb();
        result = send.core.status.result;
    }
    return error_of(result);
}

/* True if the message has left already, as short ones do. */
static inline bool injected(ompi_communicator_t *comm, int dest, int tag, const opal_convertor_t *convertor,
                            mca_pml_base_send_mode_t mode)
{
    efa_peer *peer = mtl_efa_known_peer(comm, dest);
    efa_envelope envelope;
    efa_data data;

    if (OPAL_UNLIKELY(NULL == peer || MCA_PML_BASE_SEND_SYNCHRONOUS == mode ||
                      !mtl_efa_contiguous(convertor, &data))) {
        return false;
    }
    send_envelope(comm, dest, tag, &envelope);
    return efa_try_inject(mtl_efa.transport, peer, &envelope, data.buffer, data.length);
}

MTL_EFA_FAST int mtl_efa_send(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                              opal_convertor_t *convertor, mca_pml_base_send_mode_t mode)
{
    (void) mtl;
    if (OPAL_LIKELY(injected(comm, dest, tag, convertor, mode))) {
        return OMPI_SUCCESS;
    }
    return send_and_wait(comm, dest, tag, convertor, mode);
}

/* pml/cm builds a new request wrongly when a persistent buffered send is started again before its MTL part
 * has ended (it passes a length in bytes where elements are meant). So that part ends at once here: the data,
 * already copied and contiguous, is copied to memory that lives as long as the send. */
static int send_detached(efa_transport *transport, const mtl_efa_request *request,
                         const efa_envelope *envelope)
{
    const efa_data *data = &request->core.data;
    efa_result result;
    efa_request *copy = malloc(sizeof *copy + data->length);

    if (NULL == copy) {
        return OMPI_ERR_OUT_OF_RESOURCE;
    }
    copy->op.peer = request->core.op.peer;
    copy->communicator = request->core.communicator;
    copy->done = detached_done;
    copy->data = *data;
    copy->data.buffer = copy + 1;
    if (data->length > 0) {
        memcpy(copy->data.buffer, data->buffer, data->length);
    }
    result = efa_send(transport, copy, envelope, EFA_SEND_STANDARD);
    if (EFA_SUCCESS != result) {
        free(copy);
    }
    return error_of(result);
}

static MTL_EFA_SLOW int isend_with_request(ompi_communicator_t *comm, int dest, int tag,
                                           opal_convertor_t *convertor, mca_pml_base_send_mode_t mode,
                                           mtl_efa_request *request)
{
    efa_envelope envelope;
    int error = mtl_efa_data_of(convertor, &request->layout, &request->core.data);

    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    request->core.op.peer = mtl_efa_peer(comm, dest);
    if (OPAL_UNLIKELY(NULL == request->core.op.peer)) {
        return OMPI_ERR_UNREACH;
    }
    send_envelope(comm, dest, tag, &envelope);
    request->core.done = send_done;
    request->core.communicator = comm;
    if (OPAL_UNLIKELY(MCA_PML_BASE_SEND_BUFFERED == mode && request->super.ompi_req->req_persistent)) {
        error = send_detached(mtl_efa.transport, request, &envelope);
        if (OMPI_SUCCESS == error) {
            request->core.status.result = EFA_SUCCESS;
            request->core.kind = 0;
            send_done(&request->core);
        }
        return error;
    }
    return error_of(efa_send(mtl_efa.transport, &request->core, &envelope, mode_of(mode)));
}

MTL_EFA_FAST int mtl_efa_isend(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                               opal_convertor_t *convertor, mca_pml_base_send_mode_t mode, bool blocking,
                               mca_mtl_request_t *mtl_request)
{
    mtl_efa_request *request = (mtl_efa_request *) mtl_request;

    (void) mtl;
    (void) blocking;
    if (OPAL_LIKELY(injected(comm, dest, tag, convertor, mode))) {
        request->core.kind = 0; /* nothing left to cancel */
        mtl_request->ompi_req->req_status.MPI_ERROR = MPI_SUCCESS;
        mtl_request->completion_callback(mtl_request);
        return OMPI_SUCCESS;
    }
    return isend_with_request(comm, dest, tag, convertor, mode, request);
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

MTL_EFA_FAST int mtl_efa_irecv(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag,
                               opal_convertor_t *convertor, mca_mtl_request_t *mtl_request)
{
    mtl_efa_request *request = (mtl_efa_request *) mtl_request;

    (void) mtl;
    request->core.done = recv_done;
    if (OPAL_LIKELY(src >= 0 && MPI_ANY_TAG != tag && mtl_efa_contiguous(convertor, &request->core.data))) {
        efa_peer *peer = mtl_efa_known_peer(comm, src);
        efa_envelope envelope;

        recv_envelope(comm, src, tag, &envelope);
        if (OPAL_LIKELY(NULL != peer && efa_try_recv(mtl_efa.transport, &request->core, peer, &envelope))) {
            return OMPI_SUCCESS;
        }
    }
    return irecv_otherwise(comm, src, tag, convertor, request);
}

static void set_status(ompi_status_public_t *status, const efa_status *found)
{
    if (MPI_STATUS_IGNORE != status) {
        status->MPI_SOURCE = found->source;
        status->MPI_TAG = found->tag;
        status->MPI_ERROR = MPI_SUCCESS;
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

int mtl_efa_improbe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *matched,
                    ompi_message_t **message, ompi_status_public_t *status)
{
    efa_peer *peer;
    efa_envelope envelope;
    efa_status found;
    efa_message *taken = NULL;
    efa_result result;

    *matched = 0;
    if (!recv_peer(comm, src, &peer)) {
        return OMPI_ERR_UNREACH;
    }
    recv_envelope(comm, src, tag, &envelope);
    result = efa_match(((mtl_efa_module *) mtl)->transport, peer, comm, &envelope, &taken, &found);
    if (NULL == taken) {
        return error_of(result);
    }
    *message = ompi_message_alloc();
    if (NULL == *message) {
        return OMPI_ERR_OUT_OF_RESOURCE;
    }
    (*message)->comm = comm;
    (*message)->req_ptr = taken;
    (*message)->peer = found.source;
    (*message)->count = found.length;
    *matched = 1;
    set_status(status, &found);
    return OMPI_SUCCESS;
}

int mtl_efa_imrecv(mca_mtl_base_module_t *mtl, opal_convertor_t *convertor, ompi_message_t **message,
                   mca_mtl_request_t *mtl_request)
{
    mtl_efa_request *request = (mtl_efa_request *) mtl_request;
    int error = mtl_efa_data_of(convertor, &request->layout, &request->core.data);
    efa_message *taken = (*message)->req_ptr;

    if (OPAL_UNLIKELY(OMPI_SUCCESS != error)) {
        return error;
    }
    request->core.op.peer = NULL;
    request->core.done = recv_done;
    request->core.communicator = (*message)->comm;
    ompi_message_return(*message);
    *message = MPI_MESSAGE_NULL;
    return error_of(efa_recv_matched(((mtl_efa_module *) mtl)->transport, &request->core, taken));
}

int mtl_efa_cancel(mca_mtl_base_module_t *mtl, mca_mtl_request_t *mtl_request, int flag)
{
    mtl_efa_request *request = (mtl_efa_request *) mtl_request;

    (void) flag;
    /* A request that was never started has nothing of ours in it yet. Sends are left to complete. */
    if (OMPI_REQUEST_ACTIVE == mtl_request->ompi_req->req_state && !REQUEST_COMPLETE(mtl_request->ompi_req)) {
        efa_cancel(((mtl_efa_module *) mtl)->transport, &request->core);
    }
    return OMPI_SUCCESS;
}
