/* The component's own types. The transport is in common/; what is here only translates between Open MPI's
 * interfaces and common/transport.h. */
#pragma once

#include "compat/series.h"

#include "ompi/message/message.h"
#include "ompi/request/request.h"
#include "opal/datatype/opal_convertor.h"
#include "opal/datatype/opal_datatype.h"

#include "transport.h"

/* Longer than any predefined datatype. */
enum { MTL_EFA_ELEMENT_MAX = 64 };
/* Blocks of a layout up to which they are told to the transport one by one. */
enum { MTL_EFA_SEGMENTS_MAX = 8, MTL_EFA_SEGMENTS_UNKNOWN = UINT32_MAX };

/* Data that is not contiguous: efa_data.layout. */
typedef struct mtl_efa_layout {
    opal_convertor_t *convertor;
    size_t carried;    /* bytes in `carry` */
    size_t carry_from; /* first of them that is not used yet */
    unsigned char carry[MTL_EFA_ELEMENT_MAX];
    uint32_t segment_count; /* MTL_EFA_SEGMENTS_UNKNOWN until the transport asks; 0: too many */
    struct iovec segments[MTL_EFA_SEGMENTS_MAX];
} mtl_efa_layout;

/* pml/cm reserves mtl_request_size bytes behind each mca_mtl_request_t. */
typedef struct mtl_efa_request {
    mca_mtl_request_t super;
    efa_request core;
    mtl_efa_layout layout;
} mtl_efa_request;

typedef struct mtl_efa_module {
    mca_mtl_base_module_t super;
    efa_transport *transport;
    uint32_t usual_contexts; /* greatest number of a communicator that has a global one */
} mtl_efa_module;

extern mca_mtl_base_component_2_0_0_t mca_mtl_efa_component;
extern mtl_efa_module mtl_efa;
extern efa_options mtl_efa_options;

/* --- parameters.c --- */
int mtl_efa_register_parameters(void);
/* True if the user's `mtl` parameter names this component. */
bool mtl_efa_named_by_user(void);

/* --- abi.c --- */
/* False, with a reason, if the running Open MPI is not the one this was built for. */
bool mtl_efa_abi_matches(char *why, size_t why_size);
/* "Open MPI 5.0.7", the running one. */
const char *mtl_efa_open_mpi(void);

/* --- report.c --- */
void mtl_efa_report(efa_severity severity, const char *text);
void mtl_efa_fatal(const char *text);
/* The first process of a node speaks for all while what is said would be the same on each. */
bool mtl_efa_speaks_for_node(void);
/* Ends the job after a message that mtl_efa_speaks_for_node() processes have printed. */
void mtl_efa_abort(void);

/* --- peers.c --- */
int mtl_efa_publish(void);
efa_peer *mtl_efa_resolve_proc(ompi_proc_t *proc);
efa_peer *mtl_efa_resolve(void *communicator, int32_t rank);
void *mtl_efa_card(uint64_t uid, size_t *size);
int mtl_efa_add_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs);
int mtl_efa_del_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs);
void mtl_efa_identity(const opal_proc_t *proc, efa_identity *identity);

/* The peer if it was used before, else null. Cheaper than ompi_comm_peer_lookup, which is ready to make a
 * process. */
static inline efa_peer *mtl_efa_known_peer(const ompi_communicator_t *comm, int rank)
{
    const ompi_proc_t *proc = comm->c_remote_group->grp_proc_pointers[rank];
    return OPAL_LIKELY(!ompi_proc_is_sentinel((ompi_proc_t *) proc))
               ? (efa_peer *) proc->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL]
               : NULL;
}

/* Null, after a report, if the peer cannot be resolved. */
static inline efa_peer *mtl_efa_peer(ompi_communicator_t *comm, int rank)
{
    ompi_proc_t *proc = ompi_comm_peer_lookup(comm, rank);
    efa_peer *peer = (efa_peer *) proc->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL];
    return OPAL_LIKELY(NULL != peer) ? peer : mtl_efa_resolve_proc(proc);
}

/* --- data.c --- */
/* The rest of mtl_efa_data_of. */
int mtl_efa_data_with_gaps(opal_convertor_t *convertor, mtl_efa_layout *layout, efa_data *data);

/* Fills `data` if that is quickly told: the usual case. */
static inline bool mtl_efa_contiguous(const opal_convertor_t *convertor, efa_data *data)
{
    const uint32_t flags = convertor->flags; /* those of the datatype included */

    data->length = convertor->local_size;
    data->layout = NULL;
    data->buffer = convertor->pBaseBuf;
    if (OPAL_LIKELY(!(flags & (CONVERTOR_SEND | CONVERTOR_RECV | MTL_EFA_CONVERTOR_DEVICE)))) {
        /* pml/cm of Open MPI 4.1 fills in only a few fields for a contiguous blocking or plain send, and has
         * added the datatype's lower bound already. */
        return true;
    }
    if (OPAL_LIKELY((flags & (OPAL_DATATYPE_FLAG_NO_GAPS | MTL_EFA_CONVERTOR_DEVICE)) ==
                    OPAL_DATATYPE_FLAG_NO_GAPS)) {
        data->buffer = convertor->pBaseBuf + convertor->pDesc->true_lb;
        return true;
    }
    return false;
}

/* Fills `data`, which refers to `layout` if the data is not contiguous. OMPI_ERR_NOT_SUPPORTED, after a
 * report, for memory of a device. */
static inline int mtl_efa_data_of(opal_convertor_t *convertor, mtl_efa_layout *layout, efa_data *data)
{
    if (OPAL_LIKELY(mtl_efa_contiguous(convertor, data))) {
        return OMPI_SUCCESS;
    }
    return mtl_efa_data_with_gaps(convertor, layout, data);
}
bool mtl_efa_pack(void *layout, size_t offset, void *to, size_t size);
uint32_t mtl_efa_segments(void *layout, const struct iovec **first);
bool mtl_efa_unpack(void *layout, size_t offset, const void *from, size_t size);

/* --- messages.c --- */
int mtl_efa_send(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                 opal_convertor_t *convertor, mca_pml_base_send_mode_t mode);
int mtl_efa_isend(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                  opal_convertor_t *convertor, mca_pml_base_send_mode_t mode, bool blocking,
                  mca_mtl_request_t *mtl_request);
int mtl_efa_irecv(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag,
                  opal_convertor_t *convertor, mca_mtl_request_t *mtl_request);
int mtl_efa_iprobe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *flag,
                   ompi_status_public_t *status);
int mtl_efa_improbe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *matched,
                    ompi_message_t **message, ompi_status_public_t *status);
int mtl_efa_imrecv(mca_mtl_base_module_t *mtl, opal_convertor_t *convertor, ompi_message_t **message,
                   mca_mtl_request_t *mtl_request);
int mtl_efa_cancel(mca_mtl_base_module_t *mtl, mca_mtl_request_t *mtl_request, int flag);
