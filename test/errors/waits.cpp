// A program for test/errors/run in which rank 0 waits for rank 1. It prints the results of MPI calls.
//
//   waits frozen            of three ranks, rank 1 is stopped (SIGSTOP) for good while rank 0 receives from it and sends to it
//   waits computing SECONDS rank 1 calls no MPI function for so long while rank 0 receives from it
//   waits disturbed         of four ranks, ranks 0 and 1 exchange messages until that fails; then rank 0 exchanges one with rank 2
//   waits unanswered        of three ranks, rank 0 sends a long message to rank 1, whose NIC loses a packet for good; then rank 0
//                           exchanges one with rank 2
//   waits asked             rank 1 sends SIGUSR1 to mpirun while rank 0 waits for it
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

int rank;

void say(const char* what, int error) {
  std::printf("rank %d: %s: %s\n", rank, what, error == MPI_SUCCESS ? "success" : "error");
  std::fflush(stdout);
}

void frozen() {
  char byte[4][8];
  std::vector<char> data(1 << 22);
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 1) raise(SIGSTOP);
  if (rank == 2) {
    MPI_Recv(byte[0], 8, MPI_CHAR, 0, 6, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Send(byte[0], 8, MPI_CHAR, 0, 6, MPI_COMM_WORLD);
    return;
  }
  MPI_Request requests[3];
  MPI_Irecv(byte[0], 8, MPI_CHAR, 1, 3, MPI_COMM_WORLD, &requests[0]);
  MPI_Irecv(byte[1], 8, MPI_CHAR, MPI_ANY_SOURCE, 4, MPI_COMM_WORLD, &requests[1]);
  MPI_Isend(data.data(), static_cast<int>(data.size()), MPI_CHAR, 1, 5, MPI_COMM_WORLD, &requests[2]);
  say("receive", MPI_Wait(&requests[0], MPI_STATUS_IGNORE));
  say("receive from any source", MPI_Wait(&requests[1], MPI_STATUS_IGNORE));
  say("send", MPI_Wait(&requests[2], MPI_STATUS_IGNORE));
  say("later", MPI_Recv(byte[2], 8, MPI_CHAR, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
  say("other peer", MPI_Sendrecv(byte[2], 8, MPI_CHAR, 2, 6, byte[3], 8, MPI_CHAR, 2, 6, MPI_COMM_WORLD,
                                 MPI_STATUS_IGNORE));
  MPI_Abort(MPI_COMM_WORLD, 3);
}

// Says every second that messages are exchanged, for whoever causes the failure. Rank 1 stays, so that only messages fail.
void disturbed() {
  std::vector<char> out(8000), in(8000);  // sent eagerly
  const int size = static_cast<int>(out.size()), peer = 1 - rank;
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank >= 2) {
    MPI_Recv(in.data(), size, MPI_CHAR, 0, 6, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Send(out.data(), size, MPI_CHAR, 0, 6, MPI_COMM_WORLD);
    return;
  }
  double say_at = 0;
  int error = MPI_SUCCESS;
  for (int round = 0; error == MPI_SUCCESS; ++round) {
    error = MPI_Sendrecv(out.data(), size, MPI_CHAR, peer, 5, in.data(), size, MPI_CHAR, peer, 5,
                         MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank != 0 || error != MPI_SUCCESS || MPI_Wtime() < say_at) continue;
    std::printf("round %d is done\n", round);
    std::fflush(stdout);
    say_at = MPI_Wtime() + 1;
  }
  say("message", error);
  if (rank == 1) sleep(1000);
  say("other peer", MPI_Sendrecv(out.data(), size, MPI_CHAR, 2, 6, in.data(), size, MPI_CHAR, 2, 6,
                                 MPI_COMM_WORLD, MPI_STATUS_IGNORE));
  MPI_Abort(MPI_COMM_WORLD, 3);
}

// Whoever starts it sees to it that one of the packets that rank 1 sends does not arrive.
void unanswered() {
  std::vector<char> data(1 << 22);
  char in[8] = {}, out[8] = {};
  const int size = static_cast<int>(data.size());
  if (rank == 0) {
    say("send", MPI_Send(data.data(), size, MPI_CHAR, 1, 5, MPI_COMM_WORLD));
    say("later", MPI_Send(out, 8, MPI_CHAR, 1, 5, MPI_COMM_WORLD));
  }
  if (rank == 1) {
    say("receive", MPI_Recv(data.data(), size, MPI_CHAR, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
    say("later", MPI_Recv(in, 8, MPI_CHAR, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
    sleep(1000);
  }
  say("other peer", MPI_Sendrecv(out, 8, MPI_CHAR, 2 - rank, 6, in, 8, MPI_CHAR, 2 - rank, 6, MPI_COMM_WORLD,
                                 MPI_STATUS_IGNORE));
  if (rank == 0) MPI_Abort(MPI_COMM_WORLD, 3);
}

// Signals do not shorten it.
void pause_for(double seconds) {
  for (const double end = MPI_Wtime() + seconds; MPI_Wtime() < end;) usleep(10000);
}

void wait_for_one(const std::string& what, double seconds) {
  char byte[8] = "";
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0) say("receive", MPI_Recv(byte, 8, MPI_CHAR, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
  if (rank != 1) return;
  pause_for(seconds);
  if (what == "asked") {
    kill(getppid(), SIGUSR1);  // mpirun is the daemon of the node on which it runs
    pause_for(2);
  }
  MPI_Send(byte, 8, MPI_CHAR, 0, 3, MPI_COMM_WORLD);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "frozen") {
    frozen();
  } else if (what == "disturbed") {
    disturbed();
  } else if (what == "unanswered") {
    unanswered();
  } else if (what == "asked" || (what == "computing" && argc == 3)) {
    wait_for_one(what, argc == 3 ? std::atof(argv[2]) : 4);
  } else {
    std::fprintf(stderr, "usage: waits frozen | disturbed | unanswered | computing SECONDS | asked\n");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  MPI_Finalize();
  std::printf("rank %d: end of test\n", rank);
}
