// MPI sessions (MPI 4.0, Open MPI 5.0): communicators made from process sets and groups, without and beside
// MPI_COMM_WORLD, several at once, with the same tags. Their identifiers are longer than those of 4.1.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTag = 6;

// `tag` is a new one each time: Open MPI 5.0 names its PMIx groups by it, and a process that is early with the next group
// of a name can meet one that is late with the last (open-mpi/ompi #12960).
MPI_Comm from_process_set(MPI_Session session, const char* set, const std::string& tag) {
  MPI_Group group;
  MPI_Comm comm;
  MPI_Group_from_session_pset(session, set, &group);
  MPI_Comm_create_from_group(group, tag.c_str(), MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL, &comm);
  MPI_Group_free(&group);
  return comm;
}

void ring(MPI_Comm comm, int sequence) {
  int rank = 0, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  for (const int bytes : {0, 30, 4097, 20000, 500000}) {
    Step step("%d bytes, sequence %d", bytes, sequence);
    Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
    out.fill({rank, kTag, sequence});
    MPI_Request request = isend(Mode::kSynchronous, out.data(), bytes, MPI_BYTE, to, kTag, comm);
    MPI_Status status;
    MPI_Recv(in.data(), bytes, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &status);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    expect_status(status, from, kTag, bytes);
    in.expect_message({from, kTag, sequence});
  }
  int one = 1, sum = 0;
  MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, comm);
  expect_equal(size, sum, "processes in the communicator");
}

// The later communicator's message is sent first: matching must tell the two apart.
void two_at_once(MPI_Comm first, MPI_Comm second) {
  Step step("two communicators at once");
  int rank = 0;
  MPI_Comm_rank(first, &rank);
  Buffer a(1000), b(1000);
  if (rank == 0) {
    a.fill({0, kTag, 1});
    b.fill({0, kTag, 2});
    MPI_Send(b.data(), 1000, MPI_BYTE, 1, kTag, second);
    MPI_Send(a.data(), 1000, MPI_BYTE, 1, kTag, first);
  } else if (rank == 1) {
    MPI_Request requests[2];
    MPI_Irecv(a.data(), 1000, MPI_BYTE, 0, MPI_ANY_TAG, first, &requests[0]);
    MPI_Irecv(b.data(), 1000, MPI_BYTE, MPI_ANY_SOURCE, kTag, second, &requests[1]);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    a.expect_message({0, kTag, 1});
    b.expect_message({0, kTag, 2});
  }
}

void one_session(const std::string& name) {
  MPI_Session session;
  MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL, &session);
  MPI_Comm world = from_process_set(session, "mpi://WORLD", name + ".first");
  MPI_Comm again = from_process_set(session, "mpi://WORLD", name + ".second");
  MPI_Comm self = from_process_set(session, "mpi://SELF", name + ".self");
  ring(world, 1);
  ring(again, 2);
  ring(self, 3);
  two_at_once(world, again);
  for (int round = 0; round < 50; ++round) {
    MPI_Comm copy;
    MPI_Comm_dup(round % 2 ? world : again, &copy);
    if (round % 10 == 0) ring(copy, 100 + round);
    MPI_Comm_free(&copy);
  }
  MPI_Comm_free(&self);
  MPI_Comm_free(&again);
  MPI_Comm_free(&world);
  MPI_Session_finalize(&session);
}

}  // namespace

// sessions          a session alone, twice, before and after MPI_COMM_WORLD exists
// sessions beside   only while MPI_COMM_WORLD exists
int main(int argc, char** argv) {
  if (argc < 2) one_session("efa.alone");
  Program program(argc, argv, 2);
  one_session("efa.beside");
}
