// Two transports in one process, over the providers of this machine's libfabric.
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "catch.hpp"
#include "interface/transport.h"

namespace {

std::string last_report;
void report(const efa_user_message* message) {
  if (message->severity == EFA_REPORT_ERROR) last_report = message->text;
}
void fatal(const efa_user_message* message) {
  last_report = std::string("fatal: ") + message->text;
}

std::map<std::pair<void*, int>, efa_peer*> peers;  // by communicator and rank
efa_peer* resolve(void* communicator, int32_t rank) {
  return peers[{communicator, rank}];
}

// A layout: every second byte of an array.
bool pack(void* layout, size_t offset, void* to, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<char*>(to)[i] = static_cast<char*>(layout)[2 * (offset + i)];
  return true;
}
bool unpack(void* layout, size_t offset, const void* from, size_t size) {
  for (size_t i = 0; i < size; ++i)
    static_cast<char*>(layout)[2 * (offset + i)] = static_cast<const char*>(from)[i];
  return true;
}

// One of the two ranks.
struct Side {
  efa_transport* transport = nullptr;
  efa_peer* peer = nullptr;
  int rank = 0;
};

struct Request : efa_request {
  bool ended = false;
  explicit Request(Side& side, bool any_source = false) : efa_request{} {
    op.peer = any_source ? nullptr : side.peer;
    communicator = &side;
    done = [](efa_request* request) { static_cast<Request*>(request)->ended = true; };
  }
};

class Pair {
 public:
  explicit Pair(std::string provider) : provider_(std::move(provider)) {
    for (int i = 0; i < 2; ++i) {
      efa_config config{};
      efa_options_defaults(&config.options);
      config.options.provider_include = provider_.data();
      config.self = {static_cast<uint64_t>(i) + 1, i, 0};
      config.hostname = "here";
      config.named_by_user = config.all_ranks_local = true;
      config.local_ranks = 2;
      config.report = report;
      config.fatal = fatal;
      config.resolve = resolve;
      config.pack = pack;
      config.unpack = unpack;
      sides[i].rank = i;
      sides[i].transport = efa_open(&config);
    }
    if (!open()) return;
    for (int i = 0; i < 2; ++i) {
      size_t size = 0;
      const void* card = efa_card(sides[1 - i].transport, &size);
      const efa_identity identity{static_cast<uint64_t>(2 - i), 1 - i, 0};
      sides[i].peer = efa_peer_create(sides[i].transport, &identity, card, size);
      REQUIRE(sides[i].peer);
      peers[{&sides[i], 1 - i}] = sides[i].peer;
    }
  }
  ~Pair() {
    // The peers are removed first: with both endpoints in one process, shm's address vector of one endpoint reads memory of
    // the other one (libfabric 2.1).
    for (auto& side : sides)
      if (side.transport && side.peer) efa_peer_destroy(side.transport, side.peer);
    for (auto& side : sides)
      if (side.transport) efa_close(side.transport);
  }
  bool open() const { return sides[0].transport && sides[1].transport; }
  template <class Condition>
  bool wait(Condition condition) {
    for (int i = 0; i < 2'000'000 && !condition(); ++i)
      for (auto& side : sides) efa_progress(side.transport);
    return condition();
  }
  efa_envelope envelope(const Side& self, int tag, bool any = false) const {
    return {5, self.rank, any ? EFA_ANY_SOURCE : 1 - self.rank, tag, any};
  }
  Side sides[2];

 private:
  std::string provider_;
};

std::vector<char> pattern(size_t size, int seed) {
  std::vector<char> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 13 + static_cast<size_t>(seed));
  return bytes;
}

const size_t kSizes[] = {0,    1,     63,    64,    65,      100,           4095,   4096,
                         4097, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 3000000};

void for_each_provider(void (*test)(Pair&)) {
  for (const char* provider : {"shm", "tcp;ofi_rxm", "tcp"}) {
    Pair pair(provider);
    if (!pair.open()) {
      WARN(std::string("not here: ") + provider + ": " + last_report);
      continue;
    }
    INFO(provider);
    test(pair);
  }
}

}  // namespace

TEST_CASE(
    "Messages of every size arrive complete, expected and unexpected, in both modes, and nothing behind them "
    "is written") {
  for_each_provider([](Pair& pair) {
    for (const size_t size : kSizes)
      for (const auto mode : {EFA_SEND_STANDARD, EFA_SEND_SYNCHRONOUS})
        for (const bool expected : {true, false}) {
          INFO("size " << size << ", mode " << mode << ", expected " << expected);
          auto out = pattern(size, 3);
          std::vector<char> in(size + 100, 'g');
          Request send(pair.sides[0]), receive(pair.sides[1], true);
          send.data = {out.data(), size, nullptr};
          receive.data = {in.data(), size + 50, nullptr};
          const auto to = pair.envelope(pair.sides[0], 9), from = pair.envelope(pair.sides[1], 0, true);
          if (expected) REQUIRE(efa_recv(pair.sides[1].transport, &receive, &from) == EFA_SUCCESS);
          REQUIRE(efa_send(pair.sides[0].transport, &send, &to, mode) == EFA_SUCCESS);
          if (!expected) {
            for (int i = 0; i < 300; ++i)
              for (auto& side : pair.sides) efa_progress(side.transport);
            if (mode == EFA_SEND_SYNCHRONOUS) CHECK_FALSE(send.ended);
            REQUIRE(efa_recv(pair.sides[1].transport, &receive, &from) == EFA_SUCCESS);
          }
          REQUIRE(pair.wait([&] { return send.ended && receive.ended; }));
          CHECK(receive.status.result == EFA_SUCCESS);
          CHECK(receive.status.source == 0);
          CHECK(receive.status.tag == 9);
          CHECK(receive.status.length == size);
          CHECK(std::memcmp(in.data(), out.data(), size) == 0);
          CHECK(std::vector<char>(in.begin() + static_cast<long>(size), in.end()) ==
                std::vector<char>(100, 'g'));
        }
  });
}

