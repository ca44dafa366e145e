/* What ThreadSanitizer must be told of Open MPI, which is not built with it. Nothing in other builds.
 *
 * A thread that completes a request hands it back with atomic operations of libmpi that ThreadSanitizer does
 * not see. Then the memory of the request is used again: by any thread for the next request, or, if it was on
 * the stack of a blocking call, by later calls of that thread. */
#ifndef MTL_EFA_THREAD_SANITIZER_H
#define MTL_EFA_THREAD_SANITIZER_H

#include "ompi_config.h"

#include "ompi/mca/mtl/mtl.h"

#ifdef __SANITIZE_THREAD__

#include <stdint.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

/* One address for all of a thread's stack, or nearly all. */
static inline void *mtl_efa_stack_of(const void *address)
{
    return (void *) ((uintptr_t) address & ~(uintptr_t) 0xfffff);
}

/* Open MPI's request around ours. The kinds of requests of pml/cm (thin and heavy) come from one free list
 * and have ours at different offsets, but the convertor at the same. So of memory that is used again only
 * this address is the same. ThreadSanitizer must not see this access, which comes before it is told of the
 * order. */
__attribute__((noinline, no_sanitize("thread"))) static void *mtl_efa_whole(const mca_mtl_request_t *request)
{
    return request->ompi_req;
}

/* Before the request is handed back. */
static inline void mtl_efa_completes(mca_mtl_request_t *request)
{
    __tsan_release(mtl_efa_whole(request));
    __tsan_release(mtl_efa_stack_of(request));
}

/* In functions that Open MPI calls: orders them after the completion of requests on the thread's stack. */
static inline void mtl_efa_called(void)
{
    __tsan_acquire(mtl_efa_stack_of(__builtin_frame_address(0)));
}

/* The same, and after the completion of the last request in this memory. */
static inline void mtl_efa_called_with(mca_mtl_request_t *request)
{
    __tsan_acquire(mtl_efa_whole(request));
    mtl_efa_called();
}

/* Around lock-free lists of Open MPI that its headers compile into this component: they read plainly what
 * others write atomically. */
static inline void mtl_efa_lock_free_begin(void)
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
static inline void mtl_efa_lock_free_end(void)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

#else

static inline void mtl_efa_completes(mca_mtl_request_t *request)
{
    (void) request;
}
static inline void mtl_efa_called(void)
{
}
static inline void mtl_efa_called_with(mca_mtl_request_t *request)
{
    (void) request;
}
static inline void mtl_efa_lock_free_begin(void)
{
}
static inline void mtl_efa_lock_free_end(void)
{
}

#endif

#endif
