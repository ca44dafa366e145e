// Cards are accepted only if every field is valid in this version.
#include "peers/card.hpp"

#include <cstring>

#include "catch.hpp"

using namespace efa;

namespace {

Card good_card() {
  Card card;
  card.provider = "efa";
  card.eager_limit = 65536;
  card.read_family = ReadFamily::later;
  card.path = "packets";
  card.nic = "rdmap16s27-rdm";
  card.host = "node-1";
  card.address = {1, 2, 3, 250, 0, 255};
  card.more = {9, 9, 9, 9, 9, 1, 9, 9, 9, 9, 9, 2};
  return card;
}

}  // namespace

TEST_CASE("A parsed card equals the serialized one") {
  const auto bytes = good_card().serialize();
  MessagePart why;
  const auto card = Card::parse(bytes.data(), bytes.size(), why);
  REQUIRE(card);
  CHECK(card->provider == "efa");
  CHECK(card->eager_limit == 65536);
  CHECK(card->read_family == ReadFamily::later);
  CHECK(card->path == "packets");
  CHECK(card->nic == "rdmap16s27-rdm");
  CHECK(card->host == "node-1");
  CHECK(card->address == std::vector<uint8_t>{1, 2, 3, 250, 0, 255});
  CHECK(card->more == good_card().more);
}

TEST_CASE("Addresses of further rails are complete, and their number is bounded") {
  auto card = good_card();
  MessagePart why;
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

TEST_CASE("A truncated card is refused with a reason") {
  const auto bytes = good_card().serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    MessagePart why;
    CHECK_FALSE(Card::parse(bytes.data(), size, why));
    CHECK_FALSE(why.empty());
  }
}

TEST_CASE("A card has a version of fixed width, and no bytes behind its end") {
  MessagePart why;
  auto bytes = good_card().serialize();
  bytes.push_back(0);
  CHECK_FALSE(Card::parse(bytes.data(), bytes.size(), why));
  CHECK_THAT(why, Contains("damaged"));
  bytes = good_card().serialize();
  bytes[4] = 3;  // a version of three bytes instead of two
  bytes.insert(bytes.begin() + 8, 0);
  CHECK_FALSE(Card::parse(bytes.data(), bytes.size(), why));
}

TEST_CASE("A card says where pings are answered, or that they are not") {
  auto card = good_card();
  MessagePart why;
  CHECK(Card::parse(card.serialize().data(), card.serialize().size(), why)->ping.port == 0);
  card.ping.port = 4711;
  card.ping.secret = 0x1234567890;
  card.ping.ip[15] = 9;
  const auto bytes = card.serialize();
  const auto parsed = Card::parse(bytes.data(), bytes.size(), why);
  REQUIRE(parsed);
  CHECK(std::memcmp(&parsed->ping, &card.ping, sizeof card.ping) == 0);
  auto shorter = bytes;
  shorter.pop_back();
  shorter[bytes.size() - sizeof card.ping - 2] = sizeof card.ping - 1;
  CHECK_FALSE(Card::parse(shorter.data(), shorter.size(), why));
  CHECK_THAT(why, Contains("damaged"));
}

TEST_CASE("A card says by which shared memory its process is reached, or that it is not") {
  auto card = good_card();
  MessagePart why;
  CHECK(Card::parse(card.serialize().data(), card.serialize().size(), why)->shm.pid == 0);
  card.shm.pid = 4711;
  card.shm.fd = 7;
  card.shm.cookie_address = 0x123456789abc;
  for (uint8_t i = 0; i < sizeof card.shm.cookie; ++i) card.shm.cookie[i] = static_cast<uint8_t>(i + 1);
  const auto bytes = card.serialize();
  const auto parsed = Card::parse(bytes.data(), bytes.size(), why);
  REQUIRE(parsed);
  CHECK(std::memcmp(&parsed->shm, &card.shm, sizeof card.shm) == 0);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(Card::parse(bytes.data(), size, why));
  }
  auto shorter = bytes;
  shorter.pop_back();
  shorter[bytes.size() - sizeof card.shm - 2] = sizeof card.shm - 1;
  CHECK_FALSE(Card::parse(shorter.data(), shorter.size(), why));
  CHECK_THAT(why, Contains("damaged"));
  auto longer = bytes;
  longer.push_back(0);
  longer[bytes.size() - sizeof card.shm - 2] = sizeof card.shm + 1;
  CHECK_FALSE(Card::parse(longer.data(), longer.size(), why));
}

TEST_CASE("A card of another version is refused with both versions, whatever follows") {
  auto card = good_card();
  card.version = kWireVersion + 40;
  const auto bytes = card.serialize();
  MessagePart why;
  CHECK_FALSE(Card::parse(bytes.data(), 8, why));
  CHECK_THAT(why, Contains("wire format " + std::to_string(kWireVersion + 40)) &&
                      Contains("this one has " + std::to_string(kWireVersion)));
}
