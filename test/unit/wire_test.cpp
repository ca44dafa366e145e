// Messages from the network are accepted only if every field is valid in this version.
#include "protocol/wire.hpp"
#include "catch.hpp"

using namespace efa;

namespace {

ReadyToSend good_rts() {
  return {ReadyToSend::kMagic,
          kWireVersion,
          ReadyToSend::kPacked,
          2,
          7,
          1 << 20,
          4096,
          0x7000,
          0,
          0,
          {11, 12},
          {}};
}
Control good_cts() {
  return {Control::kMagic, kWireVersion, ControlType::clear_to_send, 1, 7, 1 << 20, 4096, 3, 0};
}

}  // namespace

TEST_CASE("Only a valid ready-to-send message is parsed") {
  const auto good = good_rts();
  const auto parsed = parse_ready_to_send(&good, good.size());
  REQUIRE(parsed);
  CHECK(parsed->request == 7);
  CHECK(parsed->length == 1 << 20);
  CHECK(parsed->address == 0x7000);
  CHECK(parsed->keys[1] == 12);
  for (size_t size = 0; size <= sizeof good; ++size)
    CHECK(parse_ready_to_send(&good, size).has_value() == (size == 48 + 2 * 8));
  auto bad = good;
  const auto refused = [&] { return !parse_ready_to_send(&bad, std::min(bad.size(), sizeof bad)); };
  bad.magic ^= 1;
  CHECK(refused());
  bad = good, bad.version = kWireVersion + 1;
  CHECK(refused());
  for (const int flag : {4, 8, 0x80}) {
    bad = good, bad.flags = static_cast<uint8_t>(flag);
    CHECK(refused());
  }
  bad = good, bad.piece = 0;
  CHECK(refused());
  bad = good, bad.rails = kMostRails + 1;
  CHECK(refused());
  bad = good, bad.address = UINT64_MAX - 5;  // the data would end beyond the address space
  CHECK(refused());
  bad.rails = 0;  // not readable, so the address has no meaning
  CHECK_FALSE(refused());
}

TEST_CASE("Data that lies in memory has an address without keys, which is checked as well") {
  ReadyToSend rts = good_rts();
  rts.flags = ReadyToSend::kInMemory;
  rts.rails = 0;
  uint8_t bytes[sizeof rts];
  const auto parse = [&](const ReadyToSend& message) {
    message.write(bytes);
    return parse_ready_to_send(bytes, message.size());
  };
  const auto read = parse(rts);
  REQUIRE(read);
  CHECK(rts.size() == 48);
  CHECK(read->flags == ReadyToSend::kInMemory);
  CHECK(read->address == 0x7000);
  auto bad = rts;
  bad.address = UINT64_MAX - 5;
  CHECK_FALSE(parse(bad));
  rts.segments = 2;
  rts.parts[0] = {0, 1 << 19};
  rts.parts[1] = {1 << 20, 1 << 19};
  REQUIRE(parse(rts));
  CHECK(parse(rts)->parts[1].offset == 1 << 20);
  bad = rts, bad.parts[1].length -= 1;
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].offset = UINT64_MAX - 0x7000;
  CHECK_FALSE(parse(bad));
  bad = rts, bad.flags = 0;  // not readable, so there are no segments
  CHECK_FALSE(parse(bad));
}

TEST_CASE("Only a valid control message is parsed") {
  const auto good = good_cts();
  REQUIRE(parse_control(&good, sizeof good));
  for (size_t size = 0; size < sizeof good; ++size) CHECK_FALSE(parse_control(&good, size));
  auto bad = good;
  bad.magic = ReadyToSend::kMagic;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  bad = good, bad.version = 0;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  for (const int type : {0, 16, 65535}) {
    bad = good, bad.type = static_cast<ControlType>(type);
    CHECK_FALSE(parse_control(&bad, sizeof bad));
  }
  bad = good, bad.piece = 0;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  bad.length = 0;  // no data, so no pieces
  CHECK(parse_control(&bad, sizeof bad));
  CHECK(to_string(good) ==
        "CTS{version 9, sender 1, request 7, length 1048576, piece 4096, handle 3, failed 0}");
}

TEST_CASE("Segments follow the keys, and their total length must be that of the data") {
  ReadyToSend rts = good_rts();
  rts.segments = 3;
  const uint64_t lengths[] = {1 << 19, (1 << 19) - 1, 1};
  for (unsigned i = 0; i < 3; ++i) rts.parts[i] = {i * uint64_t{1 << 20}, lengths[i]};
  uint8_t bytes[sizeof rts];
  const auto parse = [&](const ReadyToSend& message) {
    message.write(bytes);
    return parse_ready_to_send(bytes, message.size());
  };
  const auto read = parse(rts);
  REQUIRE(read);
  CHECK(rts.size() == 48 + 2 * 8 + 3 * 16);
  CHECK(read->keys[1] == 12);
  CHECK(read->keys[2] == 0);
  for (unsigned i = 0; i < 3; ++i) {
    CHECK(read->parts[i].offset == rts.parts[i].offset);
    CHECK(read->parts[i].length == lengths[i]);
  }
  CHECK_FALSE(parse_ready_to_send(bytes, rts.size() - 1));
  auto bad = rts;
  bad.parts[2].length = 2;  // longer than the data
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].length -= 1;  // shorter
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[2].length = 0, bad.parts[1].length += 1;
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].length = UINT64_MAX;
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].offset = UINT64_MAX - 0x7000;  // beyond the last address
  CHECK_FALSE(parse(bad));
  bad = rts, bad.rails = 0;  // segments of data that cannot be read
  CHECK_FALSE(parse(bad));
  bad = rts, bad.reserved = 1;
  CHECK_FALSE(parse(bad));
  rts.write(bytes);
  const uint32_t many = kMostSegments + 1;
  std::memcpy(bytes + offsetof(ReadyToSend, segments), &many, sizeof many);
  CHECK_FALSE(parse_ready_to_send(bytes, 48 + 2 * 8 + many * 16));
}

TEST_CASE("Control messages of flow control are checked") {
  const auto valid = [](ControlType type, uint64_t request, uint64_t length, uint32_t handle = 0, uint32_t failed = 0) {
    Control message{};
    message.magic = Control::kMagic;
    message.version = kWireVersion;
    message.type = type;
    message.request = request;
    message.length = length;
    message.handle = handle;
    message.failed = failed;
    return parse_control(&message, sizeof message).has_value();
  };
  for (const ControlType window : {ControlType::window_used, ControlType::window_granted}) {
    CHECK(valid(window, 0, INT32_MAX));
    CHECK_FALSE(valid(window, 0, uint64_t{INT32_MAX} + 1));
  }
  for (const ControlType question : {ControlType::ask, ControlType::take, ControlType::decline, ControlType::unask}) {
    CHECK(valid(question, UINT32_MAX, UINT32_MAX));
    CHECK_FALSE(valid(question, 0, 5));
    CHECK_FALSE(valid(question, uint64_t{UINT32_MAX} + 1, 5));
    CHECK_FALSE(valid(question, 1, uint64_t{UINT32_MAX} + 1));
  }
  CHECK(valid(ControlType::ask, 1, 5, static_cast<uint32_t>(AskKind::match)));
  CHECK_FALSE(valid(ControlType::ask, 1, 5, static_cast<uint32_t>(AskKind::match) + 1));
  CHECK(valid(ControlType::offer, 1, UINT64_MAX, 5, kHeld));
  CHECK_FALSE(valid(ControlType::offer, 1, 5, 5, kHeld + 1));
  CHECK_FALSE(valid(ControlType::offer, 0, 5, 5));
}
