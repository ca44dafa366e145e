// MPI_Open_port, MPI_Comm_accept and MPI_Comm_connect between two groups of the same job: a new intercommunicator each
// time, with its own messages.
#include "check.hpp"

using namespace efa::mpitest;

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  const int side = program.rank % 2;  // 0 accepts, 1 connects
  MPI_Comm local;
  MPI_Comm_split(MPI_COMM_WORLD, side, program.rank, &local);
  for (int round = 0; round < 3; ++round) {
    Step step("round %d", round);
    char port[MPI_MAX_PORT_NAME] = "";
    MPI_Comm inter;
    if (program.rank == 0) {
      MPI_Open_port(MPI_INFO_NULL, port);
      MPI_Send(port, MPI_MAX_PORT_NAME, MPI_CHAR, 1, 1, MPI_COMM_WORLD);
    } else if (program.rank == 1) {
      MPI_Recv(port, MPI_MAX_PORT_NAME, MPI_CHAR, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    if (side == 0)
      MPI_Comm_accept(port, MPI_INFO_NULL, 0, local, &inter);
    else
      MPI_Comm_connect(port, MPI_INFO_NULL, 0, local, &inter);
    int rank = 0, remote = 0;
    MPI_Comm_rank(inter, &rank);
    MPI_Comm_remote_size(inter, &remote);
    for (const int bytes : {0, 64, 9001, 300000}) {
      const int peer = rank % remote;
      Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
      out.fill({side, bytes, round});
      MPI_Status status;
      MPI_Sendrecv(out.data(), bytes, MPI_BYTE, peer, 2, in.data(), bytes, MPI_BYTE, peer, 2, inter, &status);
      expect_status(status, peer, 2, bytes);
      in.expect_message({1 - side, bytes, round});
    }
    MPI_Comm_disconnect(&inter);
    if (program.rank == 0) MPI_Close_port(port);
  }
  MPI_Comm_free(&local);
}
