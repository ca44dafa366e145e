/* See threads_pthreads_mutex.h: included by Open MPI 5.0's headers, not installed by it. */
#pragma once

#include <sched.h>
#include <stdbool.h>

#define OPAL_THREAD_YIELD_WHEN_IDLE_DEFAULT false

static inline void opal_thread_yield(void)
{
    sched_yield();
}
