// Which requests are open: listed ones exactly, and receives on the short path as far back as they are remembered.
#include "protocol/open_requests.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "catch.hpp"

using efa::OpenRequests;

namespace {

void handler(efa_transport*, efa_operation*, const fi_cq_tagged_entry*, const efa_failure*) {}
void other(efa_transport*, efa_operation*, const fi_cq_tagged_entry*, const efa_failure*) {}

std::unique_ptr<efa_request> receive() {
  auto request = std::make_unique<efa_request>();
  request->kind = efa::kRecvRequest;
  request->op.completed = handler;
  return request;
}

}  // namespace

TEST_CASE("Listed requests are found until they are removed, in any order") {
  OpenRequests open;
  efa_request a{}, b{}, c{};
  for (efa_request* each : {&a, &b, &c}) open.add(each);
  open.remove(&b);
  open.remove(&b);  // it is not listed any more
  CHECK(open.first() == &c);
  CHECK(c.next_open == &a);
  CHECK(a.next_open == nullptr);
  open.remove(&c);
  CHECK(open.first() == &a);
  open.remove(&a);
  CHECK(open.empty());
}

TEST_CASE("A remembered receive is found while it is open, each once") {
  OpenRequests open;
  const auto request = receive(), listed = receive(), foreign = receive();
  listed->listed = true;
  foreign->op.completed = other;
  for (int i = 0; i < 3; ++i)
    for (efa_request* each : {request.get(), listed.get(), foreign.get()}) open.remember(each);
  CHECK(open.remembered(handler) == std::vector<efa_request*>{request.get()});
  request->kind = efa::kNoRequest;
  CHECK(open.remembered(handler).empty());
}

TEST_CASE("The last 256 receives are remembered") {
  OpenRequests open;
  std::vector<std::unique_ptr<efa_request>> requests;
  for (int i = 0; i < 300; ++i) open.remember(requests.emplace_back(receive()).get());
  const auto found = open.remembered(handler);
  CHECK(found.size() == OpenRequests::kRemembered);
  for (int i = 0; i < 44; ++i) CHECK(std::count(found.begin(), found.end(), requests[i].get()) == 0);
}
