// Messages of a rank to itself, on MPI_COMM_SELF, on MPI_COMM_WORLD and on a duplicate; also in a job of one rank.
#include "layouts.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

void every_mode_and_size(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  int tag = 0;
  for (const Mode mode : kModes)
    for (const int bytes : kSizes)
      for (const bool receive_first : {true, false}) {
        if (mode == Mode::kReady && !receive_first) continue;
        Step step("%s send of %d bytes, receive %s", name(mode), bytes, receive_first ? "first" : "last");
        ++tag;
        Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes + 9));
        out.fill({rank, tag});
        MPI_Request receive, request;
        MPI_Status status;
        const int source = tag % 2 ? rank : MPI_ANY_SOURCE;
        if (receive_first) MPI_Irecv(in.data(), bytes + 9, MPI_BYTE, source, tag, comm, &receive);
        request = isend(mode, out.data(), bytes, MPI_BYTE, rank, tag, comm);
        if (!receive_first) {
          if (mode == Mode::kSynchronous)
            expect_incomplete(request, "before its receive", std::chrono::milliseconds(1));
          MPI_Probe(source, MPI_ANY_TAG, comm, &status);
          expect_status(status, rank, tag, bytes);
          MPI_Irecv(in.data(), bytes + 9, MPI_BYTE, source, tag, comm, &receive);
        }
        MPI_Wait(&receive, &status);
        MPI_Wait(&request, MPI_STATUS_IGNORE);
        expect_status(status, rank, tag, bytes);
        in.expect_message({rank, tag}, static_cast<std::size_t>(bytes));
      }
}

void sendrecv_and_mprobe(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  for (const int bytes : {0, 10, 10000, 1000000}) {
    Step step("MPI_Sendrecv and MPI_Mprobe of %d bytes", bytes);
    Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
    out.fill({rank, 7});
    MPI_Status status;
    MPI_Sendrecv(out.data(), bytes, MPI_BYTE, rank, 7, in.data(), bytes, MPI_BYTE, rank, 7, comm, &status);
    expect_status(status, rank, 7, bytes);
    in.expect_message({rank, 7});
    in.poison();
    MPI_Request request = isend(Mode::kSynchronous, out.data(), bytes, MPI_BYTE, rank, 7, comm);
    MPI_Message handle;
    MPI_Mprobe(rank, 7, comm, &handle, &status);
    MPI_Mrecv(in.data(), bytes, MPI_BYTE, &handle, &status);
    expect_status(status, rank, 7, bytes);
    in.expect_message({rank, 7});
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    out.fill({rank, 8});
    MPI_Sendrecv_replace(out.data(), bytes, MPI_BYTE, rank, 8, rank, 8, comm, &status);
    out.expect_message({rank, 8});
  }
}

void layouts(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  std::vector<Layout> all = make_layouts();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Layout &from = all[i], &to = all[(i * 5 + 1) % all.size()];
    for (const int elements : {1, 300, 30000}) {
      Step step("%d elements, %s -> %s", elements, from.name.c_str(), to.name.c_str());
      Arena out(from, elements), in(to, elements);
      out.fill({rank, 9, elements});
      MPI_Request request = isend(Mode::kStandard, out.origin(), elements, from.type, rank, 9, comm);
      MPI_Recv(in.origin(), elements, to.type, rank, 9, comm, MPI_STATUS_IGNORE);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
      in.expect_message({rank, 9, elements}, static_cast<std::size_t>(elements) * kBytesPerElement);
    }
  }
  for (Layout& layout : all) MPI_Type_free(&layout.type);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 1);
  BufferedSpace space(16 << 20);
  MPI_Comm duplicate;
  MPI_Comm_dup(MPI_COMM_SELF, &duplicate);
  for (const MPI_Comm comm : {MPI_COMM_SELF, MPI_COMM_WORLD, duplicate}) {
    every_mode_and_size(comm);
    sendrecv_and_mprobe(comm);
    layouts(comm);
  }
  MPI_Comm_free(&duplicate);
}
