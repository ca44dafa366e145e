// Fuzz target: the packet path. An input is a sequence of steps of 32 bytes: packets of a peer, valid or not, and calls of the
// program, in any order, with much and with little memory for unmatched messages.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>

#include "fuzz.hpp"
#include "health/peer_failure.hpp"
#include "packet_transport.hpp"
#include "packets/arrival.hpp"
#include "packets/incoming.hpp"
#include "packets/packets.hpp"

using namespace fake;
using efa::Control;
using efa::ControlType;
using efa::PacketType;

namespace {

enum Action : uint8_t {
  kRawPacket,      // with bytes of the step as its payload
  kControlPacket,  // a Control of the right size, magic and version
  kReadyPacket,
  kSynchronousPacket,
  kReceive,
  kSend,
  kCompleteSend,
  kFailSend,
  kCancel,
  kProbe,
  kMatch,
  kReceiveMatched,
  kFreeCommunicator,
  kFailPeer,
  kActions
};

struct Step {
  uint8_t action, type, options, which;
  int8_t source, tag;
  uint16_t size;
  uint32_t context, sender;
  uint64_t id, length;
};
static_assert(sizeof(Step) == 32);

constexpr size_t kMostSteps = 48, kMostRequests = 64;
// Bits of Step::options.
enum : uint8_t { kAnySource = 1, kAnyTag = 2, kSecondPeer = 4, kSynchronous = 8, kOtherCommunicator = 16 };

struct Received : TextReceive {
  using TextReceive::TextReceive;
};

class Run {
 public:
  explicit Run(bool little_memory) {
    if (!little_memory) return;
    fixture_.t->packets->budget = efa::Budget(4096, 2);
    for (efa_peer* peer : {&fixture_.one, &fixture_.two}) peer->window = fixture_.t->packets->budget.half;
  }
  void step(const Step& step);
  void end();

 private:
  efa_peer& peer(const Step& step) { return step.options & kSecondPeer ? fixture_.two : fixture_.one; }
  static uint32_t context(const Step& step) { return step.options & kOtherCommunicator ? step.context : kContext; }
  void arrive(const Step& step, PacketType type, const void* bytes, size_t size);
  void send(const Step& step);

