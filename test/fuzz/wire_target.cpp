// Fuzz target: the parsers of network data. The first byte of an input selects the parser for the rest.
#include <algorithm>
#include <cstring>
#include <memory>

#include "fake_transport.hpp"
#include "fuzz.hpp"
#include "peers/card.hpp"
#include "protocol/control.hpp"
#include "protocol/segments.hpp"
#include "protocol/wire.hpp"

using namespace efa;

namespace {

enum Reading : uint8_t { kReady, kControl, kCard, kPeer, kReadings };

void ready(const uint8_t* bytes, size_t size) {
  const auto parsed = parse_ready_to_send(bytes, size);
  if (!parsed) return;
  fuzz_expect(size <= sizeof *parsed && parsed->size() == size, "a ready-to-send message has its own length");
  uint8_t again[sizeof *parsed];
  parsed->write(again);
  fuzz_expect(std::memcmp(again, bytes, size) == 0, "a parsed ready-to-send message equals its bytes");
  uint64_t length = 0;
  for (unsigned i = 0; i < parsed->segments; ++i) {
    const auto& part = parsed->parts[i];
    fuzz_expect(parsed->address + part.offset + part.length >= part.length, "a segment does not wrap");
    length += part.length;
  }
  fuzz_expect(parsed->segments == 0 || length == parsed->length, "segments are as long as the data");
  fuzz_expect(parsed->magic == ReadyToSend::kMagic && parsed->version == kWireVersion, "magic and version");
  fuzz_expect(parsed->rails <= kMostRails && parsed->piece > 0, "rails and piece within bounds");
  fuzz_expect(parsed->rails == 0 || parsed->address + parsed->length >= parsed->address,
              "the data does not wrap");
  fuzz_expect(to_string(*parsed).starts_with("RTS{"), "it can be printed");
}

void control(const uint8_t* bytes, size_t size) {
  const auto parsed = parse_control(bytes, size);
  if (!parsed) return;
  fuzz_expect(size == sizeof *parsed && std::memcmp(&*parsed, bytes, size) == 0,
              "a parsed control message equals its bytes");
  fuzz_expect(parsed->magic == Control::kMagic && parsed->version == kWireVersion, "magic and version");
  const bool clear = parsed->type == ControlType::clear_to_send;
  fuzz_expect(!clear || parsed->length == 0 || parsed->piece > 0, "pieces have a length");
  fuzz_expect(to_string(*parsed)[0] != '?', "its type is a known one");
}

void card(const uint8_t* bytes, size_t size) {
  MessagePart why;
  const auto parsed = Card::parse(bytes, size, why);
  fuzz_expect(parsed.has_value() == why.empty(), "a card is parsed or refused with a reason");
  if (!parsed) return;
  fuzz_expect(parsed->version == kWireVersion, "a card of another version is not parsed");
  fuzz_expect(!parsed->address.empty() && parsed->more.size() % parsed->address.size() == 0,
              "addresses are complete");
  fuzz_expect(parsed->more.size() / parsed->address.size() < kMostRails, "not too many rails");
  const auto again = parsed->serialize();
  fuzz_expect(again.size() == size && std::equal(again.begin(), again.end(), bytes),
              "a parsed card equals its bytes");
}

// The same for a peer that is created from the card.
void peer(const uint8_t* bytes, size_t size) {
  static fake::Transport transport;
  transport.reports.clear();
  const efa_identity identity{2000, 9, 0};
  efa_peer* made = efa_peer_create(transport.t, &identity, bytes, size);
  if (!made) {
    fuzz_expect(transport.reports.size() == 1 &&
                    transport.reports[0].find("cannot talk to rank 9") != std::string::npos,
                "the report of a refused peer names it");
    return;
  }
  fuzz_expect(transport.reports.empty(), "a created peer causes no report");
  fuzz_expect(made->eager_limit <= transport.t->protocols.eager_limit, "a peer's limit is at most ours");
  fuzz_expect(made->eager_limit_alone <= transport.t->protocols.longest_eager,
              "and so is its limit for a message sent alone");
  efa_peer_destroy(transport.t, made);
}

FuzzInput input_of(Reading reading, const void* bytes, size_t size) {
  FuzzInput input{reading};
  input.insert(input.end(), static_cast<const uint8_t*>(bytes), static_cast<const uint8_t*>(bytes) + size);
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // A copy of its own, so that it is aligned and AddressSanitizer knows its end.
  const std::unique_ptr<uint8_t[]> bytes(new uint8_t[size - 1]);
  if (size > 1) std::memcpy(bytes.get(), data + 1, size - 1);
  switch (data[0] % kReadings) {
    case kReady:
      ready(bytes.get(), size - 1);
      break;
    case kControl:
      control(bytes.get(), size - 1);
      break;
    case kCard:
      card(bytes.get(), size - 1);
      break;
    case kPeer:
      peer(bytes.get(), size - 1);
      break;
  }
  return 0;
}

// Lengths and counts are little-endian numbers of 1, 2, 4 or 8 bytes.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  FuzzRandom random(seed);
  if (size == 0) return 0;
  const size_t at = random.below(size);
  switch (random.below(6)) {
    case 0:  // a bit
      data[at] ^= static_cast<uint8_t>(1 << random.below(8));
      return size;
    case 1:  // a byte
      data[at] = static_cast<uint8_t>(random.next());
      return size;
    case 2: {  // a number
      const uint64_t value = random.below(2) ? fuzz_extreme(random) : random.next();
      std::memcpy(data + at, &value, std::min<size_t>(size_t{1} << random.below(4), size - at));
      return size;
    }
    case 3:  // truncated
      return at + 1;
    case 4: {  // longer
      const size_t more = std::min(1 + random.below(24), max_size - size);
      for (size_t i = 0; i < more; ++i) data[size + i] = static_cast<uint8_t>(random.next());
      return size + more;
    }
    default: {  // a part is repeated or removed
      const size_t length = 1 + random.below(std::min<size_t>(size - at, 16));
      if (random.below(2) || size + length > max_size) {
        std::memmove(data + at, data + at + length, size - at - length);
        return size - length ? size - length : 1;
      }
      std::memmove(data + at + length, data + at, size - at);
      return size + length;
    }
  }
}

