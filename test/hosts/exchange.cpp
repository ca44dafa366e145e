// exchange SECONDS   For so long every rank sends to and receives from every other, messages of all protocols; every byte is
// checked. What test/hosts/faults disturbs. Says when all ranks have communicated, and then every second what was done:
// a fault that comes later finds all connections made.
#include "../mpi/check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kBytes[] = {8, 6000, 100'000, 1'000'000};

void round_of_messages(int rank, int size, int sequence) {
  std::vector<Buffer> out, in;
  std::vector<MPI_Request> requests;
  for (int peer = 0; peer < size; ++peer)
    for (int tag = 0; tag < 4; ++tag) {
      if (peer == rank) continue;
      out.emplace_back(static_cast<std::size_t>(kBytes[tag]));
      in.emplace_back(static_cast<std::size_t>(kBytes[tag]));
      out.back().fill({rank, tag, sequence});
      MPI_Irecv(in.back().data(), kBytes[tag], MPI_BYTE, peer, tag, MPI_COMM_WORLD, &requests.emplace_back());
      MPI_Isend(out.back().data(), kBytes[tag], MPI_BYTE, peer, tag, MPI_COMM_WORLD, &requests.emplace_back());
    }
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  std::size_t next = 0;
  for (int peer = 0; peer < size; ++peer)
    for (int tag = 0; tag < 4; ++tag)
      if (peer != rank) in[next++].expect_message({peer, tag, sequence});
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const double end = MPI_Wtime() + (argc > 1 ? std::atof(argv[1]) : 10);
  double say = 0;
  for (int sequence = 0, more = 1; more; ++sequence) {
    Step step("round %d", sequence);
    round_of_messages(rank, size, sequence);
    more = MPI_Wtime() < end;
    MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (rank == 0 && MPI_Wtime() > say) {
      std::printf("round %d is done\n", sequence);
      std::fflush(stdout);
      say = MPI_Wtime() + 1;
    }
  }
  return 0;
}
