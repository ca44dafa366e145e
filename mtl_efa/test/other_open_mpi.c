/* To be preloaded under a program of this Open MPI, which then seems another one to the component:
 *
 *   SEEM_SERIES=3.1    PMPI_Get_library_version says so
 *   SEEM_LARGER=1      opal_mutex_t has 64 bytes more than in the headers (harmless: objects only grow)
 *   SEEM_SYMBOL=NAME   the object of that name has 8 bytes more
 *   SEEM_MOVED=1       opal_convertor_t's first byte is not where the headers have it, for the component only
 */
#include "ompi_config.h"

#include "opal/class/opal_object.h"
#include "opal/datatype/opal_convertor.h"

#include <dlfcn.h>
#include <link.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int dladdr1(const void *address, Dl_info *info, void **extra, int flags)
{
    static ElfW(Sym) larger;
    int (*real)(const void *, Dl_info *, void **, int) =
        (int (*)(const void *, Dl_info *, void **, int)) dlsym(RTLD_NEXT, "dladdr1");
    const char *name = getenv("SEEM_SYMBOL");
    int found = real(address, info, extra, flags);

    if (0 != found && NULL != name && RTLD_DL_SYMENT == flags && NULL != info->dli_sname &&
        0 == strcmp(name, info->dli_sname)) {
        larger = *(const ElfW(Sym) *) *extra;
        larger.st_size += 8;
        *extra = &larger;
    }
    return found;
}

int32_t opal_convertor_prepare_for_send(opal_convertor_t *convertor, const struct opal_datatype_t *datatype,
                                        size_t count, const void *buffer)
{
    int32_t (*real)(opal_convertor_t *, const struct opal_datatype_t *, size_t, const void *) =
        (int32_t(*)(opal_convertor_t *, const struct opal_datatype_t *, size_t, const void *)) dlsym(
            RTLD_NEXT, "opal_convertor_prepare_for_send");
    int32_t result = real(convertor, datatype, count, buffer);
    Dl_info caller;

    if (NULL != getenv("SEEM_MOVED") && 0 != dladdr(__builtin_return_address(0), &caller) &&
        NULL != strstr(caller.dli_fname, "mca_mtl_efa.so")) {
        convertor->pBaseBuf = NULL;
    }
    return result;
}
