// The matching engine beside a naive model of MPI's rules, for tests with random operations: each operation is done by both, and
// the first difference is kept. The model is two lists for each communicator, scanned from the oldest entry.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "matching/engine.hpp"
#include "no_memory.hpp"

namespace efa::model {

inline bool matches(Envelope pattern, Envelope message) {
  const bool source = pattern.source == kAnySource || pattern.source == message.source;
  const bool tag = pattern.tag == kAnyTag ? message.tag >= 0 : pattern.tag == message.tag;
  return source && tag;
}

struct Id {
  uint64_t id;
};
struct Receive : Id, PostedReceive {};
struct Message : Id, UnexpectedMessage {};
inline const Receive* owner_of(const PostedReceive* r) {
  return static_cast<const Receive*>(r);
}
inline const Message* owner_of(const UnexpectedMessage* m) {
  return static_cast<const Message*>(m);
}

// What the model knows of an entry; ids are given in ascending order.
struct Known {
  uint64_t id;
  Envelope envelope;
  void* entry;  // Receive or Message
};

class Communicator {
 public:
  using Entries = std::list<Known>;
  MatchQueues queues;
  Entries posted, unexpected;

  // The oldest entry that matches, or end().
  static Entries::iterator oldest_posted(Entries& entries, Envelope message) {
    return std::find_if(entries.begin(), entries.end(),
                        [&](const Known& k) { return matches(k.envelope, message); });
  }
  static Entries::iterator oldest_unexpected(Entries& entries, Envelope pattern) {
    return std::find_if(entries.begin(), entries.end(),
                        [&](const Known& k) { return matches(pattern, k.envelope); });
  }
};

class Both {
 public:
  explicit Both(size_t communicators) {
    for (size_t i = 0; i < communicators; ++i) all_.push_back(std::make_unique<Communicator>());
  }
  Both(const Both&) = delete;
  ~Both() {
    if (!difference_.empty()) {  // the engine's links may be wrong
      for (auto& communicator : all_) static_cast<void>(communicator.release());
      return;
    }
    for (size_t c = 0; c < all_.size(); ++c) {
      take_posted(c, [](Envelope) { return true; });
      take_unexpected(c, [](Envelope) { return true; });
    }
    for (Receive* r : finished_) delete r;
    for (Message* m : gone_) delete m;
  }

  // Allocations of the engine fail from now on, or not.
  void refuse_memory(bool refuse) { refuse_ = refuse; }
  // Empty as long as the engine did what the model did.
  const std::string& difference() const { return difference_; }
  Communicator& at(size_t c) { return *all_[c]; }

