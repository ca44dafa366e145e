// What comes from the network is believed only if every field is one that this version knows.
#include "catch.hpp"
#include "id_table.hpp"
#include "wire.hpp"

using namespace efa;

namespace {

ReadyToSend good_rts() { return {ReadyToSend::kMagic, kWireVersion, ReadyToSend::kPacked, 7, 1 << 20, 4096}; }
Control good_cts() {
  return {Control::kMagic, kWireVersion, ControlType::clear_to_send, 1, 7, 1 << 20, 4096, 3, 0};
}

Card good_card() {
  Card card;
  card.provider = "efa";
  card.eager_limit = 65536;
  card.nic = "rdmap16s27-rdm";
  card.host = "node-1";
  card.address = {1, 2, 3, 250, 0, 255};
  return card;
}

}  // namespace

TEST_CASE("A ready-to-send message is parsed, and no other") {
  const auto good = good_rts();
  const auto parsed = parse_ready_to_send(&good, sizeof good);
  REQUIRE(parsed);
  CHECK(parsed->request == 7);
  CHECK(parsed->length == 1 << 20);
  uint8_t longer[64] = {};
  std::memcpy(longer, &good, sizeof good);
  for (size_t size = 0; size <= sizeof longer; ++size)
    CHECK(parse_ready_to_send(longer, size).has_value() == (size == sizeof good));
  auto bad = good;
  bad.magic ^= 1;
  CHECK_FALSE(parse_ready_to_send(&bad, sizeof bad));
  bad = good, bad.version = kWireVersion + 1;
  CHECK_FALSE(parse_ready_to_send(&bad, sizeof bad));
  bad = good, bad.flags = 2;
  CHECK_FALSE(parse_ready_to_send(&bad, sizeof bad));
  bad = good, bad.piece = 0;
  CHECK_FALSE(parse_ready_to_send(&bad, sizeof bad));
}

TEST_CASE("A control message is parsed, and no other") {
  const auto good = good_cts();
  REQUIRE(parse_control(&good, sizeof good));
  for (size_t size = 0; size < sizeof good; ++size) CHECK_FALSE(parse_control(&good, size));
  auto bad = good;
  bad.magic = ReadyToSend::kMagic;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  bad = good, bad.version = 0;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  for (const int type : {0, 3, 65535}) {
    bad = good, bad.type = static_cast<ControlType>(type);
    CHECK_FALSE(parse_control(&bad, sizeof bad));
  }
  bad = good, bad.piece = 0;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  bad.length = 0;  // nothing wanted: no pieces
  CHECK(parse_control(&bad, sizeof bad));
  CHECK(to_string(good) ==
        "CTS{version 1, sender 1, request 7, length 1048576, piece 4096, handle 3}");
}

TEST_CASE("A card comes back as it was published") {
  const auto bytes = good_card().serialize();
  std::string why;
  const auto card = Card::parse(bytes.data(), bytes.size(), why);
  REQUIRE(card);
  CHECK(card->provider == "efa");
  CHECK(card->eager_limit == 65536);
  CHECK(card->nic == "rdmap16s27-rdm");
  CHECK(card->host == "node-1");
  CHECK(card->address == std::vector<uint8_t>{1, 2, 3, 250, 0, 255});
}

TEST_CASE("A card that is cut off anywhere is refused with a reason") {
  const auto bytes = good_card().serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::string why;
    CHECK_FALSE(Card::parse(bytes.data(), size, why));
    CHECK_FALSE(why.empty());
  }
}

TEST_CASE("A card of another version names both versions, whatever follows") {
  auto card = good_card();
  card.version = kWireVersion + 41;
  const auto bytes = card.serialize();
  std::string why;
  CHECK_FALSE(Card::parse(bytes.data(), 8, why));
  CHECK_THAT(why, Contains("wire format 42") && Contains("this one has 1"));
}

TEST_CASE("An id finds its object until it is removed, and never the next in its place") {
  IdTable<int> table;
  int a = 0, b = 0;
  const uint64_t first = table.add(&a);
  CHECK(table.find(first) == &a);
  table.remove(first);
  CHECK(table.find(first) == nullptr);
  const uint64_t second = table.add(&b);
  CHECK(second != first);
  CHECK(static_cast<uint32_t>(second) == static_cast<uint32_t>(first));  // the same place
  CHECK(table.find(first) == nullptr);
  table.remove(first);  // a late or forged one changes nothing
  CHECK(table.find(second) == &b);
  CHECK(table.find(~uint64_t{0}) == nullptr);
  CHECK(table.find(0) == nullptr);
  CHECK(table.size() == 1);
}
