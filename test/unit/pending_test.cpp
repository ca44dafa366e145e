// The lists of pending operations, which the provider refused: order, fairness, errors, failed lists.
#include <rdma/fi_errno.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "fabric/completion.hpp"
#include "peers/pending.hpp"

using namespace efa;

namespace {

// Each operation has a list of provider answers. The events are recorded.
struct Provider {
  std::map<efa_operation*, std::deque<int>> answers;  // the last one is repeated
  std::vector<efa_operation*> posted, tried;
  std::vector<std::pair<efa_operation*, int>> failed;
  std::function<void(efa_operation*)> on_failure, on_end;
} provider;

int post(efa_transport*, efa_operation* op) {
  provider.tried.push_back(op);
  auto& answers = provider.answers[op];
  const int answer = answers.empty() ? 0 : answers.front();
  if (answers.size() > 1) answers.pop_front();
  if (answer == 0) provider.posted.push_back(op);
  return answer;
}

// An operation that ends while it is posted, as those do that go through shared memory.
int post_and_end(efa_transport* t, efa_operation* op) {
  const int answer = post(t, op);
  if (answer == 0 && provider.on_end) provider.on_end(op);
  return answer;
}

void completed(efa_transport*, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure* failure) {
  provider.failed.emplace_back(op, failure->error);
  if (provider.on_failure) provider.on_failure(op);
}

struct Fixture {
  Fixture() {
    provider = {};
    for (auto& op : ops) {
      op = {};
      op.post = post;
      op.completed = completed;
    }
  }
  using Ops = std::vector<efa_operation*>;
  PendingQueue queue;
  PendingList a, b;
  efa_operation ops[12];
};

}  // namespace

TEST_CASE_METHOD(Fixture, "Operations of one list are posted in their order") {
  for (int i = 0; i < 3; ++i) queue.add(a, &ops[i]);
  CHECK(queue.size() == 3);
  CHECK(queue.drain(nullptr) == 3);
  CHECK(provider.posted == Ops{&ops[0], &ops[1], &ops[2]});
  CHECK(queue.empty());
  CHECK(a.empty());
}

TEST_CASE_METHOD(Fixture, "A refused operation blocks those behind it in its list, but no other list") {
  provider.answers[&ops[0]] = {-FI_EAGAIN, 0};
  queue.add(a, &ops[0]);
  queue.add(a, &ops[1]);
  queue.add(b, &ops[2]);
  CHECK(queue.drain(nullptr) == 3);  // a is tried again once b is done
  CHECK(provider.tried == Ops{&ops[0], &ops[2], &ops[0], &ops[1]});
  CHECK(provider.posted == Ops{&ops[2], &ops[0], &ops[1]});
}

TEST_CASE_METHOD(Fixture, "A call stops after some refusals; the next call continues with the next list") {
  PendingList lists[12];
  for (int i = 0; i < 12; ++i) {
    provider.answers[&ops[i]] = {-FI_EAGAIN};
    queue.add(lists[i], &ops[i]);
  }
  CHECK(queue.drain(nullptr) == 0);
  const size_t first = provider.tried.size();
  CHECK(first < 12);
  queue.drain(nullptr);
  CHECK(provider.tried[first] == &ops[first]);
  CHECK(queue.size() == 12);
}

TEST_CASE_METHOD(Fixture, "No number of refusals fails an operation") {
  provider.answers[&ops[0]].assign(100000, -FI_EAGAIN);
  provider.answers[&ops[0]].push_back(0);
  queue.add(a, &ops[0]);
  queue.add(a, &ops[1]);
  while (!queue.empty()) queue.drain(nullptr);
  CHECK(provider.failed.empty());
  CHECK(provider.posted == Ops{&ops[0], &ops[1]});
}

TEST_CASE_METHOD(Fixture, "A hard error is passed to the handler, and the list continues") {
  provider.answers[&ops[0]] = {-FI_ENOMEM};
  queue.add(a, &ops[0]);
  queue.add(a, &ops[1]);
  CHECK(queue.drain(nullptr) == 2);
  CHECK(provider.failed == std::vector<std::pair<efa_operation*, int>>{{&ops[0], FI_ENOMEM}});
  CHECK(provider.posted == Ops{&ops[1]});
}

TEST_CASE_METHOD(Fixture, "A handler may append to the list that is being served") {
  for (const bool more : {false, true}) {
    provider = {};
    provider.answers[&ops[0]] = {-FI_ENOMEM};
    provider.on_failure = [&](efa_operation*) { queue.add(a, &ops[5]); };
    queue.add(a, &ops[0]);
    if (more) queue.add(a, &ops[1]);
    queue.drain(nullptr);
    CHECK(provider.posted == (more ? Ops{&ops[1], &ops[5]} : Ops{&ops[5]}));
    CHECK(queue.empty());
    CHECK(queue.size() == 0);
  }
}

