// Intercommunicators: a rank names a process of the remote group, and both groups have the same ranks. Messages of all
// modes and sizes, wildcards, probes, collectives, and MPI_Intercomm_merge.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

// Every rank of each group exchanges messages with every rank of the other group, in both directions at once.
void all_pairs(MPI_Comm inter, int side) {
  int rank = 0, remote = 0;
  MPI_Comm_rank(inter, &rank);
  MPI_Comm_remote_size(inter, &remote);
  int tag = 0;
  for (const Mode mode : {Mode::kStandard, Mode::kSynchronous, Mode::kBuffered})
    for (const int bytes : {0, 1, 100, 4097, 9001, 65537, 400000}) {
      Step step("%s send of %d bytes", name(mode), bytes);
      ++tag;
      std::vector<Buffer> out, in;
      std::vector<MPI_Request> requests;
      for (int peer = 0; peer < remote; ++peer) {
        in.emplace_back(static_cast<std::size_t>(bytes));
        MPI_Request request;
        MPI_Irecv(in.back().data(), bytes, MPI_BYTE, peer, tag % 2 ? tag : MPI_ANY_TAG, inter, &request);
        requests.push_back(request);
      }
      for (int peer = 0; peer < remote; ++peer) {
        out.emplace_back(static_cast<std::size_t>(bytes));
        out.back().fill({100 * side + rank, tag, peer});
        requests.push_back(isend(mode, out.back().data(), bytes, MPI_BYTE, peer, tag, inter));
      }
      std::vector<MPI_Status> statuses(requests.size());
      MPI_Waitall(static_cast<int>(requests.size()), requests.data(), statuses.data());
      for (int peer = 0; peer < remote; ++peer) {
        expect_status(statuses[static_cast<std::size_t>(peer)], peer, tag, bytes);
        in[static_cast<std::size_t>(peer)].expect_message({100 * (1 - side) + peer, tag, rank});
      }
      MPI_Barrier(inter);
    }
}

void wildcards_and_probes(MPI_Comm inter, int side) {
  constexpr int kTag = 77;
  Step step("wildcards and probes");
  int rank = 0, remote = 0;
  MPI_Comm_rank(inter, &rank);
  MPI_Comm_remote_size(inter, &remote);
  for (const int bytes : {50, 30000}) {
    Buffer out(static_cast<std::size_t>(bytes));
    out.fill({100 * side + rank, kTag, bytes});
    std::vector<MPI_Request> requests;
    for (int peer = 0; peer < remote; ++peer)
      requests.push_back(isend(Mode::kStandard, out.data(), bytes, MPI_BYTE, peer, kTag, inter));
    std::vector<bool> seen(static_cast<std::size_t>(remote));
    for (int i = 0; i < remote; ++i) {
      MPI_Message handle;
      MPI_Status status;
      MPI_Mprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, inter, &handle, &status);
      const int source = status.MPI_SOURCE;
      expect(source >= 0 && source < remote, "the source is a rank of the remote group");
      expect(!seen[static_cast<std::size_t>(source)], "every rank's message comes once");
      seen[static_cast<std::size_t>(source)] = true;
      expect_status(status, source, kTag, bytes);
      Buffer in(static_cast<std::size_t>(bytes));
      MPI_Mrecv(in.data(), bytes, MPI_BYTE, &handle, &status);
      in.expect_message({100 * (1 - side) + source, kTag, bytes});
    }
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    MPI_Barrier(inter);
  }
}

void collectives(MPI_Comm inter, int side, int world_rank, int world_size) {
  Step step("collectives");
  // Each group gets the remote group's sum of world ranks.
  int sum = -1, expected = 0;
  MPI_Allreduce(&world_rank, &sum, 1, MPI_INT, MPI_SUM, inter);
  for (int rank = 0; rank < world_size; ++rank)
    if (rank % 2 != side) expected += rank;
  expect_equal(expected, sum, "sum over the remote group");
  MPI_Comm merged;
  MPI_Intercomm_merge(inter, side, &merged);
  int size = 0;
  MPI_Comm_size(merged, &size);
  expect_equal(world_size, size, "size of the merged communicator");
  MPI_Allreduce(&world_rank, &sum, 1, MPI_INT, MPI_SUM, merged);
  expect_equal(world_size * (world_size - 1) / 2, sum, "sum over all");
  MPI_Comm_free(&merged);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 3);
  BufferedSpace space(16 << 20);
  const int side = program.rank % 2;
  MPI_Comm local;
  MPI_Comm_split(MPI_COMM_WORLD, side, program.rank, &local);
  for (int round = 0; round < 5; ++round) {
    MPI_Comm inter, copy;
    MPI_Intercomm_create(local, 0, MPI_COMM_WORLD, 1 - side, 9, &inter);
    all_pairs(inter, side);
    wildcards_and_probes(inter, side);
    collectives(inter, side, program.rank, program.size);
    MPI_Comm_dup(inter, &copy);
    all_pairs(copy, side);
    MPI_Comm_free(&copy);
    MPI_Comm_free(&inter);
  }
  MPI_Comm_free(&local);
}
