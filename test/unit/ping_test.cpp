// Pings over UDP: they are answered by a thread of the other process, and only if they carry its secret.
#include "peers/ping.hpp"
#include "base/wire_version.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "catch.hpp"

using efa::PingPacket;
using efa::PingSocket;

namespace {

std::unique_ptr<PingSocket> open() {
  efa::MessagePart why;
  auto made = PingSocket::open(true, why);
  INFO(why.text());
  REQUIRE(made);
  return made;
}

// Waits for answers, for at most ten seconds.
std::vector<efa::PingAnswer> wait_for_answers(PingSocket& socket) {
  for (int i = 0; i < 1000; ++i) {
    if (auto taken = socket.take_answers(); !taken.empty()) return taken;
    usleep(10000);
  }
  return {};
}
// The same, of processes that have given up nobody: the ids.
std::vector<uint64_t> answers(PingSocket& socket) {
  std::vector<uint64_t> ids;
  for (const auto& [id, given_up] : wait_for_answers(socket)) {
    CHECK_FALSE(given_up);
    ids.push_back(id);
  }
  return ids;
}

// A plain socket that sends `size` bytes to `to`; the bytes that come back within `wait_ms`.
std::vector<uint8_t> exchange(const efa::PingAddress& to, const void* bytes, size_t size, int wait_ms) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(fd >= 0);
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_port = htons(to.port);
  std::memcpy(&there.sin_addr, to.ip + 12, 4);  // the loopback address
  REQUIRE(sendto(fd, bytes, size, 0, reinterpret_cast<sockaddr*>(&there), sizeof there) ==
          static_cast<ssize_t>(size));
  pollfd waiting{fd, POLLIN, 0};
  std::vector<uint8_t> got(128);
  const ssize_t length = poll(&waiting, 1, wait_ms) == 1 ? recv(fd, got.data(), got.size(), 0) : 0;
  got.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
  close(fd);
  return got;
}

}  // namespace

TEST_CASE("A process answers, and its answer names the ping") {
  auto one = open(), two = open();
  one->ping(two->address(), 77);
  CHECK(answers(*one) == std::vector<uint64_t>{77});
  CHECK(two->take_answers().empty());
  two->ping(two->address(), 5);  // itself
  CHECK(answers(*two) == std::vector<uint64_t>{5});
}

TEST_CASE("A process that was given up is told so, and no other one is") {
  auto one = open(), two = open(), three = open();
  two->give_up(one->address().secret);
  one->ping(two->address(), 77);
  const auto told = wait_for_answers(*one);
  REQUIRE(told.size() == 1);
  CHECK(told[0].id == 77);
  CHECK(told[0].given_up);
  three->ping(two->address(), 78);
  CHECK(answers(*three) == std::vector<uint64_t>{78});
}

TEST_CASE("A process that has ended does not answer; asking it is no error") {
  auto one = open(), two = open();
  const efa::PingAddress gone = two->address();
  two.reset();
  one->ping(gone, 1);
  one->ping(one->address(), 2);  // answered later than that one would be
  CHECK(answers(*one) == std::vector<uint64_t>{2});
  one->ping(efa::PingAddress{}, 3);  // a process that answers none
}

TEST_CASE("Only a ping with the right secret, magic, version, form and size is answered") {
  auto socket = open();
  const efa::PingAddress& to = socket->address();
  const PingPacket good{PingPacket::kMagic, efa::kWireVersion, 0, to.secret, 99, 7};
  PingPacket bad[] = {good, good, good, good, good};
  ++bad[0].secret;
  ++bad[1].magic;
  ++bad[2].version;
  bad[3].answer = 3;
  bad[4].answer = 1;  // an answer with a secret for a reply
  for (const PingPacket& each : bad) CHECK(exchange(to, &each, sizeof each, 50).empty());
  uint8_t longer[sizeof good + 1] = {};
  std::memcpy(longer, &good, sizeof good);
  CHECK(exchange(to, longer, sizeof longer, 50).empty());
  CHECK(exchange(to, &good, sizeof good - 1, 50).empty());
  CHECK(exchange(to, &good, 0, 50).empty());

  const auto answer = exchange(to, &good, sizeof good, 10000);
  REQUIRE(answer.size() == sizeof good);  // no longer than the ping
  const auto parsed = efa::parse_ping(answer.data(), answer.size());
  REQUIRE(parsed);
  CHECK(parsed->answer == 1);
  CHECK(parsed->secret == 99);
  CHECK(parsed->id == 7);
  CHECK(parsed->reply == 0);  // the secret of the process does not leave it
  CHECK(socket->take_answers().empty());
}

TEST_CASE("An answer that nobody could have sent is ignored, and so are more answers than are kept") {
  auto socket = open();
  const efa::PingAddress& to = socket->address();
  PingPacket answer{PingPacket::kMagic, efa::kWireVersion, 1, to.secret + 1, 0, 7};
  exchange(to, &answer, sizeof answer, 0);
  answer.secret = to.secret;
  answer.id = 8;
  exchange(to, &answer, sizeof answer, 0);
  CHECK(answers(*socket) == std::vector<uint64_t>{8});
  for (int i = 0; i < 5000; ++i) socket->ping(to, 9);
  usleep(100000);
  CHECK(socket->take_answers().size() <= 4096);
}
