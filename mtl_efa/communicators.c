/* New and freed communicators: whether their numbers fit into a tag, and whether a session with threads has
 * begun. */
#include "mtl_efa.h"

#include <stdio.h>
#include <stdlib.h>

/* Covers everything in this file. Nothing else is locked while it is held. */
static opal_mutex_t lock = OPAL_MUTEX_STATIC_INIT;

/* The numbers of communicators without a global one: few, and only with MPI sessions. */
static struct {
    uint32_t *numbers;
    size_t count, room;
} extended;

/* OMPI_SUCCESS if no communicator has the number yet. */
static int keep_extended(uint32_t number)
{
    for (size_t i = 0; i < extended.count; ++i) {
        if (number == extended.numbers[i]) {
            return OMPI_ERR_NOT_AVAILABLE;
        }
    }
    if (extended.count == extended.room) {
        size_t room = extended.room ? 2 * extended.room : 8;
        uint32_t *numbers = realloc(extended.numbers, room * sizeof *numbers);
        if (NULL == numbers) {
            return OMPI_ERR_OUT_OF_RESOURCE;
        }
        extended.numbers = numbers;
        extended.room = room;
    }
    extended.numbers[extended.count++] = number;
    return OMPI_SUCCESS;
}

static void forget_unusual(uint32_t number)
{
    for (size_t i = 0; i < extended.count; ++i) {
        if (number == extended.numbers[i]) {
            extended.numbers[i] = extended.numbers[--extended.count];
            break;
        }
    }
}

/* Open MPI refuses a communicator beyond mtl_max_contextid without a reason
 * (MPI_ERR_INTERN). So a message is printed with the last one that fits. */
static void report_last_communicator(void)
{
    static bool said;
    efa_limits limits;
    efa_user_message message;
    char count[24];
    bool first;

    opal_mutex_lock(&lock);
    first = !said;
    said = true;
    opal_mutex_unlock(&lock);
    if (!first) {
        return;
    }
    efa_limits_get(mtl_efa.transport, &limits);
    snprintf(count, sizeof count, "%d", mtl_efa.super.mtl_max_contextid);
    MTL_EFA_MAKE(&message, communicators_last, count, limits.provider);
    mtl_efa_report_once(&message);
}

/* A session with threads that begins after the transport was opened without them (5.0): its first
 * communicator is added before its threads can send. A thread of another session that is inside MPI at this
 * moment is not waited for; Open MPI's own locks have the same limitation. */
static void look_for_threads(void)
{
    if (OPAL_LIKELY(mtl_efa.threads || !MTL_EFA_THREADS_CAME())) {
        return;
    }
    opal_mutex_lock(&lock);
    if (!mtl_efa.threads) {
        efa_begin_threads(mtl_efa.transport);
        mtl_efa.threads = true;
    }
    opal_mutex_unlock(&lock);
}

int mtl_efa_add_comm(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm)
{
    uint32_t number = mtl_efa_context(comm, mtl_efa.global_contexts);
    int error;

    (void) mtl;
    look_for_threads();
    if (OPAL_LIKELY(mtl_efa_has_global_context(comm))) {
        if (OPAL_UNLIKELY(number + 1 >= (uint32_t) mtl_efa.super.mtl_max_contextid)) {
            report_last_communicator();
        }
        return number <= mtl_efa.global_contexts ? OMPI_SUCCESS : OMPI_ERR_OUT_OF_RESOURCE;
    }
    opal_mutex_lock(&lock);
    error = keep_extended(number);
    opal_mutex_unlock(&lock);
    if (OMPI_ERR_NOT_AVAILABLE == error) {
        MTL_EFA_SAY(communicator_collides);
        return OMPI_ERR_OUT_OF_RESOURCE;
    }
    return error;
}

int mtl_efa_del_comm(mca_mtl_base_module_t *mtl, ompi_communicator_t *comm)
{
    (void) mtl;
    if (comm == &ompi_mpi_comm_world.comm) {
        mtl_efa_statistics_of_world(comm);
    }
    efa_communicator_freed(mtl_efa.transport, mtl_efa_context(comm, mtl_efa.global_contexts));
    if (!mtl_efa_has_global_context(comm)) {
        opal_mutex_lock(&lock);
        forget_unusual(mtl_efa_context(comm, mtl_efa.global_contexts));
        opal_mutex_unlock(&lock);
    }
    return OMPI_SUCCESS;
}
