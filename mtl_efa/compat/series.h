/* All differences between Open MPI's series; the rest of the component is the same for all. */
#pragma once

#include "ompi_config.h"

#include "ompi/communicator/communicator.h"
#include "ompi/mca/mtl/mtl.h"
#include "ompi/proc/proc.h"

#define MTL_EFA_SERIES (OMPI_MAJOR_VERSION * 100 + OMPI_MINOR_VERSION)

#if MTL_EFA_SERIES == 401
#include "ompi/mca/rte/rte.h"
#include "opal/mca/pmix/pmix.h"
#elif MTL_EFA_SERIES == 500
#include "ompi/runtime/mpiruntime.h"
#include "ompi/runtime/ompi_rte.h"
#include "opal/mca/accelerator/accelerator.h"
#include "opal/mca/pmix/pmix-internal.h"
#else
#error "mtl_efa knows Open MPI 4.1 and 5.0; these headers are of another series"
#endif

/* FAST: a function of the data path; all functions that it calls are inlined, also those of common/, except
 * SLOW ones. */
#define MTL_EFA_FAST __attribute__((flatten))
#define MTL_EFA_SLOW __attribute__((noinline))

/* mtl_init: 5.0 also asks whether device buffers can be used as they are. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_INIT_ARGUMENTS           bool progress_threads, bool mpi_threads
#define MTL_EFA_DECLINE_DEVICE_BUFFERS() ((void) 0)
#else
#define MTL_EFA_INIT_ARGUMENTS           bool progress_threads, bool mpi_threads, bool *accelerator_support
#define MTL_EFA_DECLINE_DEVICE_BUFFERS() (*accelerator_support = false)
#endif

/* Whether several threads may call from the beginning, and whether that came later: 5.0 tells mtl_init the
 * level of MPI_Init_thread only. The level of a session is in opal_using_threads(), from before mtl_init or
 * before its first communicator is added; a transport that a session opens may serve others with threads of
 * their own. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_THREADS(mpi_threads) (mpi_threads)
#define MTL_EFA_THREADS_CAME()       false
#else
#define MTL_EFA_THREADS(mpi_threads) \
    ((mpi_threads) || opal_using_threads() || OMPI_MPI_STATE_INIT_STARTED != ompi_mpi_state)
#define MTL_EFA_THREADS_CAME() opal_using_threads()
#endif

/* The last member of mca_mtl_base_component_2_0_0_t. 5.0 sets accelerator_support itself, from what mtl_init
 * says. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_COMPONENT_LAST mtl_init
#else
#define MTL_EFA_COMPONENT_LAST accelerator_support
#endif

/* For abi.c; 4.1 reaches PMIx through a table of functions. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_CHECKED_OBJECTS(CHECK)         \
    CHECK(orte_proc_info_t, orte_process_info) \
    CHECK(opal_pmix_base_module_t, opal_pmix)
#else
#define MTL_EFA_CHECKED_OBJECTS(CHECK) CHECK(opal_process_info_t, opal_process_info)
#endif

/* Scope of what is published to all processes. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_MODEX_GLOBAL OPAL_PMIX_GLOBAL
#else
#define MTL_EFA_MODEX_GLOBAL PMIX_GLOBAL
#endif

/* Whether this process has published the key in an earlier opening of MPI. 4.1 has one opening only. */
static inline bool mtl_efa_has_published(const char *key)
{
#if MTL_EFA_SERIES == 401
    (void) key;
    return false;
#else
    uint8_t *value = NULL;
    size_t size;
    int rc;

    OPAL_MODEX_RECV_STRING_IMMEDIATE(rc, key, &OPAL_PROC_MY_NAME, &value, &size);
    free(value);
    return PMIX_SUCCESS == rc;
#endif
}

/* mtl_flags. 5.0: communicators made from groups (MPI sessions) have a number of their own on each process;
 * pml/cm only allows them to an MTL that says so. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_FLAGS 0
#else
#define MTL_EFA_FLAGS MCA_MTL_BASE_FLAG_SUPPORTS_EXT_CID
#endif

/* Communicators made from groups (MPI sessions, 5.0) have no number that all their processes share, only an
 * extended identifier; PMIx of 5.0.7 does not pass on the local numbers either (PMIX_GROUP_LOCAL_CID is not
 * found). So the upper half of the numbers is for them, and theirs is computed from the identifier: PMIx's
 * part counts down from 2^32, Open MPI's part is 0 but for intercommunicators. Two that fall on one number
 * are refused when the second is made (component.c). `most` is the greatest number that fits a tag. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_GLOBAL_CONTEXTS(most) (most)
#else
#define MTL_EFA_GLOBAL_CONTEXTS(most) ((most) >> 1)
#endif

static inline bool mtl_efa_has_global_context(const ompi_communicator_t *comm)
{
#if MTL_EFA_SERIES == 401
    (void) comm;
    return true;
#else
    return OMPI_COMM_IS_GLOBAL_INDEX(comm);
#endif
}

/* The communicator's number, equal on all its processes. `usual` is MTL_EFA_GLOBAL_CONTEXTS. */
static inline uint32_t mtl_efa_context(const ompi_communicator_t *comm, uint32_t usual)
{
#if MTL_EFA_SERIES == 401
    (void) usual;
    return comm->c_contextid;
#else
    if (OPAL_LIKELY(OMPI_COMM_IS_GLOBAL_INDEX(comm))) {
        return comm->c_index;
    }
    uint32_t number = ~(uint32_t) comm->c_contextid.cid_base;
    uint32_t part = (uint32_t) (comm->c_contextid.cid_sub.u64 ^ (comm->c_contextid.cid_sub.u64 >> 32));
    return (usual + 1) | ((number ^ (part * 2654435761u >> 8)) & usual);
#endif
}

/* Flags of a convertor whose user memory is on a device. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_CONVERTOR_DEVICE (CONVERTOR_CUDA | CONVERTOR_CUDA_UNIFIED)
#else
#define MTL_EFA_CONVERTOR_DEVICE (CONVERTOR_ACCELERATOR | CONVERTOR_ACCELERATOR_UNIFIED)
#endif