  // Before the transport, whose queues refer to those that are open.
  std::vector<std::unique_ptr<Received>> receives_;
  std::vector<std::unique_ptr<Request>> sends_;
  std::vector<char> data_ = pattern(20000);
  PacketTransport fixture_;
  std::vector<efa_message*> matched_;
};

// The payload ends where its memory ends.
void Run::arrive(const Step& step, PacketType type, const void* bytes, size_t size) {
  const std::vector<uint8_t> payload(static_cast<const uint8_t*>(bytes), static_cast<const uint8_t*>(bytes) + size);
  efa::packet_arrived(fixture_.t, nullptr,
                      {context(step), step.source, step.tag, static_cast<uint32_t>(size), step.sender, type, 0, 0},
                      payload.data());
}

void Run::send(const Step& step) {
  if (sends_.size() >= kMostRequests) return;
  Request& request = *sends_.emplace_back(std::make_unique<Request>());
  const bool synchronous = step.options & kSynchronous;
  fixture_.send(request, peer(step), step.tag, data_.data(), step.size % data_.size(),
                synchronous ? EFA_SEND_SYNCHRONOUS : EFA_SEND_STANDARD);
}

void Run::step(const Step& step) {
  efa_transport* t = fixture_.t;
  const int32_t tag = step.options & kAnyTag ? int32_t{EFA_ANY_TAG} : step.tag;
  efa_peer* const from = step.options & kAnySource ? nullptr : &peer(step);
  efa_status status{};
  switch (step.action % kActions) {
    case kRawPacket: {
      const auto* bytes = reinterpret_cast<const uint8_t*>(&step);
      arrive(step, static_cast<PacketType>(step.type), bytes, step.size % (sizeof step + 1));
      break;
    }
    case kControlPacket: {
      Control message = fixture_.control(static_cast<ControlType>(step.type), peer(step), step.id, step.length);
      message.handle = step.context;
      message.failed = step.options >> 6;
      // The length of a piece, or a source and a tag.
      message.piece = step.options & kSynchronous
                          ? step.size
                          : static_cast<uint32_t>(step.source) | uint64_t{static_cast<uint32_t>(step.tag)} << 32;
      arrive(step, PacketType::control, &message, sizeof message);
      break;
    }
    case kReadyPacket: {
      efa::ReadyToSend ready = fixture_.ready(step.id, step.length, step.size);
      ready.segments = step.which % (efa::kMostSegments + 1);
      uint8_t bytes[sizeof ready];
      ready.write(bytes);
      arrive(step, step.sender ? PacketType::answer_ready_to_send : PacketType::ready_to_send, bytes, ready.size());
      break;
    }
    case kSynchronousPacket: {
      std::vector<char> bytes(data_.begin(), data_.begin() + step.size % 300);
      const auto* id = reinterpret_cast<const char*>(&step.id);
      bytes.insert(bytes.end(), id, id + sizeof step.id);
      arrive(step, step.sender ? PacketType::answer_synchronous : PacketType::synchronous, bytes.data(), bytes.size());
      break;
    }
    case kReceive:
      if (receives_.size() < kMostRequests)
        receives_.push_back(std::make_unique<Received>(fixture_, from, tag, 64, context(step) % 8));
      break;
    case kSend:
      send(step);
      break;
    case kCompleteSend:
      if (fixture_.fabric.count(Call::send)) fixture_.fabric.complete(fixture_.fabric.take(Call::send));
      break;
    case kFailSend:
      if (fixture_.fabric.count(Call::send)) fixture_.fabric.fail(fixture_.fabric.take(Call::send).context, FI_EIO);
      break;
    case kCancel:
      if (step.options & kSynchronous) {
        if (!sends_.empty() && sends_[step.which % sends_.size()]->times == 0)
          efa_cancel(t, sends_[step.which % sends_.size()].get());
      } else if (!receives_.empty() && receives_[step.which % receives_.size()]->times == 0) {
        efa_cancel(t, receives_[step.which % receives_.size()].get());
      }
      break;
    case kProbe:
      if (!peer(step).pending.failed()) fixture_.probe(from, tag, status, context(step) % 8);
      break;
    case kMatch:
      // One that would wait for the answer of a peer is left out: nobody answers.
      if (!peer(step).pending.failed() && !t->packets->asks.owes())
        if (efa_message* message = fixture_.match(from, tag, status)) matched_.push_back(message);
      break;
    case kReceiveMatched:
      if (matched_.empty() || receives_.size() >= kMostRequests) break;
      {
        Received& request = *receives_.emplace_back(std::make_unique<Received>());
        fixture_.receive_matched(request, matched_.back(), request.room.data(), request.room.size());
        matched_.pop_back();
      }
      break;
    case kFreeCommunicator:
      efa_communicator_freed(t, context(step));
      break;
    case kFailPeer:
      if (!peer(step).pending.failed())
        efa::fail_peer(t, &peer(step), efa::msg::peer_undeliverable("this", "that"));
      break;
    default:
      break;
  }
  fixture_.progress();
}

void Run::end() {
  efa_transport* t = fixture_.t;
  for (efa_message* message : matched_) efa::drop_kept(t, efa::KeptPointer(efa::kept_of(message)));
  for (const auto& each : receives_) {
    fuzz_expect(each->times <= 1, "a receive ends once");
    if (each->times) fuzz_expect(each->text() != "(written too far)", "nothing is written behind the data");
  }
  for (const auto& each : sends_) fuzz_expect(each->times <= 1, "a send ends once");
  t->closing = true;
  efa::empty_queues(t);
  fuzz_expect(t->packets->kept == 0 && t->packets->kept_bytes == 0, "every kept message is counted once");
  fuzz_expect(t->packets->send_flows.empty(), "nothing is held back after the end");
}

Step step_of(uint8_t action, int8_t tag, uint8_t type = 1, uint64_t id = 0, uint64_t length = 0, uint16_t size = 8) {
  Step step{};
  step.action = action;
  step.type = type;
  step.source = 1;
  step.tag = tag;
  step.id = id;
  step.length = length;
  step.size = size;
  return step;
}

FuzzInput input_of(bool little_memory, const std::vector<Step>& steps) {
  FuzzInput input(1 + steps.size() * sizeof(Step));
  input[0] = little_memory;
  std::memcpy(input.data() + 1, steps.data(), steps.size() * sizeof(Step));
  return input;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  Run run(data[0] & 1);
  const size_t steps = std::min((size - 1) / sizeof(Step), kMostSteps);
  for (size_t i = 0; i < steps; ++i) {
    Step step;
    std::memcpy(&step, data + 1 + i * sizeof step, sizeof step);
    run.step(step);
  }
  run.end();
  return 0;
}

// Whole steps are copied, exchanged and removed, and single fields get another value.
size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  FuzzRandom random(seed);
  const size_t most = std::min((max_size - 1) / sizeof(Step), kMostSteps);
  std::vector<Step> steps(size > 0 ? std::min((size - 1) / sizeof(Step), most) : 0);
  if (!steps.empty()) std::memcpy(steps.data(), data + 1, steps.size() * sizeof(Step));
  const bool little = size > 0 && data[0] & 1;
  const auto any = [&] { return steps.begin() + static_cast<std::ptrdiff_t>(random.below(steps.size())); };
  for (size_t changes = 1 + random.below(4); changes > 0; --changes) {
    if (steps.empty() || (random.below(4) == 0 && steps.size() < most)) {
      Step added = steps.empty() ? step_of(kSend, 7) : *any();
      added.action = static_cast<uint8_t>(random.below(kActions));
      steps.insert(steps.empty() ? steps.end() : any(), added);
      continue;
    }
    Step& step = *any();
    switch (random.below(10)) {
      case 0:
        step.action = static_cast<uint8_t>(random.below(kActions));
        break;
      case 1:
        step.type = static_cast<uint8_t>(random.below(random.below(4) ? 17 : 256));
        break;
      case 2:
        step.options = static_cast<uint8_t>(random.next());
        break;
      case 3:
        step.source = static_cast<int8_t>(random.below(4)) - 1;
        step.tag = static_cast<int8_t>(random.below(4));
        break;
      case 4:
        step.size = static_cast<uint16_t>(fuzz_extreme(random));
        break;
      case 5:
        step.id = random.below(4) ? random.below(4) : fuzz_extreme(random);
        break;
      case 6:
        step.length = random.below(3) ? kContext : fuzz_extreme(random);
        break;
      case 7:
        step.context = random.below(3) ? kContext : static_cast<uint32_t>(fuzz_extreme(random));
        break;
      case 8:
        step.sender = static_cast<uint32_t>(random.below(4));
        step.which = static_cast<uint8_t>(random.next());
        break;
      default:
        if (steps.size() > 1) steps.erase(any());
    }
  }
  const FuzzInput changed = input_of(random.below(8) ? little : !little, steps);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}

