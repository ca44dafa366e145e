// Each step of each protocol fails once: the requests of both sides end, nothing outside a buffer is written, all
// resources are released, and the next message works.
#include <memory>

#include "catch.hpp"
#include "no_memory.hpp"
#include "pair.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/wire.hpp"

using namespace fake;
using efa::ControlType;

namespace {

enum class Protocol { push, push_blocks, push_packed, pull, pull_packed, synchronous };

constexpr size_t kGuard = 64;
constexpr char kUntouched = 0x5a;

bool packs(Protocol protocol) {
  return protocol == Protocol::push_packed || protocol == Protocol::pull_packed;
}

// One message of a protocol from `pair.sender` to `pair.receiver`, and its buffers with guard bytes.
struct Exchange {
  Exchange(Pair& both, Protocol which) : pair(both), protocol(which) {
    for (Transport* side : {&pair.sender, &pair.receiver})
      side->t->protocols.pulls = protocol == Protocol::pull || protocol == Protocol::pull_packed;
    // A message that is packed as a whole must fit into the staging memory.
    length = protocol == Protocol::synchronous ? 40 : protocol == Protocol::pull_packed ? 10000 : 20000;
    from = pattern(2 * length, 7);
    to.assign(2 * length + 2 * kGuard, kUntouched);
    out = {from.data(), 100, 100};
    in = {to.data() + kGuard, 100, 100};
    if (protocol == Protocol::push_blocks) {
      out.segments = {{from.data(), 3000}, {from.data() + 5000, length - 3000}};
      in.segments = {{to.data() + kGuard, length - 1000}, {to.data() + kGuard + length, 1000}};
    }
  }
  efa_result post_receive() {
    pair.receiver.make_current();
    const bool layout = packs(protocol) || protocol == Protocol::push_blocks;
    return pair.receiver.receive(received, &pair.receiver.one, 5, to.data() + kGuard, length,
                                 layout ? &in : nullptr);
  }
  efa_result post_send() {
    pair.sender.make_current();
    const bool layout = packs(protocol) || protocol == Protocol::push_blocks;
    return pair.sender.send(sent, pair.sender.one, 5, from.data(), length,
                            protocol == Protocol::synchronous ? EFA_SEND_SYNCHRONOUS : EFA_SEND_STANDARD,
                            layout ? &out : nullptr);
  }
  // The bytes of the message in one side's memory.
  std::vector<char> content(const Layout& layout, const std::vector<char>& memory, size_t begin) const {
    std::vector<char> bytes;
    if (!layout.segments.empty()) {
      for (const iovec& part : layout.segments) {
        const char* first = static_cast<const char*>(part.iov_base);
        bytes.insert(bytes.end(), first, first + part.iov_len);
      }
    } else {
      for (size_t i = 0; i < length; ++i)
        bytes.push_back(memory[begin + (packs(protocol) ? i / 100 * 200 + i % 100 : i)]);
    }
    return bytes;
  }
  void check_received() const {
    CHECK(received.status.result == EFA_SUCCESS);
    CHECK(sent.status.result == EFA_SUCCESS);
    CHECK((content(out, from, 0) == content(in, to, kGuard)));
  }
  void check_guards() const {
    bool good = true;
    for (size_t i = 0; i < kGuard; ++i)
      good = good && to[i] == kUntouched && to[to.size() - 1 - i] == kUntouched;
    if (packs(protocol))
      for (size_t i = 0; i < 2 * length; ++i) good = good && (i % 200 < 100 || to[kGuard + i] == kUntouched);
    if (protocol == Protocol::push || protocol == Protocol::pull || protocol == Protocol::synchronous)
      for (size_t i = length; i < 2 * length; ++i) good = good && to[kGuard + i] == kUntouched;
    CHECK(good);
  }

