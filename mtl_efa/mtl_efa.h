/* The component's types. The component only translates between Open MPI's interfaces and common/interface/transport.h;
 * the transport is in common/. */
#pragma once

#include "compat/series.h"

#include "ompi/message/message.h"
#include "ompi/request/request.h"
#include "opal/datatype/opal_convertor.h"
#include "opal/datatype/opal_datatype.h"

#include "interface/transport.h"

/* Longer than any predefined datatype. */
enum { MTL_EFA_ELEMENT_MAX = 64 };
/* Maximum number of blocks of a layout that are passed to the transport one by one. */
enum { MTL_EFA_SEGMENTS_MAX = 8, MTL_EFA_SEGMENTS_UNKNOWN = UINT32_MAX };

/* Data that is not contiguous: efa_data.layout. */
typedef struct mtl_efa_layout {
    opal_convertor_t *convertor;
    size_t carried;    /* bytes in `carry` */
    size_t carry_from; /* index of the first that is not used yet */
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
    uint32_t global_contexts; /* greatest number of a communicator that has a global one */
    bool threads;            /* the transport knows that there are */
    int (*progress)(void);   /* of the path that the transport has chosen */
} mtl_efa_module;

extern mca_mtl_base_component_2_0_0_t mca_mtl_efa_component;
extern mtl_efa_module mtl_efa;
extern efa_options mtl_efa_options;

/* --- parameters.c --- */
int mtl_efa_register_parameters(void);
/* True if the user's `mtl` parameter names this component. */
bool mtl_efa_named_by_user(void);

/* --- performance_variables.c --- */
void mtl_efa_register_performance_variables(void);
/* They have the counters of this transport; NULL: 0. */
void mtl_efa_performance_variables_of(efa_transport *transport);

/* --- statistics.c: mtl_efa_statistics --- */
/* When MPI_COMM_WORLD is deleted: adds up the counters of its ranks, and prints them on rank 0. */
void mtl_efa_statistics_of_world(ompi_communicator_t *world);
/* When the transport is closed: if there was no MPI_COMM_WORLD, the first process prints its own. */
void mtl_efa_statistics_of_process(void);
/* When it has been closed. */
void mtl_efa_statistics_end(void);

/* --- abi.c --- */
/* False, with a message, if the running Open MPI is not the one this was built for. */
bool mtl_efa_abi_matches(efa_user_message *why);
/* "Open MPI 5.0.7", the running one. */
const char *mtl_efa_open_mpi(void);
/* True of the signal handlers of Open MPI and UCX, which only show where a process was that ends:
 * efa_config.ends_process. */
bool mtl_efa_ends_process(const void *handler);

/* --- report.c --- */
void mtl_efa_report(const efa_user_message *message);
void mtl_efa_fatal(const efa_user_message *message);
/* The texts for the places of a message of the catalog (message_catalog.h), and their number: as many as it
 * has places. The first, which is not used, lets there be none. */