std::vector<FuzzInput> fuzz_seeds() {
  const auto type = [](ControlType of) { return static_cast<uint8_t>(of); };
  std::vector<FuzzInput> seeds;
  for (const bool little : {false, true}) {
    seeds.push_back(input_of(little, {step_of(kReceive, 1), step_of(kRawPacket, 1), step_of(kRawPacket, 2),
                                      step_of(kProbe, 2), step_of(kMatch, 2), step_of(kReceiveMatched, 2)}));
    seeds.push_back(input_of(little, {step_of(kReceive, 1), step_of(kReadyPacket, 1, 1, 3, 5000, 4096),
                                      step_of(kSynchronousPacket, 2, 1, 4), step_of(kReceive, 2)}));
    seeds.push_back(input_of(little, {step_of(kSend, 1, 0, 0, 0, 9000), step_of(kCompleteSend, 0),
                                      step_of(kControlPacket, 0, type(ControlType::clear_to_send), 1, 9000, 4096)}));
    seeds.back()[1 + 2 * sizeof(Step) + offsetof(Step, options)] = kSynchronous;
    seeds.push_back(input_of(little, {step_of(kControlPacket, 0, type(ControlType::withdraw), 4)}));
    // Messages are held back and asked for; a grant is owed and an offer taken.
    std::vector<Step> held(30, step_of(kSend, 1));
    for (const ControlType each : {ControlType::ask, ControlType::take, ControlType::take, ControlType::ask, ControlType::decline,
                                   ControlType::unask, ControlType::window_granted}) {
      held.push_back(step_of(kControlPacket, 1, type(each), 1, kContext));
      held.back().source = 0;  // this process
    }
    seeds.push_back(input_of(little, held));
    std::vector<Step> owed(20, step_of(kRawPacket, 1));
    owed.push_back(step_of(kControlPacket, 0, type(ControlType::window_used), 0, 2000));
    owed.push_back(step_of(kReceive, 2));
    Step offer = step_of(kControlPacket, 0, type(ControlType::offer), 1, 8);
    offer.context = kContext;
    owed.push_back(offer);
    Step answer = step_of(kRawPacket, 2, 6);
    answer.sender = 1;
    owed.push_back(answer);
    seeds.push_back(input_of(little, owed));
  }
  return seeds;
}
