// How much of a transfer overlaps with computation: both ranks post a send and a receive, compute for as long as the
// transfer alone takes, and then wait.
#include <algorithm>

#include "bench.hpp"

namespace bench {
namespace {

constexpr int kTag = 1, kExchanges = 1000;

void compute(double seconds) {
  const double end = MPI_Wtime() + seconds;
  while (MPI_Wtime() < end) {
  }
}

}  // namespace

void overlap(Bench& b) {
  b.title("Overlap Test", "          Overlap (%)     Transfer (us)    With work (us)");
  const int peer = 1 - b.rank;
  b.for_sizes([&](size_t size) {
    const int length = static_cast<int>(size);
    auto exchange = [&](int i, double work) {
      if (b.rank > 1) return;
      MPI_Request requests[2];
      b.fill(b.out, size, b.rank, i);
      MPI_Irecv(b.in, length, MPI_CHAR, peer, kTag, MPI_COMM_WORLD, &requests[0]);
      MPI_Isend(b.out, length, MPI_CHAR, peer, kTag, MPI_COMM_WORLD, &requests[1]);
      if (work > 0) compute(work);
      MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
      b.check(b.in, size, peer, i);
    };
    double alone = b.time(size, kExchanges, [&](int i) { exchange(i, 0); });
    MPI_Bcast(&alone, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);  // both compute for the same time
    const double both = b.time(size, kExchanges, [&](int i) { exchange(i, alone); });
    const double hidden = std::clamp(1 - (both - alone) / alone, 0.0, 1.0);
    b.row(size, {100 * hidden, alone * 1e6, both * 1e6});
  });
}

}  // namespace bench
