// Common to all benchmarks: options, buffers, timing, and output in the form of OSU's benchmarks.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "../rounds.hpp"

namespace bench {

struct Options {
  std::string benchmark;
  size_t least = 1, most = 4 << 20;  // message sizes, bytes
  int iterations = -1;               // -1: the benchmark's own number
  int warmup = -1;
  double seconds = 0;  // if set, the time for each size, instead of a number of iterations
  int window = 64;     // messages in flight, of benchmarks that stream
  int threads = 2;
  bool verify = false;
  std::string layout = "vector8";
};

class Bench {
 public:
  explicit Bench(const Options& from);
  ~Bench();
  Bench(const Bench&) = delete;

  Options options;
  int rank, ranks;
  char *out, *in;  // options.most bytes each, touched, on page boundaries

  // Calls each(size) for powers of two times the least size, 0 first if that is the least.
  template <class Each>
  void for_sizes(Each each) const {
    for (size_t size = options.least; size <= options.most; size = size ? 2 * size : 1) each(size);
  }

  // Runs once(i) again and again on every rank, `usual` times if the user did not say; seconds each.
  template <class Once>
  double time(size_t size, int usual, Once once) {
    int iterations = options.iterations > 0 ? options.iterations : size > kLarge ? usual / 10 + 1 : usual;
    int warmup = options.warmup >= 0 ? options.warmup : iterations / 10 + 1;
    if (options.seconds > 0) {
      iterations = rounds_to_fill(options.seconds, [&](int rounds) { return agree(run(rounds, once)); });
      warmup = 0;
    }
    run(warmup, once);
    return run(iterations, once) / iterations;
  }

  // One line of output: the size and values; those of rank 0.
  void row(size_t size, std::initializer_list<double> values) const;
  void title(const std::string& text, const std::string& columns) const;

  // With -c: what a message of iteration `i` from `from` holds, written and checked. Ends the job on a
  // difference.
  void fill(char* buffer, size_t size, int from, int i) const;
  void check(const char* buffer, size_t size, int from, int i) const;

 private:
  static constexpr size_t kLarge = 8192;  // above, fewer iterations; as OSU

  template <class Once>
  double run(int iterations, Once& once) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    for (int i = 0; i < iterations; ++i) once(i);
    return MPI_Wtime() - begin;
  }
  static double agree(double seconds);  // rank 0's
};

// The mean over all ranks, on rank 0.
double mean(const Bench& b, double value);
double sum(const Bench& b, double value);
[[noreturn]] void die(const std::string& text);

// The benchmarks.
void latency(Bench& b);
void wildcard_latency(Bench& b);
void multi_latency(Bench& b);
void bandwidth(Bench& b);
void bidirectional_bandwidth(Bench& b);
void multi_bandwidth(Bench& b);
void unexpected(Bench& b);
void threads_latency(Bench& b);
void layout(Bench& b);
void overlap(Bench& b);
void barrier(Bench& b);
void broadcast(Bench& b);
void allreduce(Bench& b);
void alltoall(Bench& b);

}  // namespace bench
