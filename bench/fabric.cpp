// Raw libfabric between two processes of one machine, without MPI: the floor that a transport is measured
// against, and what test/efasim/link_check compares with the link model. The output is that of OSU's
// benchmarks.
//
//   bench/fabric [OPTIONS] latency|bandwidth|read_latency|read_bandwidth
//
// The tagged patterns are those of osu_latency and osu_bw; with several NICs each message goes in equal parts
// over all of them. The read patterns fetch the peer's memory by fi_read: one at a time, or a window of them.
#include <getopt.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace {

constexpr size_t kMaxNics = 32;
constexpr size_t kAddressBytes = 128;
constexpr int kCqBatch = 16;

struct Options {
  std::string pattern;
  std::string provider = "efa";
  size_t nics = 1;
  size_t min_size = 1, max_size = 4 << 20;
  int iterations = 1000, warmup = 50, window = 64;
  int large_divisor = 10;  // so many times fewer iterations from kLarge up
  double seconds = 0;      // for each size, if set, instead of a number of iterations
  bool validate = false;
};
constexpr size_t kLarge = 64 * 1024;

[[noreturn]] void die(const std::string& what) {
  fprintf(stderr, "fabric: %s\n", what.c_str());
  exit(1);
}

void check(ssize_t result, const char* call) {
  if (result < 0) die(std::string(call) + ": " + fi_strerror(static_cast<int>(-result)));
}

// What the two processes tell each other, and where they wait for one another; memory that both map.
struct Side {
  std::atomic<uint64_t> arrived{0};
  size_t address_bytes[kMaxNics];
  unsigned char address[kMaxNics][kAddressBytes];
  uint64_t base[kMaxNics];
  uint64_t key[kMaxNics];
  int rounds;  // that process 0 has decided on
};
Side* sides;
int self;

void barrier() {
  const uint64_t step = sides[self].arrived.fetch_add(1) + 1;
  while (sides[1 - self].arrived.load() < step) sched_yield();
}

// One NIC: endpoint, address vector, completion queue and the registered buffers.
struct Nic {
  fid_fabric* fabric = nullptr;
  fid_domain* domain = nullptr;
  fid_av* av = nullptr;
  fid_cq* cq = nullptr;
  fid_ep* ep = nullptr;
  fid_mr* out_mr = nullptr;
  fid_mr* in_mr = nullptr;
  fi_addr_t peer = 0;
  size_t inject = 0;
  size_t done = 0;  // completions seen
};

class Pair {
 public:
  explicit Pair(const Options& options);
  ~Pair();

  // Posts retry while the provider has no room, and poll meanwhile.
  void send(size_t n, uint64_t tag) {
    over_parts(n, [&](Nic& nic, size_t offset, size_t length) {
      if (length <= nic.inject) {
        retry([&] { return fi_tinject(nic.ep, out + offset, length, nic.peer, tag); });
        return;
      }
      retry([&] { return fi_tsend(nic.ep, out + offset, length, desc(nic.out_mr), nic.peer, tag, nullptr); });
      posted_++;
    });
  }
  void receive(size_t n, uint64_t tag) {
    over_parts(n, [&](Nic& nic, size_t offset, size_t length) {
      retry(
          [&] { return fi_trecv(nic.ep, in + offset, length, desc(nic.in_mr), nic.peer, tag, 0, nullptr); });
      posted_++;
    });
  }
  void read(size_t n) {
    over_parts(n, [&](Nic& nic, size_t offset, size_t length) {
      const size_t k = static_cast<size_t>(&nic - nics_.data());
      retry([&] {
        return fi_read(nic.ep, in + offset, length, desc(nic.in_mr), nic.peer,
                       sides[1 - self].base[k] + offset, sides[1 - self].key[k], nullptr);
      });
      posted_++;
    });
  }
  void wait_all() {
    while (completed_ < posted_) poll();
  }
  // Waits for everything, and serves the peer until it is done too.
  void meet() {
    wait_all();
    const uint64_t step = sides[self].arrived.fetch_add(1) + 1;
    while (sides[1 - self].arrived.load() < step) poll();
  }

