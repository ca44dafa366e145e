/* Finding peers: publishing our card in the modex, and reading a peer's when it is first used. */
#include "mtl_efa.h"

#include "opal/util/proc.h"

static uint64_t uid_of(const opal_process_name_t *name)
{
    return (uint64_t) name->jobid << 32 | name->vpid;
}

void mtl_efa_identity(const opal_proc_t *proc, efa_identity *identity)
{
    identity->uid = uid_of(&proc->proc_name);
    identity->world_rank = (int32_t) proc->proc_name.vpid;
}

int mtl_efa_publish(void)
{
    size_t size;
    const void *card = efa_card(mtl_efa.transport, &size);
    int rc;

    OPAL_MODEX_SEND(rc, MTL_EFA_MODEX_GLOBAL, &mca_mtl_efa_component.mtl_version, (void *) card, size);
    return rc;
}

/*
 * One thread at a time reads the modex: two that were in PMIx_Get for the same process at once (PMIx 5.0.7,
 * test/mpi threads on busy cores) were never answered. The innermost lock: nothing of ours is called while it
 * is held.
 */
static opal_mutex_t modex_lock = OPAL_MUTEX_STATIC_INIT;

/* What the process published; NULL if it published nothing. To be freed. */
static void *card_of(const opal_process_name_t *name, size_t *size)
{
    void *card = NULL;
    int rc;

    OPAL_THREAD_LOCK(&modex_lock);
    OPAL_MODEX_RECV(rc, &mca_mtl_efa_component.mtl_version, name, &card, size);
    OPAL_THREAD_UNLOCK(&modex_lock);
    return OMPI_SUCCESS == rc ? card : NULL;
}

void *mtl_efa_card(uint64_t uid, size_t *size)
{
    const opal_process_name_t name = {.jobid = (uint32_t) (uid >> 32), .vpid = (uint32_t) uid};
    return card_of(&name, size);
}

efa_peer *mtl_efa_resolve_proc(ompi_proc_t *proc)
{
    efa_identity identity;
    efa_peer *peer;
    size_t size = 0;
    void *card = card_of(&proc->super.proc_name, &size);

    if (NULL == card) {
        char text[256];
        snprintf(
            text, sizeof text,
            "Rank %d published no address for this component: it uses another transport, or none. All ranks "
            "must run with the same `--mca mtl` and `--mca pml` settings and have mtl_efa installed.",
            (int) proc->super.proc_name.vpid);
        mtl_efa_report(EFA_REPORT_ERROR, text);
        return NULL;
    }
    mtl_efa_identity(&proc->super, &identity);
    peer = efa_peer_create_once(mtl_efa.transport, &identity, card, size,
                                &proc->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL]);
    free(card);
    return peer;
}

efa_peer *mtl_efa_resolve(void *communicator, int32_t rank)
{
    ompi_communicator_t *comm = communicator;
    int size = OMPI_COMM_IS_INTER(comm) ? ompi_comm_remote_size(comm) : ompi_comm_size(comm);

    if (rank < 0 || rank >= size) {
        mtl_efa_report(EFA_REPORT_ERROR, "A message names a sender that its communicator does not have.");
        return NULL;
    }
    return mtl_efa_peer(comm, rank);
}

/* Peers are resolved when they are first used, so that start-up does not grow with the job. */
int mtl_efa_add_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs)
{
    (void) mtl;
    if (mtl_efa_options.resolve_eagerly) {
        for (size_t i = 0; i < count; ++i) {
            if (NULL == procs[i]->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL] &&
                NULL == mtl_efa_resolve_proc(procs[i])) {
                return OMPI_ERR_UNREACH;
            }
        }
    }
    return OMPI_SUCCESS;
}

int mtl_efa_del_procs(mca_mtl_base_module_t *mtl, size_t count, ompi_proc_t **procs)
{
    (void) mtl;
    for (size_t i = 0; i < count; ++i) {
        efa_peer *peer = procs[i]->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL];
        if (NULL != peer) {
            procs[i]->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL] = NULL;
            efa_peer_destroy(mtl_efa.transport, peer);
        }
    }
    return OMPI_SUCCESS;
}