std::vector<FuzzInput> fuzz_seeds() {
  std::vector<FuzzInput> seeds;
  for (const uint8_t rails : {0, 1, 8}) {
    ReadyToSend message{
        ReadyToSend::kMagic, kWireVersion, 0, rails, 7, 1 << 20, 65536, 0x7000, 0, 0, {1, 2, 3}, {}};
    if (rails == 8) {
      message.segments = 2;
      message.parts[0] = {0, 1 << 19};
      message.parts[1] = {1 << 20, 1 << 19};
    }
    uint8_t bytes[sizeof message];
    message.write(bytes);
    seeds.push_back(input_of(kReady, bytes, message.size()));
  }
  for (const auto type : {ControlType::clear_to_send, ControlType::acknowledge, ControlType::finished,
                          ControlType::receive_failed, ControlType::send_failed, ControlType::withdraw,
                          ControlType::withdrawn, ControlType::alone_matched}) {
    const Control message{Control::kMagic, kWireVersion, type, 1001, 7, 1 << 20, 4096, 3, 0};
    seeds.push_back(input_of(kControl, &message, sizeof message));
  }
  for (const size_t rails : {1, 4}) {
    for (const auto reading : {kCard, kPeer}) {
      Card made;
      made.provider = "efa";
      made.eager_limit = 65536;
      made.nic = "rdmap16s27-rdm";
      made.host = "node-1";
      made.address = {1, 2, 3, 4};
      made.more.assign((rails - 1) * made.address.size(), 5);
      const auto bytes = made.serialize();
      seeds.push_back(input_of(reading, bytes.data(), bytes.size()));
    }
  }
  return seeds;
}
