// Fuzz target: the protocol engine among peers that keep to no protocol. An input is a sequence of steps of 16
// bytes each: what the user, the provider or a peer does next, in any order and with any values.
#include <cstring>

#include "network.hpp"

using namespace efa;
using namespace efa::fuzz;

namespace {

enum Does : uint8_t {
  kSend,
  kReceive,
  kEager,     // a peer sends at once
  kReady,     // a peer begins a rendezvous
  kAnswer,    // a peer answers one of ours
  kControl,   // a peer sends any control message
  kComplete,  // the provider has done something
  kFail,      // or cannot
  kPiece,     // a peer sends what it was asked for
  kCancel,
  kProbe,
  kMatch,
  kReceiveMatched,
  kRefuse,    // the provider refuses the next posts
  kRegister,  // or registrations
  kRailDies,
  kAgain,  // the last control message, or ready-to-send message, once more
  kProgress,
  kDoes
};

// What is changed in a message that is right otherwise; beyond these, nothing.
enum Wrong : uint8_t {
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

struct Step {
  uint8_t does, a, b, c;
  uint32_t x;
  uint64_t y;
};
static_assert(sizeof(Step) == 16);

constexpr size_t kLengths[] = {0,    1,    8,    64,   128,  129,  500,  512,   513,
                               1024, 1025, 2047, 2048, 4096, 5000, 8192, 20000, 40000};
constexpr size_t kMostSteps = 120;
size_t length_of(uint8_t c) {
  return kLengths[c % std::size(kLengths)];
}
int32_t rank_of(uint8_t a) {
  return 1 + a % 2;
}
// Few tags, so that messages and receives meet.
int32_t tag_of(uint32_t x) {
  return static_cast<int32_t>(x % 3);
}
int32_t asked_tag(uint32_t x) {
  return x % 4 == 3 ? EFA_ANY_TAG : tag_of(x % 4);
}

void begin_rendezvous(Network& n, const Step& s) {
  RemoteSend send{};
  send.address = n.fresh_address();
  send.ready = n.x.ready(n.next_id++, length_of(s.c), 1 + s.x % 8192);
  send.ready.rails = static_cast<uint8_t>(s.x >> 16 & 1 ? 1 + (s.x >> 20) % kMostRails : 0);
  send.ready.flags = s.x >> 17 & 1 ? ReadyToSend::kPacked : 0;
  send.ready.address = send.address;
  for (unsigned i = 0; i < send.ready.rails; ++i) send.ready.keys[i] = 100 + i;
  size_t cut = SIZE_MAX;
  switch (s.b % 32) {
    case kLength:
      send.ready.length = s.y;
      break;
    case kPieceLength:
      send.ready.piece = s.y;
      break;
    case kRequest:
      send.ready.request = s.y;
      break;
    case kVersion:
      send.ready.version = static_cast<uint16_t>(s.y);
      break;
    case kMagic:
      send.ready.magic = static_cast<uint32_t>(s.y);
      break;
    case kRails:
      send.ready.rails = static_cast<uint8_t>(s.y);
      break;
    case kFlags:
      send.ready.flags = static_cast<uint8_t>(s.y);
      break;
    case kCut:
      cut = s.y % (sizeof send.ready + 1);
      break;
    case kAddress:
      send.ready.address = s.y & ~uint64_t{7};
      break;
    default:
      break;
  }
  n.arrive_ready(rank_of(s.a), tag_of(s.x >> 8), send, cut);
}

void send_control_message(Network& n, const Step& s, Control message) {
  size_t size = sizeof message;
  uint8_t bytes[64] = {};
  switch (s.b % 32) {
    case kLength:
      message.length = s.y;
      break;
    case kPieceLength:
      message.piece = s.y;
      break;
    case kRequest:
      message.request = s.y;
      break;
    case kVersion:
      message.version = static_cast<uint16_t>(s.y);
      break;
    case kMagic:
      message.magic = static_cast<uint32_t>(s.y);
      break;
    case kCut:
      size = s.y % (sizeof bytes + 1);
      break;
    case kSender:
      message.sender = s.y % 2 ? n.x.one.uid : s.y;
      break;
    case kType:
      message.type = static_cast<ControlType>(s.y);
      break;
    case kHandle:
      message.handle = static_cast<uint32_t>(s.y);
      break;
    default:
      break;
  }
  // More pieces than an input is meant to run for are no use; millions of them are what a peer may ask for.
  if (message.type == ControlType::clear_to_send && message.piece && message.length / message.piece > 200)
    message.piece = message.length / 200 + 1;
  std::memcpy(bytes, &message, sizeof message);
  if (s.b % 32 == kByte) bytes[s.y % sizeof message] ^= static_cast<uint8_t>(1 << (s.y >> 8) % 8);
  n.arrive_control(bytes, size);
}

void answer(Network& n, const Step& s) {
  if (n.offered.empty()) return;
  OpenSend& send = n.offered[s.a % n.offered.size()];
  const bool reads = send.ready.rails && s.x % 2;
  Control message = n.x.control(reads ? ControlType::finished : ControlType::clear_to_send, n.peer(send.to),
                                send.ready.request, send.ready.length, 1 + s.x % 8192);
  if (s.c % 4 == 0) message.length = s.x % (send.ready.length + 1);
  message.failed = reads && s.x % 8 == 7;
  message.handle = n.next_handle++;
  send.answered = true;
  send_control_message(n, s, message);
}

void piece(Network& n, const Step& s) {
  std::vector<RemoteSend*> asked;
  for (auto& send : n.remote)
    if (send.answered && send.clear.length) asked.push_back(&send);
  if (asked.empty()) return;
  RemoteSend& send = *asked[s.a % asked.size()];
  const uint64_t count = (send.clear.length - 1) / send.clear.piece + 1;
  // One after the other, or any, sent before or not.
  uint64_t index = send.next_piece;
  if (s.b % 8 == 1) index = s.x % (count + 2);
  if (index == send.next_piece && index < count) ++send.next_piece;
  uint64_t size =
      index < count ? std::min(send.clear.piece, send.clear.length - index * send.clear.piece) : 8;
  if (s.b % 8 == 2) size = s.y % (2 * size);
  n.arrive_piece(send, index, size);
}

void fail_one(Network& n, const Step& s) {
  constexpr int kErrors[] = {FI_EIO, FI_EHOSTUNREACH, FI_ENOMEM, FI_ECONNRESET, FI_EINVAL};
  n.end_posted(s.x, kErrors[s.a % std::size(kErrors)]);
}

void refuse(Network& n, const Step& s) {
  constexpr int kErrors[] = {FI_EAGAIN, FI_EAGAIN, FI_EAGAIN, FI_EHOSTUNREACH};
  auto& refuses = s.c % 2 ? n.second.refuse : n.x.fabric.refuse;
  for (unsigned i = 0; i <= s.b % 4u; ++i) refuses.push_back(kErrors[s.a % std::size(kErrors)]);
  if (s.a % std::size(kErrors) == 3) n.ended = true;  // may hit a control message
}

void run(Network& n, const Step& s) {
  switch (s.does % kDoes) {
    case kSend:
      n.send(rank_of(s.a), length_of(s.c), tag_of(s.x), s.b & 1, s.b & 2, s.b & 4);
      break;
    case kReceive:
      n.receive(s.a % 3, length_of(s.c), asked_tag(s.x), s.b & 2, s.b & 4);
      break;
    case kEager:
      n.arrive_eager(rank_of(s.a), tag_of(s.x), s.b & 2 ? s.y % 3000 : length_of(s.c) % 1025, s.b & 1);
      break;
    case kReady:
      begin_rendezvous(n, s);
      break;
    case kAnswer:
      answer(n, s);
      break;
    case kControl:
      send_control_message(
          n, s, n.x.control(static_cast<ControlType>(1 + s.c % 3), n.peer(rank_of(s.a)), s.x, s.y % 5000));
      break;
    case kComplete:
      n.end_posted(s.x, 0);
      break;
    case kFail:
      fail_one(n, s);
      break;
    case kPiece:
      piece(n, s);
      break;
    case kCancel:
      if (!n.open.empty())
        efa_cancel(n.x.t, *std::next(n.open.begin(), static_cast<long>(s.x % n.open.size())));
      break;
    case kProbe:
      n.probe(s.a % 3, asked_tag(s.x), false);
      break;
    case kMatch:
      n.probe(s.a % 3, asked_tag(s.x), true);
      break;
    case kReceiveMatched:
      if (!n.matched.empty()) n.receive_matched(s.x % n.matched.size(), length_of(s.c), s.b & 2);
      break;
    case kRefuse:
      refuse(n, s);
      break;
    case kRegister:
      n.x.fabric.refuse_registration = s.a & 1 ? FI_ENOMEM : 0;
      n.second.refuse_registration = s.a & 3 ? FI_ENOMEM : 0;
      break;
    case kRailDies:
      if (s.a % 2)
        n.second.fail(nullptr, FI_EIO, 13);
      else
        n.second.events.push_back(FI_ECANCELED);
      break;
    case kAgain:
      if (s.a % 2) {
        n.arrive_control(&n.last_control, sizeof n.last_control);
      } else if (!n.remote.empty()) {
        RemoteSend again = n.remote.back();
        again.answered = false, again.clear = {}, again.next_piece = 0;
        n.arrive_ready(again.from, tag_of(s.x), again, SIZE_MAX);
      }
      break;
    case kProgress:
      break;
  }
  if (s.does < 128) n.progress();  // otherwise more comes at once
}

// ---- inputs --------------------------------------------------------------------------------------------

FuzzInput input_of(const std::vector<Step>& steps) {
  FuzzInput input(steps.size() * sizeof(Step));
  std::memcpy(input.data(), steps.data(), input.size());
  return input;
}

Step random_step(FuzzRandom& random) {
  Step s{};
  s.does = static_cast<uint8_t>(random.below(kDoes));
  if (random.below(4) == 0)
    s.does = static_cast<uint8_t>(128 / kDoes * kDoes + kDoes + s.does);  // without progress
  s.a = static_cast<uint8_t>(random.below(6));
  s.b = static_cast<uint8_t>(random.below(32));
  s.c = static_cast<uint8_t>(random.next());
  s.x = static_cast<uint32_t>(random.next());
  s.y = random.below(2) ? fuzz_extreme(random) : random.next() >> random.below(64);
  return s;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Network n;
  const size_t steps = std::min(size / sizeof(Step), kMostSteps);
  for (size_t i = 0; i < steps; ++i) {
    Step s;
    std::memcpy(&s, data + i * sizeof s, sizeof s);
    run(n, s);
  }
  n.settle();
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
      if (there) place->y = fuzz_extreme(random), place->b = static_cast<uint8_t>(random.below(16));
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
  constexpr uint8_t k5000 = 14, k20000 = 16, k500 = 6, k64 = 3;  // places in kLengths
  const uint32_t readable = 1 << 16 | 1 << 20;                   // a rendezvous with two rails
  const uint32_t pieces = 4095;                                  // of 4096 bytes
  return {
      // Eager, both ways, early and late; synchronous.
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
      // Pull, sent; and what is refused for now.
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
