// Sends: choice of the protocol, waiting, and completion.
#include "catch.hpp"
#include "fake_transport.hpp"
#include "protocol/wire.hpp"

using namespace fake;

TEST_CASE("Length, mode and layout determine the protocol") {
  Transport fixture;
  auto data = pattern(8000);
  Layout layout{data.data(), 16, 8};
  std::vector<std::unique_ptr<Request>> open;  // nothing answers them: they stay in the transport's lists
  const auto kind_of = [&](size_t size, efa_send_mode mode, bool packed) {
    Request& request = *open.emplace_back(std::make_unique<Request>());
    REQUIRE(fixture.send(request, fixture.one, 3, data.data(), size, mode, packed ? &layout : nullptr) ==
            EFA_SUCCESS);
    const Posted posted = fixture.fabric.take(Call::tagged_send);
    const auto kind = fixture.t->tags.kind(posted.tag);
    fixture.t->ready_to_send.remove(request.ready_id);
    fixture.t->alone.clear();
    return kind;
  };
  CHECK(kind_of(0, EFA_SEND_STANDARD, false) == efa::kKindEager);
  CHECK(kind_of(1024, EFA_SEND_STANDARD, false) == efa::kKindEager);
  CHECK(kind_of(1025, EFA_SEND_STANDARD, false) == efa::kKindRts);
  CHECK(kind_of(512, EFA_SEND_STANDARD, true) == efa::kKindEager);
  CHECK(kind_of(513, EFA_SEND_STANDARD, true) == efa::kKindRts);
  CHECK(kind_of(efa::kLongestSynchronous, EFA_SEND_SYNCHRONOUS, false) == efa::kKindSync);
  CHECK(kind_of(efa::kLongestSynchronous + 1, EFA_SEND_SYNCHRONOUS, false) == efa::kKindRts);
}

TEST_CASE("A long message is sent eagerly while it is the only one") {
  Transport fixture;
  fixture.one.eager_limit_alone = 3000;
  auto data = pattern(8000);
  Layout layout{data.data(), 16, 8};
  // The receiver acknowledges the match of such a message.
  const auto send = [&](Request& request, size_t size, efa_send_mode mode, Layout* packed, uint64_t kind) {
    REQUIRE(fixture.send(request, fixture.one, 3, data.data(), size, mode, packed) == EFA_SUCCESS);
    const Posted posted = fixture.fabric.take(Call::tagged_send);
    CHECK(fixture.t->tags.kind(posted.tag) == kind);
    fixture.fabric.complete(posted);
    if (kind == efa::kKindAlone) CHECK(posted.bytes.size() == size);
  };
  const auto answer = [&](const Request& request) {
    fixture.arrive(fixture.control(efa::ControlType::clear_to_send, fixture.one, request.ready_id, 0));
  };
  const auto matched = [&] {
    fixture.arrive(fixture.control(efa::ControlType::alone_matched, fixture.one,
                                   fixture.t->tags.send_bits(5, efa::kKindAlone, 0, 3)));
  };
  fixture.one.pulls = false;
  Request first, second, third, fourth, fifth, packed, last;
  send(first, 3000, EFA_SEND_STANDARD, nullptr, efa::kKindAlone);
  send(second, 1025, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // the first has not completed
  fixture.progress();
  CHECK(first.times == 1);                                       // it does not wait for a match
  send(third, 3000, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // the second has not been answered
  fixture.progress();
  answer(second);
  answer(third);
  CHECK(second.times + third.times == 2);
  send(fourth, 3000, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // the first has not been matched
  fixture.progress();
  answer(fourth);
  matched();
  CHECK(fixture.t->alone.empty());
  send(fifth, 300, EFA_SEND_SYNCHRONOUS, nullptr, efa::kKindRts);  // it completes when it is matched
  fixture.progress();
  answer(fifth);
  send(packed, 2400, EFA_SEND_STANDARD, &layout, efa::kKindAlone);
  fixture.progress();
  matched();
  CHECK(packed.times == 1);
  fixture.t->protocols.pulls = fixture.one.pulls = true;
  send(packed, 2400, EFA_SEND_STANDARD, &layout, efa::kKindAlone);
  fixture.progress();
  matched();
  CHECK(packed.times == 2);
  send(last, 2400, EFA_SEND_STANDARD, nullptr, efa::kKindRts);  // it can be read without packing
  CHECK(fixture.t->long_sends == 1);
  CHECK(fixture.fatals.empty());
}

TEST_CASE("A loop of blocking long sends has at most one unmatched eager message per peer") {
  Transport fixture;
  for (efa_peer* peer : {&fixture.one, &fixture.two}) peer->eager_limit_alone = 3000, peer->pulls = false;
  const auto data = pattern(3000);
  std::vector<std::unique_ptr<Request>> requests;
  int eager = 0;
  for (int i = 0; i < 10; ++i) {
    for (efa_peer* peer : {&fixture.one, &fixture.two}) {
      requests.push_back(std::make_unique<Request>());
      fixture.send(*requests.back(), *peer, i, data.data(), data.size());
      const Posted posted = fixture.fabric.take(Call::tagged_send);
      eager += posted.bytes.size() == data.size();
      fixture.fabric.complete(posted);
      fixture.progress();
      if (fixture.t->ready_to_send.find(requests.back()->ready_id) == requests.back().get())
        fixture.arrive(fixture.control(efa::ControlType::clear_to_send, *peer, requests.back()->ready_id, 0));
      CHECK(requests.back()->times == 1);
    }
  }
  CHECK(eager == 2);
}

TEST_CASE("The acknowledgement of a long eager message may arrive after its peer was destroyed") {
  Transport fixture;
  fixture.one.eager_limit_alone = 3000;
  fixture.one.pulls = false;
  const auto data = pattern(3000);
  Request request;
  fixture.send(request, fixture.one, 3, data.data(), data.size());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.progress();
  const auto ack = fixture.control(efa::ControlType::alone_matched, fixture.one,
                                   fixture.t->tags.send_bits(5, efa::kKindAlone, 0, 3));
  efa_peer_destroy(fixture.t, &fixture.one);
  fixture.arrive(ack);
  CHECK(fixture.fatals.empty());
  CHECK(fixture.t->alone.empty());
}

TEST_CASE("After a long eager message that failed or was refused, the next one is sent eagerly") {
  Transport fixture;
  fixture.one.eager_limit_alone = 3000;
  fixture.one.pulls = false;
  auto data = pattern(3000);
  Request failed, refused, next;
  fixture.send(failed, fixture.one, 3, data.data(), data.size());
  fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO, 13);
  fixture.progress();
  fixture.fabric.refuse = {FI_EINVAL};
  fixture.send(refused, fixture.one, 3, data.data(), data.size());
  CHECK(failed.times + refused.times == 2);
  CHECK(fixture.t->sends_posted == 0);
  fixture.send(next, fixture.one, 3, data.data(), data.size());
  CHECK(fixture.t->tags.kind(fixture.fabric.take(Call::tagged_send).tag) == efa::kKindAlone);
}

TEST_CASE("Short messages are injected unless operations to that peer wait") {
  Transport fixture;
  const char byte = 'x';
  const auto envelope = fixture.to(1, 3);
  CHECK(efa_try_inject(fixture.t, &fixture.one, &envelope, &byte, 1));
  const Posted posted = fixture.fabric.take(Call::inject);
  CHECK(posted.peer == 1);
  CHECK(fixture.t->tags.tag(posted.tag) == 3);
  const std::vector<char> longer(65);
  CHECK_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, longer.data(), longer.size()));

  fixture.fabric.refuse = {FI_EAGAIN};
  CHECK_FALSE(efa_try_inject(fixture.t, &fixture.one, &envelope, &byte, 1));
  Request waiting;
  fixture.fabric.refuse.assign(20, FI_EAGAIN);  // also after the queue was polled
  fixture.send(waiting, fixture.one, 3, &byte, 1);
  fixture.fabric.refuse.clear();
  CHECK_FALSE(
      efa_try_inject(fixture.t, &fixture.one, &envelope, &byte, 1));  // it would overtake the waiting send
  const auto other = fixture.to(2, 3);
  CHECK(efa_try_inject(fixture.t, &fixture.two, &other, &byte, 1));  // another peer is not affected
}

