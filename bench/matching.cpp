// matching [--instructions] [--bound RATIO]   Measures common/matching: one match with n other entries in the queue.
//
// A row is a kind of match, a column the depth n of the queue. Each operation takes an entry out of the queue and puts it
// back, so the depth stays: in the posted queue a message arrives and the receive is posted again; in the unexpected queue
// a receive takes a message and one like it arrives. Nothing else of a message path is there. "random": entries match
// in random order, so each is in another place of memory (256 bytes each). The first rows touch the entries without the
// engine: what cache misses of the caller's structures cost by themselves.
//
// Times are nanoseconds of CPU, the best of several rounds. With --instructions the program runs itself under callgrind
// instead, which counts instructions; they do not depend on the machine. With --bound each kind of exact match that costs
// more than RATIO times as much at depth 10,000 as at 10 has failed; the last line counts them, as ci/test reads it.
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "matching/engine.hpp"
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

constexpr size_t kDepths[] = {1, 10, 100, 1'000, 10'000, 100'000};
constexpr size_t kBase = 1, kBound = 4;  // depths 10 and 10,000: the ratio
constexpr int32_t kSources = 64;
constexpr int32_t kElsewhere = 1 << 20;  // a source and tag that no other entry has
constexpr size_t kSteps = 1 << 16, kOperations = 100'000, kCountedOperations = 4'000;
constexpr int kRounds = 9;

// A request of the caller; about as large as one.
struct alignas(64) Entry {
  PostedReceive receive{};
  UnexpectedMessage message{};
  char rest[64];
};
static_assert(sizeof(Entry) == 256);

// `burst`: the queue is filled and emptied again, oldest first; includes the growth of the table.
enum class Order { oldest, newest, random, burst };
// `nothing`: the entry's memory is written, without the engine.
enum class Asked { exact, any_source, any_tag, anything, nothing };

struct Case {
  const char* name;
  bool posted;
  Order order;
  Asked asked;
  bool wildcards_wait;  // receives with wildcards are posted that the messages do not match
  bool bounded;
};
constexpr Case kCases[] = {
    {"the entry's memory alone, oldest", true, Order::oldest, Asked::nothing, false, false},
    {"the entry's memory alone, random", true, Order::random, Asked::nothing, false, false},
    {"posted, exact, oldest", true, Order::oldest, Asked::exact, false, true},
    {"posted, exact, newest", true, Order::newest, Asked::exact, false, true},
    {"posted, exact, random", true, Order::random, Asked::exact, false, true},
    {"posted, exact, random; 2 wildcards wait", true, Order::random, Asked::exact, true, false},
    {"posted, any source, random", true, Order::random, Asked::any_source, false, false},
    {"posted, anything, behind n exact", true, Order::newest, Asked::anything, false, false},
    {"posted, exact, n posted and then matched", true, Order::burst, Asked::exact, false, false},
    {"unexpected, exact, oldest", false, Order::oldest, Asked::exact, false, true},
    {"unexpected, exact, newest", false, Order::newest, Asked::exact, false, true},
    {"unexpected, exact, random", false, Order::random, Asked::exact, false, true},
    {"unexpected, exact, n arrive, then n receives", false, Order::burst, Asked::exact, false, false},
    {"unexpected, any source, random", false, Order::random, Asked::any_source, false, false},
    {"unexpected, any tag, random source", false, Order::random, Asked::any_tag, false, false},
    {"unexpected, anything, oldest", false, Order::oldest, Asked::anything, false, false},
    {"unexpected, anything, n arrive, then n receives", false, Order::burst, Asked::anything, false, false},
};

double now_ns() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

class Bench {
 public:
  Bench(const Case& c, size_t depth) : case_(c), entries_(depth), steps_(kSteps) {
    std::mt19937 random(1);
    for (size_t n = 0; n < kSteps; ++n) {
      const size_t i = c.order == Order::oldest   ? n % depth
                       : c.order == Order::newest ? depth - 1
                                                  : random() % depth;
      steps_[n] = {envelope(i), pattern(i), &entries_[i]};
    }
    if (c.wildcards_wait) {
      queues_.post(waiting_[0], {kAnySource, kElsewhere});
      queues_.post(waiting_[1], {kElsewhere, kAnyTag});
    }
    if (c.order != Order::burst) fill();
  }
  ~Bench() {
    queues_.take_posted_if([](auto&) { return true; }, [](auto&) {});
    queues_.take_unexpected_if([](auto&) { return true; }, [](auto&) {});
  }

  // Runs at least this number of operations; returns how many.
  size_t run(size_t operations) {
    if (case_.order == Order::burst) {
      const size_t bursts = (operations + entries_.size() - 1) / entries_.size();
      for (size_t i = 0; i < bursts; ++i) {
        fill();
        empty();
      }
      return bursts * entries_.size();
    }
    if (case_.asked == Asked::nothing)
      touch(operations);
    else if (case_.posted)
      match_posted(operations);
    else
      match_unexpected(operations);
    return operations;
  }

 private:
  bool last_is_elsewhere() const { return case_.posted && case_.asked == Asked::anything; }
  Envelope envelope(size_t i) const {
    if (last_is_elsewhere() && i + 1 == entries_.size()) return {kElsewhere, kElsewhere};
    return {static_cast<int32_t>(i) % kSources, static_cast<int32_t>(i)};
  }
  Envelope pattern(size_t i) const {
    Envelope e = envelope(i);
    if (last_is_elsewhere() && i + 1 < entries_.size()) return e;
    if (case_.asked == Asked::any_source || case_.asked == Asked::anything) e.source = kAnySource;
    if (case_.asked == Asked::any_tag || case_.asked == Asked::anything) e.tag = kAnyTag;
    return e;
  }
  void fill() {
    for (size_t i = 0; i < entries_.size(); ++i)
      if (case_.posted)
        queues_.post(entries_[i].receive, pattern(i));
      else if (!queues_.arrive(envelope(i)))
        queues_.add_unexpected(entries_[i].message, envelope(i));
  }
  void empty() {
    for (size_t i = 0; i < entries_.size(); ++i) {
      const bool right = case_.posted ? queues_.arrive(envelope(i)) == &entries_[i].receive
                                      : queues_.post(receive_, pattern(i)) == &entries_[i].message;
      if (!right) std::abort();
    }
  }
  // Reads and writes what a match reads and writes of the entry; the next address depends on it, as in a chain.
  void touch(size_t operations) {
    for (size_t n = 0; n < operations; ++n) {
      const Step& step = steps_[(next_++ + waiting_[0].key) % kSteps];
      if (step.entry->receive.key != match_key(step.pattern)) std::abort();
      step.entry->message.key = waiting_[0].key = step.entry->message.order;
    }
  }
  void match_posted(size_t operations) {
    for (size_t n = 0; n < operations; ++n) {
      const Step& step = steps_[next_++ % kSteps];
      PostedReceive* receive = queues_.arrive(step.message);
      if (receive != &step.entry->receive) std::abort();
      queues_.post(*receive, step.pattern);
    }
  }
  void match_unexpected(size_t operations) {
    for (size_t n = 0; n < operations; ++n) {
      UnexpectedMessage* message = queues_.post(receive_, steps_[next_++ % kSteps].pattern);
      if (!message) std::abort();
      const Envelope again = message->envelope();
      if (queues_.arrive(again)) std::abort();
      queues_.add_unexpected(*message, again);
    }
  }

  struct Step {
    Envelope message, pattern;
    Entry* entry;
  };

  const Case& case_;
  std::vector<Entry> entries_;
  std::vector<Step> steps_;  // repeated
  size_t next_ = 0;
  PostedReceive receive_{}, waiting_[2]{};
  MatchQueues queues_;
};

double time_of(const Case& c, size_t depth) {
  Bench bench(c, depth);
  bench.run(std::max(kOperations, depth));
  double best = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    const double begin = now_ns();
    const size_t done = bench.run(kOperations);
    best = std::min(best, (now_ns() - begin) / static_cast<double>(done));
  }
  return best;
}