  Pair& pair;
  Protocol protocol;
  size_t length;
  std::vector<char> from, to;
  Layout out{}, in{};
  Request sent, received;
};

void check_clean(Pair& pair) {
  for (Transport* side : {&pair.sender, &pair.receiver}) {
    CHECK(side->t->buffers.bytes_used() == 0);
    CHECK(side->fabric.registrations == 0);
    CHECK(side->t->transfers == nullptr);
    CHECK(side->t->ready_to_send.size() == 0);
    CHECK(side->t->sends_posted == 0);
    CHECK(side->t->long_sends == 0);
    CHECK(side->t->pulls_open == 0);
    CHECK(side->one.pieces_sent == 0);
    CHECK(side->one.waiting == nullptr);
    CHECK(side->t->pending.empty());
    CHECK(side->fabric.count(Call::tagged_receive) == 0);
    CHECK(side->fabric.count(Call::read) == 0);
  }
  CHECK(pair.unexpected() == 0);
}

// Sends another message after the failed one.
void check_next(Pair& pair, Protocol protocol) {
  pair.fate = nullptr;
  pair.receive_fails = nullptr;
  for (Transport* side : {&pair.sender, &pair.receiver}) {
    side->fabric.refuse.clear();
    side->fabric.refuse_registration = 0;
  }
  Exchange next(pair, protocol);
  REQUIRE(next.post_receive() == EFA_SUCCESS);
  REQUIRE(next.post_send() == EFA_SUCCESS);
  pair.run();
  CHECK(next.sent.times == 1);
  CHECK(next.received.times == 1);
  next.check_received();
  next.check_guards();
  check_clean(pair);
}

// Runs an exchange in which something fails. Returns the number of reports of both sides.
size_t run_failing(Pair& pair, Exchange& exchange, bool receive_is_matched = true) {
  REQUIRE(exchange.post_receive() == EFA_SUCCESS);
  REQUIRE(exchange.post_send() == EFA_SUCCESS);
  pair.run();
  CHECK(exchange.sent.times == 1);
  if (!receive_is_matched) {
    CHECK(exchange.received.times == 0);
    pair.receiver.make_current();
    efa_cancel(pair.receiver.t, &exchange.received);
    pair.run();
  }
  CHECK(exchange.received.times == 1);
  exchange.check_guards();
  check_clean(pair);
  CHECK(pair.sender.fatals.empty());
  CHECK(pair.receiver.fatals.empty());
  return pair.sender.reports.size() + pair.receiver.reports.size();
}

bool failed(const Request& request) {
  return request.status.result != EFA_SUCCESS && request.status.result != EFA_TRUNCATED;
}

bool is_piece(const Transport& transport, const Posted& posted) {
  return posted.call == Call::tagged_send && (transport.t->tags.kind(posted.tag) & efa::kKindControl);
}

}  // namespace

TEST_CASE("Without failures every protocol delivers its message") {
  const auto protocol = GENERATE(Protocol::push, Protocol::push_blocks, Protocol::push_packed, Protocol::pull,
                                 Protocol::pull_packed, Protocol::synchronous);
  Pair pair;
  check_next(pair, protocol);
  check_next(pair, protocol);
  CHECK(pair.sender.reports.size() + pair.receiver.reports.size() == 0);
}

TEST_CASE("The send of the first message fails, whether or not the message arrives") {
  const auto protocol =
      GENERATE(Protocol::push, Protocol::push_packed, Protocol::pull, Protocol::synchronous);
  const Fate fate = GENERATE(Fate::lost, Fate::failed_arrived);
  CAPTURE(protocol, fate);
  Pair pair;
  Exchange exchange(pair, protocol);
  bool once = false;
  pair.fate = [&](const Transport& sender, const Posted& posted) {
    if (once || posted.call != Call::tagged_send || &sender != &pair.sender) return Fate::done;
    once = true;
    return fate;
  };
  CHECK(run_failing(pair, exchange, fate == Fate::failed_arrived) >= 1);
  CHECK(failed(exchange.sent));
  check_next(pair, protocol);
}

