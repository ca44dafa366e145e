// peers [-n MOST] [-r RAILS] [-H RANKS_PER_HOST]   Measures the cost of a peer as the job grows: bytes before and after
//                                                  first contact, time to resolve, send, receive and destroy.
//
// The transport runs over a provider that does nothing: its table of addresses is made before the measurement, a send is
// accepted and dropped, a receive completes when the queue is read next. So only the cost of common/ is measured; a real
// provider adds its address vector and its work.
#include <malloc.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "peers/card.hpp"
#include "peers/peers.hpp"
#include "state.hpp"

namespace {

constexpr size_t kAddress = 32;  // bytes, as efa's
constexpr size_t kOperations = 200'000;
constexpr size_t kFew = 64;        // size of a working set of peers
constexpr int kRepeats = 7;        // of each timing; the best counts
constexpr double kDestroyLimit_s = 5;  // for destroying peers

size_t heap() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// CPU time of this thread, which other processes disturb least.
double now_s() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// --- the provider -------------------------------------------------------------------------------------

struct Provider {
  fid_ep ep{};
  fid_cq cq{};
  fid_av av{};
  fi_addr_t next = 0;  // an address is its index in the table
  void* received = nullptr;
  uint64_t tag = 0, sent = 0;
};
Provider provider;

int insert(fid_av*, const void*, size_t count, fi_addr_t* to, uint64_t, void*) {
  *to = provider.next++;
  return static_cast<int>(count);
}
int forget(fid_av*, fi_addr_t*, size_t, uint64_t) {
  return 0;
}
ssize_t inject(fid_ep*, const void*, size_t, uint64_t, fi_addr_t to, uint64_t) {
  provider.sent += to;
  return 0;
}
ssize_t receive(fid_ep*, void*, size_t, void*, fi_addr_t, uint64_t tag, uint64_t, void* context) {
  provider.received = context;
  provider.tag = tag;
  return 0;
}
ssize_t receivev(fid_ep* ep, const iovec*, void**, size_t, fi_addr_t from, uint64_t tag, uint64_t ignore,
                 void* context) {
  return receive(ep, nullptr, 0, nullptr, from, tag, ignore, context);
}
ssize_t read_queue(fid_cq*, void* to, size_t) {
  if (!provider.received) return -FI_EAGAIN;
  auto* entry = static_cast<fi_cq_tagged_entry*>(to);
  *entry = {};
  entry->op_context = std::exchange(provider.received, nullptr);
  entry->len = 8;
  entry->tag = provider.tag;
  return 1;
}
int close_nothing(fid*) {
  return 0;
}

fi_ops object_ops = [] {
  fi_ops ops{};
  ops.size = sizeof ops;
  ops.close = close_nothing;
  return ops;
}();
fi_ops_av av_ops = [] {
  fi_ops_av ops{};
  ops.size = sizeof ops;
  ops.insert = insert;
  ops.remove = forget;
  return ops;
}();
fi_ops_tagged tagged_ops = [] {
  fi_ops_tagged ops{};
  ops.size = sizeof ops;
  ops.recv = receive;
  ops.recvv = receivev;
  ops.injectdata = inject;
  return ops;
}();
fi_ops_cq cq_ops = [] {
  fi_ops_cq ops{};
  ops.size = sizeof ops;
  ops.read = read_queue;
  return ops;
}();

// --- the transport ------------------------------------------------------------------------------------

efa_config config_of() {
  efa_config config{};
  efa_options_defaults(&config.options);
  config.self = {0, 0, 0};
  config.hostname = "ip-10-0-0-0.eu-central-1.compute.internal";
  config.report = [](const efa_user_message* message) { std::fprintf(stderr, "%s\n", message->text); };
  config.fatal = [](const efa_user_message* message) {
    std::fprintf(stderr, "%s\n", message->text);
    std::abort();
  };
  return config;
}

// With the given number of rails; only their number matters here.
std::unique_ptr<efa_transport> open_transport(unsigned rails) {
  provider = {};
  provider.ep.fid.ops = provider.cq.fid.ops = provider.av.fid.ops = &object_ops;
  provider.ep.tagged = &tagged_ops;
  provider.cq.ops = &cq_ops;
  provider.av.ops = &av_ops;
  efa::MessagePart why;
  const auto tags = efa::TagLayout::make(efa::TagSpace{UINT64_MAX, 4, true}, why);
  if (!tags) {
    std::fprintf(stderr, "%s\n", why.text().c_str());
    std::exit(1);
  }
  auto t = std::make_unique<efa_transport>(config_of(), *tags);
  t->traits = &efa::provider_traits("efa");
  t->rails.first.info.reset(fi_allocinfo());
  t->rails.first.info->fabric_attr->prov_name = strdup("efa");
  t->rails.first.info->domain_attr->name = strdup("rdmap0s6-rdm");
  t->rails.first.ep.reset(&provider.ep);
  t->rails.first.cq.reset(&provider.cq);
  t->rails.first.av.reset(&provider.av);
  for (unsigned i = 1; i < rails; ++i) t->rails.more.push_back(std::make_unique<efa::OpenRail>());
  t->ep = &provider.ep;
  t->cq = &provider.cq;
  auto& p = t->protocols;
  p.inject_limit = t->inject_limit = 32;
  p.eager_limit = p.eager_limit_packed = p.longest_eager = p.piece = p.read = p.stripe = p.staging = 65536;
  p.window = 4;
  p.pulls = rails > 1;
  p.truncates = true;
  t->address_size = kAddress;
  return t;
}

// The card that rank `rank` would publish.
std::vector<uint8_t> card_of(size_t rank, unsigned rails, size_t ranks_per_host) {
  const size_t host = rank / ranks_per_host + 1;
  efa::Card card;
  card.provider = "efa";
  card.eager_limit = 65536;
  card.host = "ip-10-" + std::to_string(host >> 16) + "-" + std::to_string(host >> 8 & 255) + "-" +
              std::to_string(host & 255) + ".eu-central-1.compute.internal";
  card.nic = "rdmap" + std::to_string(rank % 4 * 16) + "s27-rdm";
  card.address.resize(kAddress);
  card.address[0] = 1;
  std::memcpy(card.address.data() + 8, &rank, sizeof rank);
  card.more.assign((rails - 1) * kAddress, 7);
  return card.serialize();
}

// --- what is measured ---------------------------------------------------------------------------------

struct Row {
  double before = 0, after = 0;                               // bytes of the heap for each peer
  double resolve = 0, few = 0, any = 0, receive = 0, go = 0;  // ns
};

// The same pseudo-random sequence every time, over all peers.
class Sequence {
 public:
  size_t next(size_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % below;
  }

