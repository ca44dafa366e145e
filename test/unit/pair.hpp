// Two transports and a network between them, in which one step can fail.
#pragma once

#include <deque>
#include <functional>
#include <map>

#include "fake_transport.hpp"

namespace fake {

// How an operation that one side posted ends.
enum class Fate {
  done,
  lost,            // it fails and does not arrive
  failed_arrived,  // it fails although it has arrived
};

class Pair {
 public:
  Pair();

  Transport sender, receiver;
  // Called once for each send (ready-to-send, piece, control message) and read; `sender` posted it.
  std::function<Fate(const Transport& sender, const Posted&)> fate;
  // Called when a message matches a receive; true: the receive fails.
  std::function<bool(const Posted& receive)> receive_fails;

  // Delivers everything that is posted, until there is no more progress.
  void run();
  size_t unexpected() const { return arrived_[0].size() + arrived_[1].size(); }

 private:
  struct Message {
    uint64_t tag, data;
    std::vector<uint8_t> bytes;
  };
  bool transmit(Transport& from, Transport& to, std::deque<Message>& arrived);
  bool match(Transport& to, std::deque<Message>& arrived);

  std::deque<Message> arrived_[2];  // at `sender`, at `receiver`
  std::map<void*, Message> claimed_;
};

}  // namespace fake