TEST_CASE("A truncated message completes at both sides, and the next message is complete") {
  for_each_provider([](Pair& pair) {
    for (const size_t size : kSizes)
      for (const auto mode : {EFA_SEND_STANDARD, EFA_SEND_SYNCHRONOUS}) {
        if (size == 0) continue;
        INFO("size " << size << ", mode " << mode);
        auto out = pattern(size, 4);
        std::vector<char> in(size, 'g');
        Request send(pair.sides[0]), receive(pair.sides[1], true);
        send.data = {out.data(), size, nullptr};
        receive.data = {in.data(), size - 1, nullptr};
        const auto to = pair.envelope(pair.sides[0], 9), from = pair.envelope(pair.sides[1], 0, true);
        REQUIRE(efa_recv(pair.sides[1].transport, &receive, &from) == EFA_SUCCESS);
        REQUIRE(efa_send(pair.sides[0].transport, &send, &to, mode) == EFA_SUCCESS);
        REQUIRE(pair.wait([&] { return send.ended && receive.ended; }));
        CHECK(send.status.result == EFA_SUCCESS);
        CHECK(receive.status.result == EFA_TRUNCATED);
        CHECK(receive.status.source == 0);
        CHECK(receive.status.tag == 9);
        CHECK(in[size - 1] == 'g');
      }
  });
}

TEST_CASE("Layouts with gaps on either side or both") {
  for_each_provider([](Pair& pair) {
    for (const size_t size : kSizes)
      for (const int sides : {1, 2, 3}) {
        INFO("size " << size << ", layouts " << sides);
        if (size == 0) continue;
        auto out = pattern(sides & 1 ? 2 * size : size, 5);
        std::vector<char> in(sides & 2 ? 2 * size : size, 'g');
        Request send(pair.sides[0]), receive(pair.sides[1]);
        send.data = {sides & 1 ? nullptr : out.data(), size, sides & 1 ? out.data() : nullptr};
        receive.data = {sides & 2 ? nullptr : in.data(), size, sides & 2 ? in.data() : nullptr};
        const auto to = pair.envelope(pair.sides[0], 9), from = pair.envelope(pair.sides[1], 9);
        REQUIRE(efa_recv(pair.sides[1].transport, &receive, &from) == EFA_SUCCESS);
        REQUIRE(efa_send(pair.sides[0].transport, &send, &to, EFA_SEND_STANDARD) == EFA_SUCCESS);
        REQUIRE(pair.wait([&] { return send.ended && receive.ended; }));
        size_t wrong = 0;
        for (size_t i = 0; i < size; ++i) {
          wrong += in[sides & 2 ? 2 * i : i] != out[sides & 1 ? 2 * i : i];
          wrong += (sides & 2) && in[2 * i + 1] != 'g';
        }
        CHECK(wrong == 0);
      }
  });
}

TEST_CASE("A cancelled receive ends as cancelled, and the next receive gets its message") {
  for_each_provider([](Pair& pair) {
    auto out = pattern(500, 6);
    std::vector<char> first(500), second(500);
    Request send(pair.sides[0]), cancelled(pair.sides[1]), receive(pair.sides[1]);
    const auto to = pair.envelope(pair.sides[0], 9), from = pair.envelope(pair.sides[1], 9);
    cancelled.data = {first.data(), 500, nullptr};
    receive.data = {second.data(), 500, nullptr};
    send.data = {out.data(), 500, nullptr};
    REQUIRE(efa_recv(pair.sides[1].transport, &cancelled, &from) == EFA_SUCCESS);
    efa_cancel(pair.sides[1].transport, &cancelled);
    REQUIRE(pair.wait([&] { return cancelled.ended; }));
    CHECK(cancelled.status.result == EFA_CANCELED);
    efa_cancel(pair.sides[1].transport, &cancelled);  // no effect on a completed request
    REQUIRE(efa_recv(pair.sides[1].transport, &receive, &from) == EFA_SUCCESS);
    REQUIRE(efa_send(pair.sides[0].transport, &send, &to, EFA_SEND_STANDARD) == EFA_SUCCESS);
    REQUIRE(pair.wait([&] { return send.ended && receive.ended; }));
    CHECK(second == out);
  });
}

TEST_CASE("A damaged card is refused with a reason") {
  for_each_provider([](Pair& pair) {
    size_t size = 0;
    const void* card = efa_card(pair.sides[1].transport, &size);
    const efa_identity identity{77, 7, 0};
    last_report.clear();
    CHECK(efa_peer_create(pair.sides[0].transport, &identity, card, size - 1) == nullptr);
    CHECK_THAT(last_report, Contains("cannot talk to rank 7") && Contains("damaged"));
  });
}
