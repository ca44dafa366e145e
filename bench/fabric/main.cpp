// Raw libfabric between two processes of one machine, without MPI: the floor that a transport is measured
// against, and what test/efasim/link_check compares with the link model. The output is that of OSU's
// benchmarks.
//
//   bench/fabric [OPTIONS] latency|bandwidth|read_latency|read_bandwidth
//
// The tagged patterns are those of osu_latency and osu_bw; with several NICs each message goes in equal parts
// over all of them. The read patterns fetch the peer's memory by fi_read: one at a time, or a window of them.
#include <getopt.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "patterns.hpp"

using namespace raw;

namespace {

size_t parse_size(const char* text) {
  char* end;
  size_t value = strtoull(text, &end, 10);
  if (*end == 'K' || *end == 'k') value <<= 10, end++;
  if (*end == 'M' || *end == 'm') value <<= 20, end++;
  if (end == text || *end != '\0' || value == 0) die(std::string("not a size: ") + text);
  return value;
}

int parse_count(const char* text, int least) {
  char* end;
  const long value = strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < least || value > 100'000'000)
    die(std::string("not a count: ") + text);
  return static_cast<int>(value);
}

void usage() {
  puts(
      "fabric [OPTIONS] latency|bandwidth|read_latency|read_bandwidth   raw libfabric between two "
      "processes\n"
      "  -p PROVIDER  as libfabric names it (efa)\n"
      "  -n NICS      stripe over so many NICs (1)\n"
      "  -m MIN:MAX   sizes, doubled from one to the other; K and M are known (1:4M)\n"
      "  -i COUNT     iterations of each size, a tenth of it from 64K up (1000)\n"
      "  -x COUNT     iterations before the measurement (50)\n"
      "  -T SECONDS   so long for each size, instead of -i and -x\n"
      "  -W COUNT     messages in flight, of the bandwidth patterns (64)\n"
      "  -c           check the data");
}

Options parse(int argc, char** argv) {
  Options options;
  for (int c; (c = getopt(argc, argv, "p:n:m:i:x:T:W:ch")) != -1;) {
    switch (c) {
      case 'p':
        options.provider = optarg;
        break;
      case 'n':
        options.nics = static_cast<size_t>(parse_count(optarg, 1));
        break;
      case 'm': {
        const std::string text = optarg;
        const size_t colon = text.find(':');
        options.max_size = parse_size(text.substr(colon == std::string::npos ? 0 : colon + 1).c_str());
        if (colon != std::string::npos) options.min_size = parse_size(text.substr(0, colon).c_str());
        if (options.min_size > options.max_size) die("no size in " + text);
        break;
      }
      case 'i':
        options.iterations = parse_count(optarg, 1);
        break;
      case 'x':
        options.warmup = parse_count(optarg, 0);
        break;
      case 'T':
        options.seconds = atof(optarg);
        if (options.seconds <= 0) die(std::string("not a time: ") + optarg);
        break;
      case 'W':
        options.window = parse_count(optarg, 1);
        break;
      case 'c':
        options.validate = true;
        break;
      case 'h':
        usage();
        exit(0);
      default:
        usage();
        exit(2);
    }
  }
  static const std::set<std::string> patterns = {"latency", "bandwidth", "read_latency", "read_bandwidth"};
  if (optind + 1 != argc || patterns.count(argv[optind]) == 0 || options.nics > kMaxNics) {
    usage();
    exit(2);
  }
  options.pattern = argv[optind];
  return options;
}

// Binds each process to its own core, as mpirun does, if there are enough.
void bind_to_core() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || seen++ != self) continue;
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(cpu, &mine);
    sched_setaffinity(0, sizeof mine, &mine);
    return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  void* memory = mmap(nullptr, sizeof(Side) * 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  sides = static_cast<Side*>(memory);
  const pid_t parent = getpid();
  const pid_t child = fork();  // before libfabric is used, so that each process initializes it
  if (child < 0) die("fork");
  self = child == 0 ? 1 : 0;
  bind_to_core();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // if one process fails, the other must not wait for it
    if (getppid() != parent) return 1;
    measure(options);
    return 0;
  }
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  // The other way round: the child's failure ends this process.
  signal(SIGCHLD, [](int) {
    int status;
    if (waitpid(-1, &status, WNOHANG) > 0 && status != 0) _exit(1);
  });
  measure(options);
  signal(SIGCHLD, SIG_DFL);
  int status = 0;
  return waitpid(child, &status, 0) == child && status != 0 ? 1 : 0;
}
