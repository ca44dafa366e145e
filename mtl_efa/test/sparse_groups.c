/* Finding peers in an Open MPI that was configured --enable-sparse-groups: its headers compile other code
 * then, and a group may be stored as a rule about the members of its parent, without pointers of its own.
 *
 * No distribution builds Open MPI like that, but every libmpi has the functions that make and translate such
 * groups. Here the component's header is compiled as for such an Open MPI, groups of each kind are made, and
 * each member's peer is looked up. Needs 8 ranks. */
#include "ompi_config.h"
#undef OMPI_GROUP_SPARSE
#define OMPI_GROUP_SPARSE 1

#include "mtl_efa.h"

#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { RANKS = 8 };

/* Those of libmpi that depend on the option, as an Open MPI that has it does it. The executable's definition
 * replaces libmpi's, which still does what concerns no group of these kinds. */
int ompi_group_translate_ranks(ompi_group_t *from, int count, const int *ranks, ompi_group_t *to,
                               int *translated)
{
    int (*real)(ompi_group_t *, int, const int *, ompi_group_t *, int *) =
        (int (*)(ompi_group_t *, int, const int *, ompi_group_t *, int *)) dlsym(
            RTLD_NEXT, "ompi_group_translate_ranks");

    if (!OMPI_GROUP_IS_DENSE(from) && from->grp_parent_group_ptr == to) {
        return OMPI_GROUP_IS_SPORADIC(from)
                   ? ompi_group_translate_ranks_sporadic_reverse(from, count, ranks, to, translated)
               : OMPI_GROUP_IS_STRIDED(from)
                   ? ompi_group_translate_ranks_strided_reverse(from, count, ranks, to, translated)
                   : ompi_group_translate_ranks_bmap_reverse(from, count, ranks, to, translated);
    }
    if (!OMPI_GROUP_IS_DENSE(to) && to->grp_parent_group_ptr == from) {
        return OMPI_GROUP_IS_SPORADIC(to)
                   ? ompi_group_translate_ranks_sporadic(from, count, ranks, to, translated)
               : OMPI_GROUP_IS_STRIDED(to)
                   ? ompi_group_translate_ranks_strided(from, count, ranks, to, translated)
                   : ompi_group_translate_ranks_bmap(from, count, ranks, to, translated);
    }
    return real(from, count, ranks, to, translated);
}

/* libmpi's looks at the pointers of the group. The groups of this test are never freed. */
void ompi_group_increment_proc_count(ompi_group_t *group)
{
    void (*real)(ompi_group_t *) =
        (void (*)(ompi_group_t *)) dlsym(RTLD_NEXT, "ompi_group_increment_proc_count");

    if (OMPI_GROUP_IS_DENSE(group)) {
        real(group);
    }
}

#if MTL_EFA_SERIES == 401 /* later ones have it in the header */
ompi_proc_t *ompi_group_get_proc_ptr_raw(ompi_group_t *group, int rank)
{
    ompi_proc_t *(*real)(ompi_group_t *, int) =
        (ompi_proc_t * (*) (ompi_group_t *, int) ) dlsym(RTLD_NEXT, "ompi_group_get_proc_ptr_raw");

    while (!OMPI_GROUP_IS_DENSE(group)) {
        int of_parent;
        ompi_group_translate_ranks(group, 1, &rank, group->grp_parent_group_ptr, &of_parent);
        rank = of_parent;
        group = group->grp_parent_group_ptr;
    }
    return real(group, rank);
}
#endif

/* Not reached: every peer is known. */
efa_peer *mtl_efa_resolve_proc(ompi_proc_t *proc)
{
    (void) proc;
    return NULL;
}

static int failures;

/* The peers of the members of `group` must be those of these ranks of MPI_COMM_WORLD. */
static void expect(const char *what, ompi_group_t *group, int count, const int *world)
{
    ompi_communicator_t comm = ompi_mpi_comm_world.comm;

    comm.c_remote_group = group;
    if (OMPI_GROUP_IS_DENSE(group) || NULL != group->grp_proc_pointers || count != group->grp_proc_count) {
        printf("%s: not stored as a rule\n", what);
        ++failures;
        return;
    }
    for (int i = 0; i < count; ++i) {
        efa_peer *wanted = (efa_peer *) (intptr_t) (world[i] + 1);

        if (wanted != mtl_efa_known_peer(&comm, i) || wanted != mtl_efa_peer(&comm, i)) {
            printf("%s: member %d is not rank %d of MPI_COMM_WORLD\n", what, i, world[i]);
            ++failures;
        }
    }
}

int main(int argc, char **argv)
{
    static const int even[] = {0, 2, 4, 6}, some[] = {-9, 0, 1, 4, 5, 6}, odd[] = {1, 2, 4, 7},
                     half[] = {1, 3};
    static const int of_half[] = {2, 6};
    ompi_communicator_t *comm = &ompi_mpi_comm_world.comm;
    ompi_group_t *world, *strided, *sporadic, *bitmap, *nested;

    MPI_Init(&argc, &argv);
    world = comm->c_remote_group;
    if (RANKS != world->grp_proc_count) {
        printf("%d ranks are needed\n", RANKS);
        return 2;
    }
    for (int i = 0; i < RANKS; ++i) {
        ompi_comm_peer_lookup(comm, i)->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL] =
            (void *) (intptr_t) (i + 1);
    }
    ompi_group_incl_strided(world, 4, even, &strided);
    ompi_group_incl_spor(world, 5, some + 1, &sporadic); /* it reads the element before the first */
    ompi_group_incl_bmap(world, 4, odd, &bitmap);
    ompi_group_incl_strided(strided, 2, half, &nested);
    expect("strided", strided, 4, even);
    expect("sporadic", sporadic, 5, some + 1);
    expect("bitmap", bitmap, 4, odd);
    expect("strided in a strided one", nested, 2, of_half);
    for (int i = 0; i < RANKS; ++i) {
        ompi_comm_peer_lookup(comm, i)->proc_endpoints[OMPI_PROC_ENDPOINT_TAG_MTL] = NULL;
    }
    MPI_Finalize();
    if (0 == failures) {
        printf("end of test\n");
    }
    return 0 != failures;
}
