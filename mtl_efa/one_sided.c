/* What one-sided communication (MPI windows) needs of MPI_Init. Open MPI's osc/rdma carries it over the BTLs,
 * not over the MTL. */
#include "mtl_efa.h"

#if MTL_EFA_SERIES == 500
#include <string.h>

#include "ompi/mca/bml/base/base.h"
#include "ompi/mca/osc/base/base.h"

static bool has_osc_rdma(void)
{
    mca_base_component_list_item_t *item;

    OPAL_LIST_FOREACH(item, &ompi_osc_base_framework.framework_components, mca_base_component_list_item_t)
    {
        if (0 == strcmp("rdma", item->cli_component->mca_component_name)) {
            return true;
        }
    }
    return false;
}
#endif

/* Open MPI 5.0 before 5.0.9 sets up its BTLs only in the initialization of pml/ob1, which does not run when
 * the user names another pml: MPI_Win_create then fails with MPI_ERR_WIN (ompi #13312). This does what
 * osc/rdma itself does from 5.0.9 on; the call has no effect if the BTLs are set up already. It must come
 * before the modex, in which the BTLs publish their addresses. 4.1 always sets up its BTLs. */
void mtl_efa_prepare_one_sided(bool progress_threads, bool mpi_threads)
{
#if MTL_EFA_SERIES == 500
    if (has_osc_rdma()) {
        (void) mca_bml_base_init(progress_threads, mpi_threads);
    }
#else
    (void) progress_threads;
    (void) mpi_threads;
#endif
}
