// A program that meets errors, for test/errors/run: what it prints tells what MPI returned.
//
//   meets_errors stalled SECONDS    rank 1 stays away from MPI so long, while rank 0 sends to it
//   meets_errors sends              rank 0 sends to rank 1 until an error comes, at most 2000 messages
//   meets_errors contexts           communicators are duplicated and not freed until an error comes
//   meets_errors exits              rank 1 ends without MPI_Finalize while rank 0 waits for it
#include <mpi.h>
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

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "stalled" && argc == 3) stalled(static_cast<unsigned>(std::atoi(argv[2])));
  if (what == "sends") sends();
  if (what == "contexts") contexts();
  if (what == "exits") exits();
  std::fprintf(stderr, "usage: meets_errors stalled SECONDS | sends | contexts | exits\n");
  MPI_Abort(MPI_COMM_WORLD, 2);
}
