// The queue of operations that the provider refuses: order, fairness, deadline.
#include <rdma/fi_errno.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "catch.hpp"
#include "completion.hpp"
#include "pending.hpp"

using namespace efa;

namespace {

// Operations know how the provider answers, and note what happens to them.
struct Provider {
  std::map<efa_operation*, std::deque<int>> answers;  // the last one is repeated
  std::vector<efa_operation*> posted, tried;
  std::vector<std::pair<efa_operation*, int>> failed;
  std::function<void(efa_operation*)> on_failure;
} provider;

int post(efa_transport*, efa_operation* op) {
  provider.tried.push_back(op);
  auto& answers = provider.answers[op];
  const int answer = answers.empty() ? 0 : answers.front();
  if (answers.size() > 1) answers.pop_front();
  if (answer == 0) provider.posted.push_back(op);
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
  PendingQueue queue{1000};
  PendingList a, b;
  efa_operation ops[12];
};

}  // namespace

TEST_CASE_METHOD(Fixture, "Operations of one list are posted in their order") {
  for (int i = 0; i < 3; ++i) queue.add(a, &ops[i], 0);
  CHECK(queue.size() == 3);
  CHECK(queue.drain(nullptr, 1) == 3);
  CHECK(provider.posted == Ops{&ops[0], &ops[1], &ops[2]});
  CHECK(queue.empty());
  CHECK(a.empty());
}

TEST_CASE_METHOD(Fixture, "A refused operation keeps those behind it waiting, but no other list") {
  provider.answers[&ops[0]] = {-FI_EAGAIN, 0};
  queue.add(a, &ops[0], 0);
  queue.add(a, &ops[1], 0);
  queue.add(b, &ops[2], 0);
  CHECK(queue.drain(nullptr, 1) == 3);  // a is tried again once b is done
  CHECK(provider.tried == Ops{&ops[0], &ops[2], &ops[0], &ops[1]});
  CHECK(provider.posted == Ops{&ops[2], &ops[0], &ops[1]});
}

TEST_CASE_METHOD(Fixture, "A call gives up after some refusals and goes on with the next list later") {
  PendingList lists[12];
  for (int i = 0; i < 12; ++i) {
    provider.answers[&ops[i]] = {-FI_EAGAIN};
    queue.add(lists[i], &ops[i], 0);
  }
  CHECK(queue.drain(nullptr, 1) == 0);
  const size_t first = provider.tried.size();
  CHECK(first < 12);
  queue.drain(nullptr, 2);
  CHECK(provider.tried[first] == &ops[first]);
  CHECK(queue.size() == 12);
}

TEST_CASE_METHOD(
    Fixture,
    "An operation that waited longer than the limit ends with FI_ETIMEDOUT; the next has its own time") {
  provider.answers[&ops[0]] = {-FI_EAGAIN};
  provider.answers[&ops[1]] = {-FI_EAGAIN};
  queue.add(a, &ops[0], 100);
  queue.add(a, &ops[1], 600);
  queue.drain(nullptr, 1099);
  CHECK(provider.failed.empty());
  queue.drain(nullptr, 1100);
  CHECK(provider.failed == std::vector<std::pair<efa_operation*, int>>{{&ops[0], FI_ETIMEDOUT}});
  CHECK(queue.size() == 1);
}

TEST_CASE_METHOD(Fixture, "A hard error goes to the handler, and the list goes on") {
  provider.answers[&ops[0]] = {-FI_ENOMEM};
  queue.add(a, &ops[0], 0);
  queue.add(a, &ops[1], 0);
  CHECK(queue.drain(nullptr, 1) == 2);
  CHECK(provider.failed == std::vector<std::pair<efa_operation*, int>>{{&ops[0], FI_ENOMEM}});
  CHECK(provider.posted == Ops{&ops[1]});
}

TEST_CASE_METHOD(Fixture, "A handler may add to the list that is being served") {
  for (const bool more : {false, true}) {
    provider = {};
    provider.answers[&ops[0]] = {-FI_ENOMEM};
    provider.on_failure = [&](efa_operation*) { queue.add(a, &ops[5], 1); };
    queue.add(a, &ops[0], 0);
    if (more) queue.add(a, &ops[1], 0);
    queue.drain(nullptr, 1);
    CHECK(provider.posted == (more ? Ops{&ops[1], &ops[5]} : Ops{&ops[5]}));
    CHECK(queue.empty());
    CHECK(queue.size() == 0);
  }
}

TEST_CASE_METHOD(Fixture, "An operation can be taken out wherever it stands") {
  for (int victim = 0; victim < 3; ++victim) {
    provider = {};
    for (int i = 0; i < 3; ++i) queue.add(a, &ops[i], 0);
    queue.add(b, &ops[4], 0);
    CHECK(queue.remove(a, &ops[victim]));
    CHECK_FALSE(queue.remove(a, &ops[victim]));
    CHECK_FALSE(queue.remove(b, &ops[victim]));
    CHECK(queue.drain(nullptr, 1) == 3);
    CHECK(provider.posted.size() == 3);
    CHECK(std::find(provider.posted.begin(), provider.posted.end(), &ops[victim]) == provider.posted.end());
    CHECK(queue.empty());
  }
}

TEST_CASE_METHOD(Fixture, "Taking the last operation out of a list leaves the other lists in the ring") {
  PendingList c;
  for (PendingList* emptied : {&a, &b, &c}) {
    provider = {};
    PendingList* lists[] = {&a, &b, &c};
    for (int i = 0; i < 3; ++i) queue.add(*lists[i], &ops[i], 0);
    for (int i = 0; i < 3; ++i)
      if (lists[i] == emptied) CHECK(queue.remove(*lists[i], &ops[i]));
    CHECK(queue.drain(nullptr, 1) == 2);
    CHECK(queue.empty());
  }
  queue.add(a, &ops[0], 0);
  CHECK(queue.remove(a, &ops[0]));
  CHECK(queue.empty());
}
