// No exception leaves common/ through an extern "C" function, whichever allocation fails, and a failed call is undone.
#include <functional>

#include "catch.hpp"
#include "fake_transport.hpp"
#include "no_memory.hpp"
#include "peers/card.hpp"
#include "peers/first_contact.hpp"
#include "peers/pending.hpp"
#include "tagged/match.hpp"

using namespace fake;

namespace {

// State that a failed call must not change.
struct State {
  explicit State(const Transport& fixture)
      : buffers(fixture.t->buffers.bytes_used()),
        landings(fixture.t->landings.bytes_used()),
        ready(fixture.t->ready_to_send.size()),
        alone(fixture.t->alone.size()),
        peers(fixture.t->peers.size()),
        pending(fixture.t->pending.size()),
        sends(fixture.t->sends_posted),
        long_sends(fixture.t->long_sends),
        pulls(fixture.t->pulls_open),
        posted(fixture.fabric.posted.size()),
        requests(open(fixture.t)) {}
  bool operator==(const State&) const = default;
  size_t buffers, landings, ready, alone, peers, pending;
  uint64_t sends, long_sends, pulls;
  size_t posted, requests;

 private:
  static size_t open(const efa_transport* t) {
    size_t count = 0;
    for (const efa_request* request = t->requests.first(); request; request = request->next_open) ++count;
    return count;
  }
};

// Runs `call` once for each of its allocations, and lets that allocation fail. Each run has a transport of its own, set up
// by `prepare`. If `call` returns an error, the state must be unchanged, and the same call must succeed with memory. At
// least `least` allocations must have failed.
void fail_each(const std::function<void(Transport&)>& prepare,
               const std::function<efa_result(Transport&)>& call, long least) {
  long failed = 0;
  for (long nth = 0;; ++nth) {
    Transport fixture;
    fixture.reports.reserve(64);
    prepare(fixture);
    const State before(fixture);
    efa_result result;
    {
      NoMemory none(nth, true);
      result = call(fixture);
    }
    if (NoMemory::failed() == 0) break;
    ++failed;
    INFO("allocation " << nth);
    CHECK(fixture.fatals.empty());
    if (result == EFA_SUCCESS) continue;  // it succeeded without that memory
    CHECK(result == EFA_OUT_OF_MEMORY);
    CHECK(fixture.reports.size() == 1);
    CHECK(State(fixture) == before);
    fixture.fabric.refuse.clear();
    CHECK(call(fixture) == EFA_SUCCESS);
  }
  CHECK(failed >= least);
}

std::vector<char> data = pattern(50000);
Request reused_request;

efa_result send(Transport& fixture, size_t size, efa_send_mode mode = EFA_SEND_STANDARD) {
  return fixture.send(reused_request, fixture.one, 3, data.data(), size, mode);
}

void watch_first_contact(Transport& fixture) {
  fixture.one.pending.await_first();
}

}  // namespace

TEST_CASE("Allocations of a send: eager, synchronous, packed, rendezvous, and the first message to a peer") {
  const auto nothing = [](Transport&) {};
  fail_each(
      watch_first_contact, [](Transport& fixture) { return send(fixture, 500); }, 2);
  fail_each(
      nothing, [](Transport& fixture) { return send(fixture, 100, EFA_SEND_SYNCHRONOUS); }, 1);
  fail_each(
      nothing, [](Transport& fixture) { return send(fixture, 50000); }, 1);
  fail_each([](Transport& fixture) { fixture.t->protocols.pulls = true; },
            [](Transport& fixture) { return send(fixture, 50000); }, 2);
  fail_each([](Transport& fixture) { fixture.one.eager_limit_alone = 2000; },
            [](Transport& fixture) { return send(fixture, 2000); }, 1);
}

TEST_CASE("Allocations of a refused send, whose error report also needs memory") {
  for (const size_t size : {size_t{500}, size_t{50000}})
    for (long nth = 0;; ++nth) {
      Transport fixture;
      fixture.reports.reserve(64);
      const State before(fixture);
      fixture.fabric.refuse = {FI_EIO};
      Request request;
      efa_result result;
      {
        NoMemory none(nth, true);
        result = fixture.send(request, fixture.one, 3, data.data(), size);
      }
      if (NoMemory::failed() == 0) break;
      INFO("allocation " << nth << ", " << size << " bytes");
      CHECK(fixture.fatals.empty());
      // Either the send was not started, or it has ended with an error.
      CHECK(request.times == (result == EFA_SUCCESS ? 1 : 0));
      CHECK(State(fixture) == before);
      CHECK(fixture.reports.size() == 1);
    }
}

TEST_CASE("Allocations of a receive that the provider refuses") {
  const bool fast = GENERATE(false, true);
  for (long nth = 0;; ++nth) {
    Transport fixture;
    fixture.reports.reserve(64);
    const State before(fixture);
    fixture.fabric.refuse = {FI_EIO};
    Request request;
    efa_result result = EFA_SUCCESS;
    const auto envelope = fixture.to(1, 3);
    request.data = {data.data(), 100, nullptr};
    {
      NoMemory none(nth, true);
      if (!fast)
        result = fixture.receive(request, &fixture.one, 3, data.data(), 100);
      else if (!efa_try_recv(fixture.t, &request, &fixture.one, &envelope))
        result = EFA_FAILED;
    }
    if (NoMemory::failed() == 0) break;
    INFO("allocation " << nth);
    CHECK(request.times == (result == EFA_SUCCESS ? 1 : 0));
    CHECK((result == EFA_SUCCESS || result == EFA_OUT_OF_MEMORY));
    CHECK(State(fixture) == before);
    CHECK(fixture.reports.size() == 1);
  }
}

