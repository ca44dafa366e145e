// With threads, `done` of a completed request is called after the transport's lock has been released.
#include "protocol/lock.hpp"

#include <functional>
#include <thread>

#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

namespace {

// Whether another thread can take the transport's lock.
bool is_unlocked(efa_transport* t) {
  bool entered = false;
  std::thread([&] {
    entered = t->lock.try_lock();
    if (entered) t->lock.unlock();
  }).join();
  return entered;
}

// A request whose `done` runs an action of the test.
struct TestRequest : efa_request {
  explicit TestRequest(std::function<void(TestRequest&)> what = [](TestRequest&) {})
      : efa_request{}, action(std::move(what)) {
    done = [](efa_request* request) {
      auto& ended = *static_cast<TestRequest*>(request);
      ++ended.times;
      ended.action(ended);
    };
  }
  std::function<void(TestRequest&)> action;
  int times = 0;
};

struct Threaded : Transport {
  Threaded() { efa_begin_threads(t); }
  efa_result start_send(TestRequest& request, int32_t tag, const void* data, size_t size,
                        efa_send_mode mode = EFA_SEND_STANDARD) {
    request.op.peer = &one;
    request.data = {const_cast<void*>(data), size, nullptr};
    const efa_envelope envelope = to(1, tag);
    return efa_send(t, &request, &envelope, mode);
  }
  efa_result start_receive(TestRequest& request, int32_t tag, void* data, size_t size) {
    request.op.peer = &one;
    request.data = {data, size, nullptr};
    const efa_envelope envelope = to(1, tag);
    return efa_recv(t, &request, &envelope);
  }
};

}  // namespace

TEST_CASE("`done` is called without the lock, wherever the request completes") {
  Threaded fixture;
  char in[100];
  const auto data = pattern(100);
  const auto unlocked = [&](TestRequest&) { CHECK(is_unlocked(fixture.t)); };

  SECTION("in progress") {
    TestRequest sent(unlocked), received(unlocked);
    fixture.start_send(sent, 1, data.data(), data.size());
    fixture.start_receive(received, 2, in, sizeof in);
    fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 2), 1, data.data(), data.size());
    fixture.progress();
    CHECK(sent.times == 1);
    CHECK(received.times == 1);
  }
  SECTION("in the call that starts it") {
    TestRequest refused(unlocked);
    fixture.fabric.refuse = {FI_EINVAL};
    CHECK(fixture.start_send(refused, 1, data.data(), data.size()) == EFA_SUCCESS);
    CHECK(refused.times == 1);
  }
  SECTION("when it is cancelled") {
    TestRequest waits(unlocked);
    fixture.fabric.refuse = {FI_EAGAIN};
    fixture.start_receive(waits, 1, in, sizeof in);
    efa_cancel(fixture.t, &waits);
    CHECK(waits.times == 1);
    CHECK(waits.status.result == EFA_CANCELED);
  }
  SECTION("in a nested call") {
    TestRequest received(unlocked);
    fixture.start_receive(received, 2, in, sizeof in);
    fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 2), 1, data.data(), data.size());
    fixture.t->lock.lock();
    fixture.progress();
    CHECK(received.times == 0);
    fixture.t->lock.unlock();
    CHECK(received.times == 1);
  }
  CHECK(fixture.fatals.empty());
}

TEST_CASE("`done` of requests that complete together is called in order, once each") {
  Threaded fixture;
  char in[4][8];
  std::vector<int> order;
  std::vector<std::unique_ptr<TestRequest>> requests;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(std::make_unique<TestRequest>([&order, i](TestRequest&) { order.push_back(i); }));
    fixture.start_receive(*requests.back(), i, in[i], 8);
  }
  // The first frees itself, as detached sends do, and cancels one that has completed but whose `done` is still to be
  // called.
  requests[0]->action = [&](TestRequest&) {
    order.push_back(0);
    CHECK(requests[2]->times == 0);
    efa_cancel(fixture.t, requests[2].get());
    CHECK(requests[2]->times == 0);
    auto action = std::move(requests[0]->action);  // it still runs
    requests[0].reset();
  };
  for (int i = 0; i < 4; ++i) fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, i), 1, "message", 8);
  fixture.progress();
  CHECK(order == std::vector<int>{0, 1, 2, 3});
  CHECK(requests[2]->times == 1);
  CHECK(requests[2]->status.result == EFA_SUCCESS);
}

TEST_CASE("`done` may start the next operation") {
  Threaded fixture;
  const auto data = pattern(100);
  int started = 0;
  unsigned deepest = 0;
  std::vector<std::unique_ptr<TestRequest>> requests;
  const std::function<void(TestRequest&)> next = [&](TestRequest&) {
    deepest = std::max(deepest, efa::Lock::telling());
    if (++started == 50) return;
    requests.push_back(std::make_unique<TestRequest>(next));
    fixture.start_send(*requests.back(), 1, data.data(), data.size());
    // The provider refuses the new operation; the completion queue holds the completion of an earlier one.
    fixture.fabric.refuse = {FI_EAGAIN};
    requests.push_back(std::make_unique<TestRequest>());
    if (fixture.fabric.count(Call::tagged_send))
      fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
    fixture.start_send(*requests.back(), 2, data.data(), data.size());
  };
  TestRequest first(next);
  fixture.start_send(first, 1, data.data(), data.size());
  fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  for (int i = 0; i < 200; ++i) {
    fixture.progress();
    while (fixture.fabric.count(Call::tagged_send))
      fixture.fabric.complete(fixture.fabric.take(Call::tagged_send));
  }
  CHECK(started == 50);
  CHECK(deepest <= 2);
  for (const auto& request : requests) CHECK(request->times == 1);
}

TEST_CASE("`done` is not called while the transport closes") {
  Threaded fixture;
  char in[8];
  TestRequest received;
  fixture.start_receive(received, 1, in, sizeof in);
  fixture.t->begin_draining();
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 1), 1, "message", 8);
  fixture.progress();
  CHECK(received.times == 0);
}

TEST_CASE("Without threads `done` is called where the request completes") {
  Transport fixture;
  char in[8];
  TestRequest received;
  bool told_inside = false;
  received.action = [&](TestRequest&) { told_inside = true; };
  received.op.peer = &fixture.one;
  received.data = {in, sizeof in, nullptr};
  const efa_envelope envelope = fixture.to(1, 1);
  efa_recv(fixture.t, &received, &envelope);
  fixture.fabric.arrive(fixture.bits(efa::kKindEager, 1, 1), 1, "message", 8);
  fixture.t->lock.lock();
  fixture.progress();
  CHECK(told_inside);
  fixture.t->lock.unlock();
}