TEST_CASE("The send of a piece fails or is refused, whether or not the piece arrives") {
  const auto protocol = GENERATE(Protocol::push, Protocol::push_blocks, Protocol::push_packed);
  const int piece = GENERATE(0, 1, 2, 3, 4);
  const int how = GENERATE(0, 1, 2);
  CAPTURE(protocol, piece, how);
  Pair pair;
  Exchange exchange(pair, protocol);
  int seen = 0;
  pair.fate = [&](const Transport& sender, const Posted& posted) {
    if (!is_piece(sender, posted) || seen++ != piece) return Fate::done;
    return how == 1 ? Fate::failed_arrived : Fate::lost;
  };
  if (how == 2) {
    pair.fate = nullptr;
    pair.sender.fabric.refuse_when = [&](const Posted& posted) {
      return is_piece(pair.sender, posted) && seen++ == piece ? FI_EIO : 0;
    };
  }
  CHECK(run_failing(pair, exchange) == 1);
  CHECK(failed(exchange.sent));
  // If one of the last two pieces arrived although its send failed, the receiver misses nothing.
  if (how != 1 || piece < 3) CHECK(failed(exchange.received));
  pair.sender.fabric.refuse_when = nullptr;
  check_next(pair, protocol);
}

TEST_CASE("All pieces after a certain one fail, as if the connection broke") {
  const auto protocol = GENERATE(Protocol::push, Protocol::push_packed);
  const int piece = GENERATE(0, 2);
  Pair pair;
  Exchange exchange(pair, protocol);
  int seen = 0;
  pair.fate = [&](const Transport& sender, const Posted& posted) {
    return is_piece(sender, posted) && seen++ >= piece ? Fate::lost : Fate::done;
  };
  CHECK(run_failing(pair, exchange) == 1);
  CHECK(failed(exchange.sent));
  CHECK(failed(exchange.received));
  check_next(pair, protocol);
}

TEST_CASE("The receive of a piece fails or is refused") {
  const auto protocol = GENERATE(Protocol::push, Protocol::push_blocks, Protocol::push_packed);
  const int piece = GENERATE(0, 1, 2, 3, 4);
  const bool refused = GENERATE(false, true);
  CAPTURE(protocol, piece, refused);
  Pair pair;
  Exchange exchange(pair, protocol);
  int seen = 0;
  const auto is_chosen = [&](const Posted& posted) {
    return posted.call == Call::tagged_receive &&
           (pair.receiver.t->tags.kind(posted.tag) & efa::kKindControl) && seen++ == piece;
  };
  if (refused)
    pair.receiver.fabric.refuse_when = [&](const Posted& posted) { return is_chosen(posted) ? FI_EIO : 0; };
  else
    pair.receive_fails = is_chosen;
  CHECK(run_failing(pair, exchange) == 1);
  CHECK(failed(exchange.received));
  pair.receiver.fabric.refuse_when = nullptr;
  check_next(pair, protocol);
}

TEST_CASE("A read fails or is refused") {
  const auto protocol = GENERATE(Protocol::pull, Protocol::pull_packed);
  const int piece = GENERATE(0, 1, 2, 3, 4);
  const bool refused = GENERATE(false, true);
  Pair pair;
  Exchange exchange(pair, protocol);
  if (4096 * static_cast<size_t>(piece) >= exchange.length) return;
  int seen = 0;
  const auto is_chosen = [&](const Posted& posted) { return posted.call == Call::read && seen++ == piece; };
  if (refused)
    pair.receiver.fabric.refuse_when = [&](const Posted& posted) { return is_chosen(posted) ? FI_EIO : 0; };
  else
    pair.fate = [&](const Transport&, const Posted& posted) {
      return is_chosen(posted) ? Fate::lost : Fate::done;
    };
  CHECK(run_failing(pair, exchange) == 1);
  CHECK(failed(exchange.sent));
  CHECK(failed(exchange.received));
  pair.receiver.fabric.refuse_when = nullptr;
  check_next(pair, protocol);
}

