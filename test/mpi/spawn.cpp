// MPI_Comm_spawn: the spawned processes exchange messages with their parents and with each other; they disconnect, and
// others are spawned. The program spawns itself, with an argument for the children.
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kChildren = 2;
constexpr int kTag = 5;

// Every parent with every child, in both directions at once.
void exchange(MPI_Comm inter, int side) {
  int rank = 0, remote = 0;
  MPI_Comm_rank(inter, &rank);
  MPI_Comm_remote_size(inter, &remote);
  for (const int bytes : {0, 10, 9001, 70000, 1000000}) {
    Step step("%d bytes between parents and children", bytes);
    std::vector<Buffer> out, in;
    std::vector<MPI_Request> requests(static_cast<std::size_t>(2 * remote));
    for (int peer = 0; peer < remote; ++peer) {
      out.emplace_back(static_cast<std::size_t>(bytes));
      in.emplace_back(static_cast<std::size_t>(bytes));
      out.back().fill({100 * side + rank, kTag, peer});
    }
    for (int peer = 0; peer < remote; ++peer) {
      const auto at = static_cast<std::size_t>(peer);
      MPI_Irecv(in[at].data(), bytes, MPI_BYTE, peer, kTag, inter, &requests[2 * at]);
      MPI_Isend(out[at].data(), bytes, MPI_BYTE, peer, kTag, inter, &requests[2 * at + 1]);
    }
    MPI_Waitall(2 * remote, requests.data(), MPI_STATUSES_IGNORE);
    for (int peer = 0; peer < remote; ++peer)
      in[static_cast<std::size_t>(peer)].expect_message({100 * (1 - side) + peer, kTag, rank});
  }
}

void merged_sum(MPI_Comm inter, int side) {
  MPI_Comm all;
  MPI_Intercomm_merge(inter, side, &all);
  int size = 0, one = 1, sum = 0;
  MPI_Comm_size(all, &size);
  MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, all);
  expect_equal(size, sum, "processes in the merged communicator");
  MPI_Comm_free(&all);
}

}  // namespace

int main(int argc, char** argv) {
  const bool child = argc > 1 && std::string_view(argv[1]) == "child";
  if (child) {
    MPI_Init(&argc, &argv);
    MPI_Comm parent;
    MPI_Comm_get_parent(&parent);
    expect(parent != MPI_COMM_NULL, "a spawned process has a parent");
    exchange(parent, 1);
    merged_sum(parent, 1);
    MPI_Comm_disconnect(&parent);
    MPI_Finalize();
    return 0;
  }
  Program program(argc, argv, 1);
  for (int round = 0; round < 2; ++round) {
    Step step("round %d", round);
    MPI_Comm children;
    char argument[] = "child";
    char* arguments[] = {argument, nullptr};
    std::array<int, kChildren> errors;
    MPI_Comm_spawn(argv[0], arguments, kChildren, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &children, errors.data());
    for (const int error : errors) expect_error(MPI_SUCCESS, error, "start of a child");
    exchange(children, 0);
    merged_sum(children, 0);
    MPI_Comm_disconnect(&children);
  }
}
