/* The component: its descriptor, when it offers itself, and setting up and closing the one module. */
#include "mtl_efa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ompi/mca/mtl/base/base.h"
#include "opal/runtime/opal_progress.h"

static int component_register(void)
{
    return mtl_efa_register_parameters();
}

static int component_open(void)
{
    char why[512];

    if (!mtl_efa_abi_matches(why, sizeof why)) {
        if (mtl_efa_speaks_for_node()) {
            mtl_efa_report(EFA_REPORT_WARNING, why);
        }
        return OPAL_ERR_NOT_AVAILABLE;
    }
    return OMPI_SUCCESS;
}

static int component_close(void)
{
    return OMPI_SUCCESS;
}

static bool speaks_for_job(void)
{
    return 0 == OMPI_PROC_MY_NAME->vpid;
}

/* Usable with an EFA NIC, or when the user asked for it; otherwise it is not there, silently unless the
 * machine has an EFA device that something keeps from being used. */
static int component_query(mca_base_module_t **module, int *priority)
{
    char why[512];

    *module = NULL;
    *priority = -1;
    if (!mtl_efa_named_by_user() && !efa_available(&mtl_efa_options)) {
        if (speaks_for_job() && efa_unused(&mtl_efa_options, why, sizeof why)) {
            mtl_efa_report(EFA_REPORT_NOTICE, why);
        }
        return OPAL_ERR_NOT_AVAILABLE;
    }
    if (!efa_options_check(&mtl_efa_options, why, sizeof why)) {
        if (mtl_efa_speaks_for_node()) {
            mtl_efa_report(EFA_REPORT_ERROR, why);
        }
        mtl_efa_abort();
    }
    *module = (mca_base_module_t *) &mtl_efa;
    *priority = (int) mtl_efa_options.priority;
    return OMPI_SUCCESS;
}

static int progress(void)
{
    return efa_progress(mtl_efa.transport);
}

static void report_once_per_node(efa_severity severity, const char *text)
{
    if (EFA_REPORT_ERROR != severity || mtl_efa_speaks_for_node()) {
        mtl_efa_report(severity, text);
    }
}

static mca_mtl_base_module_t *component_init(MTL_EFA_INIT_ARGUMENTS)
{
    efa_config config = {
        .options = mtl_efa_options,
        .threads = mpi_threads,
        .named_by_user = mtl_efa_named_by_user(),
        .all_ranks_local =
            (uint32_t) ompi_process_info.num_local_peers + 1 >= (uint32_t) ompi_process_info.num_procs,
        .local_rank = ompi_process_info.my_local_rank,
        .local_ranks = (int32_t) ompi_process_info.num_local_peers + 1,
        .world_ranks = (int32_t) ompi_process_info.num_procs,
        .mpi = mtl_efa_open_mpi(),
        .hostname = ompi_process_info.nodename,
        .report = report_once_per_node,
        .fatal = mtl_efa_fatal,
        .resolve = mtl_efa_resolve,
        .card = mtl_efa_card,
        .pack = mtl_efa_pack,
        .unpack = mtl_efa_unpack,
        .segments = mtl_efa_segments,
    };
    efa_limits limits;

    (void) progress_threads;
    MTL_EFA_DECLINE_DEVICE_BUFFERS();
    mtl_efa_identity(&ompi_proc_local()->super, &config.self);
    mtl_efa.transport = efa_open(&config);
    if (NULL == mtl_efa.transport) {
        if (config.named_by_user) {
            mtl_efa_abort(); /* to go on with another transport would be a guess */
        }
        return NULL;
    }
    efa_set_report(mtl_efa.transport, mtl_efa_report);
    efa_limits_get(mtl_efa.transport, &limits);
    mtl_efa.super.mtl_max_tag = limits.max_tag;
    mtl_efa.usual_contexts = MTL_EFA_USUAL_CONTEXTS(limits.max_context);
    mtl_efa.super.mtl_max_contextid = (int) mtl_efa.usual_contexts;
    if (OMPI_SUCCESS != mtl_efa_publish()) {
        mtl_efa_report(EFA_REPORT_ERROR, "This process's address could not be published through PMIx.");
        efa_close(mtl_efa.transport);
        return NULL;
    }
    opal_progress_register(progress);
    return &mtl_efa.super;
}

/* Set when pml/cm, and so this module, was selected. */
static bool in_use;

static int add_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs)
{
    in_use = true;
    return mtl_efa_add_procs(mtl, count, procs);
}

/* Another pml has a higher priority: mtl_efa_priority is low, or the user's wish came through another way. */
static void say_that_another_is_used(void)
{
    efa_limits limits;
    char text[256];

    efa_limits_get(mtl_efa.transport, &limits);
    if (0 != strcmp(limits.provider, "efa") || !speaks_for_job()) {
        return;
    }
    snprintf(text, sizeof text,
             "EFA device found but not used: another pml of Open MPI (ob1 or ucx) was selected, since the "
             "parameter "
             "mtl_efa_priority is %ld. `--mca pml cm --mca mtl efa` asks for EFA.",
             mtl_efa_options.priority);
    mtl_efa_report(EFA_REPORT_NOTICE, text);
}

