// Threads send, receive, probe and make progress at once on one transport. Also built with ThreadSanitizer.
#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "catch.hpp"
#include "fake_transport.hpp"

using namespace fake;

namespace {

constexpr int kThreads = 4;
constexpr int kMessages = 150;  // of each thread

// A fabric that returns messages to rank 1 as messages from it. All members need the transport's lock.
class Echo {
 public:
  explicit Echo(Transport& fixture) : fixture_(fixture) {
    fixture.fabric.on_peek = [this](const Posted& peek) { answer(peek); };
  }
  void return_sends() {
    auto& posted = fixture_.fabric.posted;
    for (auto at = posted.begin(); at != posted.end();) {
      if (at->call != Call::tagged_send && at->call != Call::inject) {
        ++at;
        continue;
      }
      if (at->call == Call::tagged_send) fixture_.fabric.complete(*at, at->bytes.size());
      arrived_.push_back(std::move(*at));
      at = posted.erase(at);
    }
    for (auto message = arrived_.begin(); message != arrived_.end();) {
      const bool expected = std::any_of(posted.begin(), posted.end(), [&](const Posted& receive) {
        return receive.call == Call::tagged_receive && ((receive.tag ^ message->tag) & ~receive.ignore) == 0;
      });
      if (!expected) {
        ++message;
        continue;
      }
      fixture_.fabric.arrive(message->tag, 1, message->bytes.data(), message->bytes.size());
      message = arrived_.erase(message);
    }
  }

 private:
  void answer(const Posted& peek) {
    for (const Posted& message : arrived_) {
      if (((message.tag ^ peek.tag) & ~peek.ignore) != 0) continue;
      fixture_.fabric.complete(peek, message.bytes.size(), message.tag, 1);
      return;
    }
    fixture_.fabric.fail(peek.context, FI_ENOMSG);
  }

  Transport& fixture_;
  std::deque<Posted> arrived_;
};

struct TestRequest : efa_request {
  TestRequest() : efa_request{} {
    done = [](efa_request* request) { static_cast<TestRequest*>(request)->ended = true; };
  }
  std::atomic<bool> ended{false};
};

class Traffic {
 public:
  Traffic() : echo_(fixture) { efa_begin_threads(fixture.t); }

  // Exchanges messages with rank 1, in order. Returns the number of wrong messages.
  int exchange(int tag) {
    int wrong = 0;
    for (int i = 0; i < kMessages; ++i) {
      const auto out = pattern(size_of(i + tag), static_cast<unsigned>(tag * kMessages + i + 1));
      std::vector<char> in(out.size());
      const efa_envelope envelope = fixture.to(1, tag);
      TestRequest sent, received;
      const auto receive = [&] {
        received.op.peer = &fixture.one;
        received.data = {in.data(), in.size(), nullptr};
        efa_recv(fixture.t, &received, &envelope);
      };
      if (i % 3) receive();
      if (!efa_try_inject(fixture.t, &fixture.one, &envelope, out.data(), out.size())) {
        sent.op.peer = &fixture.one;
        sent.data = {const_cast<char*>(out.data()), out.size(), nullptr};
        efa_send(fixture.t, &sent, &envelope, EFA_SEND_STANDARD);
        wait(sent);
      }
      if (i % 3 == 0) {
        efa_status status{};
        for (bool found = false; !found; poll())
          efa_probe(fixture.t, &fixture.one, nullptr, &envelope, &found, &status);
        wrong += status.length != out.size() || status.tag != tag;
        receive();
      }
      wait(received);
      wrong += received.status.length != out.size() || in != out;
    }
    return wrong;
  }

  void poll() {
    {
      const std::lock_guard guard(fixture.t->lock);
      echo_.return_sends();
    }
    efa_progress(fixture.t);
  }

  Transport fixture;

 private:
  static size_t size_of(int i) { return i % 5 == 0 ? 8 : i % 5 == 1 ? 900 : static_cast<size_t>(60 + i); }
  void wait(const TestRequest& request) {
    while (!request.ended) poll();
  }
  Echo echo_;
};

}  // namespace

TEST_CASE("Threads send, receive, probe and make progress at once") {
  Traffic traffic;
  std::atomic<int> wrong{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  std::thread poller([&] {
    while (!over) traffic.poll();
  });
  for (int tag = 0; tag < kThreads; ++tag) threads.emplace_back([&, tag] { wrong += traffic.exchange(tag); });
  for (std::thread& thread : threads) thread.join();
  over = true;
  poller.join();
  CHECK(wrong == 0);
  CHECK(traffic.fixture.fatals.empty());
}