TEST_CASE("Packing or unpacking fails") {
  const auto protocol = GENERATE(Protocol::push_packed, Protocol::pull_packed);
  const bool packing = GENERATE(true, false);
  const size_t piece = GENERATE(0, 1, 2, 3, 4);
  CAPTURE(protocol, packing, piece);
  Pair pair;
  Exchange exchange(pair, protocol);
  if (4096 * piece >= exchange.length) return;
  (packing ? exchange.out : exchange.in).refuses = [&](size_t offset) { return offset / 4096 >= piece; };
  const size_t reports = run_failing(pair, exchange);
  if (protocol == Protocol::pull_packed && packing && piece > 0) return;  // the message is packed as a whole
  CHECK(reports == 1);
  // A sender that has sent all pieces succeeds.
  if (packing || piece < 3 || protocol == Protocol::pull_packed) CHECK(failed(exchange.sent));
  CHECK(failed(exchange.received));
  check_next(pair, protocol);
}

TEST_CASE("If a registration is refused, the data is pushed") {
  const bool sender = GENERATE(true, false);
  const auto protocol = GENERATE(Protocol::pull, Protocol::pull_packed);
  Pair pair;
  Exchange exchange(pair, protocol);
  (sender ? pair.sender : pair.receiver).fabric.refuse_registration = FI_ENOMEM;
  CHECK(run_failing(pair, exchange) == 0);
  exchange.check_received();
  check_next(pair, protocol);
}

TEST_CASE("Each allocation on either side fails once") {
  const auto protocol = GENERATE(Protocol::push, Protocol::push_blocks, Protocol::push_packed, Protocol::pull,
                                 Protocol::pull_packed, Protocol::synchronous);
  const bool all_later_fail = GENERATE(false, true);
  long failures = 1;
  for (long nth = 0; failures > 0; ++nth) {
    CAPTURE(protocol, all_later_fail, nth);
    Pair pair;
    auto exchange = std::make_unique<Exchange>(pair, protocol);
    efa_result receiving, sending;
    {
      NoMemory none(nth, !all_later_fail);
      receiving = exchange->post_receive();
      sending = exchange->post_send();
      pair.run();
      failures = NoMemory::failed();
    }
    if (receiving == EFA_SUCCESS && sending != EFA_SUCCESS) {
      pair.receiver.make_current();
      efa_cancel(pair.receiver.t, &exchange->received);
      pair.run();
    }
    if (receiving != EFA_SUCCESS && sending == EFA_SUCCESS) {  // the message has no receive: post another one
      REQUIRE(exchange->post_receive() == EFA_SUCCESS);
      pair.run();
      CHECK(exchange->sent.times == 1);
      CHECK(exchange->received.times == 1);
    }
    CHECK(exchange->sent.times == (sending == EFA_SUCCESS));
    if (receiving == EFA_SUCCESS) CHECK(exchange->received.times == 1);
    exchange->check_guards();
    check_clean(pair);
    CHECK(pair.sender.fatals.empty());
    CHECK(pair.receiver.fatals.empty());
    check_next(pair, protocol);
  }
}

TEST_CASE("An answer that cannot be sent ends the job with an error") {
  const auto protocol = GENERATE(Protocol::push, Protocol::pull, Protocol::synchronous);
  Pair pair;
  Exchange exchange(pair, protocol);
  pair.fate = [&](const Transport& sender, const Posted& posted) {
    return posted.call == Call::send && &sender == &pair.receiver ? Fate::lost : Fate::done;
  };
  REQUIRE(exchange.post_receive() == EFA_SUCCESS);
  REQUIRE(exchange.post_send() == EFA_SUCCESS);
  pair.run();
  REQUIRE(pair.receiver.fatals.size() == 1);
  CHECK_THAT(pair.receiver.fatals[0], Contains("could not be delivered"));
  REQUIRE(pair.receiver.reports.size() == 1);
  CHECK_THAT(pair.receiver.reports[0], Contains("rank 0 on host there"));
}

