// A program that meets errors, for test/errors/run: what it prints tells what MPI returned.
//
//   meets_errors stalled SECONDS    rank 1 stays away from MPI so long, while rank 0 sends to it
//   meets_errors sends              rank 0 sends to rank 1 until an error comes, at most 2000 messages
//   meets_errors contexts           communicators are duplicated and not freed until an error comes
//   meets_errors exits              rank 1 ends without MPI_Finalize while rank 0 waits for it
//   meets_errors stops SECONDS      rank 1 is stopped (SIGSTOP) so long before it receives
//   meets_errors leaves SECONDS     rank 0 waits so long for a send, and no longer; rank 1 does not receive it
//   meets_errors computes SECONDS   rank 1 stays away from MPI so long before it receives
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
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0, error_class = MPI_SUCCESS;
  MPI_Error_string(error, text, &length);
  MPI_Error_class(error, &error_class);
  std::printf("rank %d: %s: %s (class %d)\n", rank, what, text, error_class);
  std::fflush(stdout);
}

// Large enough that a peer that does not take them soon has no more room; kept until they are complete.
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

[[noreturn]] void sends() {
  constexpr int kSize = 8000;  // beyond what is injected, so that an error can come back
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
  // Those that there are still work.
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

// A short message, which needs nothing of the peer's program, and one that is longer than what is injected.
[[noreturn]] void is_late(const char* seconds, bool stopped) {
  std::vector<char> data(8000);
  if (rank == 1 && stopped) {
    // The shell lives on while this process is stopped, and wakes it.
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

// What nobody receives may stay on its way until MPI_Finalize.
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

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "stalled" && argc == 3) stalled(static_cast<unsigned>(std::atoi(argv[2])));
  if (what == "sends") sends();
  if (what == "leaves" && argc == 3) leaves(argv[2]);
  if (what == "contexts") contexts();
  if (what == "exits") exits();
  if ((what == "stops" || what == "computes") && argc == 3) is_late(argv[2], what == "stops");
  std::fprintf(stderr,
               "usage: meets_errors stalled SECONDS | sends | contexts | exits | leaves SECONDS | stops "
               "SECONDS | computes SECONDS\n");
  MPI_Abort(MPI_COMM_WORLD, 2);
}
