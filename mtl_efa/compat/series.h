/* Everything in which Open MPI's series differ, for the rest of the shim to be written once. */
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
#include "ompi/runtime/ompi_rte.h"
#include "opal/mca/accelerator/accelerator.h"
#include "opal/mca/pmix/pmix-internal.h"
#else
#error "mtl_efa knows Open MPI 4.1 and 5.0; these headers are of another series"
#endif

/* mtl_init: 5.0 also asks whether device buffers can be used as they are. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_INIT_ARGUMENTS bool progress_threads, bool mpi_threads
#define MTL_EFA_DECLINE_DEVICE_BUFFERS() ((void) 0)
#else
#define MTL_EFA_INIT_ARGUMENTS bool progress_threads, bool mpi_threads, bool *accelerator_support
#define MTL_EFA_DECLINE_DEVICE_BUFFERS() (*accelerator_support = false)
#endif

/* Scope of what is published to all processes. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_MODEX_GLOBAL OPAL_PMIX_GLOBAL
#else
#define MTL_EFA_MODEX_GLOBAL PMIX_GLOBAL
#endif

/* mtl_flags. 5.0: communicators made from groups (MPI sessions) have a number of their own on each process;
 * pml/cm only allows them to an MTL that says so. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_FLAGS 0
#else
#define MTL_EFA_FLAGS MCA_MTL_BASE_FLAG_SUPPORTS_EXT_CID
#endif

/* The communicator's number on this process: what peers put into messages for it. */
static inline uint32_t mtl_efa_local_context(const ompi_communicator_t *comm)
{
#if MTL_EFA_SERIES == 401
    return comm->c_contextid;
#else
    return comm->c_index;
#endif
}

/* Its number on the process of rank `peer`. False if PMIx does not say. */
static inline bool mtl_efa_remote_context(ompi_communicator_t *comm, int peer, uint32_t *context)
{
#if MTL_EFA_SERIES == 401
    (void) peer;
    *context = comm->c_contextid;
    return true;
#else
    return OMPI_SUCCESS == ompi_comm_get_remote_cid(comm, peer, context);
#endif
}

/* Flags of a convertor whose user memory is on a device. */
#if MTL_EFA_SERIES == 401
#define MTL_EFA_CONVERTOR_DEVICE (CONVERTOR_CUDA | CONVERTOR_CUDA_UNIFIED)
#else
#define MTL_EFA_CONVERTOR_DEVICE (CONVERTOR_ACCELERATOR | CONVERTOR_ACCELERATOR_UNIFIED)
#endif
