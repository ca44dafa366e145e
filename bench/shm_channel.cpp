// shm_channel [--instructions]   Measures common/channel: rings in shared memory, and the shm channel over them.
//
// Without an option two processes exchange packets: half the time of a round trip, and the time for each packet of a stream, in
// ns; then one reads the other's memory with process_vm_readv. Each is the least of 300 short rounds. With --instructions the program runs itself under callgrind, which counts
// the instructions of single operations; three of each belong to the loop here.
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "channel/process_memory.hpp"
#include "channel/shm_channel.hpp"
#ifdef HAVE_CALLGRIND
#include <callgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_DUMP_STATS_AT(name) static_cast<void>(name)
#endif

using namespace efa;

namespace {

constexpr uint32_t kSizes[] = {0, 8, 40, 41, 64, 256, 1024, 4096, kMostShmPayload};
constexpr int kCounted = 10'000,
              kRounds = 300;  // short ones, so that some are not disturbed on a busy machine

[[noreturn]] void fail(const ShmFailure& failure) {
  std::fprintf(stderr, "%s: %s\n", failure.call, std::strerror(failure.error));
  std::exit(2);
}

ShmSender& connect(const ShmAddress& peer, uint64_t uid) {
  ShmFailure failure;
  ShmSender* const sender = ShmChannel::connect(peer, uid, failure);
  if (sender == nullptr) fail(failure);
  return *sender;
}

PacketHeader header_of(int tag) {
  return {1, 0, tag, 0, 0, PacketType::eager, 0, 0};
}

struct Sum {
  void packet(ShmSource&, const PacketHeader& header, const uint8_t* payload) {
    sum += static_cast<uint32_t>(header.tag) + payload[0];
    ++packets;
  }
  void broken(ShmSource&) { std::abort(); }
  uint64_t sum = 0, packets = 0;
};

// A function of its own, as the progress function of a transport is.
[[gnu::noinline]] int poll(ShmChannel& channel, Sum& sum) {
  return channel.poll(sum);
}

// Counts what `each` takes, kCounted times, in groups of `group` with `after` behind each, which is not counted.
template <class Each, class After>
void count(const char* name, int group, Each&& each, After&& after) {
  CALLGRIND_ZERO_STATS;
  for (int done = 0; done < kCounted; done += group) {
    CALLGRIND_TOGGLE_COLLECT;
    for (int i = 0; i < group; ++i) each(i);
    CALLGRIND_TOGGLE_COLLECT;
    after();
  }
  CALLGRIND_DUMP_STATS_AT(name);
}

void count_ring(uint32_t size) {
  const auto ring = std::make_unique<ShmRing>();
  ShmProducer producer(ring.get());
  ShmConsumer consumer(ring.get());
  std::vector<uint8_t> payload(size + 1);
  uint64_t sum = 0;
  const auto handler = [&](const PacketHeader& header, const uint8_t*) {
    sum += static_cast<uint32_t>(header.tag);
  };
  const auto take_all = [&] {
    while (consumer.poll(handler) == ShmPolled::packet) {
    }
  };
  const std::string text = " of a ring, " + std::to_string(size) + " B";
  // Not known to the compiler, so that it is not specialized.
  volatile uint32_t told = size;
  const size_t length = told;
  count(("put" + text).c_str(), 80,
        [&](int i) {
          if (!producer.put(header_of(i), payload.data(), length)) std::abort();
        },
        take_all);
  const auto fill = [&] {
    take_all();
    for (int i = 0; i < 80; ++i)
      if (!producer.put(header_of(i), payload.data(), length)) std::abort();
  };
  fill();
  count(("poll that takes one" + text).c_str(), 80,
        [&](int) {
          if (consumer.poll(handler) != ShmPolled::packet) fill();
        },
        fill);
  take_all();
  if (size == 8)
    count(
        "idle poll of a ring", 1000,
        [&](int) {
          if (consumer.poll(handler) != ShmPolled::empty) std::abort();
        },
        [] {});
}

void count_channel(uint32_t senders, uint32_t hot) {
  ShmChannel channel;
  ShmFailure failure;
  if (!channel.open(failure)) fail(failure);
  std::vector<ShmSender*> all;
  Sum sum;
  for (uint32_t i = 0; i < senders; ++i) {
    all.push_back(&connect(channel.address(), i));
    all[i]->send(header_of(0), &i, sizeof i);
  }
  const auto drain = [&] {
    for (uint32_t n = 0; n < hot; ++n) all[n]->send(header_of(0), &n, sizeof n);
    for (int i = 0; i < 100; ++i) channel.poll(sum);
  };
  drain();
  // Only the first ones stay hot.
  for (uint32_t i = 0; i < 3 * kShmTickPolls * kShmCoolTicks; ++i) {
    if (i % 1000 == 0)
      for (uint32_t n = 0; n < hot; ++n) all[n]->send(header_of(0), &i, sizeof i);
    channel.poll(sum);
  }
  drain();
  const auto check = [&] {
    if (channel.hot_rings() != hot)
      std::exit((std::fprintf(stderr, "%u hot rings\n", channel.hot_rings()), 2));
  };
  check();
  const std::string text = ", " + std::to_string(hot) + " hot rings of " + std::to_string(senders);
  const uint64_t eight = 8;
  volatile uint32_t told = 8;
  const size_t length = told;
  count(("send 8 B" + text).c_str(), 80,
        [&](int i) {
          if (!all[0]->send(header_of(i), &eight, length)) std::abort();
        },
        drain);
  const auto send_one = [&] {
    drain();
    all[0]->send(header_of(1), &eight, length);
  };
  send_one();
  count(("poll that takes one of 8 B" + text).c_str(), 1, [&](int) { poll(channel, sum); }, send_one);
  drain();
  count(("idle poll" + text).c_str(), 1000, [&](int) { poll(channel, sum); }, drain);
  check();
}

void count_under_callgrind() {
  for (const uint32_t size : {0u, 8u, 40u, 64u}) count_ring(size);
  count_channel(1, 1);
  count_channel(kMostHotRings, kMostHotRings);
  count_channel(300, 1);
}

int print_instructions() {
  char directory[] = "/tmp/shm_channel-XXXXXX";
  if (!mkdtemp(directory)) std::exit((std::perror(directory), 2));
  const std::string out = std::string(directory) + "/out";
  const pid_t child = fork();
  if (child == 0) {
    const std::string file = "--callgrind-out-file=" + out;
    char self[4096] = {};
    if (readlink("/proc/self/exe", self, sizeof self - 1) > 0)
      execlp("valgrind", "valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", file.c_str(), self,
             nullptr);
    std::perror("valgrind");
    _exit(2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const std::string trigger = "desc: Trigger: Client Request: ";
  for (int n = 1;; ++n) {
    const std::string dump = out + "." + std::to_string(n);
    std::ifstream file(dump);
    if (!file) break;
    double instructions = 0;
    std::string name;
    for (std::string line; std::getline(file, line);) {
      if (line.rfind("totals: ", 0) == 0 || line.rfind("summary: ", 0) == 0)
        instructions = std::strtod(line.c_str() + line.find(' '), nullptr);
      else if (line.rfind(trigger, 0) == 0)
        name = line.substr(trigger.size());
    }
    std::printf("%-60s %8.1f\n", name.c_str(), instructions / kCounted);
    unlink(dump.c_str());
  }
  unlink(out.c_str());
  rmdir(directory);
  return status == 0 ? 0 : 2;
}

double now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// What the two processes have in common besides the channels.
struct Shared {
  ShmAddress address[2];
  std::atomic<int> open;
};

struct Side {
  Side(Shared& it, int me) : shared(it) {
    ShmFailure failure;
    if (!channel.open(failure)) fail(failure);
    shared.address[me] = channel.address();
    shared.open.fetch_add(1);
    while (shared.open.load() < 2) usleep(100);
    sender = &connect(shared.address[1 - me], static_cast<uint64_t>(me));
  }
  void send(const uint8_t* payload, size_t size) {
    while (!sender->send(header_of(1), payload, size)) channel.poll(sum);
  }
  void receive(uint64_t packets) {
    expected += packets;
    while (sum.packets < expected) channel.poll(sum);
  }
  Shared& shared;
  ShmChannel channel;
  ShmSender* sender;
  Sum sum;
  uint64_t expected = 0;
};

void exchange(Side& side, bool first) {
  std::vector<uint8_t> payload(kMostShmPayload + 1, 1);
  for (const uint32_t size : kSizes) {
    const int round_trips = 300, packets = size > 1000 ? 500 : 3'000;
    double trip = 1e18, stream = 1e18;
    for (int round = 0; round < kRounds; ++round) {
      const double begin = now_ns();
      for (int i = 0; i < round_trips; ++i) {
        if (first) side.send(payload.data(), size);
        side.receive(1);
        if (!first) side.send(payload.data(), size);
      }
      const double middle = now_ns();
      if (first) {
        for (int i = 0; i < packets; ++i) side.send(payload.data(), size);
        side.receive(1);
      } else {
        side.receive(static_cast<uint64_t>(packets));
        side.send(payload.data(), size);
      }
      trip = std::min(trip, (middle - begin) / (2.0 * round_trips));
      stream = std::min(stream, (now_ns() - middle) / packets);
    }
    if (first) {
      std::printf("%6u %12.0f %12.1f %12.1f\n", size, trip, stream, size / stream);
      std::fflush(stdout);
    }
  }
}

// How fast this process reads the memory at the same address of another one.
void read_memory(pid_t other, const std::vector<uint8_t>& memory) {
  std::vector<uint8_t> here(memory.size());
  std::printf("\n# bytes  process_vm_readv, ns  GB/s  memcpy, ns\n");
  for (size_t size = 64; size <= memory.size(); size *= 4) {
    const iovec to{here.data(), size}, from{const_cast<uint8_t*>(memory.data()), size};
    double read = 1e18, copy = 1e18;
    for (int round = 0; round < 300; ++round) {
      const double begin = now_ns();
      if (const int error = read_process_memory(static_cast<uint32_t>(other), &to, 1, &from, 1)) {
        std::printf("%s\n", std::strerror(error));
        return;
      }
      const double middle = now_ns();
      std::memcpy(here.data(), memory.data(), size);
      read = std::min(read, middle - begin);
      copy = std::min(copy, now_ns() - middle);
    }
    std::printf("%7zu %21.0f %5.1f %11.0f\n", size, read, static_cast<double>(size) / read, copy);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (RUNNING_ON_VALGRIND) {
    count_under_callgrind();
    return 0;
  }
  if (argc == 2 && std::strcmp(argv[1], "--instructions") == 0) return print_instructions();
  if (argc != 1) {
    std::fprintf(stderr, "usage: shm_channel [--instructions]\n");
    return 2;
  }
  void* const memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::perror("mmap"), 2;
  Shared& shared = *new (memory) Shared{};
  std::printf("# bytes  one way, ns   stream, ns  stream, GB/s\n");
  std::fflush(stdout);
  const std::vector<uint8_t> to_read(4 << 20, 1);
  int end[2];  // closed by the parent when it has read
  if (pipe(end) != 0) return std::perror("pipe"), 2;
  const pid_t child = fork();
  if (child == 0) {
    close(end[1]);
    Side side(shared, 1);
    exchange(side, false);
    char byte;
    _exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
  }
  Side side(shared, 0);
  exchange(side, true);
  read_memory(child, to_read);
  close(end[1]);
  waitpid(child, nullptr, 0);
  return 0;
}