 private:
  uint64_t state_ = 1;
};

double send_to(efa_transport* t, const std::vector<efa_peer*>& peers, size_t below) {
  Sequence sequence;
  std::vector<uint32_t> targets(kOperations);
  for (auto& target : targets) target = static_cast<uint32_t>(sequence.next(below));
  const uint64_t data = 1;
  const double begin = now_s();
  for (const uint32_t target : targets) {
    const efa_envelope to{5, 0, static_cast<int32_t>(target), 1, false};
    if (!efa_try_inject(t, peers[target], &to, &data, sizeof data)) std::abort();
  }
  return (now_s() - begin) / static_cast<double>(kOperations) * 1e9;
}

double receive_from(efa_transport* t, const std::vector<efa_peer*>& peers, size_t below) {
  Sequence sequence;
  static size_t completed;
  completed = 0;
  uint64_t data = 0;
  efa_request r{};
  r.done = [](efa_request*) { ++completed; };
  const double begin = now_s();
  for (size_t i = 0; i < kOperations; ++i) {
    const size_t from = sequence.next(below);
    const efa_envelope e{5, 0, static_cast<int32_t>(from), 1, false};
    r.op.peer = peers[from];
    r.data = {&data, sizeof data, nullptr};
    efa_recv(t, &r, &e);
    efa_progress(t);
  }
  const double time = (now_s() - begin) / static_cast<double>(kOperations) * 1e9;
  if (completed != kOperations) std::abort();
  return time;
}

template <class Measure>
double best(Measure measure) {
  double least = measure();
  for (int i = 1; i < kRepeats; ++i) least = std::min(least, measure());
  return least;
}

Row measure(size_t count, unsigned rails, size_t ranks_per_host) {
  Row row;
  const double each = static_cast<double>(count);
  // proc_endpoints[MTL] of each ompi_proc_t: the only memory of Open MPI that the component uses for a rank before first
  // contact. The transport does not know the size of the job.
  const size_t empty = heap();
  std::vector<efa_peer*> peers(count);
  auto t = open_transport(rails);
  row.before = static_cast<double>(heap() - empty) / each;

  // In batches, so that the cards, which belong to Open MPI, count neither in time nor in memory.
  constexpr size_t kBatch = 1000;
  std::vector<std::vector<uint8_t>> cards(kBatch);
  for (size_t first = 0; first < count; first += kBatch) {
    const size_t here = std::min(kBatch, count - first);
    for (size_t i = 0; i < here; ++i) cards[i] = card_of(first + i, rails, ranks_per_host);
    const size_t used = heap();
    const double begin = now_s();
    for (size_t i = 0; i < here; ++i) {
      const efa_identity who{first + i + 1, static_cast<int32_t>(first + i), 0};
      peers[first + i] = efa_peer_create(t.get(), &who, cards[i].data(), cards[i].size());
      if (!peers[first + i]) std::exit(1);
    }
    row.resolve += (now_s() - begin) / each * 1e9;
    row.after += (static_cast<double>(heap()) - static_cast<double>(used)) / each;
  }

  row.few = best([&] { return send_to(t.get(), peers, std::min(kFew, count)); });
  row.any = best([&] { return send_to(t.get(), peers, count); });
  row.receive = best([&] { return receive_from(t.get(), peers, std::min(kFew, count)); });

  // As MPI_Finalize does, in the order of ranks. If it takes too long, the mean over those destroyed so far.
  size_t gone = 0;
  const double begin = now_s();
  while (gone < count && (gone % 100 || now_s() - begin < kDestroyLimit_s))
    efa_peer_destroy(t.get(), peers[gone++]);
  row.go = (now_s() - begin) / static_cast<double>(gone) * 1e9;
  // No efa_close: there is no network to drain, and the provider's objects are static.
  t->closing = true;
  return row;
}

}  // namespace

