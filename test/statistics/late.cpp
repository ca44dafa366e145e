// A program for test/statistics/run:  late RANK SECONDS   RANK begins MPI_Finalize SECONDS later than the others, or is
// killed instead if SECONDS is `never`.
#include <mpi.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

int main(int argc, char** argv) {
  int rank = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (argc != 3) MPI_Abort(MPI_COMM_WORLD, 2);
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == std::atoi(argv[1]) && std::string_view(argv[2]) == "never") std::raise(SIGKILL);
  if (rank == std::atoi(argv[1])) sleep(static_cast<unsigned>(std::atoi(argv[2])));
  MPI_Finalize();
  std::printf("end of test late, rank %d\n", rank);
  return 0;
}
