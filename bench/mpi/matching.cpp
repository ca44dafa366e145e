// Costs of matching and locks: unexpected messages, and threads.
#include <thread>
#include <vector>

#include "bench.hpp"

namespace bench {
namespace {

constexpr int kTag = 1, kGo = 2, kAnswer = 3;
constexpr int kWindows = 200, kRoundTrips = 5000;

}  // namespace

// Time per message when all receives are posted late. The message "go" is sent after the whole window, so all messages
// of the window have arrived before it, without a posted receive.
void unexpected(Bench& b) {
  b.title("Unexpected Message Test, window " + std::to_string(b.options.window), "          us per message");
  const int window = b.options.window;
  b.for_sizes([&](size_t size) {
    const int length = static_cast<int>(size);
    char go = 0;
    std::vector<MPI_Request> requests(static_cast<size_t>(window));
    const double each = b.time(size, kWindows, [&](int i) {
      if (b.rank == 0) {
        b.fill(b.out, size, 0, i);
        for (int k = 0; k < window; ++k)
          MPI_Isend(b.out, length, MPI_CHAR, 1, kTag, MPI_COMM_WORLD, &requests[static_cast<size_t>(k)]);
        MPI_Send(&go, 1, MPI_CHAR, 1, kGo, MPI_COMM_WORLD);
        MPI_Waitall(window, requests.data(), MPI_STATUSES_IGNORE);
        MPI_Recv(&go, 1, MPI_CHAR, 1, kAnswer, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      } else if (b.rank == 1) {
        MPI_Recv(&go, 1, MPI_CHAR, 0, kGo, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int k = 0; k < window; ++k) {
          MPI_Recv(b.in, length, MPI_CHAR, 0, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
          b.check(b.in, size, 0, i);
        }
        MPI_Send(&go, 1, MPI_CHAR, 0, kAnswer, MPI_COMM_WORLD);
      }
    });
    b.row(size, {each / window * 1e6});
  });
}

// Ping-pong between threads of rank 0 and rank 1, one tag per pair.
void threads_latency(Bench& b) {
  b.title("Latency Test, " + std::to_string(b.options.threads) + " threads", "          Latency (us)");
  const int threads = b.options.threads;
  b.for_sizes([&](size_t size) {
    const int length = static_cast<int>(size);
    constexpr int kBatch = 100;  // round trips for each start of the threads
    const double each = b.time(size, kRoundTrips / kBatch, [&](int) {
      if (b.rank > 1) return;
      std::vector<std::thread> players;
      for (int k = 0; k < threads; ++k)
        players.emplace_back([&, k] {
          std::vector<char> out(size + 1), in(size + 1);
          const int peer = 1 - b.rank, tag = 10 + k;
          for (int i = 0; i < kBatch; ++i) {
            b.fill(out.data(), size, b.rank, i + k);
            if (b.rank == 0) MPI_Send(out.data(), length, MPI_CHAR, peer, tag, MPI_COMM_WORLD);
            MPI_Recv(in.data(), length, MPI_CHAR, peer, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            b.check(in.data(), size, peer, i + k);
            if (b.rank == 1) MPI_Send(out.data(), length, MPI_CHAR, peer, tag, MPI_COMM_WORLD);
          }
        });
      for (auto& player : players) player.join();
    });
    b.row(size, {each / kBatch / 2 * 1e6});
  });
}

}  // namespace bench
