// Fuzz target: the protocol engine with peers that violate the protocol. An input is a sequence of steps of 16 bytes each,
// actions of the user, the provider or a peer in any order and with any values.
#include <cstring>

#include "network.hpp"
#include "protocol/wire.hpp"

using namespace efa;
using namespace efa::fuzz;

namespace {

enum Action : uint8_t {
  kSend,
  kReceive,
  kEager,     // a peer sends an eager message
  kReady,     // a peer starts a rendezvous
  kAnswer,    // a peer answers one of our rendezvous sends
  kControl,   // a peer sends any control message
  kComplete,  // the provider completes an operation
  kFail,      // the provider fails an operation
  kPiece,     // a peer sends a piece after clear-to-send
  kCancel,
  kProbe,
  kMatch,
  kReceiveMatched,
  kRefuse,    // the provider refuses the next posts
  kRegister,  // the provider refuses registrations
  kRailDies,
  kAgain,  // the last control or ready-to-send message is repeated
  kProgress,
  kStop,      // a peer reports that its rendezvous send failed
  kGiveUp,    // a peer reports that it cannot receive our message
  kWithdraw,  // a peer withdraws a message
  kActions
};

// The field that is changed in an otherwise valid message. Other values change nothing.
enum Corruption : uint8_t {
  kLength = 1,
  kPieceLength,
  kRequest,
  kVersion,
  kMagic,
  kRails,
  kFlags,
  kCut,
  kAddress,
  kSender,
  kType,
  kHandle,
  kByte
};

// `action` determines what the other fields mean.
struct Step {
  uint8_t action, choice, variant, size;
  uint32_t number;
  uint64_t value;
};
static_assert(sizeof(Step) == 16);

constexpr size_t kLengths[] = {0,    1,    8,    64,   128,  129,  500,  512,   513,
                               1024, 1025, 2047, 2048, 4096, 5000, 8192, 20000, 40000};
constexpr size_t kMostSteps = 120;
size_t length_of(uint8_t size) {
  return kLengths[size % std::size(kLengths)];
}
int32_t rank_of(uint8_t choice) {
  return 1 + choice % 2;
}
// Few tags, so that messages and receives match.
int32_t tag_of(uint32_t number) {
  return static_cast<int32_t>(number % 3);
}
int32_t asked_tag(uint32_t number) {
  return number % 4 == 3 ? EFA_ANY_TAG : tag_of(number % 4);
}

void begin_rendezvous(Network& network, const Step& step) {
  RemoteSend send{};
  send.address = network.fresh_address();
  send.ready = network.transport.ready(network.next_id++, length_of(step.size), 1 + step.number % 8192);
  send.ready.rails = static_cast<uint8_t>(step.number >> 16 & 1 ? 1 + (step.number >> 20) % kMostRails : 0);
  send.ready.flags = step.number >> 17 & 1 ? ReadyToSend::kPacked : 0;
  send.ready.address = send.address;
  for (unsigned i = 0; i < send.ready.rails; ++i) send.ready.keys[i] = 100 + i;
  size_t cut = SIZE_MAX;
  switch (step.variant % 32) {
    case kLength:
      send.ready.length = step.value;
      break;
    case kPieceLength:
      send.ready.piece = step.value;
      break;
    case kRequest:
      send.ready.request = step.value;
      break;
    case kVersion:
      send.ready.version = static_cast<uint16_t>(step.value);
      break;
    case kMagic:
      send.ready.magic = static_cast<uint32_t>(step.value);
      break;
    case kRails:
      send.ready.rails = static_cast<uint8_t>(step.value);
      break;
    case kFlags:
      send.ready.flags = static_cast<uint8_t>(step.value);
      break;
    case kCut:
      cut = step.value % (sizeof send.ready + 1);
      break;
    case kAddress:
      send.ready.address = step.value & ~uint64_t{7};
      break;
    default:
      break;
  }
  network.arrive_ready(rank_of(step.choice), tag_of(step.number >> 8), send, cut);
}

void send_control_message(Network& network, const Step& step, Control message) {
  size_t size = sizeof message;
  uint8_t bytes[64] = {};
  switch (step.variant % 32) {
    case kLength:
      message.length = step.value;
      break;
    case kPieceLength:
      message.piece = step.value;
      break;
    case kRequest:
      message.request = step.value;
      break;
    case kVersion:
      message.version = static_cast<uint16_t>(step.value);
      break;
    case kMagic:
      message.magic = static_cast<uint32_t>(step.value);
      break;
    case kCut:
      size = step.value % (sizeof bytes + 1);
      break;
    case kSender:
      message.sender = step.value % 2 ? network.transport.one.uid : step.value;
      break;
    case kType:
      message.type = static_cast<ControlType>(step.value);
      break;
    case kHandle:
      message.handle = static_cast<uint32_t>(step.value);
      break;
    default:
      break;
  }
  // A peer may ask for millions of pieces. At most 200 here, to bound the run time of an input.
  if (message.type == ControlType::clear_to_send && message.piece && message.length / message.piece > 200)
    message.piece = message.length / 200 + 1;
  std::memcpy(bytes, &message, sizeof message);
  if (step.variant % 32 == kByte)
    bytes[step.value % sizeof message] ^= static_cast<uint8_t>(1 << (step.value >> 8) % 8);
  network.arrive_control(bytes, size);
}

void answer(Network& network, const Step& step) {
  if (network.offered.empty()) return;
  OpenSend& send = network.offered[step.choice % network.offered.size()];
  const bool reads = send.ready.rails && step.number % 2;
  Control message = network.transport.control(reads ? ControlType::finished : ControlType::clear_to_send,
                                              network.peer(send.to), send.ready.request, send.ready.length,
                                              1 + step.number % 8192);
  if (step.size % 4 == 0) message.length = step.number % (send.ready.length + 1);
  message.failed = reads && step.number % 8 == 7;
  message.handle = network.next_handle++;
  send.answered = true;
  send_control_message(network, step, message);
}

void piece(Network& network, const Step& step) {
  std::vector<RemoteSend*> asked;
  for (auto& send : network.remote)
    if (send.answered && send.clear.length) asked.push_back(&send);
  if (asked.empty()) return;
  RemoteSend& send = *asked[step.choice % asked.size()];
  const uint64_t count = (send.clear.length - 1) / send.clear.piece + 1;
  // The next piece, or any piece, sent already or not.
  uint64_t index = send.next_piece;
  if (step.variant % 8 == 1) index = step.number % (count + 2);
  if (index == send.next_piece && index < count) ++send.next_piece;
  uint64_t size =
      index < count ? std::min(send.clear.piece, send.clear.length - index * send.clear.piece) : 8;
  if (step.variant % 8 == 2) size = step.value % (2 * size);
  network.arrive_piece(send, index, size);
}

void fail_one(Network& network, const Step& step) {
  constexpr int kErrors[] = {FI_EIO, FI_EHOSTUNREACH, FI_ENOMEM, FI_ECONNRESET, FI_EINVAL};
  network.end_posted(step.number, kErrors[step.choice % std::size(kErrors)]);
}

void refuse(Network& network, const Step& step) {
  constexpr int kErrors[] = {FI_EAGAIN, FI_EAGAIN, FI_EAGAIN, FI_EHOSTUNREACH};
  auto& refuses = step.size % 2 ? network.second.refuse : network.transport.fabric.refuse;
  for (unsigned i = 0; i <= step.variant % 4u; ++i)
    refuses.push_back(kErrors[step.choice % std::size(kErrors)]);
  if (step.choice % std::size(kErrors) == 3) network.ended = true;  // it may concern a control message
}

void run(Network& network, const Step& step) {
  switch (step.action % kActions) {
    case kSend:
      network.send(rank_of(step.choice), length_of(step.size), tag_of(step.number), step.variant & 1,
                   step.variant & 2, step.variant & 4);
      break;
    case kReceive:
      network.receive(step.choice % 3, length_of(step.size), asked_tag(step.number), step.variant & 2,
                      step.variant & 4);
      break;
    case kEager:
      network.arrive_eager(rank_of(step.choice), tag_of(step.number),
                           step.variant & 2 ? step.value % 3000 : length_of(step.size) % 1025,
                           step.variant & 1);
      break;
    case kReady:
      begin_rendezvous(network, step);
      break;
    case kAnswer:
      answer(network, step);
      break;
    case kControl:
      send_control_message(
          network, step,
          network.transport.control(static_cast<ControlType>(1 + step.size % 8),
                                    network.peer(rank_of(step.choice)), step.number, step.value % 5000));
      break;
    case kComplete:
      network.end_posted(step.number, 0);
      break;
    case kFail:
      fail_one(network, step);
      break;
    case kPiece:
      piece(network, step);
      break;
    case kCancel:
      if (!network.open.empty())
        efa_cancel(network.transport.t,
                   *std::next(network.open.begin(), static_cast<long>(step.number % network.open.size())));
      break;
    case kProbe:
      network.probe(step.choice % 3, asked_tag(step.number), false);
      break;
    case kMatch:
      network.probe(step.choice % 3, asked_tag(step.number), true);
      break;
    case kReceiveMatched:
      if (!network.matched.empty())
        network.receive_matched(step.number % network.matched.size(), length_of(step.size), step.variant & 2);
      break;
    case kRefuse:
      refuse(network, step);
      break;
    case kRegister:
      network.transport.fabric.refuse_registration = step.choice & 1 ? FI_ENOMEM : 0;
      network.second.refuse_registration = step.choice & 3 ? FI_ENOMEM : 0;
      break;
    case kRailDies:
      if (step.choice % 2)
        network.second.fail(nullptr, FI_EIO, 13);
      else
        network.second.events.push_back(FI_ECANCELED);
      break;
    case kAgain:
      if (step.choice % 2) {
        network.arrive_control(&network.last_control, sizeof network.last_control);
      } else if (!network.remote.empty()) {
        RemoteSend again = network.remote.back();
        again.answered = false, again.clear = {}, again.next_piece = 0;
        network.arrive_ready(again.from, tag_of(step.number), again, SIZE_MAX);
      }
      break;
    case kProgress:
      break;
    case kStop:
      if (!network.remote.empty()) {
        const RemoteSend& send = network.remote[step.number % network.remote.size()];
        Control message = network.transport.control(ControlType::send_failed, network.peer(send.from),
                                                    send.ready.request, send.next_piece, 0);
        message.handle = send.clear.handle;
        send_control_message(network, step, message);
      }
      break;
    case kGiveUp:
      if (!network.offered.empty()) {
        const OpenSend& send = network.offered[step.number % network.offered.size()];
        Control message =
            network.transport.control(ControlType::receive_failed, network.peer(send.to), send.ready.request);
        message.handle = step.size % 8;
        send_control_message(network, step, message);
      }
      break;
    case kWithdraw:
      if (!network.unexpected.empty()) {
        const Arrived& message = *std::next(network.unexpected.begin(),
                                            static_cast<long>(step.number % network.unexpected.size()));
        SyncTrailer trailer{};
        const auto ready = parse_ready_to_send(message.bytes.data(), message.bytes.size());
        if (!ready) parse_synchronous(message.bytes.data(), message.bytes.size(), trailer);
        Control control = network.transport.control(ControlType::withdraw, network.peer(message.from),
                                                    ready ? ready->request : trailer.request, message.tag);
        control.handle = static_cast<uint32_t>(message.from);
        send_control_message(network, step, control);
      }
      break;
  }
  if (step.action < 128) network.progress();  // otherwise the next step follows without progress
}

// ---- inputs --------------------------------------------------------------------------------------------

FuzzInput input_of(const std::vector<Step>& steps) {
  FuzzInput input(steps.size() * sizeof(Step));
  std::memcpy(input.data(), steps.data(), input.size());
  return input;
}

Step random_step(FuzzRandom& random) {
  Step step{};
  step.action = static_cast<uint8_t>(random.below(kActions));
  if (random.below(4) == 0)
    step.action =
        static_cast<uint8_t>(128 / kActions * kActions + kActions + step.action);  // without progress
  step.choice = static_cast<uint8_t>(random.below(6));
  step.variant = static_cast<uint8_t>(random.below(32));
  step.size = static_cast<uint8_t>(random.next());
  step.number = static_cast<uint32_t>(random.next());
  step.value = random.below(2) ? fuzz_extreme(random) : random.next() >> random.below(64);
  return step;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Network network;
  const size_t steps = std::min(size / sizeof(Step), kMostSteps);
  for (size_t i = 0; i < steps; ++i) {
    Step step;
    std::memcpy(&step, data + i * sizeof step, sizeof step);
    run(network, step);
  }
  network.settle();
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  FuzzRandom random(seed);
  std::vector<Step> steps(size / sizeof(Step));
  if (!steps.empty()) std::memcpy(steps.data(), data, steps.size() * sizeof(Step));
  const size_t at = random.below(steps.size() + 1);
  const auto place = steps.begin() + static_cast<long>(at);
  const bool there = at < steps.size();
  switch (random.below(6)) {
    case 0:
      if (there) steps.erase(place);
      break;
    case 1:
      if (there) steps.insert(place, Step(steps[random.below(steps.size())]));
      break;
    case 2:
      if (there) std::swap(*place, steps[random.below(steps.size())]);
      break;
    case 3:
      if (there) place->value = fuzz_extreme(random), place->variant = static_cast<uint8_t>(random.below(16));
      break;
    case 4:
      if (there)
        reinterpret_cast<uint8_t*>(&*place)[1 + random.below(15)] = static_cast<uint8_t>(random.next());
      break;
    default:
      steps.insert(place, random_step(random));
  }
  const size_t result = std::min({steps.size(), max_size / sizeof(Step), kMostSteps}) * sizeof(Step);
  if (result) std::memcpy(data, steps.data(), result);
  return result;
}

std::vector<FuzzInput> fuzz_seeds() {
  constexpr uint8_t k5000 = 14, k20000 = 16, k500 = 6, k64 = 3;  // indices into kLengths
  const uint32_t readable = 1 << 16 | 1 << 20;                   // a rendezvous with two rails
  const uint32_t pieces = 4095;                                  // of 4096 bytes
  return {
      // Eager messages in both directions, expected and unexpected; a synchronous one.
      input_of({{kReceive, 1, 0, k500, 0, 0},
                {kEager, 0, 0, k500, 0, 0},
                {kEager, 0, 1, k64, 0, 0},
                {kReceive, 0, 0, k64, 0, 0},
                {kSend, 0, 1, k64, 0, 0},
                {kSend, 1, 2, k500, 1, 0},
                {kComplete, 0, 0, 0, 0, 0},
                {kComplete, 0, 0, 0, 0, 0}}),
      // Push, received: contiguous and into a layout.
      input_of({{kReceive, 1, 0, k5000, 0, 0},
                {kReady, 0, 0, k5000, pieces, 0},
                {kPiece, 0, 0, 0, 0, 0},
                {kPiece, 0, 0, 0, 0, 0}}),
      input_of({{kReceive, 1, 2, k20000, 0, 0},
                {kReady, 0, 0, k20000, pieces, 0},
                {kPiece, 0, 1, 0, 1, 0},
                {kPiece, 0, 1, 0, 0, 0},
                {kPiece, 0, 0, 0, 0, 0},
                {kPiece, 0, 0, 0, 0, 0}}),
      // Push, sent.
      input_of({{kSend, 0, 2, k20000, 0, 0},
                {kComplete, 0, 0, 0, 0, 0},
                {kAnswer, 0, 0, 1, pieces, 0},
                {kComplete, 0, 0, 0, 0, 0},
                {kComplete, 0, 0, 0, 1, 0},
                {kComplete, 0, 0, 0, 0, 0}}),
      // Pull, received over two rails, one of which dies.
      input_of({{kReceive, 1, 0, k20000, 0, 0},
                {kReady, 0, 0, k20000, pieces | readable, 0},
                {kComplete, 0, 0, 0, 0, 0},
                {kComplete, 0, 0, 0, 1, 0},
                {kComplete, 0, 0, 0, 0, 0}}),
      input_of({{kReceive, 1, 2, k20000, 0, 0},
                {kReady, 0, 0, k20000, pieces | readable, 0},
                {kRailDies, 0, 0, 0, 0, 0},
                {kFail, 0, 0, 0, 3, 0},
                {kComplete, 0, 0, 0, 0, 0}}),
      // Pull, sent; and refusals with FI_EAGAIN.
      input_of({{kSend, 0, 0, k20000, 0, 0}, {kComplete, 0, 0, 0, 0, 0}, {kAnswer, 0, 0, 1, 1, 0}}),
      input_of({{kRefuse, 0, 3, 0, 0, 0},
                {kSend, 0, 0, k20000, 0, 0},
                {kRegister, 1, 0, 0, 0, 0},
                {kReceive, 1, 0, k20000, 0, 0},
                {kReady, 0, 0, k20000, pieces | readable, 0}}),
      // Probed and matched.
      input_of({{kEager, 0, 0, k64, 0, 0},
                {kReady, 0, 0, k5000, pieces, 0},
                {kProbe, 1, 0, 0, 3, 0},
                {kMatch, 1, 0, 0, 0, 0},
                {kMatch, 0, 0, 0, 3, 0},
                {kReceiveMatched, 0, 0, k5000, 0, 0},
                {kReceive, 0, 0, k5000, 3, 0}}),
  };
}
