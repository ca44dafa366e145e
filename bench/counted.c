/* counted DIRECTORY SIZE   The program that bench/instructions counts: rank 0 runs under callgrind, which counts
 * single calls; rank 1 is the peer.
 *
 * Before a call is counted, the peer signals through a pipe in DIRECTORY that it is ready, or that the message
 * has arrived. The pipe is outside MPI, so no progress is made meanwhile. So a wait finds its message at the
 * first poll, and no idle polling is counted. Each phase ends with a dump that has its name. */
#include <callgrind.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SINGLE = 512, WINDOW = 64, WINDOWS = 8, WARM = 32, IDLE = 512 };
enum { TAG = 1, NEVER = 9 }; /* NEVER is never sent */

static int rank, size;
static int from_peer, to_peer; /* the pipes */
static char *out, *in;
static MPI_Request never; /* a receive that stays open: testing it makes progress and nothing else */
static bool counting;     /* false during warm-up: the first calls bind symbols, connect and allocate */

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

static void signal_peer(void) {
  if (write(to_peer, "x", 1) != 1) {
    perror("write");
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

static void await_peer(void) {
  char byte;
  if (read(from_peer, &byte, 1) != 1) {
    perror("read");
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

/* Lets the provider finish what it does after a send that MPI calls complete. */
static void poll_repeatedly(void) {
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
      await_peer();
      COUNT_IF(WAIT == counted, MPI_Wait(&request, MPI_STATUS_IGNORE));
    } else {
      MPI_Recv(in, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      poll_repeatedly();
      signal_peer();
    }
  }
}

/* Rank 0 receives one message at a time; the receive is posted before the message arrives, with RECV after. */
static void incoming(int rounds, enum Call counted) {
  for (int i = 0; i < rounds; ++i) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (rank == 0) {
      if (RECV != counted) {
        COUNT_IF(IRECV == counted, MPI_Irecv(in, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &request));
      }
      signal_peer();
      await_peer();
      if (RECV == counted) {
        COUNT_IF(true, MPI_Recv(in, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
      } else {
        COUNT_IF(WAIT == counted, MPI_Wait(&request, MPI_STATUS_IGNORE));
      }
    } else {
      await_peer();
      MPI_Isend(out, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, &request);
      poll_repeatedly();
      signal_peer();
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    }
  }
}

/* The same, a window at a time. */
static void outgoing_stream(int rounds, enum Call counted) {
  MPI_Request requests[WINDOW];
  for (int i = 0; i < rounds; ++i) {
    if (rank == 0) {
      await_peer();
      for (int k = 0; k < WINDOW; ++k) {
        COUNT_IF(ISEND == counted, MPI_Isend(out, size, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, &requests[k]));
      }
      await_peer();
      COUNT_IF(WAIT == counted, MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE));
    } else {
      for (int k = 0; k < WINDOW; ++k) {
        MPI_Irecv(in, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, &requests[k]);
      }
      signal_peer();
      MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
      poll_repeatedly();
      signal_peer();
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
      signal_peer();
      await_peer();
      COUNT_IF(WAIT == counted, MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE));
    } else {
      await_peer();
      for (int k = 0; k < WINDOW; ++k) {
        MPI_Isend(out, size, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, &requests[k]);
      }
      poll_repeatedly();
      signal_peer();
      MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
    }
  }
}

/* Connects, if the provider needs it. This takes progress on both sides, which the pipes do not make. */
static void connect_peers(void) {
  for (int i = 0; i < WARM; ++i) {
    MPI_Sendrecv(out, size, MPI_BYTE, 1 - rank, TAG, in, size, MPI_BYTE, 1 - rank, TAG, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    poll_repeatedly();
  }
}

static void idle(int rounds, enum Call counted) {
  int done;
  for (int i = 0; rank == 0 && i < rounds; ++i) {
    COUNT_IF(TEST == counted, MPI_Test(&never, &done, MPI_STATUS_IGNORE));
  }
}

static const struct {
  const char* name; /* of the dump, as bench/instructions has it */
  void (*run)(int rounds, enum Call);
  enum Call counted;
  int rounds, messages; /* in total */
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
  connect_peers();
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
