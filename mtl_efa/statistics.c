/* Prints the counters of the job in MPI_Finalize (mtl_efa_statistics).
 *
 * They are added up over a binomial tree of the ranks of MPI_COMM_WORLD, by messages of the transport itself.
 * This happens when Open MPI deletes MPI_COMM_WORLD: after the barrier of MPI_Finalize, when no message of
 * the program is sent any more, and before processes and transport are closed. Jobs of MPI_Comm_spawn have an
 * MPI_COMM_WORLD each. Every wait is bounded: a rank that has died, or comes too late because
 * mpi_async_mpi_finalize omits the barrier, is left out with those that report through it, and the text says
 * so. A program with MPI sessions only has no MPI_COMM_WORLD, so its first process prints its own counters.
 */
#include "mtl_efa.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "interface/statistics.h"

/* How long a rank waits for each level of the tree below it, and for its own message to leave. */
#define LEVEL_WAIT_NS 2000000000LL

/* One message. */
typedef struct transit {
    efa_request request; /* first */
    efa_statistics_part part;
    bool open;
    struct transit *next;
} transit;

/* Those of this process. They may stay open, so they are freed after the transport has been closed. */
static transit *transits;
static bool printed;

static void transit_done(efa_request *request)
{
    ((transit *) request)->open = false;
}

static transit *new_transit(ompi_communicator_t *comm)
{
    transit *made = calloc(1, sizeof *made);

    if (NULL != made) {
        made->request.done = transit_done;
        made->request.communicator = comm;
        made->request.data = (efa_data){.buffer = &made->part, .length = sizeof made->part};
        made->open = true;
        made->next = transits;
        transits = made;
    }
    return made;
}

/* Negative, so that no receive of the program matches it, and below all that Open MPI uses. */
static efa_envelope envelope_to(const ompi_communicator_t *comm, int rank)
{
    return (efa_envelope){.context = mtl_efa_context(comm, mtl_efa.global_contexts),
                          .self_rank = comm->c_my_rank,
                          .rank = rank,
                          .tag = -mtl_efa.super.mtl_max_tag};
}

static long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static bool any_open(void)
{
    for (const transit *each = transits; NULL != each; each = each->next) {
        if (each->open) {
            return true;
        }
    }
    return false;
}

static void wait_until(long long end_ns)
{
    while (any_open() && now_ns() < end_ns) {
        opal_progress();
        sched_yield();
    }
}

/* Receives the parts of the ranks below this one in the tree, and adds those of which all have come. */
static void add_children(ompi_communicator_t *comm, efa_statistics *statistics)
{
    const int rank = comm->c_my_rank, size = ompi_comm_size(comm);
    const efa_envelope envelope = envelope_to(comm, EFA_ANY_SOURCE);
    int levels = 0;

    for (int bit = 1; 0 == (rank & bit) && rank + bit < size; bit <<= 1) {
        for (unsigned i = 0; i < EFA_STATISTICS_PARTS; ++i) {
            transit *part = new_transit(comm);
            if (NULL != part && EFA_SUCCESS != efa_recv(mtl_efa.transport, &part->request, &envelope)) {
                part->open = false;
            }
        }
        ++levels;
    }
    wait_until(now_ns() + levels * LEVEL_WAIT_NS);
    for (int bit = 1; 0 == (rank & bit) && rank + bit < size; bit <<= 1) {
        efa_statistics child;
        unsigned parts = 0;

        for (const transit *each = transits; NULL != each; each = each->next) {
            if (!each->open && EFA_SUCCESS == each->request.status.result &&
                sizeof each->part == each->request.status.length &&
                efa_statistics_part_check(&each->part, (uint32_t) size) && rank + bit == each->part.from) {
                efa_statistics_part_set(&child, &each->part);
                ++parts;
            }
        }
        if (EFA_STATISTICS_PARTS == parts) {
            efa_statistics_add(statistics, &child);
        }
    }
    for (transit *each = transits; NULL != each; each = each->next) {
        if (each->open) {
            efa_cancel(mtl_efa.transport, &each->request);
            each->open = false;
        }
    }
}

static void send_to_parent(ompi_communicator_t *comm, const efa_statistics *statistics)
{
    const int rank = comm->c_my_rank, parent = rank & (rank - 1);
    const efa_envelope envelope = envelope_to(comm, parent);
    efa_peer *peer = mtl_efa_peer(comm, parent);

    for (uint32_t i = 0; NULL != peer && i < EFA_STATISTICS_PARTS; ++i) {
        transit *part = new_transit(comm);
        if (NULL == part) {
            return;
        }
        efa_statistics_part_get(statistics, rank, i, &part->part);
        part->request.op.peer = peer;
        if (EFA_SUCCESS != efa_send(mtl_efa.transport, &part->request, &envelope, EFA_SEND_STANDARD)) {
            part->open = false;
        }
    }
    wait_until(now_ns() + LEVEL_WAIT_NS);
}

static void print(const efa_statistics *statistics, uint32_t ranks)
{
    char *text = efa_statistics_text(
        statistics, ranks, (efa_statistics_form) efa_statistics_form_of(mtl_efa_options.statistics));

    if (NULL != text) {
        mtl_efa_print(text);
    }
    free(text);
}

static void no_report(const efa_user_message *message)
{
    (void) message;
}

static bool begin_statistics(efa_statistics *statistics, int rank)
{
    efa_counters counters;

    if (printed || EFA_STATISTICS_NONE == efa_statistics_form_of(mtl_efa_options.statistics)) {
        return false;
    }
    printed = true;
    efa_counters_get(mtl_efa.transport, &counters);
    efa_statistics_begin(statistics, rank, &counters);
    return true;
}

void mtl_efa_statistics_of_world(ompi_communicator_t *comm)
{
    efa_statistics statistics;

    if (!begin_statistics(&statistics, comm->c_my_rank)) {
        return;
    }
    /* A rank that has died is no news here: the text says how many ranks are missing. */
    efa_set_report(mtl_efa.transport, no_report);
    add_children(comm, &statistics);
    if (0 != comm->c_my_rank) {
        send_to_parent(comm, &statistics);
    }
    efa_set_report(mtl_efa.transport, mtl_efa_report);
    if (0 == comm->c_my_rank) {
        print(&statistics, (uint32_t) ompi_comm_size(comm));
    }
}

void mtl_efa_statistics_of_process(void)
{
    efa_statistics statistics;

    if (begin_statistics(&statistics, (int) OMPI_PROC_MY_NAME->vpid) && 0 == OMPI_PROC_MY_NAME->vpid) {
        print(&statistics, (uint32_t) ompi_process_info.num_procs);
    }
}

void mtl_efa_statistics_end(void)
{
    while (NULL != transits) {
        transit *first = transits;
        transits = first->next;
        free(first);
    }
    printed = false;
}