  unsigned char* out;
  unsigned char* in;

 private:
  template <typename Post>
  void over_parts(size_t n, Post post) {
    const size_t parts = n < nics_.size() * 4096 ? 1 : nics_.size();
    for (size_t k = 0; k < parts; k++) {
      const size_t begin = n * k / parts, end = n * (k + 1) / parts;
      post(nics_[k], begin, end - begin);
    }
  }
  template <typename Call>
  void retry(Call call) {
    for (;;) {
      const ssize_t result = call();
      if (result == 0) return;
      if (result != -FI_EAGAIN) check(result, "post");
      poll();
    }
  }
  void poll() {
    for (Nic& nic : nics_) {
      fi_cq_tagged_entry entries[kCqBatch];
      const ssize_t n = fi_cq_read(nic.cq, entries, kCqBatch);
      if (n > 0) completed_ += static_cast<size_t>(n);
      if (n == -FI_EAVAIL) {
        fi_cq_err_entry error = {};
        fi_cq_readerr(nic.cq, &error, 0);
        die(std::string("completion with error: ") +
            fi_cq_strerror(nic.cq, error.prov_errno, error.err_data, nullptr, 0));
      }
      if (n < 0 && n != -FI_EAGAIN) check(n, "fi_cq_read");
    }
  }
  static void* desc(fid_mr* mr) { return mr != nullptr ? fi_mr_desc(mr) : nullptr; }

  std::vector<Nic> nics_;
  fi_info* list_ = nullptr;
  size_t posted_ = 0, completed_ = 0;
  size_t bytes_;
};

