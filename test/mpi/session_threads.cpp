// Threads in MPI sessions (MPI 4.0, Open MPI 5.0): each session has a thread level of its own. The MTL does not get it when
// the transport was opened for another session or for MPI_COMM_WORLD.
//
// session_threads alone      one session with MPI_THREAD_MULTIPLE
//                 after      the same beside a session without threads that has sent messages
//                 world      the same after MPI_Init without threads, with messages on MPI_COMM_WORLD
#include <thread>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kThreads = 4;
constexpr int kMessages = 300;  // of each thread

MPI_Session open_session(const char* level) {
  MPI_Info info;
  MPI_Session session;
  MPI_Info_create(&info);
  MPI_Info_set(info, "thread_level", level);
  MPI_Session_init(info, MPI_ERRORS_ARE_FATAL, &session);
  MPI_Info_free(&info);
  return session;
}

MPI_Comm communicator(MPI_Session session, const char* tag) {
  MPI_Group group;
  MPI_Comm comm;
  MPI_Group_from_session_pset(session, "mpi://WORLD", &group);
  MPI_Comm_create_from_group(group, tag, MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL, &comm);
  MPI_Group_free(&group);
  return comm;
}

int size_of(int i) {
  return i % 60 == 0 ? 100000 + i : i % 12 == 0 ? 9000 + i : i % 200;
}

// One thread exchanges messages with both neighbours, in order, with a tag of its own.
void exchange(MPI_Comm comm, int tag, int messages) {
  int rank = 0, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  Step step("thread with tag %d", tag);
  for (int i = 0; i < messages; ++i) {
    const int bytes = size_of(i + tag);
    Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
    out.fill({rank, tag, i});
    MPI_Request request =
        isend(i % 7 ? Mode::kStandard : Mode::kSynchronous, out.data(), bytes, MPI_BYTE, to, tag, comm);
    MPI_Status status;
    if (i % 5 == 0) {
      MPI_Probe(from, tag, comm, &status);
      expect_status(status, from, tag, bytes);
    }
    MPI_Recv(in.data(), bytes, MPI_BYTE, i % 2 ? from : MPI_ANY_SOURCE, tag, comm, &status);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    expect_status(status, from, tag, bytes);
    in.expect_message({from, tag, i});
  }
}

void exchange_by_threads(MPI_Comm comm) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([comm, thread] { exchange(comm, 10 + thread, kMessages); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view how = argc > 1 ? argv[1] : "";
  MPI_Session before = MPI_SESSION_NULL;
  MPI_Comm without_threads = MPI_COMM_NULL;
  if (how == "world") {
    MPI_Init(&argc, &argv);
    MPI_Comm_dup(MPI_COMM_WORLD, &without_threads);
  } else if (how == "after") {
    before = open_session("MPI_THREAD_SINGLE");
    without_threads = communicator(before, "efa.without_threads");
  } else if (how != "alone") {
    std::fprintf(stderr, "session_threads: alone, after or world\n");
    return 2;
  }
  std::signal(SIGUSR1, print_steps_and_exit);
  if (without_threads != MPI_COMM_NULL) exchange(without_threads, 5, 100);

  MPI_Session session = open_session("MPI_THREAD_MULTIPLE");
  MPI_Comm comm = communicator(session, "efa.threads");
  int rank = -1, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  exchange_by_threads(comm);
  if (without_threads != MPI_COMM_NULL) {
    exchange(without_threads, 6, 100);
    MPI_Comm_free(&without_threads);
  }
  MPI_Comm_free(&comm);
  MPI_Session_finalize(&session);
  if (before != MPI_SESSION_NULL) MPI_Session_finalize(&before);
  if (how == "world") MPI_Finalize();
  std::printf("end of test session_threads, rank %d of %d\n", rank, size);
}
