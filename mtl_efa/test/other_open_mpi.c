/* To be preloaded under a program of this Open MPI, which then seems another one to the component:
 *
 *   SEEM_SERIES=3.1    PMPI_Get_library_version says so
 *   SEEM_LARGER=1      opal_mutex_t has 64 bytes more than in the headers (harmless: objects only grow) */
#include "ompi_config.h"

#include "opal/class/opal_object.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

OPAL_DECLSPEC extern opal_class_t opal_mutex_t_class; /* its header's place differs */

int PMPI_Get_library_version(char *version, int *length)
{
    const char *series = getenv("SEEM_SERIES");

    if (NULL == series) {
        return MPI_Get_library_version(version, length); /* libmpi's own */
    }
    *length = snprintf(version, MPI_MAX_LIBRARY_VERSION_STRING, "Open MPI v%s.0, package: a test", series);
    return MPI_SUCCESS;
}

__attribute__((constructor)) static void grow(void)
{
    if (NULL != getenv("SEEM_LARGER")) {
        opal_mutex_t_class.cls_sizeof += 64;
    }
}