TEST_CASE("If the failure message cannot be delivered, this is reported once and the request ends") {
  const bool receiver = GENERATE(true, false);
  Pair pair;
  Exchange exchange(pair, Protocol::push_packed);
  (receiver ? exchange.in : exchange.out).refuses = [](size_t offset) { return offset >= 4096; };
  pair.fate = [&](const Transport& sender, const Posted& posted) {
    const auto message = posted.call == Call::send
                             ? efa::parse_control(posted.bytes.data(), posted.bytes.size())
                             : std::nullopt;
    const bool is_failure = message && (message->type == ControlType::receive_failed ||
                                        message->type == ControlType::send_failed);
    return is_failure && &sender == (receiver ? &pair.receiver : &pair.sender) ? Fate::lost : Fate::done;
  };
  REQUIRE(exchange.post_receive() == EFA_SUCCESS);
  REQUIRE(exchange.post_send() == EFA_SUCCESS);
  pair.run();
  CHECK((receiver ? exchange.received : exchange.sent).times == 1);
  Transport& side = receiver ? pair.receiver : pair.sender;
  CHECK(side.fatals.empty());
  REQUIRE(side.reports.size() == 3);  // packing, the control message, and the consequence
  CHECK_THAT(side.reports[2], Contains("could not be told"));
  CHECK(side.t->buffers.bytes_used() == 0);
  CHECK(side.t->transfers == nullptr);
}

TEST_CASE("A message whose sender cannot be found ends the job with an error that names the sender's rank") {
  const auto kind = GENERATE(efa::kKindSync, efa::kKindRts);
  Transport fixture;
  std::vector<char> buffer(5000);
  Request request;
  fixture.receive(request, nullptr, EFA_ANY_TAG, buffer.data(), buffer.size());
  const auto ready = fixture.ready(1, 5000);
  const uint64_t trailer = 1;
  if (kind == efa::kKindRts)
    fixture.fabric.arrive(fixture.bits(kind, 7, 5), 7, &ready, ready.size());
  else
    fixture.fabric.arrive(fixture.bits(kind, 7, 5), 7, &trailer, sizeof trailer);
  fixture.progress();
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0],
             Contains("from rank 7 of a communicator") && Contains("cannot find that process"));
  CHECK(request.times == 1);
}

TEST_CASE("Failure messages about unknown transfers, or from another peer, are ignored") {
  Transport fixture;
  const auto data = pattern(20000);
  std::vector<char> buffer(20000);
  Request received, sent;
  fixture.receive(received, &fixture.one, 5, buffer.data(), buffer.size());
  fixture.arrive(fixture.ready(1, 20000), 1, 5);
  const auto clear = answer(fixture);
  fixture.send(sent, fixture.one, 6, data.data(), data.size());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.arrive(fixture.control(ControlType::clear_to_send, fixture.one, sent.ready_id, 20000));
  const size_t receives = fixture.fabric.count(Call::tagged_receive),
               sends = fixture.fabric.count(Call::tagged_send);
  const auto ignored = [&](efa::Control message) {
    fixture.arrive(message);
    CHECK(fixture.fabric.count(Call::tagged_receive) == receives);
    CHECK(fixture.fabric.count(Call::tagged_send) == sends);
    CHECK(fixture.fabric.count(Call::send) == 0);
    CHECK(received.times + sent.times == 0);
    CHECK(fixture.fatals.empty());
  };
  for (const auto type : {ControlType::receive_failed, ControlType::send_failed}) {
    const bool of_receive = type == ControlType::send_failed;
    auto message = fixture.control(type, fixture.two, of_receive ? 1 : sent.ready_id, 0, 0);
    message.handle = of_receive ? clear.handle : 3;
    ignored(message);  // another peer's
    message.sender = 1001, message.handle += 1;
    ignored(message);
    message.handle -= 1, message.request += 1;
    ignored(message);
    message.request -= 1, message.type = of_receive ? ControlType::receive_failed : ControlType::send_failed;
    ignored(message);
  }
}

TEST_CASE("A failure message from another peer does not end a send that waits for its receiver") {
  Transport fixture;
  const auto data = pattern(20000);
  Request waiting;
  fixture.send(waiting, fixture.one, 7, data.data(), data.size());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.arrive(fixture.control(ControlType::receive_failed, fixture.two, waiting.ready_id));
  CHECK(fixture.fatals.size() == 1);
  CHECK(waiting.times == 0);
  fixture.arrive(fixture.control(ControlType::receive_failed, fixture.one, waiting.ready_id));
  CHECK(waiting.times == 1);
  CHECK(waiting.status.result == EFA_FAILED);
}