int main(int argc, char** argv) {
  size_t most = 1'000'000, ranks_per_host = 96;
  unsigned rails = 1;
  for (int option; (option = getopt(argc, argv, "n:r:H:")) != -1;) {
    const long value = optarg ? std::strtol(optarg, nullptr, 10) : 0;
    if (option == '?' || value < 1 || (option == 'r' && value > static_cast<long>(efa::kMostRails))) {
      std::fprintf(stderr, "usage: peers [-n MOST] [-r RAILS (1 to %u)] [-H RANKS_PER_HOST]\n",
                   efa::kMostRails);
      return 2;
    }
    if (option == 'n') most = static_cast<size_t>(value);
    if (option == 'r') rails = static_cast<unsigned>(value);
    if (option == 'H') ranks_per_host = static_cast<size_t>(value);
  }
  std::printf(
      "# %u rail%s, %zu ranks on each host; sizeof(efa_peer) %zu; bytes and ns for each peer or operation\n",
      rails, rails > 1 ? "s" : "", ranks_per_host, sizeof(efa_peer));
  std::printf("%-9s %13s %13s %9s %13s %12s %12s %9s\n", "# peers", "bytes before", "bytes after", "resolve",
              "send, few", "send, any", "receive", "go");
  for (size_t count = 1000; count <= most; count *= 10) {
    const Row row = measure(count, rails, ranks_per_host);
    std::printf("%-9zu %13.1f %13.1f %9.0f %13.1f %12.1f %12.1f %9.0f\n", count, row.before, row.after,
                row.resolve, row.few, row.any, row.receive, row.go);
    std::fflush(stdout);
  }
  return 0;
}
