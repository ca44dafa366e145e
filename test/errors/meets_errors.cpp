// A program for test/errors/run in which errors occur. It prints the results of MPI calls.
//
//   meets_errors stalled SECONDS    rank 0 sends to rank 1, which calls no MPI function for SECONDS
//   meets_errors floods SECONDS     rank 0 starts more sends than the provider takes, and computes for SECONDS before it waits
//   meets_errors later SECONDS      rank 0 sends more than the provider takes to rank 1, which calls no MPI function for
//                                   SECONDS, and then one more message; rank 1 prints what it receives. Rank 2 receives
//                                   one message from rank 0
//   meets_errors sends              rank 0 sends to rank 1 until an error occurs, at most 2000 messages
//   meets_errors contexts           communicators are duplicated and not freed until an error occurs
//   meets_errors exits              rank 1 exits without MPI_Finalize while rank 0 waits for it
//   meets_errors quits              every rank calls exit() without MPI_Finalize, with a receive posted
//   meets_errors stops SECONDS      rank 1 is stopped (SIGSTOP) for SECONDS before it receives
//   meets_errors leaves SECONDS     rank 0 waits at most SECONDS for a send that rank 1 does not receive
//   meets_errors computes SECONDS   rank 1 calls no MPI function for SECONDS before it receives
//   meets_errors dies NUMBER        rank 1 raises signal NUMBER between two messages
//   meets_errors dies_late NUMBER   every rank raises signal NUMBER after MPI_Finalize
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

int rank;

void say(const char* what, int error) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0, error_class = MPI_SUCCESS;
  MPI_Error_string(error, text, &length);
  MPI_Error_class(error, &error_class);
  std::printf("rank %d: %s: %s (class %d)\n", rank, what, text, error_class);
  std::fflush(stdout);
}

// The messages are so long and so many that the provider refuses some of them while the peer does not receive.
[[noreturn]] void stalled(unsigned seconds) {
  if (rank == 1) {
    sleep(seconds);
    std::exit(0);
  }
  constexpr int kCount = 512, kSize = 60000;
  std::vector<char> data(kSize);
  std::vector<MPI_Request> requests(kCount);
  for (auto& request : requests) MPI_Isend(data.data(), kSize, MPI_CHAR, 1, 7, MPI_COMM_WORLD, &request);
  std::vector<MPI_Status> statuses(kCount);
  const int error = MPI_Waitall(kCount, requests.data(), statuses.data());
  say("waitall", error);
  int failed = 0;
  for (const auto& status : statuses) failed += error == MPI_ERR_IN_STATUS && status.MPI_ERROR != MPI_SUCCESS;
  std::printf("rank 0: %d of %d sends failed\n", failed, kCount);
  std::fflush(stdout);
  MPI_Abort(MPI_COMM_WORLD, failed > 0 ? 3 : 1);
  std::abort();
}

