/* counted DIRECTORY SIZE   What bench/instructions counts: rank 0 runs under callgrind and brackets single
 * calls, rank 1 does whatever makes them meaningful.
 *
 * Nothing is left to chance: before a call is counted, a byte through a pipe in DIRECTORY - outside MPI, so
 * that no progress is made meanwhile - says that the other side is ready, or that the message is there. So a
 * wait finds what it waits for in its first look, and no idle polling is counted. Each phase ends with a dump
 * of its own, by its name. */
#include <callgrind.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SINGLE = 512, WINDOW = 64, WINDOWS = 8, WARM = 32, IDLE = 512 };
enum { TAG = 1, NEVER = 9 }; /* nobody sends NEVER */

static int rank, size;
static int from_peer, to_peer; /* the pipes */
static char *out, *in;
static MPI_Request never; /* open all the time: testing it is progress, and nothing else */
static bool counting;     /* not while warming up: the first calls bind symbols, connect and allocate */

static void open_pipes(const char* directory) {
  char path[2][4096];
  for (int i = 0; i < 2; ++i) {
    snprintf(path[i], sizeof path[i], "%s/to%d", directory, i);
  }
  /* For reading and writing, so that opening does not wait for the other side. */
  from_peer = open(path[rank], O_RDWR);
  to_peer = open(path[1 - rank], O_RDWR);
  if (from_peer < 0 || to_peer < 0) {
    perror(directory);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

static void tell(void) {
  if (write(to_peer, "x", 1) != 1) {
    perror("write");
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

static void hear(void) {
  char byte;
  if (read(from_peer, &byte, 1) != 1) {
    perror("read");
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

/* What a provider still has to do after a send that MPI calls complete. */
static void settle(void) {
  int done;
  for (int i = 0; i < 200; ++i) {
    MPI_Test(&never, &done, MPI_STATUS_IGNORE);
  }
}

#define COUNT_IF(condition, call)  \
  do {                             \
    if (counting && (condition)) { \
      CALLGRIND_TOGGLE_COLLECT;    \
      call;                        \
      CALLGRIND_TOGGLE_COLLECT;    \
    } else {                       \
      call;                        \
    }                              \
  } while (0)

enum Call { SEND, ISEND, WAIT, IRECV, RECV, TEST };

/* Rank 0 sends one message at a time. */
static void outgoing(int rounds, enum Call counted) {
  for (int i = 0; i < rounds; ++i) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (rank == 0) {
      if (SEND == counted) {
        COUNT_IF(true, MPI_Send(out, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD));
      } else {
        COUNT_IF(ISEND == counted, MPI_Isend(out, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &request));
      }
      hear();
      COUNT_IF(WAIT == counted, MPI_Wait(&request, MPI_STATUS_IGNORE));
    } else {
      MPI_Recv(in, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      settle();
      tell();
    }
  }
}

/* Rank 0 receives one message at a time, posted before it comes; with RECV, after. */
static void incoming(int rounds, enum Call counted) {
  for (int i = 0; i < rounds; ++i) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (rank == 0) {
      if (RECV != counted) {
        COUNT_IF(IRECV == counted, MPI_Irecv(in, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &request));
      }
      tell();
      hear();
      if (RECV == counted) {
        COUNT_IF(true, MPI_Recv(in, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
      } else {
        COUNT_IF(WAIT == counted, MPI_Wait(&request, MPI_STATUS_IGNORE));
      }
    } else {
      hear();
      MPI_Isend(out, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, &request);
      settle();
      tell();
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    }
  }
}

/* The same, a window at a time. */
static void outgoing_stream(int rounds, enum Call counted) {
  MPI_Request requests[WINDOW];
  for (int i = 0; i < rounds; ++i) {
    if (rank == 0) {
      hear();
      for (int k = 0; k < WINDOW; ++k) {
        COUNT_IF(ISEND == counted, MPI_Isend(out, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &requests[k]));
      }
      hear();
      COUNT_IF(WAIT == counted, MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE));
    } else {
      for (int k = 0; k < WINDOW; ++k) {
        MPI_Irecv(in, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, &requests[k]);
      }
      tell();
      MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
      settle();
      tell();
    }
  }
}

static void incoming_stream(int rounds, enum Call counted) {
  MPI_Request requests[WINDOW];
  for (int i = 0; i < rounds; ++i) {
    for (int k = 0; rank == 0 && k < WINDOW; ++k) {
      COUNT_IF(IRECV == counted, MPI_Irecv(in, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &requests[k]));
    }
    if (rank == 0) {
      tell();
      hear();
      COUNT_IF(WAIT == counted, MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE));
    } else {
      hear();
      for (int k = 0; k < WINDOW; ++k) {
        MPI_Isend(out, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, &requests[k]);
      }
      settle();
      tell();
      MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
    }
  }
}

/* Connects, as far as the provider has to: with progress on both sides, which the pipes do not give. */
static void meet(void) {
  for (int i = 0; i < WARM; ++i) {
    MPI_Sendrecv(out, size, MPI_BYTE, 1 - rank, TAG, in, size, MPI_BYTE, 1 - rank, TAG, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    settle();
  }
}

static void idle(int rounds, enum Call counted) {
  int done;
  for (int i = 0; rank == 0 && i < rounds; ++i) {
    COUNT_IF(TEST == counted, MPI_Test(&never, &done, MPI_STATUS_IGNORE));
  }
}

static const struct {
  const char* name; /* of the dump; bench/instructions knows them by it */
  void (*run)(int rounds, enum Call);
  enum Call counted;
  int rounds, messages; /* in all */
} phases[] = {
    {"send", outgoing, SEND, SINGLE, SINGLE},
    {"isend", outgoing, ISEND, SINGLE, SINGLE},
    {"send_wait", outgoing, WAIT, SINGLE, SINGLE},
    {"irecv", incoming, IRECV, SINGLE, SINGLE},
    {"recv_wait", incoming, WAIT, SINGLE, SINGLE},
    {"recv_unexpected", incoming, RECV, SINGLE, SINGLE},
    {"stream_isend", outgoing_stream, ISEND, WINDOWS, WINDOWS* WINDOW},
    {"stream_send_wait", outgoing_stream, WAIT, WINDOWS, WINDOWS* WINDOW},
    {"stream_irecv", incoming_stream, IRECV, WINDOWS, WINDOWS* WINDOW},
    {"stream_recv_wait", incoming_stream, WAIT, WINDOWS, WINDOWS* WINDOW},
    {"idle_test", idle, TEST, IDLE, IDLE},
};

int main(int argc, char** argv) {
  int ranks;
  char name[64];

  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks != 2 || argc != 3) {
    fprintf(stderr, "counted is run by bench/instructions: 2 ranks, DIRECTORY and SIZE\n");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  open_pipes(argv[1]);
  size = atoi(argv[2]);
  out = calloc(1, (size_t)size);
  in = calloc(1, (size_t)size);
  MPI_Irecv(in, 0, MPI_BYTE, 1 - rank, NEVER, MPI_COMM_WORLD, &never);
  meet();
  for (size_t i = 0; i < sizeof phases / sizeof *phases; ++i) {
    counting = false;
    phases[i].run(WARM < phases[i].rounds ? WARM : phases[i].rounds, phases[i].counted);
    counting = true;
    CALLGRIND_ZERO_STATS;
    phases[i].run(phases[i].rounds, phases[i].counted);
    snprintf(name, sizeof name, "%s %d", phases[i].name, phases[i].messages);
    CALLGRIND_DUMP_STATS_AT(name);
  }
  MPI_Cancel(&never);
  MPI_Wait(&never, MPI_STATUS_IGNORE);
  MPI_Finalize();
  free(out);
  free(in);
  return 0;
}