TEST_CASE_METHOD(Fixture, "An operation can be removed from any position") {
  for (int victim = 0; victim < 3; ++victim) {
    provider = {};
    for (int i = 0; i < 3; ++i) queue.add(a, &ops[i]);
    queue.add(b, &ops[4]);
    CHECK(queue.remove(a, &ops[victim]));
    CHECK_FALSE(queue.remove(a, &ops[victim]));
    CHECK_FALSE(queue.remove(b, &ops[victim]));
    CHECK(queue.drain(nullptr) == 3);
    CHECK(provider.posted.size() == 3);
    CHECK(std::find(provider.posted.begin(), provider.posted.end(), &ops[victim]) == provider.posted.end());
    CHECK(queue.empty());
  }
}

TEST_CASE_METHOD(Fixture, "Removing the last operation of a list keeps the other lists in the ring") {
  PendingList c;
  for (PendingList* emptied : {&a, &b, &c}) {
    provider = {};
    PendingList* lists[] = {&a, &b, &c};
    for (int i = 0; i < 3; ++i) queue.add(*lists[i], &ops[i]);
    for (int i = 0; i < 3; ++i)
      if (lists[i] == emptied) CHECK(queue.remove(*lists[i], &ops[i]));
    CHECK(queue.drain(nullptr) == 2);
    CHECK(queue.empty());
  }
  queue.add(a, &ops[0]);
  CHECK(queue.remove(a, &ops[0]));
  CHECK(queue.empty());
}

TEST_CASE_METHOD(Fixture, "A separate list is served only on its own, and is never part of the ring") {
  PendingQueue other;
  other.keep_apart(b);
  other.add(b, &ops[0]);
  CHECK(other.ring_empty());
  CHECK_FALSE(other.empty());
  CHECK(other.drain(nullptr) == 0);
  provider.answers[&ops[0]] = {-FI_EAGAIN, -FI_ENOMEM};
  provider.on_failure = [&](efa_operation*) { other.add(b, &ops[1]); };
  CHECK(other.serve(nullptr, b) == 0);
  CHECK(other.serve(nullptr, b) == 2);  // the operation that fails, and the one that its handler appends
  CHECK(provider.posted == Ops{&ops[1]});
  CHECK(other.empty());
  CHECK(b.empty());
}

TEST_CASE_METHOD(Fixture, "A handler may mark the list that is being served as failed") {
  provider.answers[&ops[0]] = {-FI_ENOMEM};
  queue.add(a, &ops[0]);
  queue.add(a, &ops[1]);
  provider.on_failure = [&](efa_operation*) {
    while (queue.take_first(a)) {
    }
    a.fail();
  };
  CHECK(queue.drain(nullptr) == 1);
  CHECK(queue.empty());
  CHECK(a.failed());
  CHECK_FALSE(a.empty());
  CHECK(a.first() == nullptr);
  CHECK_FALSE(queue.remove(a, &ops[1]));
}

TEST_CASE_METHOD(Fixture, "An operation may end while it is posted, and its handler add to the same list") {
  for (const bool more : {false, true}) {
    for (const bool again : {false, true}) {
      CAPTURE(more, again);
      provider = {};
      bool ended = false;
      for (auto& op : ops) op.post = post_and_end;
      provider.on_end = [&](efa_operation* op) {
        op->next = reinterpret_cast<efa_operation*>(0x10);  // its memory belongs to its owner now
        if (op == &ops[0] && !std::exchange(ended, true)) {
          queue.add(a, &ops[5]);
          if (again) queue.add(a, &ops[0]);
        } else if (op == &ops[5]) {
          queue.add(a, &ops[6]);
        }
      };
      queue.add(a, &ops[0]);
      if (more) queue.add(a, &ops[1]);
      if (again) provider.answers[&ops[0]] = {0, -FI_EAGAIN, 0};
      queue.add(b, &ops[2]);
      Ops expected{&ops[0]};
      if (more) expected.push_back(&ops[1]);
      expected.push_back(&ops[5]);
      if (again) expected.push_back(&ops[0]);
      expected.push_back(&ops[6]);
      for (int turn = 0; turn < 5 && !queue.empty(); ++turn) queue.drain(nullptr);
      Ops of_a = provider.posted;
      std::erase(of_a, &ops[2]);
      CHECK(of_a == expected);
      CHECK(provider.posted.size() == expected.size() + 1);
      CHECK(queue.empty());
      CHECK(queue.size() == 0);
      CHECK(queue.ring_empty());
      CHECK(a.empty());
    }
  }
}

TEST_CASE_METHOD(Fixture, "An operation is not in its list while it is posted") {
  provider.on_end = [&](efa_operation* op) {
    CHECK_FALSE(queue.remove(a, op));
    CHECK(a.first() == (op == &ops[0] ? &ops[1] : nullptr));
    if (op == &ops[0]) CHECK(queue.remove(a, &ops[1]));
  };
  ops[0].post = ops[1].post = post_and_end;
  queue.add(a, &ops[0]);
  queue.add(a, &ops[1]);
  CHECK(queue.drain(nullptr) == 1);
  CHECK(queue.empty());
  CHECK(queue.ring_empty());
  CHECK(queue.size() == 0);
}
