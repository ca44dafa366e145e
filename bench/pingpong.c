/* Latency and bandwidth between two ranks: what ci/quickstart shows. The data is checked. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 64, LONGEST = 4 << 20, CHECKED = 3 };

static char *send_buffer, *receive_buffer;

static void fill(char *buffer, size_t size, int seed)
{
    for (size_t i = 0; i < size; ++i) {
        buffer[i] = (char) (i * 7 + (size_t) seed);
    }
}

static void check(const char *buffer, size_t size, int seed)
{
    for (size_t i = 0; i < size; ++i) {
        if (buffer[i] != (char) (i * 7 + (size_t) seed)) {
            fprintf(stderr, "byte %zu of a message of %zu is wrong\n", i, size);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    }
}

/* One-way time in microseconds, the mean of `rounds` round trips. */
static double latency(int rank, int size, int rounds)
{
    double begin = 0;

    for (int i = -10; i < rounds; ++i) {
        int seed = i < 0 ? -i : 0;
        if (0 == i) {
            MPI_Barrier(MPI_COMM_WORLD);
            begin = MPI_Wtime();
        }
        if (i < 0 && i >= -CHECKED) {
            fill(send_buffer, (size_t) size, seed + rank);
        }
        if (0 == rank) {
            MPI_Send(send_buffer, size, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
        }
        MPI_Recv(receive_buffer, size, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (1 == rank) {
            MPI_Send(send_buffer, size, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
        }
        if (i < 0 && i >= -CHECKED) {
            check(receive_buffer, (size_t) size, seed + 1 - rank);
        }
    }
    return (MPI_Wtime() - begin) * 1e6 / rounds / 2;
}

/* Million bytes per second from rank 0 to rank 1, windows of messages answered by an empty one. */
static double bandwidth(int rank, int size, int rounds)
{
    MPI_Request requests[WINDOW];
    double begin = 0;

    for (int i = -1; i < rounds; ++i) {
        if (0 == i) {
            MPI_Barrier(MPI_COMM_WORLD);
            begin = MPI_Wtime();
        }
        for (int k = 0; k < WINDOW; ++k) {
            if (0 == rank) {
                MPI_Isend(send_buffer, size, MPI_BYTE, 1, 2, MPI_COMM_WORLD, &requests[k]);
            } else {
                MPI_Irecv(receive_buffer, size, MPI_BYTE, 0, 2, MPI_COMM_WORLD, &requests[k]);
            }
        }
        MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
        if (0 == rank) {
            MPI_Recv(NULL, 0, MPI_BYTE, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else {
            MPI_Send(NULL, 0, MPI_BYTE, 0, 3, MPI_COMM_WORLD);
        }
    }
    return (double) size * WINDOW * rounds / (MPI_Wtime() - begin) / 1e6;
}

int main(int argc, char **argv)
{
    int rank, ranks;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks != 2) {
        if (0 == rank) {
            fprintf(stderr, "pingpong needs 2 ranks, not %d\n", ranks);
        }
        MPI_Finalize();
        return 1;
    }
    send_buffer = calloc(1, LONGEST);
    receive_buffer = calloc(1, LONGEST);
    if (0 == rank) {
        printf("# %-10s %15s %20s\n", "bytes", "latency (us)", "bandwidth (MB/s)");
    }
    for (int size = 1; size <= LONGEST; size *= size < 64 ? 8 : 4) {
        int rounds = size <= 4096 ? 500 : size <= 65536 ? 100 : 20;
        double time = latency(rank, size, rounds);
        double rate = bandwidth(rank, size, rounds / 20 + 1);
        if (0 == rank) {
            printf("%-12d %15.2f %20.2f\n", size, time, rate);
            fflush(stdout);
        }
    }
    MPI_Finalize();
    free(send_buffer);
    free(receive_buffer);
    return 0;
}
