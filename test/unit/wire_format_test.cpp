// What comes from the network is believed only if every field is one that this version knows.
#include "catch.hpp"
#include "id_table.hpp"
#include "wire.hpp"

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

Card good_card() {
  Card card;
  card.provider = "efa";
  card.eager_limit = 65536;
  card.nic = "rdmap16s27-rdm";
  card.host = "node-1";
  card.address = {1, 2, 3, 250, 0, 255};
  card.more = {9, 9, 9, 9, 9, 1, 9, 9, 9, 9, 9, 2};
  return card;
}

}  // namespace

TEST_CASE("A ready-to-send message is parsed, and no other") {
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
  bad = good, bad.flags = 2;
  CHECK(refused());
  bad = good, bad.piece = 0;
  CHECK(refused());
  bad = good, bad.rails = kMostRails + 1;
  CHECK(refused());
  bad = good, bad.address = UINT64_MAX - 5;  // the data would end beyond the address space
  CHECK(refused());
  bad.rails = 0;  // not to be read: the address has no meaning
  CHECK_FALSE(refused());
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
  for (const int type : {0, 4, 65535}) {
    bad = good, bad.type = static_cast<ControlType>(type);
    CHECK_FALSE(parse_control(&bad, sizeof bad));
  }
  bad = good, bad.piece = 0;
  CHECK_FALSE(parse_control(&bad, sizeof bad));
  bad.length = 0;  // nothing wanted: no pieces
  CHECK(parse_control(&bad, sizeof bad));
  CHECK(to_string(good) ==
        "CTS{version 3, sender 1, request 7, length 1048576, piece 4096, handle 3, failed 0}");
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
  CHECK(card->more == good_card().more);
}

TEST_CASE("Addresses of further rails come whole, and not more of them than there may be") {
  auto card = good_card();
  std::string why;
  const auto accepted = [&] {
    const auto bytes = card.serialize();
    return Card::parse(bytes.data(), bytes.size(), why).has_value();
  };
  card.more.pop_back();
  CHECK_FALSE(accepted());
  card.more.assign(card.address.size() * (kMostRails - 1), 7);
  CHECK(accepted());
  card.more.resize(card.more.size() + card.address.size());
  CHECK_FALSE(accepted());
}

TEST_CASE("Segments travel behind the keys, and must be as long as the data") {
  ReadyToSend rts = good_rts();
  rts.segments = 3;
  const uint64_t lengths[] = {1 << 19, (1 << 19) - 1, 1};
  for (unsigned i = 0; i < 3; ++i) rts.parts[i] = {i * uint64_t{1 << 20}, lengths[i]};
  uint8_t bytes[sizeof rts];
  const auto parse = [&](const ReadyToSend& m) {
    m.write(bytes);
    return parse_ready_to_send(bytes, m.size());
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
  bad.parts[2].length = 2;  // more than there is
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].length -= 1;  // less
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[2].length = 0, bad.parts[1].length += 1;
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].length = UINT64_MAX;
  CHECK_FALSE(parse(bad));
  bad = rts, bad.parts[1].offset = UINT64_MAX - 0x7000;  // beyond the last address
  CHECK_FALSE(parse(bad));
  bad = rts, bad.rails = 0;  // where, if it may not be read?
  CHECK_FALSE(parse(bad));
  bad = rts, bad.reserved = 1;
  CHECK_FALSE(parse(bad));
  rts.write(bytes);
  const uint32_t many = kMostSegments + 1;
  std::memcpy(bytes + offsetof(ReadyToSend, segments), &many, sizeof many);
  CHECK_FALSE(parse_ready_to_send(bytes, 48 + 2 * 8 + many * 16));
}

TEST_CASE("A card that is cut off anywhere is refused with a reason") {
  const auto bytes = good_card().serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::string why;
    CHECK_FALSE(Card::parse(bytes.data(), size, why));
    CHECK_FALSE(why.empty());
  }
}

TEST_CASE("A card has a version of its own width, and nothing behind its end") {
  std::string why;
  auto bytes = good_card().serialize();
  bytes.push_back(0);
  CHECK_FALSE(Card::parse(bytes.data(), bytes.size(), why));
  CHECK_THAT(why, Contains("damaged"));
  bytes = good_card().serialize();
  bytes[4] = 3;  // of three bytes instead of two
  bytes.insert(bytes.begin() + 8, 0);
  CHECK_FALSE(Card::parse(bytes.data(), bytes.size(), why));
}

TEST_CASE("A card of another version names both versions, whatever follows") {
  auto card = good_card();
  card.version = kWireVersion + 41;
  const auto bytes = card.serialize();
  std::string why;
  CHECK_FALSE(Card::parse(bytes.data(), 8, why));
  CHECK_THAT(why, Contains("wire format 44") && Contains("this one has 3"));
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