// The first search of a kind in a deep queue makes an index: ns for each message.
double index_time(size_t depth) {
  double best = 1e30;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<UnexpectedMessage> messages(depth);
    MatchQueues queues;
    for (size_t i = 0; i < depth; ++i)
      queues.add_unexpected(messages[i], {static_cast<int32_t>(i) % kSources, static_cast<int32_t>(i)});
    const double begin = now_ns();
    if (queues.probe({kAnySource, 0}) != messages.data()) std::abort();
    best = std::min(best, (now_ns() - begin) / static_cast<double>(depth));
    queues.take_unexpected_if([](auto&) { return true; }, [](auto&) {});
  }
  return best;
}

void count_under_callgrind() {
  for (const Case& c : kCases)
    for (const size_t depth : kDepths) {
      Bench bench(c, depth);
      bench.run(kCountedOperations);
      CALLGRIND_ZERO_STATS;
      CALLGRIND_TOGGLE_COLLECT;
      const size_t done = bench.run(kCountedOperations);
      CALLGRIND_TOGGLE_COLLECT;
      CALLGRIND_DUMP_STATS_AT(std::to_string(done).c_str());
    }
}

// The instructions of each case and depth, in the order of count_under_callgrind().
std::vector<double> instructions() {
  char directory[] = "/tmp/matching-XXXXXX";
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
  std::vector<double> counts;
  for (int number = 1; status == 0; ++number) {
    std::ifstream dump(out + "." + std::to_string(number));
    if (!dump) break;
    double count = -1, operations = 1;
    const std::string trigger = "desc: Trigger: Client Request: ";
    for (std::string line; std::getline(dump, line);)
      if (line.rfind("totals: ", 0) == 0 || line.rfind("summary: ", 0) == 0)
        count = std::strtod(line.c_str() + line.find(' '), nullptr);
      else if (line.rfind(trigger, 0) == 0)
        operations = std::strtod(line.c_str() + trigger.size(), nullptr);
    counts.push_back(count / operations);
  }
  if (system(("rm -rf " + std::string(directory)).c_str()) != 0) std::perror(directory);
  // One dump more, at the end of the program, is empty.
  if (counts.size() < std::size(kCases) * std::size(kDepths)) {
    std::fprintf(stderr,
                 "matching: valgrind counted nothing; is it installed, with its headers at build time?\n");
    std::exit(2);
  }
  return counts;
}

}  // namespace

