/* A preloaded library for hosts with an imagined topology (HWLOC_XMLFILE), whose CPUs this machine does not
 * have: binding to them succeeds and can be read back, also after exec, as Open MPI and Slurm bind a process
 * before it becomes the rank.
 *
 * The mask of a process's first thread is kept in its soft limit RLIMIT_LOCKS: Linux has ignored it
 * since 2.4, but children and exec inherit it. So there are masks for CPUs 0 to 62. Other threads have it,
 * too, until they bind themselves: libraries do that (UCX, of a thread of its own).
 *
 * The limit for locked memory that IMAGINED_MEMLOCK names, in bytes, counts as unlimited: the software EFA
 * device locks no memory, and in a container root may not be able to raise the limit.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 63 };

static _Thread_local rlim64_t own; /* of this thread; 0: it has not bound itself */

static int is_own(pid_t pid)
{
    return 0 == pid || pid == gettid();
}

int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
    struct rlimit64 limit;
    rlim64_t mask = 0;

    for (size_t cpu = 0; cpu < MOST && cpu < 8 * size; ++cpu) {
        if (CPU_ISSET_S(cpu, size, set)) {
            mask |= (rlim64_t) 1 << cpu;
        }
    }
    if (0 == mask) {
        errno = EINVAL;
        return -1;
    }
    if (is_own(pid)) {
        own = mask;
        if (gettid() != getpid()) {
            return 0;
        }
    }
    if (0 != prlimit64(pid, RLIMIT_LOCKS, NULL, &limit)) {
        return -1;
    }
    limit.rlim_cur = mask;
    return prlimit64(pid, RLIMIT_LOCKS, &limit, NULL);
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    struct rlimit64 limit;

    if (0 != prlimit64(pid, RLIMIT_LOCKS, NULL, &limit)) {
        return -1;
    }
    if (is_own(pid) && 0 != own) {
        limit.rlim_cur = own;
    }
    memset(set, 0, size);
    for (size_t cpu = 0; cpu < MOST && cpu < 8 * size; ++cpu) {
        if (limit.rlim_cur >> cpu & 1) {
            CPU_SET_S(cpu, size, set);
        }
    }
    return 0;
}

static int get_limit(int resource, struct rlimit64 *limit)
{
    const int result = prlimit64(0, resource, NULL, limit);
    const char *imagined = getenv("IMAGINED_MEMLOCK");

    if (0 == result && RLIMIT_MEMLOCK == resource && NULL != imagined &&
        limit->rlim_cur == strtoull(imagined, NULL, 10)) {
        limit->rlim_cur = limit->rlim_max = RLIM64_INFINITY;
    }
    return result;
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    return get_limit((int) resource, (struct rlimit64 *) limit); /* the same structure on 64-bit machines */
}

int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *limit)
{
    return get_limit((int) resource, limit);
}