TEST_CASE("Operations that libfabric refuses with FI_EAGAIN are posted later, in order") {
  Transport fixture;
  const auto data = pattern(100);
  Request first, second, third;
  fixture.fabric.refuse.assign(100, FI_EAGAIN);
  fixture.send(first, fixture.one, 1, data.data(), 100);
  fixture.send(second, fixture.one, 2, data.data(), 100);
  fixture.send(third, fixture.one, 3, data.data(), 100);
  CHECK(fixture.fabric.count(Call::tagged_send) == 0);
  fixture.fabric.refuse = {FI_EAGAIN};  // the first one is refused once more
  efa_progress(fixture.t);
  efa_progress(fixture.t);
  REQUIRE(fixture.fabric.count(Call::tagged_send) == 3);
  for (const int tag : {1, 2, 3}) {
    const Posted posted = fixture.fabric.take(Call::tagged_send);
    CHECK(fixture.t->tags.tag(posted.tag) == tag);
    fixture.fabric.complete(posted);
  }
  fixture.progress();
  CHECK(first.times + second.times + third.times == 3);
  CHECK(first.status.result == EFA_SUCCESS);
}

TEST_CASE("A send that finds the queue full polls it to make room") {
  Transport fixture;
  const auto data = pattern(100);
  Request first, second;
  fixture.send(first, fixture.one, 1, data.data(), 100);
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  fixture.fabric.refuse = {FI_EAGAIN};
  fixture.send(second, fixture.one, 2, data.data(), 100);
  CHECK(first.times == 1);
  CHECK(fixture.fabric.count(Call::tagged_send) == 1);
}

