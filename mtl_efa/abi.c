/* Checks that the running Open MPI is the one whose headers this component was built with. MCA does not check
 * it: a component of another series is loaded, and fails later. */
#include "mtl_efa.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "ompi/datatype/ompi_datatype.h"
#include "ompi/mca/mtl/base/base.h"
#include "opal/runtime/opal_progress.h"
#include "opal/util/arch.h"

/* Every structure that the shim reads or embeds and that Open MPI has a class descriptor of. */
#define CHECKED_TYPES(CHECK)              \
    CHECK(opal_object_t)                  \
    CHECK(opal_list_item_t)               \
    CHECK(opal_list_t)                    \
    CHECK(mca_base_component_list_item_t) \
    CHECK(opal_mutex_t)                   \
    CHECK(opal_convertor_t)               \
    CHECK(opal_datatype_t)                \
    CHECK(opal_proc_t)                    \
    CHECK(ompi_communicator_t)            \
    CHECK(ompi_datatype_t)                \
    CHECK(ompi_group_t)                   \
    CHECK(ompi_message_t)                 \
    CHECK(ompi_proc_t)                    \
    CHECK(ompi_request_t)

/* Those without one, and an object of Open MPI's that has the type: its symbol tells the size. */
#define CHECKED_OBJECTS(CHECK)                           \
    CHECK(opal_class_t, opal_object_t_class)             \
    CHECK(ompi_status_public_t, ompi_status_empty)       \
    CHECK(mca_base_framework_t, ompi_mtl_base_framework) \
    MTL_EFA_CHECKED_OBJECTS(CHECK)

/* Of the MTL's own interface Open MPI has no object, so a running one cannot be asked. The interface has a
 * version, in the component's descriptor, which MCA compares before it loads a component. Members that a
 * later release appends are found when it is built: */
_Static_assert(sizeof(mca_mtl_base_module_t) ==
                   offsetof(mca_mtl_base_module_t, mtl_del_comm) + sizeof(mca_mtl_base_module_del_comm_fn_t),
               "mca_mtl_base_module_t has members that mtl_efa (component.c) does not know");
_Static_assert(sizeof(mca_mtl_request_t) == sizeof(ompi_request_t *) + sizeof(void (*)(void)),
               "mca_mtl_request_t has members that mtl_efa (messages.c) does not know");
_Static_assert(sizeof(mca_mtl_base_component_2_0_0_t) ==
                   offsetof(mca_mtl_base_component_2_0_0_t, MTL_EFA_COMPONENT_LAST) + sizeof(void *),
               "mca_mtl_base_component_2_0_0_t has members that mtl_efa (component.c) does not know");

#define TEXT_OF(number)     #number
#define TEXT_OF_VALUE(name) TEXT_OF(name)
#define VERSION_OF(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)
/* For mtl_efa_info --check, which opens the file that a job would load. */
OMPI_DECLSPEC extern const char mtl_efa_built_for[];
const char mtl_efa_built_for[] = VERSION_OF(OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION);

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

bool mtl_efa_ends_process(const void *handler)
{
    Dl_info of_handler, of_open_mpi;

    /* libopen-pal and libucs (UCX, which Open MPI loads) handle fatal signals: they show where the process
     * was, and let it end. */
    if (0 == dladdr(handler, &of_handler)) {
        return false;
    }
    return (NULL != of_handler.dli_fname && NULL != strstr(of_handler.dli_fname, "/libucs.so")) ||
           (0 != dladdr((void *) opal_progress, &of_open_mpi) &&
            of_handler.dli_fbase == of_open_mpi.dli_fbase);
}

/* The size of an object of Open MPI's, as its library has it; `expected` if that cannot be told. */
static size_t size_of_symbol(const void *object, const char *name, size_t expected)
{
    Dl_info place;
    const ElfW(Sym) *symbol = NULL;

    if (0 == dladdr1(object, &place, (void **) &symbol, RTLD_DL_SYMENT) || NULL == symbol ||
        NULL == place.dli_sname || 0 != strcmp(place.dli_sname, name)) {
        return expected;
    }
    return symbol->st_size;
}

/* Whether the fields of a convertor and of a datatype that data.c reads are where the headers say: Open MPI
 * fills in a convertor whose contents are known. */
static bool has_known_fields(void)
{
    enum { COUNT = 3 };
    static int32_t buffer[COUNT];
    const opal_datatype_t *type = &opal_datatype_int4;
    opal_convertor_t *convertor = opal_convertor_create((int32_t) opal_local_arch, 0);
    bool known;

    if (NULL == convertor) {
        return true;
    }
    known = OPAL_SUCCESS == opal_convertor_prepare_for_send(convertor, type, COUNT, buffer) &&
            (unsigned char *) buffer == convertor->pBaseBuf && type == convertor->pDesc &&
            COUNT == convertor->count && sizeof buffer == convertor->local_size &&
            0 != (convertor->flags & CONVERTOR_SEND) &&
            0 != (convertor->flags & OPAL_DATATYPE_FLAG_NO_GAPS) && sizeof buffer[0] == type->size &&
            0 == type->true_lb;
    OBJ_RELEASE(convertor);
    return known;
}

static bool refuse_size(efa_user_message *why, const char *type, size_t built, size_t running)
{
    char built_text[24], running_text[24];

    snprintf(built_text, sizeof built_text, "%zu", built);
    snprintf(running_text, sizeof running_text, "%zu", running);
    MTL_EFA_MAKE(why, abi_size, type, built_text, running_text);
    return false;
}

bool mtl_efa_abi_matches(efa_user_message *why)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0, major = 0, minor = 0;

    PMPI_Get_library_version(version, &length);
    if (2 != sscanf(version, "Open MPI v%d.%d", &major, &minor) || OMPI_MAJOR_VERSION != major ||
        OMPI_MINOR_VERSION != minor) {
        version[strcspn(version, ",")] = '\0';
        MTL_EFA_MAKE(why, abi_version,
                     TEXT_OF_VALUE(OMPI_MAJOR_VERSION) "." TEXT_OF_VALUE(OMPI_MINOR_VERSION), version);
        return false;
    }
#define CHECK(type, object)                                                     \
    if (sizeof(type) != size_of_symbol(&object, TEXT_OF(object), sizeof(type))) \
        return refuse_size(why, #type, sizeof(type), size_of_symbol(&object, TEXT_OF(object), sizeof(type)));
    CHECKED_OBJECTS(CHECK)
#undef CHECK
#define CHECK(type)                              \
    if (type##_class.cls_sizeof != sizeof(type)) \
        return refuse_size(why, #type, sizeof(type), type##_class.cls_sizeof);
    CHECKED_TYPES(CHECK)
#undef CHECK
    if (!has_known_fields()) {
        MTL_EFA_MAKE(why, abi_fields);
        return false;
    }
    return true;
}