// Rank 0 makes no progress while it computes. Pending operations must neither fail nor lose their order.
[[noreturn]] void floods(unsigned seconds) {
  constexpr int kCount = 20000, kSize = 1000;
  std::vector<char> data(kSize);
  std::vector<MPI_Request> requests(kCount);
  MPI_Barrier(MPI_COMM_WORLD);
  int wrong = 0;
  if (rank == 0) {
    std::vector<std::vector<char>> sent(kCount, data);
    for (int i = 0; i < kCount; ++i) {
      std::memcpy(sent[static_cast<size_t>(i)].data(), &i, sizeof i);
      MPI_Isend(sent[static_cast<size_t>(i)].data(), kSize, MPI_CHAR, 1, 7, MPI_COMM_WORLD,
                &requests[static_cast<size_t>(i)]);
    }
    const double begin = MPI_Wtime();
    while (MPI_Wtime() - begin < seconds) usleep(1000);
    const int error = MPI_Waitall(kCount, requests.data(), MPI_STATUSES_IGNORE);
    if (error != MPI_SUCCESS) {
      say("waitall", error);
      MPI_Abort(MPI_COMM_WORLD, 3);
    }
  } else if (rank == 1) {
    sleep(1);  // until the provider takes no more
    for (int i = 0; i < kCount; ++i) {
      MPI_Recv(data.data(), kSize, MPI_CHAR, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      int got = -1;
      std::memcpy(&got, data.data(), sizeof got);
      wrong += got != i;
    }
  }
  MPI_Finalize();
  if (wrong == 0) std::printf("end of test\n");
  std::exit(0);
}

// A message that follows a failed one must not arrive: rank 1 would take it for the failed one.
[[noreturn]] void later(unsigned seconds) {
  constexpr int kCount = 1024, kSize = 60000;
  std::vector<char> data(kSize);
  if (rank == 0) {
    std::vector<std::vector<char>> sent(kCount + 1, data);
    std::vector<MPI_Request> requests(kCount + 1);
    const auto begin = [&](int i) {
      std::memcpy(sent[static_cast<size_t>(i)].data(), &i, sizeof i);
      MPI_Isend(sent[static_cast<size_t>(i)].data(), kSize, MPI_CHAR, 1, 7, MPI_COMM_WORLD,
                &requests[static_cast<size_t>(i)]);
    };
    for (int i = 0; i < kCount; ++i) begin(i);
    MPI_Request receive;
    MPI_Irecv(data.data(), kSize, MPI_CHAR, 1, 8, MPI_COMM_WORLD, &receive);
    // The last one is pending when the peer fails.
    const int error = MPI_Wait(&requests[kCount - 1], MPI_STATUS_IGNORE);
    say("wait", error);
    say("receive", MPI_Wait(&receive, MPI_STATUS_IGNORE));
    begin(kCount);
    say("later", MPI_Wait(&requests[kCount], MPI_STATUS_IGNORE));
    char byte = 0;
    say("short", MPI_Send(&byte, 1, MPI_CHAR, 1, 7, MPI_COMM_WORLD));
    say("other", MPI_Send(&byte, 1, MPI_CHAR, 2, 7, MPI_COMM_WORLD));
    sleep(2 * seconds);  // meanwhile rank 1 receives what was in flight
  } else if (rank == 1) {
    sleep(seconds);
    int next = 0, overtook = 0;
    for (const double begin = MPI_Wtime(); MPI_Wtime() - begin < seconds;) {
      int there = 0;
      MPI_Iprobe(0, 7, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE);
      if (!there) continue;
      MPI_Recv(data.data(), kSize, MPI_CHAR, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      int got = -1;
      std::memcpy(&got, data.data(), sizeof got);
      overtook += got != next++;
    }
    std::printf("rank 1: %d messages, %d out of order\n", next, overtook);
  } else {
    char byte = 1;
    MPI_Recv(&byte, 1, MPI_CHAR, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    std::printf("rank 2: received\n");
    sleep(3 * seconds);
  }
  std::fflush(stdout);
  MPI_Abort(MPI_COMM_WORLD, 3);
  std::abort();
}

[[noreturn]] void sends() {
  constexpr int kSize = 8000;  // above the inject size, so that errors are reported
  std::vector<char> data(kSize);
  for (int i = 0; i < 2000; ++i) {
    const int error = rank == 0
                          ? MPI_Send(data.data(), kSize, MPI_CHAR, 1, i, MPI_COMM_WORLD)
                          : MPI_Recv(data.data(), kSize, MPI_CHAR, 0, i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (error == MPI_SUCCESS) continue;
    say(rank == 0 ? "send" : "receive", error);
    MPI_Abort(MPI_COMM_WORLD, 3);
  }
  std::printf("rank %d: no error\n", rank);
  MPI_Finalize();
  std::exit(0);
}

[[noreturn]] void contexts() {
  std::vector<MPI_Comm> made;
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  for (int i = 0; i < 100000; ++i) {
    MPI_Comm copy;
    const int error = MPI_Comm_dup(MPI_COMM_WORLD, &copy);
    if (error == MPI_SUCCESS) {
      made.push_back(copy);
      continue;
    }
    say("dup", error);
    std::printf("rank %d: %zu communicators\n", rank, made.size());
    std::fflush(stdout);
    break;
  }
  // The existing communicators still work.
  int sum = 0, one = 1;
  if (!made.empty()) MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, made.back());
  for (auto& each : made) MPI_Comm_free(&each);
  if (sum == 2) std::printf("rank %d: end of test\n", rank);
  MPI_Finalize();
  std::exit(0);
}

[[noreturn]] void exits() {
  char byte = 0;
  if (rank == 1) _exit(5);
  const int error = MPI_Recv(&byte, 1, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  say("receive", error);
  std::exit(1);
}

// With connections, registered memory and an operation that is open.
[[noreturn]] void quits() {
  static char byte;
  MPI_Request receive;
  for (int length = 8; length <= 1 << 20; length *= 512) {
    std::vector<char> data(static_cast<size_t>(length));
    if (rank < 2)
      MPI_Sendrecv_replace(data.data(), length, MPI_CHAR, 1 - rank, 0, 1 - rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  MPI_Irecv(&byte, 1, MPI_CHAR, MPI_ANY_SOURCE, 1, MPI_COMM_WORLD, &receive);
  MPI_Barrier(MPI_COMM_WORLD);
  std::puts("end of test");
  std::exit(0);
}

// A short message, which completes whatever the peer's program does, and one above the inject size.
[[noreturn]] void is_late(const char* seconds, bool stopped) {
  std::vector<char> data(8000);
  if (rank == 1 && stopped) {
    // A background shell continues this process after SECONDS.
    const std::string wake = "(sleep " + std::string(seconds) + "; kill -CONT " + std::to_string(getpid()) +
                             ") </dev/null >/dev/null 2>&1 &";
    if (std::system(wake.c_str()) != 0) std::exit(1);
    raise(SIGSTOP);
  } else if (rank == 1) {
    sleep(static_cast<unsigned>(std::atoi(seconds)));
  }
  for (const int size : {8, 8000}) {
    const int error = rank == 0
                          ? MPI_Send(data.data(), size, MPI_CHAR, 1, 7, MPI_COMM_WORLD)
                          : MPI_Recv(data.data(), size, MPI_CHAR, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (error == MPI_SUCCESS) continue;
    say(rank == 0 ? "send" : "receive", error);
    MPI_Abort(MPI_COMM_WORLD, 3);
  }
  MPI_Finalize();
  std::printf("end of test\n");
  std::exit(0);
}

// A message that is never received may be in flight until MPI_Finalize.
[[noreturn]] void leaves(const char* seconds) {
  if (rank == 0) {
    char byte = 0;
    MPI_Request request;
    MPI_Isend(&byte, 1, MPI_CHAR, 1, 7, MPI_COMM_WORLD, &request);
    const double begin = MPI_Wtime();
    for (int done = 0; !done && MPI_Wtime() - begin < std::atoi(seconds);)
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
  }
  MPI_Finalize();
  std::printf("end of test\n");
  std::exit(0);
}

}  // namespace

namespace {

// The process ends by a signal that the program does not handle.
[[noreturn]] void dies(int number, bool late) {
  char byte = 0;
  for (int i = 0; i < 2; ++i) {
    if (rank == 0) MPI_Send(&byte, 1, MPI_CHAR, 1, 0, MPI_COMM_WORLD);
    if (rank == 1) MPI_Recv(&byte, 1, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank == 1 && !late) raise(number);
  }
  if (late) {
    MPI_Finalize();
    raise(number);
  } else {
    MPI_Recv(&byte, 1, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  std::exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "stalled" && argc == 3) stalled(static_cast<unsigned>(std::atoi(argv[2])));
  if (what == "floods" && argc == 3) floods(static_cast<unsigned>(std::atoi(argv[2])));
  if (what == "later" && argc == 3) later(static_cast<unsigned>(std::atoi(argv[2])));
  if (what == "sends") sends();
  if (what == "leaves" && argc == 3) leaves(argv[2]);
  if (what == "contexts") contexts();
  if (what == "exits") exits();
  if (what == "quits") quits();
  if ((what == "dies" || what == "dies_late") && argc == 3) dies(std::atoi(argv[2]), what == "dies_late");
  if ((what == "stops" || what == "computes") && argc == 3) is_late(argv[2], what == "stops");
  std::fprintf(
      stderr,
      "usage: meets_errors stalled SECONDS | floods SECONDS | later SECONDS | sends | contexts | exits | quits | "
      "leaves SECONDS | stops SECONDS | computes SECONDS | dies NUMBER | dies_late NUMBER\n");
  MPI_Abort(MPI_COMM_WORLD, 2);
}
