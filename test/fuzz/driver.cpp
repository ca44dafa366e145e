// Runs a fuzz target without libFuzzer (for g++): a deterministic, structure-aware mutator without coverage feedback, with a
// maximum number of inputs and a maximum time.
//
//   TARGET [--seed N] [--inputs N] [--seconds N]   mutates the target's seed inputs; defaults: 1, 20000, 10
//   TARGET FILE...                                 runs these inputs, from an earlier run or from AFL
//   TARGET --write-seeds DIRECTORY                 writes the seed inputs, for libFuzzer and AFL
//
// An input that fails is written to fuzz-failure-SEED-NUMBER in the working directory.
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>

#include "fuzz.hpp"

// In the sanitizers' runtime; null in a build without sanitizers.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*)());
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  // 2: keep the sanitizer's handler even if a library below libfabric (psm) installs its own.
  return "handle_abort=2:handle_segv=2:handle_sigbus=2:handle_sigfpe=2:detect_leaks=0:allocator_may_return_"
         "null=1";
}

namespace {

constexpr size_t kLongest = 2048;     // maximum length of an input, bytes
constexpr size_t kMostInputs = 4096;  // maximum number of inputs kept for mutation and splicing
constexpr int kHangs_s = 5;  // processor time after which an input hangs, s; it usually takes about 1 ms

const FuzzInput* current;  // for the report of a failure
char failure_file[128];

void write_failing_input() {
  if (!current) return;
  std::ofstream(failure_file, std::ios::binary)
      .write(reinterpret_cast<const char*>(current->data()), static_cast<std::streamsize>(current->size()));
  std::fprintf(stderr, "fuzz: the input is in %s\n", failure_file);
  current = nullptr;
}

void run(const FuzzInput& input, const std::string& name) {
  std::snprintf(failure_file, sizeof failure_file, "fuzz-failure-%s", name.c_str());
  current = &input;
  const itimerval limit{{0, 0}, {kHangs_s, 0}};
  setitimer(ITIMER_VIRTUAL, &limit, nullptr);
  // A copy without spare capacity, so that the sanitizer detects a read behind the input.
  const FuzzInput exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  current = nullptr;
}

int run_files(char** names) {
  for (; *names; ++names) {
    std::ifstream in(*names, std::ios::binary);
    if (!in) {
      std::fprintf(stderr, "fuzz: cannot read %s\n", *names);
      return 2;
    }
    const FuzzInput input{std::istreambuf_iterator<char>(in), {}};
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return 0;
}

int write_seeds(const std::string& directory) {
  int number = 0;
  for (const auto& seed : fuzz_seeds()) {
    std::ofstream out(directory + "/seed-" + std::to_string(number++), std::ios::binary);
    out.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
    if (!out) {
      std::fprintf(stderr, "fuzz: cannot write to %s\n", directory.c_str());
      return 2;
    }
  }
  return 0;
}

// The beginning of one input and the end of another.
FuzzInput spliced(const FuzzInput& first, const FuzzInput& second, FuzzRandom& random) {
  FuzzInput result(first.begin(), first.begin() + static_cast<long>(random.below(first.size() + 1)));
  const size_t from = random.below(second.size() + 1);
  result.insert(result.end(), second.begin() + static_cast<long>(from), second.end());
  if (result.size() > kLongest) result.resize(kLongest);
  return result;
}

int fuzz(uint64_t seed, uint64_t inputs, uint64_t seconds) {
  const auto begin = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<FuzzInput> kept = fuzz_seeds();
  const size_t given = kept.size();
  for (size_t i = 0; i < given; ++i) run(kept[i], "seed-" + std::to_string(i));
  FuzzRandom random(seed);
  uint64_t done = 0;
  for (; done < inputs && elapsed() < static_cast<double>(seconds); ++done) {
    FuzzInput input = kept[random.below(kept.size())];
    if (random.below(8) == 0) input = spliced(input, kept[random.below(kept.size())], random);
    const size_t changes = 1 + random.below(6);
    for (size_t i = 0; i < changes; ++i) {
      const size_t size = input.size();
      input.resize(kLongest);
      input.resize(
          LLVMFuzzerCustomMutator(input.data(), size, kLongest, static_cast<unsigned>(random.next())));
    }
    run(input, std::to_string(seed) + "-" + std::to_string(done));
    // Some mutated inputs are kept for further mutation. The seed inputs are never replaced.
    if (random.below(16) == 0) {
      if (kept.size() < kMostInputs)
        kept.push_back(std::move(input));
      else
        kept[given + random.below(kept.size() - given)] = std::move(input);
    }
  }
  std::printf("%zu seeds, %llu mutated inputs in %.1f s\n", given, static_cast<unsigned long long>(done),
              elapsed());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (__sanitizer_set_death_callback)
    __sanitizer_set_death_callback(write_failing_input);
  else
    std::signal(SIGABRT, [](int) { write_failing_input(); });
  std::signal(SIGVTALRM, [](int) { fuzz_fail("an input ends"); });
  uint64_t seed = 1, inputs = 20000, seconds = 10;
  char** argument = argv + 1;
  for (; argument[0] && std::strncmp(argument[0], "--", 2) == 0; argument += 2) {
    if (!argument[1]) {
      std::fprintf(stderr, "fuzz: %s needs a value; see driver.cpp\n", argument[0]);
      return 2;
    }
    const std::string name = argument[0];
    if (name == "--write-seeds") return write_seeds(argument[1]);
    uint64_t* value = name == "--seed"      ? &seed
                      : name == "--inputs"  ? &inputs
                      : name == "--seconds" ? &seconds
                                            : nullptr;
    if (!value) {
      std::fprintf(stderr, "fuzz: unknown option %s; see driver.cpp\n", argument[0]);
      return 2;
    }
    *value = std::strtoull(argument[1], nullptr, 10);
  }
  if (argument < argv + argc) return run_files(argument);
  return fuzz(seed, inputs, seconds);
}
