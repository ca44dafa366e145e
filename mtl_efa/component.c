/* The component: its descriptor, when it offers itself, and setting up and closing the one module. */
#include "mtl_efa.h"
#include "thread_sanitizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ompi/mca/mtl/base/base.h"
#include "opal/runtime/opal_progress.h"

static int component_register(void)
{
    mtl_efa_register_performance_variables();
    return mtl_efa_register_parameters();
}

static int component_open(void)
{
    efa_user_message why;

    if (!mtl_efa_abi_matches(&why)) {
        mtl_efa_report_once(&why);
        return OPAL_ERR_NOT_AVAILABLE;
    }
    return OMPI_SUCCESS;
}

static int component_close(void)
{
    return OMPI_SUCCESS;
}

static bool is_first_of_job(void)
{
    return 0 == OMPI_PROC_MY_NAME->vpid;
}

/* The component is usable with an EFA NIC, or if the user named it. Otherwise it declines; with a message
 * only if the machine has an EFA device that cannot be used. */
static int component_query(mca_base_module_t **module, int *priority)
{
    efa_user_message why;

    *module = NULL;
    *priority = -1;
    if (!mtl_efa_named_by_user() && !efa_available(&mtl_efa_options)) {
        if (is_first_of_job() && efa_unused(&mtl_efa_options, &why)) {
            mtl_efa_report(&why);
        }
        return OPAL_ERR_NOT_AVAILABLE;
    }
    if (!efa_options_check(&mtl_efa_options, &why)) {
        mtl_efa_report_once(&why);
        mtl_efa_abort();
    }
    *module = (mca_base_module_t *) &mtl_efa;
    *priority = (int) mtl_efa_options.priority;
    return OMPI_SUCCESS;
}

static int progress(void)
{
    mtl_efa_called();
    return efa_progress(mtl_efa.transport);
}

static int progress_packets(void)
{
    mtl_efa_called();
    return efa_progress_packets(mtl_efa.transport);
}

/* The functions of the fast path, for the path that the transport has chosen. */
static void choose_path(bool packets)
{
    mtl_efa.super.mtl_send = packets ? mtl_efa_send_packets : mtl_efa_send;
    mtl_efa.super.mtl_isend = packets ? mtl_efa_isend_packets : mtl_efa_isend;
    mtl_efa.super.mtl_irecv = packets ? mtl_efa_irecv_packets : mtl_efa_irecv;
    mtl_efa.progress = packets ? progress_packets : progress;
}

static void report_once_per_node(const efa_user_message *message)
{
    if (EFA_REPORT_ERROR == message->severity || EFA_REPORT_WARNING == message->severity) {
        mtl_efa_report_once(message);
    } else {
        mtl_efa_report(message);
    }
}

/* "Open MPI 5.0.7, pml cm, mtl efa". pml/cm is the only one that uses an MTL. */
static const char *mpi_layers(void)
{
    static char text[128];

    snprintf(text, sizeof text, "%s, pml cm, mtl efa", mtl_efa_open_mpi());
    return text;
}

static mca_mtl_base_module_t *component_init(MTL_EFA_INIT_ARGUMENTS)
{
    efa_config config = {
        .options = mtl_efa_options,
        .threads = MTL_EFA_THREADS(mpi_threads),
        .named_by_user = mtl_efa_named_by_user(),
        .all_ranks_local =
            (uint32_t) ompi_process_info.num_local_peers + 1 >= (uint32_t) ompi_process_info.num_procs,
        .spawned = NULL != getenv("OMPI_PARENT_PORT"), /* set by MPI_Comm_spawn (ompi/dpm/dpm.c) */
        .local_rank = ompi_process_info.my_local_rank,
        .local_ranks = (int32_t) ompi_process_info.num_local_peers + 1,
        .world_ranks = (int32_t) ompi_process_info.num_procs,
        .mpi = mpi_layers(),
        .hostname = ompi_process_info.nodename,
        .report = report_once_per_node,
        .fatal = mtl_efa_fatal,
        .ends_process = mtl_efa_ends_process,
        .resolve = mtl_efa_resolve,
        .card = mtl_efa_card,
        .find = mtl_efa_find,
        .pack = mtl_efa_pack,
        .unpack = mtl_efa_unpack,
        .segments = mtl_efa_segments,
    };
    efa_limits limits;

    MTL_EFA_DECLINE_DEVICE_BUFFERS();
    mtl_efa_identity(&ompi_proc_local()->super, &config.self);
    mtl_efa.transport = efa_open(&config);
    if (NULL == mtl_efa.transport) {
        if (config.named_by_user) {
            mtl_efa_abort(); /* the user named this component: do not use another one */
        }
        return NULL;
    }
    mtl_efa.threads = config.threads;
    mtl_efa_performance_variables_of(mtl_efa.transport);
    efa_set_report(mtl_efa.transport, mtl_efa_report);
    efa_limits_get(mtl_efa.transport, &limits);
    mtl_efa.super.mtl_max_tag = limits.max_tag;
    mtl_efa.global_contexts = MTL_EFA_GLOBAL_CONTEXTS(limits.max_context);
    mtl_efa.super.mtl_max_contextid = (int) mtl_efa.global_contexts;
    if (OMPI_SUCCESS != mtl_efa_publish()) {
        MTL_EFA_SAY(publish_failed);
        mtl_efa_performance_variables_of(NULL);
        efa_close(mtl_efa.transport);
        mtl_efa.transport = NULL;
        return NULL;
    }
    mtl_efa_prepare_one_sided(progress_threads, mpi_threads);
    choose_path(limits.packets);
    opal_progress_register(mtl_efa.progress);
    return &mtl_efa.super;
}

/* Set when pml/cm, and so this module, was selected. */
static bool in_use;

static int add_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs)
{
    if (!in_use) {
        in_use = true;
        efa_say_what_is_used(mtl_efa.transport);
    }
    return mtl_efa_add_procs(mtl, count, procs);
}

/* Another pml has a higher priority. Worth a message if there is EFA, or if the user named this component. */
static void report_other_pml(void)
{
    efa_limits limits;
    char priority[24];
    bool efa;

    efa_limits_get(mtl_efa.transport, &limits);
    efa = 0 == strcmp(limits.provider, "efa");
    if (!is_first_of_job() || (!efa && !mtl_efa_named_by_user())) {
        return;
    }
    snprintf(priority, sizeof priority, "%ld", mtl_efa_options.priority);
    if (efa) {
        MTL_EFA_SAY(other_pml_efa, priority);
    } else {
        MTL_EFA_SAY(other_pml_named, priority);
    }
}

static int module_finalize(mca_mtl_base_module_t *mtl)
{
    (void) mtl;
    if (!in_use) {
        report_other_pml();
    } else {
        mtl_efa_statistics_of_process();
    }
    in_use = false;
    opal_progress_unregister(mtl_efa.progress);
    mtl_efa_performance_variables_of(NULL);
    efa_close(mtl_efa.transport);
    mtl_efa.transport = NULL;
    mtl_efa_statistics_end();
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
            .mtl_add_comm = mtl_efa_add_comm,
            .mtl_del_comm = mtl_efa_del_comm,
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
