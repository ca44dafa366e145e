// MPI_THREAD_MULTIPLE: all threads of a process send to each peer for the first time at the same moment. Each resolves
// the peer's address or waits for the thread that does.
#include <atomic>
#include <thread>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kThreads = 6;

void meet(int rank, int size, int thread, std::atomic<int>& ready) {
  ++ready;
  while (ready < kThreads) {
  }
  // The sends complete at the end: with wildcards a message of a later distance may come first.
  std::vector<MPI_Request> sends;
  std::vector<Buffer> out(static_cast<std::size_t>(size), Buffer(100));
  for (int distance = 1; distance < size; ++distance) {
    Step step("distance %d, thread %d", distance, thread);
    const int to = (rank + distance) % size, from = (rank + size - distance) % size;
    Buffer& message = out[static_cast<std::size_t>(distance)];
    message.fill({rank, thread, distance});
    sends.push_back(isend(thread % 2 ? Mode::kStandard : Mode::kSynchronous, message.data(), 100, MPI_BYTE,
                          to, thread, MPI_COMM_WORLD));
    Buffer in(100);
    MPI_Status status;
    MPI_Recv(in.data(), 100, MPI_BYTE, thread % 3 ? MPI_ANY_SOURCE : from, thread, MPI_COMM_WORLD, &status);
    in.expect_message({status.MPI_SOURCE, thread, (rank - status.MPI_SOURCE + size) % size});
  }
  MPI_Waitall(static_cast<int>(sends.size()), sends.data(), MPI_STATUSES_IGNORE);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2, MPI_THREAD_MULTIPLE);
  std::atomic<int> ready = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] { meet(program.rank, program.size, thread, ready); });
  }
  for (std::thread& thread : threads) thread.join();
}
