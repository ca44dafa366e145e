// Ping-pongs and streams between pairs of ranks.
#include <vector>

#include "bench.hpp"

namespace bench {
namespace {

constexpr int kTag = 1, kAnswer = 2;
constexpr int kRoundTrips = 10000, kWindows = 200;  // about as many as OSU's

// The pairs: the lower half of the ranks with the upper half, or only ranks 0 and 1.
struct Pair {
  Pair(const Bench& b, bool all) {
    const int half = all ? b.ranks / 2 : 1;
    if (b.rank < half) {
      first = true;
      peer = b.rank + half;
    } else if (b.rank < 2 * half) {
      peer = b.rank - half;
    }
  }
  bool first = false;  // sends first
  int peer = -1;       // -1: not in a pair
};

void ping_pong(Bench& b, const Pair& pair, size_t size, int i, bool wildcard) {
  const int length = static_cast<int>(size);
  const int source = wildcard ? MPI_ANY_SOURCE : pair.peer, tag = wildcard ? MPI_ANY_TAG : kTag;
  if (pair.peer < 0) return;
  if (pair.first) {
    b.fill(b.out, size, b.rank, i);
    MPI_Send(b.out, length, MPI_CHAR, pair.peer, kTag, MPI_COMM_WORLD);
  }
  MPI_Recv(b.in, length, MPI_CHAR, source, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  b.check(b.in, size, pair.peer, i);
  if (!pair.first) {
    b.fill(b.out, size, b.rank, i);
    MPI_Send(b.out, length, MPI_CHAR, pair.peer, kTag, MPI_COMM_WORLD);
  }
}

void ping_pongs(Bench& b, const char* title, bool all, bool wildcard) {
  const Pair pair(b, all);
  b.title(title, "          Latency (us)");
  b.for_sizes([&](size_t size) {
    const double each = b.time(size, kRoundTrips, [&](int i) { ping_pong(b, pair, size, i, wildcard); }) / 2;
    const int pairs = all ? b.ranks / 2 : 1;
    b.row(size, {sum(b, pair.first ? each : 0) / pairs * 1e6});
  });
}

// A window of messages to or from the peer, followed by an answer.
void stream(Bench& b, const Pair& pair, size_t size, int i, bool both, std::vector<MPI_Request>& requests) {
  if (pair.peer < 0) return;
  const int length = static_cast<int>(size);
  const bool sends = both || pair.first, receives = both || !pair.first;
  requests.clear();
  if (sends) b.fill(b.out, size, b.rank, i);
  if (receives)
    for (int k = 0; k < b.options.window; ++k)
      MPI_Irecv(b.in, length, MPI_CHAR, pair.peer, kTag, MPI_COMM_WORLD, &requests.emplace_back());
  if (sends)
    for (int k = 0; k < b.options.window; ++k)
      MPI_Isend(b.out, length, MPI_CHAR, pair.peer, kTag, MPI_COMM_WORLD, &requests.emplace_back());
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  if (receives) b.check(b.in, size, pair.peer, i);
  char answer = 0;
  if (pair.first)
    MPI_Recv(&answer, 1, MPI_CHAR, pair.peer, kAnswer, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  else
    MPI_Send(&answer, 1, MPI_CHAR, pair.peer, kAnswer, MPI_COMM_WORLD);
}

void streams(Bench& b, const char* title, bool all, bool both, bool rate) {
  const Pair pair(b, all);
  b.title(title, rate ? "          MB/s        Messages/s" : "          Bandwidth (MB/s)");
  std::vector<MPI_Request> requests;
  requests.reserve(2 * static_cast<size_t>(b.options.window));
  b.for_sizes([&](size_t size) {
    const double each = b.time(size, kWindows, [&](int i) { stream(b, pair, size, i, both, requests); });
    // Pairs take different times, so the rates are added.
    const double messages = sum(b, pair.first ? b.options.window * (both ? 2 : 1) / each : 0);
    const double rate_mb = messages * static_cast<double>(size) / 1e6;
    if (rate)
      b.row(size, {rate_mb, messages});
    else
      b.row(size, {rate_mb});
  });
}

}  // namespace

void latency(Bench& b) {
  ping_pongs(b, "Latency Test", false, false);
}
void wildcard_latency(Bench& b) {
  ping_pongs(b, "Wildcard Latency Test", false, true);
}
void multi_latency(Bench& b) {
  ping_pongs(b, "Multi-pair Latency Test", true, false);
}
void bandwidth(Bench& b) {
  streams(b, "Bandwidth Test", false, false, false);
}
void bidirectional_bandwidth(Bench& b) {
  streams(b, "Bidirectional Bandwidth Test", false, true, false);
}
void multi_bandwidth(Bench& b) {
  streams(b, "Multi-pair Bandwidth and Message Rate Test", true, false, true);
}

}  // namespace bench
