// The requests that have begun and not ended: what a report about a job that hangs shows, and what ends with a peer that
// fails.
//
// Sends with a request, and receives that take the slow path, are in a list. A contiguous receive from one source with one
// tag could not afford that: the addresses of the last kRemembered such receives are remembered, and whoever looks finds out
// which of them are still open. An older one is not found. Not thread-safe: the transport's lock covers it.
#pragma once

#include <cstdint>
#include <vector>

#include "interface/transport.h"

namespace efa {

using CompletionHandler = decltype(efa_operation::completed);

enum RequestKind : uint8_t { kNoRequest = 0, kSendRequest, kRecvRequest, kMatchedRequest };

// What a request has to be taken out of when it ends (efa_request.listed).
enum RequestMarks : uint8_t {
  kListed = 1,  // the list of this class
  kAsked = 2,   // the questions to peers that hold messages back: packets/asks.hpp
};

class OpenRequests {
 public:
  static constexpr unsigned kRemembered = 256;  // receives; wraps around with next_

  OpenRequests() = default;
  OpenRequests(const OpenRequests&) = delete;

  void add(efa_request* request) {
    request->listed |= kListed;
    request->previous_open = nullptr;
    request->next_open = first_;
    if (first_) first_->previous_open = request;
    first_ = request;
  }
  // Does nothing for one that is not listed.
  void remove(efa_request* request) {
    if (!(request->listed & kListed)) return;
    request->listed &= static_cast<uint8_t>(~kListed);
    if (request->next_open) request->next_open->previous_open = request->previous_open;
    (request->previous_open ? request->previous_open->next_open : first_) = request->next_open;
  }
  // For a receive that is not listed. Its memory may be used for anything after its end, but must stay readable; so this is
  // for a process with one thread, where it is on the heap of Open MPI's requests or on the stack.
  void remember(efa_request* request) {
    remembered_[next_] = request;
    ++next_;
  }
  bool empty() const { return !first_ && !remembered_[0]; }

  // The first request of the list, which next_open continues.
  efa_request* first() const { return first_; }
  // The remembered receives that are open, each once: `completed` is the handler of such a receive.
  std::vector<efa_request*> remembered(CompletionHandler completed) const;

 private:
  efa_request* first_ = nullptr;
  uint8_t next_ = 0;
  efa_request* remembered_[kRemembered] = {};
  static_assert(kRemembered == 256);
};

}  // namespace efa
