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
    identity->job = proc->proc_name.jobid;
    identity->world_rank = (int32_t) proc->proc_name.vpid;
}

/* The number of the present opening of the transport by this process: above 1 after MPI sessions that have
 * ended (5.0).
 *
 * A daemon of PMIx 5.0.7 does not notice that a process of another host publishes a key again: it keeps the
 * first value and answers with that (_satisfy_request in pmix_server_get.c). So each opening publishes its
 * card under a key of its own. The processes of a job open the transport equally often, since MPI_Init and
 * MPI_Session_init contain a fence of the whole job. For other jobs, which may be in another opening, the
 * card is also under the key of the first. */
static int opening = 1;

/* To be freed; NULL: no memory. */
static char *key_of_opening(int number)
{
    char *name = mca_base_component_to_string(&mca_mtl_efa_component.mtl_version), *key = NULL;

    if (number < 2 || NULL == name) {
        return name;
    }
    if (0 > asprintf(&key, "%s#%d", name, number)) {
        key = NULL;
    }
    free(name);
    return key;
}

static int publish_as(int number)
{
    char *key = key_of_opening(number);
    size_t size;
    const void *card = efa_card(mtl_efa.transport, &size);
    int rc = OMPI_ERR_OUT_OF_RESOURCE;

    if (NULL != key) {
        OPAL_MODEX_SEND_STRING(rc, MTL_EFA_MODEX_GLOBAL, key, (void *) card, size);
        free(key);
    }
    return rc;
}

/* This process itself has published in the opening. Asks the daemon of this host, which knows its own
 * processes. */
static bool has_published(int number)
{
    char *key = key_of_opening(number);
    bool found = NULL != key && mtl_efa_has_published(key);

    free(key);
    return found;
}

int mtl_efa_publish(void)
{
    int rc;

    opening = 1;
    while (has_published(opening)) {
        ++opening;
    }
    rc = publish_as(1);
    return OMPI_SUCCESS != rc || opening < 2 ? rc : publish_as(opening);
}

/* One thread at a time reads the modex: PMIx_Get of PMIx 5.0.7 for one process by two threads at once may not
 * return. This lock is the innermost: no function of this project is called while it is held. */
static opal_mutex_t modex_lock = OPAL_MUTEX_STATIC_INIT;

/* What the process published; NULL if it published nothing. To be freed. */
static void *card_of(const opal_process_name_t *name, size_t *size)
{
    char *key = key_of_opening(name->jobid == OPAL_PROC_MY_NAME.jobid ? opening : 1);
    uint8_t *card = NULL;
    int rc;

    if (NULL == key) {
        return NULL;
    }
    opal_mutex_lock(&modex_lock);
    OPAL_MODEX_RECV_STRING(rc, key, name, &card, size);
    opal_mutex_unlock(&modex_lock);
    free(key);
    return OMPI_SUCCESS == rc ? card : NULL;
}

void *mtl_efa_card(uint64_t uid, size_t *size)
{
    const opal_process_name_t name = {.jobid = (uint32_t) (uid >> 32), .vpid = (uint32_t) uid};
    return card_of(&name, size);
}

efa_peer *mtl_efa_find(uint64_t uid)
{
    const opal_process_name_t name = {.jobid = (uint32_t) (uid >> 32), .vpid = (uint32_t) uid};
    ompi_proc_t *proc = (ompi_proc_t *) ompi_proc_for_name(name);
    efa_peer *peer = NULL == proc ? NULL : mtl_efa_peer_of(proc);

    return NULL != peer || NULL == proc ? peer : mtl_efa_resolve_proc(proc);
}

efa_peer *mtl_efa_resolve_proc(ompi_proc_t *proc)
{
    efa_identity identity;
    efa_peer *peer;
    size_t size = 0;
    void *card = card_of(&proc->super.proc_name, &size);

    if (NULL == card) {
        char rank[24];
        snprintf(rank, sizeof rank, "%d", (int) proc->super.proc_name.vpid);
        MTL_EFA_SAY(peer_no_address, rank);
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
        MTL_EFA_SAY(sender_outside_communicator);
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
