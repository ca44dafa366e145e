#include "pair.hpp"

#include <algorithm>

#include "no_memory.hpp"

namespace fake {
namespace {

size_t room(const std::vector<iovec>& into) {
  size_t size = 0;
  for (const iovec& part : into) size += part.iov_len;
  return size;
}

}  // namespace

Pair::Pair() {
  receiver.t->config.self = {1001, 1, 0};
  receiver.one.uid = 1000;
  receiver.one.world_rank = 0;
  for (auto* arrived : {&arrived_[0], &arrived_[1]}) {
    Transport& to = arrived == &arrived_[0] ? sender : receiver;
    // Peek and claim, as far as withdrawals use them.
    to.fabric.on_peek = [this, &to, arrived](const Posted& posted) {
      const auto found = std::find_if(arrived->begin(), arrived->end(), [&](const Message& message) {
        return ((posted.tag ^ message.tag) & ~posted.ignore) == 0;
      });
      if (found == arrived->end()) {
        to.fabric.fail(posted.context, FI_ENOMSG);
        return;
      }
      const Message message = *found;
      if (posted.flags & FI_CLAIM) arrived->erase(found);
      to.fabric.complete(posted, message.bytes.size(), message.tag, message.data);
      if (posted.flags & FI_CLAIM) claimed_[posted.context] = message;
    };
    to.fabric.on_claim = [this, &to](const Posted& posted) {
      const Message message = claimed_.at(posted.context);
      claimed_.erase(posted.context);
      scatter(posted.into, message.bytes.data(), message.bytes.size());
      to.fabric.complete(posted, message.bytes.size(), message.tag, message.data);
    };
  }
}

bool Pair::match(Transport& to, std::deque<Message>& arrived) {
  MemoryAvailable available;
  for (auto message = arrived.begin(); message != arrived.end(); ++message) {
    auto& queue = to.fabric.posted;
    const auto receive = std::find_if(queue.begin(), queue.end(), [&](const Posted& posted) {
      return posted.call == Call::tagged_receive && ((posted.tag ^ message->tag) & ~posted.ignore) == 0;
    });
    if (receive == queue.end()) continue;
    const Posted posted = *receive;
    queue.erase(receive);
    const Message taken = *message;
    arrived.erase(message);
    if (receive_fails && receive_fails(posted)) {
      to.fabric.fail(posted.context, FI_EIO, 13);
    } else {
      scatter(posted.into, taken.bytes.data(), taken.bytes.size());
      to.fabric.complete(posted, taken.bytes.size(), taken.tag, taken.data);
    }
    return true;
  }
  return false;
}

bool Pair::transmit(Transport& from, Transport& to, std::deque<Message>& arrived) {
  MemoryAvailable available;
  auto& queue = from.fabric.posted;
  const auto at = std::find_if(queue.begin(), queue.end(), [](const Posted& posted) {
    return posted.call == Call::tagged_send || posted.call == Call::send || posted.call == Call::read;
  });
  if (at == queue.end()) return false;
  const Posted posted = *at;
  queue.erase(at);
  const Fate what = fate ? fate(from, posted) : Fate::done;
  if (what == Fate::done && posted.call == Call::read)
    scatter(posted.into, reinterpret_cast<void*>(posted.address), room(posted.into));
  if (what == Fate::done)
    from.fabric.complete(posted);
  else
    from.fabric.fail(posted.context, FI_EIO, 13);
  if (what == Fate::lost || posted.call == Call::read) return true;
  if (posted.call == Call::send) {
    to.fabric.arrive_control(posted.bytes.data(), posted.bytes.size());
  } else {
    arrived.push_back({posted.tag, posted.data, posted.bytes});
  }
  return true;
}

void Pair::run() {
  for (bool progressed = true; progressed;) {
    progressed = false;
    for (Transport* side : {&sender, &receiver}) {
      const bool first = side == &sender;
      progressed = transmit(*side, first ? receiver : sender, arrived_[first]) || progressed;
      progressed = match(*side, arrived_[!first]) || progressed;
    }
    for (Transport* side : {&sender, &receiver}) {
      side->make_current();
      while (efa_progress(side->t) > 0) progressed = true;
    }
  }
}

}  // namespace fake
