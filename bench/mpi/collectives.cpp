// Collective operations; the mean over the ranks.
#include <vector>

#include "bench.hpp"

namespace bench {
namespace {

constexpr int kCalls = 1000;

template <class Once>
void collective(Bench& b, const char* title, size_t unit, Once once) {
  b.title(title, "          Avg Latency (us)");
  b.for_sizes([&](size_t size) {
    if (size < unit) return;
    const double each = b.time(size, kCalls, [&](int i) { once(size, i); });
    b.row(size, {mean(b, each) * 1e6});
  });
}

}  // namespace

void barrier(Bench& b) {
  b.title("Barrier Test", "          Avg Latency (us)");
  const double each = b.time(0, kCalls, [&](int) { MPI_Barrier(MPI_COMM_WORLD); });
  b.row(0, {mean(b, each) * 1e6});
}

void broadcast(Bench& b) {
  collective(b, "Broadcast Test", 1, [&](size_t size, int i) {
    if (b.rank == 0) b.fill(b.in, size, 0, i);
    MPI_Bcast(b.in, static_cast<int>(size), MPI_CHAR, 0, MPI_COMM_WORLD);
    b.check(b.in, size, 0, i);
  });
}

void allreduce(Bench& b) {
  collective(b, "Allreduce Test", sizeof(float), [&](size_t size, int) {
    const size_t count = size / sizeof(float);
    auto* values = reinterpret_cast<float*>(b.out);
    auto* sums = reinterpret_cast<float*>(b.in);
    if (b.options.verify)
      for (size_t k = 0; k < count; ++k) values[k] = static_cast<float>(b.rank + static_cast<int>(k % 17));
    MPI_Allreduce(values, sums, static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    if (!b.options.verify) return;
    for (size_t k = 0; k < count; ++k)
      if (sums[k] != static_cast<float>(b.ranks * (b.ranks - 1) / 2 + b.ranks * static_cast<int>(k % 17)))
        die("element " + std::to_string(k) + " of an MPI_Allreduce is wrong");
  });
}

void alltoall(Bench& b) {
  std::vector<char> out, in;
  const auto ranks = static_cast<size_t>(b.ranks);
  collective(b, "All-to-All Test", 1, [&](size_t size, int i) {
    if (out.size() != size * ranks) {
      out.assign(size * ranks, 1);
      in.assign(size * ranks, 1);
    }
    for (size_t r = 0; r < ranks; ++r)
      b.fill(&out[r * size], size, b.rank * b.ranks + static_cast<int>(r), i);
    MPI_Alltoall(out.data(), static_cast<int>(size), MPI_CHAR, in.data(), static_cast<int>(size), MPI_CHAR,
                 MPI_COMM_WORLD);
    for (size_t r = 0; r < ranks; ++r)
      b.check(&in[r * size], size, static_cast<int>(r) * b.ranks + b.rank, i);
  });
}

}  // namespace bench
