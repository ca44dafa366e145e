/* match_depth [MOST]   What a message costs while others wait: two ranks, 0 to MOST (100,000) entries in a queue of rank 1.
 *
 *   posted        half a round trip of 8 B, while rank 1 has n older receives posted, each for another tag
 *   unexpected    the same, while n unexpected messages wait at rank 1, each with another tag
 *   newest first  one receive of rank 1 that takes the newest of the n unexpected messages, up to 1,000 of them
 *
 * Plain MPI, so that any MPI library and transport can be measured:
 *
 *   mpirun -np 2 --mca pml ob1 bench/match_depth
 *   mpirun -np 2 --mca pml cm --mca mtl efa bench/match_depth
 *
 * A row is the best of several repeats, in microseconds. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { PING = 1, OTHER = 100, LEAST_TURNS = 20, MOST_TURNS = 2000, REPEATS = 5, NEWEST = 1000 };
static const double LIMIT_S = 0.2; /* for the turns of one repeat */

static int rank;
static long (*waiting)[1]; /* data of the receives that wait */

/* Half a round trip, seconds. */
static double ping_pong(int turns) {
  long data = 0;
  MPI_Request request;
  const double begin = MPI_Wtime();
  for (int i = 0; i < turns; ++i) {
    if (rank == 0) {
      MPI_Irecv(&data, 1, MPI_LONG, 1, PING, MPI_COMM_WORLD, &request);
      MPI_Send(&data, 1, MPI_LONG, 1, PING, MPI_COMM_WORLD);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    } else {
      MPI_Recv(&data, 1, MPI_LONG, 0, PING, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      MPI_Send(&data, 1, MPI_LONG, 0, PING, MPI_COMM_WORLD);
    }
  }
  return (MPI_Wtime() - begin) / turns / 2;
}

static double best_ping_pong(void) {
  double best = ping_pong(LEAST_TURNS);
  MPI_Bcast(&best, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD); /* the same turns on both ranks */
  int turns = (int)(LIMIT_S / (2 * best));
  turns = turns < LEAST_TURNS ? LEAST_TURNS : turns > MOST_TURNS ? MOST_TURNS : turns;
  for (int i = 0; i < REPEATS; ++i) {
    const double each = ping_pong(turns);
    if (each < best) {
      best = each;
    }
  }
  return best;
}

/* The tags differ for each n, so that no message of one n meets a receive of another. */
static double posted(int n, MPI_Request* requests) {
  for (int i = 0; rank == 1 && i < n; ++i) {
    MPI_Irecv(waiting[i], 1, MPI_LONG, 0, OTHER + i, MPI_COMM_WORLD, &requests[i]);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  const double best = best_ping_pong();
  for (long i = 0; rank == 0 && i < n; ++i) {
    MPI_Send(&i, 1, MPI_LONG, 1, OTHER + (int)i, MPI_COMM_WORLD);
  }
  if (rank == 1) {
    MPI_Waitall(n, requests, MPI_STATUSES_IGNORE);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  return best;
}

static double unexpected(int n, double* newest) {
  for (long i = 0; rank == 0 && i < n; ++i) {
    MPI_Send(&i, 1, MPI_LONG, 1, OTHER + (int)i, MPI_COMM_WORLD);
  }
  const double best = best_ping_pong(); /* the first of its messages comes after the n */
  *newest = 0;
  if (rank == 1) {
    const int few = n < NEWEST ? n : NEWEST;
    long data;
    const double begin = MPI_Wtime();
    for (int i = n - 1; i >= n - few; --i) {
      MPI_Recv(&data, 1, MPI_LONG, 0, OTHER + i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    *newest = n > 0 ? (MPI_Wtime() - begin) / few : 0;
    for (int i = 0; i < n - few; ++i) {
      MPI_Recv(&data, 1, MPI_LONG, 0, OTHER + i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
  }
  MPI_Bcast(newest, 1, MPI_DOUBLE, 1, MPI_COMM_WORLD);
  MPI_Barrier(MPI_COMM_WORLD);
  return best;
}

int main(int argc, char** argv) {
  int ranks;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int most = argc > 1 ? atoi(argv[1]) : 100000;
  if (ranks != 2 || most < 0) {
    if (rank == 0) {
      fprintf(stderr, "usage: mpirun -np 2 match_depth [MOST]\n");
    }
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  MPI_Request* requests = malloc(sizeof *requests * (size_t)(most + 1));
  waiting = malloc(sizeof *waiting * (size_t)(most + 1));
  if (!requests || !waiting) {
    perror("match_depth");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  best_ping_pong(); /* connects */
  if (rank == 0) {
    printf("%-8s %12s %12s %14s\n", "# n", "posted", "unexpected", "newest first");
  }
  for (int n = 0; n <= most; n = n ? n * 10 : 1) {
    double newest;
    const double p = posted(n, requests), u = unexpected(n, &newest);
    if (rank == 0) {
      printf("%-8d %12.2f %12.2f %14.2f\n", n, p * 1e6, u * 1e6, newest * 1e6);
      fflush(stdout);
    }
  }
  free(requests);
  free(waiting);
  MPI_Finalize();
  return 0;
}
