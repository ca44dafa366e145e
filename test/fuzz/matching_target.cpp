// Fuzz target: the matching engine beside a naive model. An input is a sequence of steps of 6 bytes: operations of the
// user and arrivals of messages, in any order, with and without memory for the engine's tables.
#include <cstring>

#include "fuzz.hpp"
#include "matching_model.hpp"

using namespace efa;

namespace {

enum Action : uint8_t {
  kPost,
  kPostMany,  // with ascending sources or tags
  kArrive,
  kArriveMany,
  kMatchPosted,      // a message arrives for the receive `which`
  kMatchUnexpected,  // a receive for the message `which`
  kProbe,
  kTake,
  kCancel,
  kCancelFinished,
  kRemove,
  kTakePostedOf,
  kTakeUnexpectedOf,
  kMemory,
  kCheck,
  kActions
};

struct Step {
  uint8_t action, options, source, tag;
  uint16_t which;
};
static_assert(sizeof(Step) == 6);

// Bits of Step::options; the lowest one is the communicator.
enum : uint8_t { kAnySourceBit = 2, kAnyTagBit = 4, kBySource = 8, kNegative = 16 };

constexpr size_t kCommunicators = 2, kMostSteps = 200, kMany = 100;
// A step with many entries counts more: the model scans all of them.
constexpr size_t kMostEntries = 1500;

Envelope message_of(const Step& step) {
  const int32_t tag = step.tag % 16;
  return {step.source % 16, step.options & kNegative ? -1 - tag : tag};
}
Envelope with_wildcards(const Step& step, Envelope e) {
  if (step.options & kAnySourceBit) e.source = kAnySource;
  if (step.options & kAnyTagBit) e.tag = kAnyTag;
  return e;
}
Envelope nth(const Step& step, Envelope e, int32_t n) {
  (step.options & kBySource ? e.source : e.tag) += n;
  return e;
}
// The envelope of the entry `which`; that of the step if there are none.
Envelope envelope_of_entry(const model::Communicator::Entries& entries, const Step& step) {
  if (entries.empty()) return message_of(step);
  return std::next(entries.begin(), static_cast<long>(step.which % entries.size()))->envelope;
}

void run(model::Both& both, const Step& step) {
  const size_t c = step.options % kCommunicators;
  auto& comm = both.at(c);
  const Envelope message = message_of(step), pattern = with_wildcards(step, message);
  const bool room = comm.posted.size() + comm.unexpected.size() < kMostEntries;
  const auto many = static_cast<int32_t>(room ? step.which % kMany : 0);
  switch (step.action % kActions) {
    case kPost:
      return both.post(c, pattern);
    case kPostMany:
      for (int32_t i = 0; i < many; ++i) both.post(c, with_wildcards(step, nth(step, message, i)));
      return;
    case kArrive:
      return both.arrive(c, message);
    case kArriveMany:
      for (int32_t i = 0; i < many; ++i) both.arrive(c, nth(step, message, i));
      return;
    case kMatchPosted: {
      Envelope e = envelope_of_entry(comm.posted, step);
      if (e.source == kAnySource) e.source = message.source;
      if (e.tag == kAnyTag) e.tag = message.tag;
      return both.arrive(c, e);
    }
    case kMatchUnexpected:
      return both.post(c, with_wildcards(step, envelope_of_entry(comm.unexpected, step)));
    case kProbe:
      return both.probe(c, with_wildcards(step, envelope_of_entry(comm.unexpected, step)), false);
    case kTake:
      return both.probe(c, with_wildcards(step, envelope_of_entry(comm.unexpected, step)), true);
    case kCancel:
      return both.cancel(c, step.which);
    case kCancelFinished:
      return both.cancel_finished(c);
    case kRemove:
      return both.remove(c, step.which);
    case kTakePostedOf:
      return both.take_posted(c, [&](Envelope e) { return MatchQueues::concerns(e, message.source); });
    case kTakeUnexpectedOf:
      return both.take_unexpected(c, [&](Envelope e) { return e.source == message.source; });
    case kMemory:
      return both.refuse_memory(step.options & 1);
    case kCheck:
      return both.check(c);
  }
}

void append(FuzzInput& input, const Step& step) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&step);
  input.insert(input.end(), bytes, bytes + sizeof step);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  model::Both both(kCommunicators);
  for (size_t i = 0; i < kMostSteps && size >= sizeof(Step); ++i) {
    Step step;
    std::memcpy(&step, data, sizeof step);
    data += sizeof step;
    size -= sizeof step;
    run(both, step);
    if (!both.difference().empty()) fuzz_fail(both.difference());
  }
  both.refuse_memory(false);
  for (size_t c = 0; c < kCommunicators; ++c) both.check(c);
  if (!both.difference().empty()) fuzz_fail(both.difference());
  return 0;
}

// Steps are changed, repeated, added and removed.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  FuzzRandom random(seed);
  const size_t steps = size / sizeof(Step);
  uint8_t* place = data + random.below(steps + 1) * sizeof(Step);
  const auto behind = static_cast<size_t>(data + steps * sizeof(Step) - place);
  const bool adds = steps == 0 || (random.below(3) > 0 && size + sizeof(Step) <= max_size);
  if (adds) {
    if (max_size < sizeof(Step)) return 0;
    std::memmove(place + sizeof(Step), place, behind);
    if (behind > 0 && random.below(3) == 0) return (steps + 1) * sizeof(Step);  // the step is repeated
    const Step step{static_cast<uint8_t>(random.below(kActions)), static_cast<uint8_t>(random.below(32)),
                    static_cast<uint8_t>(random.below(4) ? random.below(3) : random.next()),
                    static_cast<uint8_t>(random.below(4) ? random.below(3) : random.next()),
                    static_cast<uint16_t>(random.next())};
    std::memcpy(place, &step, sizeof step);
    return (steps + 1) * sizeof(Step);
  }
  if (behind == 0) return steps * sizeof(Step);
  if (random.below(2)) {
    place[random.below(sizeof(Step))] = static_cast<uint8_t>(random.next());
    return steps * sizeof(Step);
  }
  std::memmove(place, place + sizeof(Step), behind - sizeof(Step));
  return (steps - 1) * sizeof(Step);
}

std::vector<FuzzInput> fuzz_seeds() {
  std::vector<FuzzInput> seeds;
  for (const uint8_t wildcards : {0, +kAnySourceBit, +kAnyTagBit, kAnySourceBit | kAnyTagBit})
    for (const uint8_t memory : {0, 1}) {
      FuzzInput input;
      append(input, {kMemory, memory, 0, 0, 0});
      append(input, {kPost, wildcards, 1, 1, 0});
      append(input, {kPostMany, kBySource, 0, 1, 90});
      append(input, {kArriveMany, 0, 1, 0, 50});
      append(input, {kMatchPosted, 0, 1, 1, 5});
      append(input, {kMatchUnexpected, wildcards, 1, 1, 5});
      append(input, {kProbe, wildcards, 1, 1, 9});
      append(input, {kTake, wildcards, 1, 1, 9});
      append(input, {kCancel, 0, 0, 0, 40});
      append(input, {kRemove, 0, 0, 0, 20});
      append(input, {kCancelFinished, 0, 0, 0, 0});
      append(input, {kArriveMany, kNegative, 1, 0, 50});
      append(input, {kTake, wildcards, 1, 1, 60});
      append(input, {kCheck, 0, 0, 0, 0});
      append(input, {kTakePostedOf, 0, 1, 0, 0});
      append(input, {kTakeUnexpectedOf, 0, 1, 0, 0});
      seeds.push_back(input);
    }
  return seeds;
}