  void post(size_t c, Envelope pattern) {
    Communicator& comm = at(c);
    auto* receive = new Receive{{++ids_}, {}};
    const auto expected = Communicator::oldest_unexpected(comm.unexpected, pattern);
    const UnexpectedMessage* got = engine([&] { return comm.queues.post(*receive, pattern); });
    if (expected == comm.unexpected.end()) {
      expect(!got, "post finds no message");
      expect(receive->queued(), "a receive without a message is queued");
      comm.posted.push_back({receive->id, pattern, receive});
    } else {
      expect(got && owner_of(got)->id == expected->id, "post finds the oldest message");
      expect(!receive->queued(), "a matched receive is not queued");
      drop(receive);
      forget_message(comm, expected);
    }
  }
  void arrive(size_t c, Envelope envelope) {
    Communicator& comm = at(c);
    const auto expected = Communicator::oldest_posted(comm.posted, envelope);
    const PostedReceive* got = engine([&] { return comm.queues.arrive(envelope); });
    if (expected == comm.posted.end()) {
      expect(!got, "a message finds no receive");
      auto* message = new Message{{++ids_}, {}};
      std::memset(static_cast<void*>(message->wild), 0x5a, sizeof message->wild);  // as in reused memory
      engine([&] { comm.queues.add_unexpected(*message, envelope); });
      expect(message->queued(), "an unexpected message is queued");
      comm.unexpected.push_back({message->id, envelope, message});
    } else {
      expect(got && owner_of(got)->id == expected->id, "a message finds the oldest receive");
      forget_receive(comm, expected);
    }
  }
  void probe(size_t c, Envelope pattern, bool takes) {
    Communicator& comm = at(c);
    const auto expected = Communicator::oldest_unexpected(comm.unexpected, pattern);
    const UnexpectedMessage* got =
        engine([&] { return takes ? comm.queues.take(pattern) : comm.queues.probe(pattern); });
    if (expected == comm.unexpected.end()) return expect(!got, "a probe finds no message");
    expect(got && owner_of(got)->id == expected->id, "a probe finds the oldest message");
    if (!got) return;
    expect(got->envelope().source == expected->envelope.source &&
               got->envelope().tag == expected->envelope.tag && got->queued() == !takes,
           "a probe tells the envelope");
    if (takes) forget_message(comm, expected);
  }
  // The entry `which`, modulo their number.
  void cancel(size_t c, size_t which) {
    Communicator& comm = at(c);
    if (comm.posted.empty()) return;
    const auto entry = std::next(comm.posted.begin(), static_cast<long>(which % comm.posted.size()));
    auto* receive = static_cast<Receive*>(entry->entry);
    expect(engine([&] { return comm.queues.cancel(*receive); }), "a posted receive is cancelled");
    forget_receive(comm, entry);
  }
  void remove(size_t c, size_t which) {
    Communicator& comm = at(c);
    if (comm.unexpected.empty()) return;
    const auto entry = std::next(comm.unexpected.begin(), static_cast<long>(which % comm.unexpected.size()));
    auto* message = static_cast<Message*>(entry->entry);
    expect(engine([&] { return comm.queues.remove_unexpected(*message); }),
           "an unexpected message is removed");
    forget_message(comm, entry);
  }
  // Of those that were matched, cancelled or taken lately, in any communicator.
  void cancel_finished(size_t c) {
    for (Receive* r : finished_) expect(!at(c).queues.cancel(*r), "a matched receive is not cancelled");
    for (Message* m : gone_) expect(!at(c).queues.remove_unexpected(*m), "a matched message is not removed");
  }
  template <class Condition>
  void take_posted(size_t c, Condition condition) {
    Communicator& comm = at(c);
    std::vector<const Receive*> taken;
    taken.reserve(comm.posted.size());
    engine([&] {
      comm.queues.take_posted_if([&](const PostedReceive& r) { return condition(r.envelope()); },
                                 [&](PostedReceive& r) {
                                   fake::MemoryAvailable available;
                                   expect(!r.queued(), "a taken receive is not queued");
                                   taken.push_back(owner_of(&r));
                                 });
    });
    size_t i = 0;
    for (auto entry = comm.posted.begin(); entry != comm.posted.end();) {
      const auto here = entry++;
      if (!condition(here->envelope)) continue;
      expect(i < taken.size() && taken[i]->id == here->id, "receives are taken in the order of posting");
      ++i;
      forget_receive(comm, here);
    }
    expect(i == taken.size(), "only receives that the condition holds for are taken");
  }
  template <class Condition>
  void take_unexpected(size_t c, Condition condition) {
    Communicator& comm = at(c);
    std::vector<const Message*> taken;
    taken.reserve(comm.unexpected.size());
    engine([&] {
      comm.queues.take_unexpected_if([&](const UnexpectedMessage& m) { return condition(m.envelope()); },
                                     [&](UnexpectedMessage& m) {
                                       fake::MemoryAvailable available;
                                       expect(!m.queued(), "a taken message is not queued");
                                       taken.push_back(owner_of(&m));
                                     });
    });
    size_t i = 0;
    for (auto entry = comm.unexpected.begin(); entry != comm.unexpected.end();) {
      const auto here = entry++;
      if (!condition(here->envelope)) continue;
      expect(i < taken.size() && taken[i]->id == here->id, "messages are taken in the order of arrival");
      ++i;
      forget_message(comm, here);
    }
    expect(i == taken.size(), "only messages that the condition holds for are taken");
  }
  // Visits both queues and compares all entries.
  void check(size_t c) {
    Communicator& comm = at(c);
    const MatchQueues& queues = comm.queues;
    expect(queues.posted() == comm.posted.size() && queues.unexpected() == comm.unexpected.size(), "sizes");
    std::vector<uint64_t> ids;
    queues.for_each_posted([&](const PostedReceive& r) { ids.push_back(owner_of(&r)->id); });
    check_ids(ids, comm.posted, queues.posted_hashed());
    ids.clear();
    queues.for_each_unexpected([&](const UnexpectedMessage& m) { ids.push_back(owner_of(&m)->id); });
    check_ids(ids, comm.unexpected, queues.unexpected_hashed());
  }

 private:
  static constexpr size_t kFinished = 8;  // kept, to see that they stay untouched

  template <class Operation>
  std::invoke_result_t<Operation> engine(Operation operation) {
    if (!refuse_) return operation();
    fake::NoMemory refused;
    return operation();
  }
  void expect(bool holds, const char* what) {
    if (!holds && difference_.empty()) difference_ = what;
  }
  void check_ids(std::vector<uint64_t>& ids, const Communicator::Entries& entries, bool hashed) {
    if (hashed) std::sort(ids.begin(), ids.end());
    expect(std::equal(ids.begin(), ids.end(), entries.begin(), entries.end(),
                      [](uint64_t id, const Known& k) { return id == k.id; }),
           "a visit sees every entry once, oldest first in a short queue");
  }
  void drop(Receive* receive) {
    finished_.push_back(receive);
    if (finished_.size() <= kFinished) return;
    delete finished_.front();
    finished_.pop_front();
  }
  void forget_receive(Communicator& comm, Communicator::Entries::iterator entry) {
    auto* receive = static_cast<Receive*>(entry->entry);
    expect(!receive->queued(), "a receive that ended is not queued");
    comm.posted.erase(entry);
    drop(receive);
  }
  void forget_message(Communicator& comm, Communicator::Entries::iterator entry) {
    auto* message = static_cast<Message*>(entry->entry);
    expect(!message->queued(), "a message that was taken is not queued");
    comm.unexpected.erase(entry);
    gone_.push_back(message);
    if (gone_.size() <= kFinished) return;
    delete gone_.front();
    gone_.pop_front();
  }

  std::vector<std::unique_ptr<Communicator>> all_;
  std::deque<Receive*> finished_;
  std::deque<Message*> gone_;
  uint64_t ids_ = 0;
  bool refuse_ = false;
  std::string difference_;
};

}  // namespace efa::model