int main(int argc, char** argv) {
  if (RUNNING_ON_VALGRIND) {
    count_under_callgrind();
    return 0;
  }
  bool counts = false;
  double bound = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--instructions") == 0) {
      counts = true;
    } else if (std::strcmp(argv[i], "--bound") == 0 && i + 1 < argc) {
      bound = std::strtod(argv[++i], nullptr);
    } else {
      std::fprintf(stderr, "usage: matching [--instructions] [--bound RATIO]\n");
      return 2;
    }
  }
  const std::vector<double> counted = counts ? instructions() : std::vector<double>{};
  std::printf("# %s for taking an entry out and putting it back, by depth\n", counts ? "instructions" : "ns");
  std::printf("%-48s", "#");
  for (const size_t depth : kDepths) std::printf("%9zu", depth);
  std::printf("  10000/10\n");
  unsigned passed = 0, failed = 0;
  for (size_t row = 0; row < std::size(kCases); ++row) {
    std::printf("%-48s", kCases[row].name);
    double values[std::size(kDepths)];
    for (size_t i = 0; i < std::size(kDepths); ++i) {
      values[i] = counts ? counted[row * std::size(kDepths) + i] : time_of(kCases[row], kDepths[i]);
      std::printf("%9.1f", values[i]);
      std::fflush(stdout);
    }
    const double ratio = values[kBound] / values[kBase];
    std::printf("%10.2f\n", ratio);
    if (bound > 0 && kCases[row].bounded) {
      if (ratio > bound) std::printf("FAILED: more than %.2f times as much at depth 10,000\n", bound);
      ++(ratio > bound ? failed : passed);
    }
  }
  if (!counts) {
    std::printf("%-48s", "first search for any source, for each message");
    for (const size_t depth : kDepths) std::printf("%9.1f", index_time(depth));
    std::printf("\n");
  }
  if (bound > 0) std::printf("%u passed, %u failed\n", passed, failed);
  return failed > 0;
}