#define MTL_EFA_VALUES(id, ...)                                                                     \
    &((const char *const[]){NULL, ##__VA_ARGS__})[1],                                               \
        sizeof(struct {                                                                             \
            _Static_assert(EFA_PLACES_##id + 1 ==                                                   \
                               sizeof((const char *const[]){NULL, ##__VA_ARGS__}) / sizeof(char *), \
                           #id ": as many values as the text has places");                          \
            char values[EFA_PLACES_##id + 1];                                                       \
        }) - 1
/* Makes a message. */
#define MTL_EFA_MAKE(message, id, ...) \
    efa_message_make(message, EFA_MSG_##id, MTL_EFA_VALUES(id, ##__VA_ARGS__))
/* Makes and prints it. */
#define MTL_EFA_SAY(id, ...) mtl_efa_say(EFA_MSG_##id, MTL_EFA_VALUES(id, ##__VA_ARGS__))
void mtl_efa_say(efa_message_id id, const char *const *values, size_t count);
/* Writes the statistics, which are no message, as they are. */
void mtl_efa_print(const char *text);
/* Ends the job, after a message. */
void mtl_efa_abort(void);

/* --- one_sided.c --- */
/* In mtl_init: makes MPI windows work also when the user names the pml. */
void mtl_efa_prepare_one_sided(bool progress_threads, bool mpi_threads);

/* --- once.c --- */
/* Prints what other processes of the node may print in the same words, if this one is the first. */
void mtl_efa_report_once(const efa_user_message *message);

/* --- peers.c --- */
int mtl_efa_publish(void);
efa_peer *mtl_efa_resolve_proc(ompi_proc_t *proc);
efa_peer *mtl_efa_resolve(void *communicator, int32_t rank);
void *mtl_efa_card(uint64_t uid, size_t *size);
efa_peer *mtl_efa_find(uint64_t uid);
int mtl_efa_add_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs);
int mtl_efa_del_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs);
void mtl_efa_identity(const opal_proc_t *proc, efa_identity *identity);

/* The process's peer, NULL before its first use. Another thread may be storing it (efa_peer_create_once). */
static inline efa_peer *mtl_efa_peer_of(const ompi_proc_t *proc)
{
    return (efa_peer *) __atomic_load_n(&proc->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL], __ATOMIC_ACQUIRE);
}

/* The peer if it was used before, otherwise NULL. Cheaper than ompi_comm_peer_lookup, which may create a
 * process. */
static inline efa_peer *mtl_efa_known_peer(const ompi_communicator_t *comm, int rank)
{
#if OMPI_GROUP_SPARSE
    /* A group may be stored as a rule about its parent's members, without pointers of its own. */
    const ompi_proc_t *proc = ompi_group_get_proc_ptr_raw(comm->c_remote_group, rank);
#else
    /* Another thread may be storing the process that it has just made (ompi_group_dense_lookup). */
    const ompi_proc_t *proc = __atomic_load_n(&comm->c_remote_group->grp_proc_pointers[rank], __ATOMIC_ACQUIRE);
#endif
    return OPAL_LIKELY(!ompi_proc_is_sentinel((ompi_proc_t *) proc)) ? mtl_efa_peer_of(proc) : NULL;
}

/* Null, after a report, if the peer cannot be resolved. */
static inline efa_peer *mtl_efa_peer(ompi_communicator_t *comm, int rank)
{
    ompi_proc_t *proc = ompi_comm_peer_lookup(comm, rank);
    efa_peer *peer = mtl_efa_peer_of(proc);
    return OPAL_LIKELY(NULL != peer) ? peer : mtl_efa_resolve_proc(proc);
}

/* --- communicators.c --- */
int mtl_efa_add_comm(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm);
int mtl_efa_del_comm(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm);

/* --- data.c --- */
/* The rest of mtl_efa_data_of. */
int mtl_efa_data_with_gaps(opal_convertor_t *convertor, mtl_efa_layout *layout, efa_data *data);

/* Fills `data` if the data is obviously contiguous: the usual case. */
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

/* --- persistent_buffered.c --- */
/* Makes the convertor of a persistent buffered send describe the user's data again, for the next MPI_Start.
 * To be called when the data that the convertor describes now has been copied. False, after a report, if the
 * request is not known. */
bool mtl_efa_describe_users_data(mca_mtl_request_t *mtl_request, const ompi_communicator_t *comm, int dest,
                                 int tag, opal_convertor_t *convertor);

/* --- messages.c --- */
int mtl_efa_send(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                 opal_convertor_t *convertor, mca_pml_base_send_mode_t mode);
int mtl_efa_isend(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                  opal_convertor_t *convertor, mca_pml_base_send_mode_t mode, bool blocking,
                  mca_mtl_request_t *mtl_request);
int mtl_efa_irecv(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag,
                  opal_convertor_t *convertor, mca_mtl_request_t *mtl_request);
/* The same for a transport with efa_limits.packets. */
int mtl_efa_send_packets(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                         opal_convertor_t *convertor, mca_pml_base_send_mode_t mode);
int mtl_efa_isend_packets(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int dest, int tag,
                          opal_convertor_t *convertor, mca_pml_base_send_mode_t mode, bool blocking,
                          mca_mtl_request_t *mtl_request);
int mtl_efa_irecv_packets(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag,
                          opal_convertor_t *convertor, mca_mtl_request_t *mtl_request);
int mtl_efa_iprobe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *flag,
                   ompi_status_public_t *status);
int mtl_efa_improbe(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm, int src, int tag, int *matched,
                    ompi_message_t **message, ompi_status_public_t *status);
int mtl_efa_imrecv(mca_mtl_base_module_t *mtl, opal_convertor_t *convertor, ompi_message_t **message,
                   mca_mtl_request_t *mtl_request);
int mtl_efa_cancel(mca_mtl_base_module_t *mtl, mca_mtl_request_t *mtl_request, int flag);
