// mpi_bench BENCHMARK [OPTIONS]     MPI benchmarks in the form of OSU's: a header, then size and value.
//
// Plain MPI, so that any MPI library can run it; bench/compare runs it with those that are installed.
#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "bench.hpp"

namespace {

struct Entry {
  const char* name;
  void (*run)(bench::Bench&);
  int least_ranks;
  const char* what;
};

constexpr Entry kBenchmarks[] = {
    {"latency", bench::latency, 2, "one-way time between ranks 0 and 1 (osu_latency)"},
    {"wildcard", bench::wildcard_latency, 2, "the same, received from any source with any tag"},
    {"multi_lat", bench::multi_latency, 2, "the same for all pairs at once (osu_multi_lat)"},
    {"bw", bench::bandwidth, 2, "stream of windows from rank 0 to rank 1 (osu_bw)"},
    {"bibw", bench::bidirectional_bandwidth, 2, "streams both ways (osu_bibw)"},
    {"mbw_mr", bench::multi_bandwidth, 2, "streams of all pairs, and their message rate (osu_mbw_mr)"},
    {"unexpected", bench::unexpected, 2, "a window of messages that arrive before their receives"},
    {"latency_mt", bench::threads_latency, 2, "ping-pong of several threads at once (osu_latency_mt)"},
    {"layout", bench::layout, 2, "ping-pong of noncontiguous data; -l names the layout"},
    {"overlap", bench::overlap, 2, "how much of a transfer is hidden behind computation"},
    {"barrier", bench::barrier, 2, "MPI_Barrier (osu_barrier)"},
    {"bcast", bench::broadcast, 2, "MPI_Bcast (osu_bcast)"},
    {"allreduce", bench::allreduce, 2, "MPI_Allreduce of floats (osu_allreduce)"},
    {"alltoall", bench::alltoall, 2, "MPI_Alltoall (osu_alltoall)"},
};

void usage(FILE* to) {
  std::fprintf(to,
               "usage: mpirun -np N mpi_bench BENCHMARK [OPTIONS]\n\n"
               "  -m [MIN:]MAX  message sizes in bytes (default 1:4194304)\n"
               "  -i N          iterations per size        -x N  of them before the measured ones\n"
               "  -T SECONDS    so long for each size, instead of -i and -x\n"
               "  -W N          messages in flight (default 64)\n"
               "  -t N          threads of latency_mt (default 2)\n"
               "  -l LAYOUT     vector8, vector64, struct4 or indexed (default vector8)\n"
               "  -c            verify the data; the times then include that\n\n");
  for (const Entry& e : kBenchmarks) std::fprintf(to, "  %-12s  %s\n", e.name, e.what);
}

const Entry* find(const char* name) {
  for (const Entry& e : kBenchmarks)
    if (!std::strcmp(e.name, name)) return &e;
  return nullptr;
}

// Parses an integer in a range; false if it is not one.
bool number(const char* text, long least, long most, long& value) {
  char* end = nullptr;
  value = std::strtol(text, &end, 10);
  return end != text && *end == 0 && value >= least && value <= most;
}

// False, after a message, if the command line is invalid.
bool parse(int argc, char** argv, bench::Options& o) {
  constexpr long kMost = 1L << 31;
  for (int c; (c = getopt(argc, argv, "m:i:x:T:W:t:l:ch")) != -1;) {
    long value = 0;
    bool fine = true;
    switch (c) {
      case 'm': {
        const char* colon = std::strchr(optarg, ':');
        if (colon) {
          fine = number(std::string(optarg, static_cast<size_t>(colon - optarg)).c_str(), 0, kMost, value);
          o.least = static_cast<size_t>(value);
        }
        fine = fine && number(colon ? colon + 1 : optarg, 0, kMost, value);
        o.most = static_cast<size_t>(value);
        break;
      }
      case 'i':
        fine = number(optarg, 1, 1L << 30, value), o.iterations = static_cast<int>(value);
        break;
      case 'x':
        fine = number(optarg, 0, 1L << 30, value), o.warmup = static_cast<int>(value);
        break;
      case 'T':
        fine = (o.seconds = std::atof(optarg)) > 0;
        break;
      case 'W':
        fine = number(optarg, 1, 65536, value), o.window = static_cast<int>(value);
        break;
      case 't':
        fine = number(optarg, 1, 1024, value), o.threads = static_cast<int>(value);
        break;
      case 'l':
        o.layout = optarg;
        break;
      case 'c':
        o.verify = true;
        break;
      default:
        return false;
    }
    if (!fine) {
      std::fprintf(stderr, "mpi_bench: invalid value: -%c %s\n", c, optarg);
      return false;
    }
  }
  if (optind < argc) o.benchmark = argv[optind];
  if (!find(o.benchmark.c_str())) {
    std::fprintf(stderr, "mpi_bench: unknown benchmark \"%s\"\n", o.benchmark.c_str());
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "-h") && std::strcmp(argv[i], "--help")) continue;
    usage(stdout);
    return 0;
  }
  bench::Options options;
  if (!parse(argc, argv, options)) {
    usage(stderr);
    return 2;
  }
  const Entry& entry = *find(options.benchmark.c_str());
  const int wanted = entry.run == bench::threads_latency ? MPI_THREAD_MULTIPLE : MPI_THREAD_SINGLE;
  int provided = 0;
  MPI_Init_thread(&argc, &argv, wanted, &provided);
  {
    if (provided < wanted) bench::die("this MPI has no MPI_THREAD_MULTIPLE");
    bench::Bench b(options);
    if (b.ranks < entry.least_ranks) bench::die("at least 2 ranks are needed");
    entry.run(b);
  }
  MPI_Finalize();
}
