/* Latency and bandwidth between two ranks: what ci/quickstart shows. The data is checked, and first contact and the first
 * rounds of each size are not timed. A line for each size: bytes, one-way latency in us, bandwidth in MB/s. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET 0.05 /* seconds for one size */
enum { WINDOW = 64, LONGEST = 4 << 20, WARM_UP = 10 };

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

/* How many more rounds fit into BUDGET, as rank 0 sees it after some that took `time` seconds each. */
static int rounds_for(double time, int least, int most)
{
    int rounds = time * most <= BUDGET ? most : (int) (BUDGET / time);

    rounds = rounds < least ? least : rounds;
    MPI_Bcast(&rounds, 1, MPI_INT, 0, MPI_COMM_WORLD);
    return rounds;
}

static void round_trip(int rank, int size)
{
    if (0 == rank) {
        MPI_Send(send_buffer, size, MPI_BYTE, 1, 1, MPI_COMM_WORLD);
    }
    MPI_Recv(receive_buffer, size, MPI_BYTE, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (1 == rank) {
        MPI_Send(send_buffer, size, MPI_BYTE, 0, 1, MPI_COMM_WORLD);
    }
}

/* One-way time in microseconds: the mean of many round trips, after some with checked data that are not timed. */
static double latency(int rank, int size)
{
    double begin = 0;
    int rounds;

    for (int i = 0; i < WARM_UP; ++i) {
        begin = MPI_Wtime(); /* in the end that of the last */
        fill(send_buffer, (size_t) size, i + rank);
        round_trip(rank, size);
        check(receive_buffer, (size_t) size, i + 1 - rank);
    }
    rounds = rounds_for(MPI_Wtime() - begin, 5, 1000);
    begin = MPI_Wtime();
    for (int i = 0; i < rounds; ++i) {
        round_trip(rank, size);
    }
    return (MPI_Wtime() - begin) * 1e6 / rounds / 2;
}

/* A window of messages from rank 0 to rank 1, answered by an empty one. */
static void stream(int rank, int size, int window)
{
    MPI_Request requests[WINDOW];

    for (int k = 0; k < window; ++k) {
        if (0 == rank) {
            MPI_Isend(send_buffer, size, MPI_BYTE, 1, 2, MPI_COMM_WORLD, &requests[k]);
        } else {
            MPI_Irecv(receive_buffer, size, MPI_BYTE, 0, 2, MPI_COMM_WORLD, &requests[k]);
        }
    }
    MPI_Waitall(window, requests, MPI_STATUSES_IGNORE);
    if (0 == rank) {
        MPI_Recv(NULL, 0, MPI_BYTE, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else {
        MPI_Send(NULL, 0, MPI_BYTE, 0, 3, MPI_COMM_WORLD);
    }
}

/* Million bytes per second, after one window that is not timed. */
static double bandwidth(int rank, int size)
{
    double begin = MPI_Wtime();
    int window = size < 1 << 20 ? WINDOW : WINDOW / 4;
    int rounds;

    stream(rank, size, window);
    rounds = rounds_for(MPI_Wtime() - begin, 1, 20);
    begin = MPI_Wtime();
    for (int i = 0; i < rounds; ++i) {
        stream(rank, size, window);
    }
    return (double) size * window * rounds / (MPI_Wtime() - begin) / 1e6;
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
    for (int i = 0; i < 5; ++i) {
        latency(rank, 1); /* first contact, caches, the clock of the cores: not shown */
    }
    for (int size = 1; size <= LONGEST; size *= size < 64 ? 8 : 4) {
        double time = latency(rank, size);
        double rate = bandwidth(rank, size);
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