static int module_finalize(mca_mtl_base_module_t *mtl)
{
    (void) mtl;
    if (!in_use) {
        say_that_another_is_used();
    }
    opal_progress_unregister(progress);
    efa_close(mtl_efa.transport);
    mtl_efa.transport = NULL;
    return OMPI_SUCCESS;
}

/* Numbers in use by communicators that have no global one: few, and only with MPI sessions. */
static struct {
    uint32_t *numbers;
    size_t count, room;
} unusual;

static bool keep_unusual(uint32_t number)
{
    for (size_t i = 0; i < unusual.count; ++i) {
        if (number == unusual.numbers[i]) {
            return false;
        }
    }
    if (unusual.count == unusual.room) {
        size_t room = unusual.room ? 2 * unusual.room : 8;
        uint32_t *numbers = realloc(unusual.numbers, room * sizeof *numbers);
        if (NULL == numbers) {
            return false;
        }
        unusual.numbers = numbers;
        unusual.room = room;
    }
    unusual.numbers[unusual.count++] = number;
    return true;
}

/* Open MPI refuses a communicator beyond mtl_max_contextid on its own, with an error that tells nothing
 * (MPI_ERR_INTERN), so the last one that fits is the occasion to say why. */
static void say_that_it_was_the_last(void)
{
    static bool said;
    efa_limits limits;
    char text[512];

    if (said) {
        return;
    }
    said = true;
    efa_limits_get(mtl_efa.transport, &limits);
    snprintf(text, sizeof text,
             "There are now %d communicators, as many as the message tags of the provider %s have room for. "
             "Creating another one will fail (MPI_ERR_INTERN). Free communicators that are no longer used.",
             mtl_efa.super.mtl_max_contextid, limits.provider);
    if (mtl_efa_speaks_for_node()) {
        mtl_efa_report(EFA_REPORT_WARNING, text);
    }
}

static int add_comm(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm)
{
    uint32_t number = mtl_efa_context(comm, mtl_efa.usual_contexts);

    (void) mtl;
    if (OPAL_LIKELY(mtl_efa_has_usual_context(comm))) {
        if (OPAL_UNLIKELY(number + 1 >= (uint32_t) mtl_efa.super.mtl_max_contextid)) {
            say_that_it_was_the_last();
        }
        return number <= mtl_efa.usual_contexts ? OMPI_SUCCESS : OMPI_ERR_OUT_OF_RESOURCE;
    }
    if (keep_unusual(number)) {
        return OMPI_SUCCESS;
    }
    mtl_efa_report(EFA_REPORT_ERROR,
                   "A communicator made from a group (MPI sessions) has an identifier that falls on the same "
                   "message tags as another one's, so that their messages could be mixed up. Free "
                   "communicators that are no longer used and make it again.");
    return OMPI_ERR_OUT_OF_RESOURCE;
}

static int del_comm(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm)
{
    (void) mtl;
    if (!mtl_efa_has_usual_context(comm)) {
        uint32_t number = mtl_efa_context(comm, mtl_efa.usual_contexts);
        for (size_t i = 0; i < unusual.count; ++i) {
            if (number == unusual.numbers[i]) {
                unusual.numbers[i] = unusual.numbers[--unusual.count];
                break;
            }
        }
    }
    return OMPI_SUCCESS;
}

mtl_efa_module mtl_efa = {
    .super =
        {
            .mtl_request_size = sizeof(mtl_efa_request) - sizeof(mca_mtl_request_t),
            .mtl_flags = MTL_EFA_FLAGS,
            .mtl_add_procs = add_procs,
            .mtl_del_procs = mtl_efa_del_procs,
            .mtl_finalize = module_finalize,
            .mtl_send = mtl_efa_send,
            .mtl_isend = mtl_efa_isend,
            .mtl_irecv = mtl_efa_irecv,
            .mtl_iprobe = mtl_efa_iprobe,
            .mtl_imrecv = mtl_efa_imrecv,
            .mtl_improbe = mtl_efa_improbe,
            .mtl_cancel = mtl_efa_cancel,
            .mtl_add_comm = add_comm,
            .mtl_del_comm = del_comm,
        },
};

OMPI_DECLSPEC mca_mtl_base_component_2_0_0_t mca_mtl_efa_component = {
    .mtl_version =
        {
            MCA_MTL_BASE_VERSION_2_0_0,
            .mca_component_name = "efa",
            .mca_component_major_version = MTL_EFA_VERSION_MAJOR,
            .mca_component_minor_version = MTL_EFA_VERSION_MINOR,
            .mca_component_release_version = MTL_EFA_VERSION_RELEASE,
            .mca_open_component = component_open,
            .mca_close_component = component_close,
            .mca_query_component = component_query,
            .mca_register_component_params = component_register,
        },
    .mtl_data = {MCA_BASE_METADATA_PARAM_NONE},
    .mtl_init = component_init,
};