TEST_CASE("A failed completion is an error of that request, reported with the provider's text") {
  Transport fixture;
  const auto data = pattern(100);
  Request request, fine;
  fixture.send(request, fixture.one, 9, data.data(), 100);
  fixture.send(fine, fixture.one, 9, data.data(), 100);
  const Posted first = fixture.fabric.take(Call::tagged_send),
               second = fixture.fabric.take(Call::tagged_send);
  fixture.fabric.fail(first.context, FI_EIO, 13);
  fixture.fabric.complete(second);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_FAILED);
  CHECK(fine.times == 1);
  CHECK(fine.status.result == EFA_SUCCESS);
  REQUIRE(fixture.reports.size() == 1);
  CHECK_THAT(fixture.reports[0], Contains("NIC fake0") && Contains("to rank 1 on host there (NIC fake9)") &&
                                     Contains("Unresponsive receiver (13)"));
  CHECK(fixture.t->sends_posted == 0);
}

TEST_CASE("While the transport closes, sends end without calling `done` and without reports") {
  Transport fixture;
  const auto data = pattern(100);
  Request failed, fine;
  fixture.send(failed, fixture.one, 9, data.data(), 100);
  fixture.send(fine, fixture.one, 9, data.data(), 100);
  const Posted first = fixture.fabric.take(Call::tagged_send),
               second = fixture.fabric.take(Call::tagged_send);
  fixture.t->begin_draining();  // the first step of efa_close
  fixture.fabric.fail(first.context, FI_EIO, 9);
  fixture.fabric.complete(second);
  fixture.progress();
  CHECK(failed.times == 0);
  CHECK(fine.times == 0);
  CHECK(fixture.reports.empty());
  CHECK(fixture.t->sends_posted == 0);
}

TEST_CASE("An error that belongs to no operation is fatal and is reported with its cause") {
  Transport fixture;
  fixture.fabric.fail(nullptr, FI_EIO, 13);
  fixture.progress();
  REQUIRE(fixture.fatals.size() == 1);
  CHECK_THAT(fixture.fatals[0], Contains("the endpoint failed") && Contains("Unresponsive receiver (13)"));
  CHECK(fixture.reports.empty());
}

TEST_CASE("Noncontiguous data is packed before it is posted, and its buffer is returned to the pool") {
  Transport fixture;
  auto memory = pattern(600);
  Layout layout{memory.data(), 10, 5};
  Request request;
  fixture.send(request, fixture.one, 1, nullptr, 400, EFA_SEND_STANDARD, &layout);
  CHECK(fixture.t->buffers.bytes_used() > 0);
  const Posted posted = fixture.fabric.take(Call::tagged_send);
  REQUIRE(posted.bytes.size() == 400);
  for (size_t i = 0; i < 400; ++i)
    REQUIRE(static_cast<char>(posted.bytes[i]) == memory[i / 10 * 15 + i % 10]);
  fixture.fabric.complete(posted);
  fixture.progress();
  CHECK(request.times == 1);
  CHECK(fixture.t->buffers.bytes_used() == 0);
}

namespace {

uint64_t id_of(const Posted& synchronous) {
  efa::SyncTrailer trailer{};
  REQUIRE(efa::parse_synchronous(synchronous.bytes.data(), synchronous.bytes.size(), trailer));
  return trailer.request;
}

}  // namespace

TEST_CASE("A synchronous send ends after its completion and its acknowledgement, in either order") {
  const bool acknowledged_first = GENERATE(true, false);
  Transport fixture;
  const auto data = pattern(20);
  Request request;
  fixture.send(request, fixture.one, 4, data.data(), 20, EFA_SEND_SYNCHRONOUS);
  const Posted posted = fixture.fabric.take(Call::tagged_send);
  CHECK(posted.bytes.size() == 20 + sizeof(efa::SyncTrailer));
  CHECK(std::memcmp(posted.bytes.data(), data.data(), 20) == 0);
  const auto ack = fixture.control(efa::ControlType::acknowledge, fixture.one, id_of(posted));
  if (!acknowledged_first) fixture.fabric.complete(posted);
  fixture.progress();
  CHECK(request.times == 0);
  fixture.arrive(ack);
  if (acknowledged_first) {
    CHECK(request.times == 0);
    fixture.fabric.complete(posted);
    fixture.progress();
  }
  CHECK(request.times == 1);
  CHECK(request.status.result == EFA_SUCCESS);
  CHECK(fixture.t->ready_to_send.size() == 0);
}

TEST_CASE("Equal synchronous messages are acknowledged by their ids") {
  Transport fixture;
  const auto data = pattern(20);
  Request first_request, second_request;
  fixture.send(first_request, fixture.one, 4, data.data(), 20, EFA_SEND_SYNCHRONOUS);
  fixture.send(second_request, fixture.one, 4, data.data(), 20, EFA_SEND_SYNCHRONOUS);
  const Posted first = fixture.fabric.take(Call::tagged_send),
               second = fixture.fabric.take(Call::tagged_send);
  fixture.fabric.complete(first);
  fixture.fabric.complete(second);
  fixture.arrive(fixture.control(efa::ControlType::acknowledge, fixture.one, id_of(second)));
  CHECK(first_request.times == 0);
  CHECK(second_request.times == 1);
  fixture.arrive(fixture.control(efa::ControlType::acknowledge, fixture.one, id_of(first)));
  CHECK(first_request.times == 1);
}