Pair::Pair(const Options& options) : bytes_(std::max<size_t>(options.max_size, 4096)) {
  out = static_cast<unsigned char*>(aligned_alloc(4096, (bytes_ + 4095) / 4096 * 4096));
  in = static_cast<unsigned char*>(aligned_alloc(4096, (bytes_ + 4095) / 4096 * 4096));
  memset(out, 1 + self, bytes_);
  memset(in, 0, bytes_);

  const bool rma = options.pattern.starts_with("read_");
  fi_info* hints = fi_allocinfo();
  hints->caps = FI_TAGGED | FI_MSG | (rma ? uint64_t{FI_RMA | FI_READ | FI_REMOTE_READ} : 0);
  hints->mode = FI_CONTEXT;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->mr_mode =
      FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->fabric_attr->prov_name = strdup(options.provider.c_str());
  // tcp;ofi_rxm has no address of its own: the loopback's.
  const char* node = options.provider.find("tcp") != std::string::npos ? "127.0.0.1" : nullptr;
  check(fi_getinfo(FI_VERSION(1, 17), node, nullptr, node != nullptr ? FI_SOURCE : 0, hints, &list_),
        "fi_getinfo");
  fi_freeinfo(hints);

  std::set<std::string> seen;
  nics_.reserve(options.nics);
  for (fi_info* info = list_; info != nullptr && nics_.size() < options.nics; info = info->next) {
    if (!seen.insert(info->domain_attr->name).second) continue;
    Nic nic;
    check(fi_fabric(info->fabric_attr, &nic.fabric, nullptr), "fi_fabric");
    check(fi_domain(nic.fabric, info, &nic.domain, nullptr), "fi_domain");
    fi_av_attr av = {};
    av.type = FI_AV_TABLE;
    check(fi_av_open(nic.domain, &av, &nic.av, nullptr), "fi_av_open");
    fi_cq_attr cq = {};
    cq.format = FI_CQ_FORMAT_TAGGED;
    cq.size = 4096;
    check(fi_cq_open(nic.domain, &cq, &nic.cq, nullptr), "fi_cq_open");
    info->tx_attr->op_flags = 0;
    check(fi_endpoint(nic.domain, info, &nic.ep, nullptr), "fi_endpoint");
    check(fi_ep_bind(nic.ep, &nic.av->fid, 0), "fi_ep_bind");
    check(fi_ep_bind(nic.ep, &nic.cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    check(fi_enable(nic.ep), "fi_enable");
    const size_t k = nics_.size();
    if (info->domain_attr->mr_mode & FI_MR_LOCAL || rma) {
      const uint64_t access = FI_SEND | FI_RECV | (rma ? uint64_t{FI_READ | FI_REMOTE_READ} : 0);
      check(fi_mr_reg(nic.domain, out, bytes_, access, 0, 2 * k, 0, &nic.out_mr, nullptr), "fi_mr_reg");
      check(fi_mr_reg(nic.domain, in, bytes_, access, 0, 2 * k + 1, 0, &nic.in_mr, nullptr), "fi_mr_reg");
      for (fid_mr* mr : {nic.out_mr, nic.in_mr}) {
        if (!(info->domain_attr->mr_mode & FI_MR_ENDPOINT)) continue;
        check(fi_mr_bind(mr, &nic.ep->fid, 0), "fi_mr_bind");
        check(fi_mr_enable(mr), "fi_mr_enable");
      }
      sides[self].key[k] = fi_mr_key(nic.out_mr);
      sides[self].base[k] =
          info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? reinterpret_cast<uint64_t>(out) : uint64_t{0};
    }
    nic.inject = info->tx_attr->inject_size;
    sides[self].address_bytes[k] = kAddressBytes;
    check(fi_getname(&nic.ep->fid, sides[self].address[k], &sides[self].address_bytes[k]), "fi_getname");
    nics_.push_back(nic);
  }
  if (nics_.size() < options.nics) {
    die("there are only " + std::to_string(nics_.size()) + " NICs, not " + std::to_string(options.nics));
  }
  barrier();
  for (size_t k = 0; k < nics_.size(); k++) {
    if (fi_av_insert(nics_[k].av, sides[1 - self].address[k], 1, &nics_[k].peer, 0, nullptr) != 1)
      die("fi_av_insert");
  }
  barrier();
}

Pair::~Pair() {
  for (Nic& nic : nics_) {
    fi_close(&nic.ep->fid);
    for (fid_mr* mr : {nic.out_mr, nic.in_mr}) {
      if (mr != nullptr) fi_close(&mr->fid);
    }
    fi_close(&nic.cq->fid);
    fi_close(&nic.av->fid);
    fi_close(&nic.domain->fid);
    fi_close(&nic.fabric->fid);
  }
  fi_freeinfo(list_);
  free(out);
  free(in);
}

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Mean one-way time, us.
double latency(Pair& pair, size_t size, int rounds, int warmup) {
  double begin = 0;
  for (int i = -warmup; i < rounds; i++) {
    if (i == 0) {
      pair.meet();
      begin = now_us();
    }
    pair.receive(size, 1);
    if (self == 0) pair.send(size, 1);
    pair.wait_all();
    if (self == 1) pair.send(size, 1);
  }
  pair.wait_all();
  const double end = now_us();
  pair.meet();
  return (end - begin) / rounds / 2;
}

// MB/s from process 0 to 1: windows of messages, each answered by a short one.
double bandwidth(Pair& pair, size_t size, int rounds, int warmup, int window) {
  double begin = 0;
  for (int i = -warmup; i < rounds; i++) {
    if (i == 0) {
      pair.meet();
      begin = now_us();
    }
    if (self == 0) pair.receive(1, 2);
    for (int k = 0; k < window; k++) {
      if (self == 0)
        pair.send(size, 1);
      else
        pair.receive(size, 1);
    }
    pair.wait_all();
    if (self == 1) pair.send(1, 2);
    pair.wait_all();
  }
  const double end = now_us();
  pair.meet();
  return static_cast<double>(size) * window * rounds / (end - begin);
}

// Process 0 reads from 1, `window` at a time. Returns us per read, or MB/s.
double reads(Pair& pair, size_t size, int rounds, int warmup, int window, bool rate) {
  double begin = 0;
  for (int i = -warmup; i < rounds && self == 0; i++) {
    if (i == 0) begin = now_us();
    for (int k = 0; k < window; k++) pair.read(size);
    pair.wait_all();
  }
  const double time = now_us() - begin;
  pair.meet();
  return rate ? static_cast<double>(size) * window * rounds / time : time / rounds / window;
}

// Every byte at the receiver is the sender's; the peers' buffers hold 1 and 2.
void validate(const Pair& pair, size_t size, bool both_ways) {
  if (self == 1 && !both_ways && sides[1].key[0] != 0) return;
  const unsigned char expected = static_cast<unsigned char>(1 + (1 - self));
  for (size_t i = 0; i < size; i++) {
    if (pair.in[i] != expected)
      die("byte " + std::to_string(i) + " of " + std::to_string(size) + " is wrong");
  }
}

// So many rounds as fill the time: process 0 sees how many fit into a tenth of it.
template <class Run>
int rounds_for(double seconds, Run run) {
  for (int rounds = 1;; rounds *= 2) {
    barrier();
    const double begin = now_us();
    run(rounds, 0);
    const double taken = (now_us() - begin) / 1e6;
    if (self == 0)
      sides[0].rounds = taken > seconds / 10 ? static_cast<int>(1 + rounds * (seconds / taken)) : 0;
    barrier();
    if (sides[0].rounds > 0) return sides[0].rounds;
  }
}

void measure(const Options& options) {
  Pair pair(options);
  const bool is_latency = options.pattern.ends_with("latency");
  const bool is_read = options.pattern.starts_with("read_");
  if (self == 0) {
    printf("# Raw libfabric %s: provider %s, %zu NIC%s\n", options.pattern.c_str(), options.provider.c_str(),
           options.nics, options.nics > 1 ? "s" : "");
    printf("# %-10s %20s\n", "Size", is_latency ? "Latency (us)" : "Bandwidth (MB/s)           Messages/s");
  }
  for (size_t size = options.min_size; size <= options.max_size; size *= 2) {
    const auto run = [&](int rounds, int warmup) {
      if (is_read) return reads(pair, size, rounds, warmup, is_latency ? 1 : options.window, !is_latency);
      return is_latency ? latency(pair, size, rounds, warmup)
                        : bandwidth(pair, size, rounds, warmup, options.window);
    };
    int rounds =
        std::max(1, size >= kLarge ? options.iterations / options.large_divisor : options.iterations);
    int warmup = options.warmup;
    if (options.seconds > 0) {
      rounds = rounds_for(options.seconds, run);
      warmup = rounds / 10 + 1;
    }
    const double value = run(rounds, warmup);
    if (options.validate && (self == (is_read ? 0 : 1) || (is_latency && !is_read)))
      validate(pair, size, true);
    if (self == 0 && is_latency)
      printf("%-12zu %20.2f\n", size, value);
    else if (self == 0)
      printf("%-12zu %20.2f %20.2f\n", size, value, value * 1e6 / static_cast<double>(size));
    fflush(stdout);
  }
  pair.meet();
}

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

}  // namespace

// Each process to a core of its own, as mpirun binds its ranks; not where there are too few.
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

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  void* memory = mmap(nullptr, sizeof(Side) * 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  sides = static_cast<Side*>(memory);
  const pid_t parent = getpid();
  const pid_t child = fork();  // before libfabric is used: each process is as if started alone
  if (child < 0) die("fork");
  self = child == 0 ? 1 : 0;
  bind_to_core();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a peer that failed shall not leave the other waiting
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
