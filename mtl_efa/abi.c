/* Is the running Open MPI the one whose headers this component was built with? MCA does not ask: a component
 * of another series loads, and crashes later. */
#include "mtl_efa.h"

#include <stdio.h>
#include <string.h>

/* Every structure that the shim reads or embeds and that Open MPI has a class descriptor of. */
#define CHECKED_TYPES(CHECK)   \
    CHECK(opal_mutex_t)        \
    CHECK(opal_convertor_t)    \
    CHECK(opal_datatype_t)     \
    CHECK(opal_proc_t)         \
    CHECK(ompi_communicator_t) \
    CHECK(ompi_group_t)        \
    CHECK(ompi_message_t)      \
    CHECK(ompi_proc_t)         \
    CHECK(ompi_request_t)

const char *mtl_efa_open_mpi(void)
{
    static char text[64];
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;

    PMPI_Get_library_version(version, &length);
    snprintf(text, sizeof text, "Open MPI %.*s", (int) strcspn(version + strlen("Open MPI v"), ", "),
             version + strlen("Open MPI v"));
    return text;
}

bool mtl_efa_abi_matches(char *why, size_t why_size)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0, major = 0, minor = 0;

    PMPI_Get_library_version(version, &length);
    if (2 != sscanf(version, "Open MPI v%d.%d", &major, &minor) || OMPI_MAJOR_VERSION != major ||
        OMPI_MINOR_VERSION != minor) {
        snprintf(
            why, why_size,
            "This mtl_efa was built for Open MPI %d.%d and cannot run with \"%.*s\". Build it against that "
            "Open MPI, or remove it from the directories that it is loaded from.",
            OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, (int) strcspn(version, ","), version);
        return false;
    }
#define CHECK(type)                                                                                      \
    if (type##_class.cls_sizeof != sizeof(type)) {                                                       \
        snprintf(why, why_size,                                                                          \
                 "This mtl_efa was built with headers in which " #type " has %zu bytes; in the running " \
                 "Open MPI %d.%d it has %zu. Build it against the headers of that very installation.",   \
                 sizeof(type), major, minor, type##_class.cls_sizeof);                                   \
        return false;                                                                                    \
    }
    CHECKED_TYPES(CHECK)
#undef CHECK
    return true;
}
