// Communicators: thousands created and freed, hundreds at the same time, each with its own messages; reordered ranks; a
// communicator freed while a receive on it is pending; groups of every size.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTag = 3;

// Small and large messages around a ring on one communicator.
void ring(MPI_Comm comm, int sequence, int bytes) {
  int rank = 0, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
  out.fill({rank, kTag, sequence});
  MPI_Status status;
  MPI_Sendrecv(out.data(), bytes, MPI_BYTE, to, kTag, in.data(), bytes, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG,
               comm, &status);
  expect_status(status, from, kTag, bytes);
  in.expect_message({from, kTag, sequence});
}

void thousands_one_after_another() {
  constexpr int kCommunicators = 3000;
  for (int i = 0; i < kCommunicators; ++i) {
    Step step("communicator %d of thousands", i);
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    if (i % 10 == 0) ring(comm, i, i % 100 == 0 ? 100000 : 60);
    MPI_Comm_free(&comm);
  }
}

// Wildcard receives on all communicators are posted first. Each receives the message of its own communicator.
void hundreds_at_once(int rank, int size) {
  constexpr int kCommunicators = 400;
  Step step("hundreds at once");
  std::vector<MPI_Comm> comms(kCommunicators);
  std::vector<Buffer> in, out;
  std::vector<MPI_Request> requests;
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  for (MPI_Comm& comm : comms) {
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    in.emplace_back(300);
    MPI_Request request;
    MPI_Irecv(in.back().data(), 300, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &request);
    requests.push_back(request);
  }
  for (int i = kCommunicators; i-- > 0;) {
    out.emplace_back(static_cast<std::size_t>(i % 300));
    out.back().fill({rank, kTag, i});
    MPI_Send(out.back().data(), i % 300, MPI_BYTE, to, kTag, comms[static_cast<std::size_t>(i)]);
  }
  for (int i = 0; i < kCommunicators; ++i) {
    MPI_Status status;
    MPI_Wait(&requests[static_cast<std::size_t>(i)], &status);
    expect_status(status, from, kTag, i % 300);
    in[static_cast<std::size_t>(i)].expect_message({from, kTag, i}, static_cast<std::size_t>(i % 300));
  }
  for (MPI_Comm& comm : comms) MPI_Comm_free(&comm);
}

// A communicator of every subset of the ranks, in ascending and descending order.
void groups(int rank, int size) {
  for (int members = 1; members < 1 << size; ++members)
    for (const bool backwards : {false, true}) {
      Step step("group 0x%x%s", static_cast<unsigned>(members), backwards ? " backwards" : "");
      MPI_Comm comm;
      MPI_Comm_split(MPI_COMM_WORLD, members >> rank & 1 ? 1 : MPI_UNDEFINED, backwards ? -rank : rank,
                     &comm);
      if (comm == MPI_COMM_NULL) continue;
      ring(comm, members, 5000);
      MPI_Comm_free(&comm);
    }
}

// MPI_Comm_free only marks the communicator: a pending receive still gets its message.
void freed_with_pending_receive(int rank) {
  for (const int bytes : {20, 100000}) {
    Step step("freed while a receive of %d bytes is pending", bytes);
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    Buffer message(static_cast<std::size_t>(bytes));
    MPI_Request request = MPI_REQUEST_NULL;
    if (rank == 0) {
      message.fill({0, kTag, bytes});
      request = isend(Mode::kStandard, message.data(), bytes, MPI_BYTE, 1, kTag, comm);
    } else if (rank == 1) {
      MPI_Irecv(message.data(), bytes, MPI_BYTE, 0, kTag, comm, &request);
    }
    MPI_Comm_free(&comm);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    if (rank == 1) message.expect_message({0, kTag, bytes});
  }
}

// A communicator with a reused context id must not match messages or receives of the freed one.
void reused_identifiers(int rank) {
  constexpr int kRounds = 300;
  for (int round = 0; round < kRounds; ++round) {
    Step step("reused identifier, round %d", round);
    MPI_Comm comm;
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    Buffer message(64), stray(64);
    if (rank == 0) {
      message.fill({0, kTag, round});
      MPI_Send(message.data(), 64, MPI_BYTE, 1, kTag, comm);
    } else if (rank == 1) {
      MPI_Request request;
      MPI_Status status;
      int cancelled = 0;
      MPI_Irecv(stray.data(), 64, MPI_BYTE, 0, kTag + 1, comm, &request);
      MPI_Recv(message.data(), 64, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &status);
      message.expect_message({0, kTag, round});
      MPI_Cancel(&request);
      MPI_Wait(&request, &status);
      MPI_Test_cancelled(&status, &cancelled);
      expect(cancelled, "the stray receive is cancelled");
    }
    MPI_Comm_free(&comm);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  thousands_one_after_another();
  hundreds_at_once(program.rank, program.size);
  groups(program.rank, program.size);
  freed_with_pending_receive(program.rank);
  reused_identifiers(program.rank);
}