TEST_CASE("Allocations of a failed probe, with and without a claim") {
  for (const bool take : {false, true}) {
    const auto look = [&](Transport& fixture) {
      efa_message* message = nullptr;
      bool found = false;
      efa_status status;
      const auto envelope = fixture.to(1, 3);
      return take ? efa_match(fixture.t, &fixture.one, nullptr, &envelope, &message, &status)
                  : efa_probe(fixture.t, &fixture.one, nullptr, &envelope, &found, &status);
    };
    long failed = 0;
    for (long nth = 0;; ++nth, ++failed) {
      Transport fixture;
      fixture.reports.reserve(64);
      fixture.fabric.refuse = {FI_EIO};
      efa_result result;
      {
        NoMemory none(nth, true);
        result = look(fixture);
      }
      if (NoMemory::failed() == 0) break;
      INFO("allocation " << nth << ", take " << take);
      CHECK(result != EFA_SUCCESS);
      CHECK(fixture.fatals.empty());
    }
    CHECK(failed > 0);
  }
}

TEST_CASE("A peer that could not be created leaves nothing behind, not even its address") {
  efa::Card card;
  card.provider = "efa";
  card.nic = "rdmap0s6, with a name that is longer than a string holds itself";
  card.host = "far, with a name that is longer than a string holds itself";
  card.address = {1, 2, 3, 4};
  const auto bytes = card.serialize();
  const efa_identity identity{55, 5, 0};
  long failed = 0;
  for (long nth = 0;; ++nth, ++failed) {
    Transport fixture;
    fixture.reports.reserve(64);
    for (int i = 0; i < 62; ++i) fixture.t->peers.add();  // with the two existing ones, a full block
    int inserted = 0;
    static int* count;
    count = &inserted;
    fi_ops_av counting = *fixture.fabric.av.ops;
    counting.insert = [](fid_av*, const void*, size_t, fi_addr_t* to, uint64_t, void*) {
      ++*count;
      *to = 77;
      return 1;
    };
    fixture.fabric.av.ops = &counting;
    const size_t before = fixture.t->peers.size();
    efa_peer* peer;
    {
      NoMemory none(nth, true);
      peer = efa_peer_create(fixture.t, &identity, bytes.data(), bytes.size());
    }
    if (NoMemory::failed() == 0) break;
    INFO("allocation " << nth);
    CHECK(peer == nullptr);
    CHECK(inserted == 0);
    CHECK(fixture.t->peers.size() == before);
    REQUIRE(fixture.reports.size() == 1);
    CHECK_THAT(fixture.reports[0], Contains("preparing to talk to rank 5 failed: out of memory"));
  }
  CHECK(failed >= 5);
}

TEST_CASE("Without memory in progress, a completion ends the job with an error, and a warning is skipped") {
  long failed = 0;
  for (long nth = 0;; ++nth, ++failed) {
    Transport fixture;
    fixture.reports.reserve(64);
    fixture.fatals.reserve(8);
    Request request;
    fixture.send(request, fixture.one, 3, data.data(), 500);
    fixture.fabric.fail(fixture.fabric.take(Call::tagged_send).context, FI_EIO);
    {
      NoMemory none(nth, true);
      efa_progress(fixture.t);
    }
    if (NoMemory::failed() == 0) break;
    INFO("allocation " << nth);
    if (request.times == 0) {
      REQUIRE(fixture.fatals.size() == 1);
      CHECK_THAT(fixture.fatals[0], Contains("completing an operation failed: out of memory"));
    }
  }
  CHECK(failed > 0);
  Transport fixture;
  fixture.reports.reserve(64);
  fixture.t->contacts = efa::FirstContacts(1);
  fixture.one.pending.await_first();
  Request request;
  fixture.send(request, fixture.one, 3, data.data(), 500);
  {
    NoMemory none;
    const uint64_t until = efa::monotonic_ns() + 1'500'000'000;
    while (efa::monotonic_ns() < until) efa_progress(fixture.t);
  }
  CHECK(fixture.fatals.empty());
}

TEST_CASE("Allocations of the functions before an endpoint is opened: parameters, and the search for a NIC") {
  efa_options options;
  efa_options_defaults(&options);
  char refused[] = "a provider,another provider,", accepted[] = "efa,shm";
  options.provider_include = refused;
  efa_user_message why;
  for (long nth = 0;; ++nth) {
    bool good;
    {
      NoMemory none(nth, true);
      good = efa_options_check(&options, &why);
    }
    CHECK_FALSE(good);
    if (NoMemory::failed() == 0) break;
    CHECK_THAT(why.text, Contains("out of memory"));
  }
  options.provider_include = accepted;
  for (long nth = 0;; ++nth) {
    NoMemory none(nth, true);
    efa_available(&options);
    efa_unused(&options, &why);
    if (NoMemory::failed() == 0) break;
  }
}
