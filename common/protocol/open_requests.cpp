#include "protocol/open_requests.hpp"

#include <algorithm>


namespace efa {
namespace {

// Such a receive may have ended, and its memory may hold anything: so this is no error for the address sanitizer.
[[gnu::no_sanitize_address, gnu::noinline]] bool is_open(const efa_request* request,
                                                         CompletionHandler completed) {
  return request->kind == kRecvRequest && !request->listed && request->op.completed == completed;
}

// Whether this is on the stack of this thread, in a function that has returned.
bool is_abandoned(const efa_request* request) {
  constexpr uintptr_t kStack = 64 << 20;  // bytes, more than what a stack has below this function
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  return here - reinterpret_cast<uintptr_t>(request) < kStack;
}

}  // namespace

std::vector<efa_request*> OpenRequests::remembered(CompletionHandler completed) const {
  std::vector<efa_request*> open;
  for (efa_request* request : remembered_)
    if (request && !is_abandoned(request) && is_open(request, completed)) open.push_back(request);
  std::sort(open.begin(), open.end());
  open.erase(std::unique(open.begin(), open.end()), open.end());
  return open;
}

}  // namespace efa
