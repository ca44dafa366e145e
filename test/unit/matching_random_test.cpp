// The matching engine beside a naive model: random operations.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>

#include "catch.hpp"
#include "matching_model.hpp"

using namespace efa;

namespace {

// Random operations with a bias that changes: phases of posting, of arrivals and of draining, so that the queues become deep
// and short again and again.
class RandomUse {
 public:
  explicit RandomUse(unsigned seed) : random_(seed), both_(kCommunicators) {}
  // Empty, or what differed.
  std::string run(size_t steps) {
    for (size_t i = 0; i < steps && both_.difference().empty(); ++i) {
      while (phase_left_ == 0) new_phase();
      --phase_left_;
      step();
      if (below(64) == 0) both_.check(below(kCommunicators));
    }
    for (size_t c = 0; c < kCommunicators; ++c) both_.check(c);
    return both_.difference();
  }
  size_t most_posted = 0, most_unexpected = 0, times_listed = 0;

 private:
  static constexpr size_t kCommunicators = 3;
  enum Phase { kPost, kArrive, kDrain, kMixed, kPhases };

  size_t below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }
  bool chance(size_t percent) { return below(100) < percent; }

  void new_phase() {
    constexpr size_t kSources[] = {1, 2, 5, 100, 1000}, kTags[] = {1, 3, 10, 200};
    constexpr size_t kLengths[] = {5, 10, 10, 15, 15, 20, 20, 30, 50, 150, 600, 1500};
    constexpr size_t kWildcards[] = {0, 5, 30};
    phase_ = static_cast<Phase>(below(kPhases));
    phase_left_ = kLengths[below(std::size(kLengths))];
    sources_ = kSources[below(std::size(kSources))];
    tags_ = kTags[below(std::size(kTags))];
    wildcards_ = kWildcards[below(std::size(kWildcards))];
    negative_ = chance(30) ? 20 : 0;
    favourite_ = below(kCommunicators);
    if (phase_ == kDrain && chance(80)) {  // until it is about empty
      const auto& comm = both_.at(favourite_);
      phase_left_ = 4 * (comm.posted.size() + comm.unexpected.size());
    }
    both_.refuse_memory(chance(25));
  }
  Envelope message() {
    const auto tag = static_cast<int32_t>(below(tags_));
    return {static_cast<int32_t>(below(sources_)), chance(negative_) ? -1 - tag : tag};
  }
  // What a receive asks for to get `e`, sometimes with wildcards.
  Envelope asked(Envelope e) {
    if (chance(wildcards_)) e.source = kAnySource;
    if (chance(wildcards_)) e.tag = kAnyTag;
    return e;
  }
  // An envelope that a queued receive waits for, or that a queued message has.
  Envelope for_posted(size_t c) {
    auto& posted = both_.at(c).posted;
    if (posted.empty()) return message();
    Envelope e = std::next(posted.begin(), static_cast<long>(below(posted.size())))->envelope;
    if (e.source == kAnySource) e.source = static_cast<int32_t>(below(sources_));
    if (e.tag == kAnyTag) e.tag = static_cast<int32_t>(below(tags_));
    return e;
  }
  Envelope of_unexpected(size_t c) {
    auto& unexpected = both_.at(c).unexpected;
    if (unexpected.empty()) return message();
    return std::next(unexpected.begin(), static_cast<long>(below(unexpected.size())))->envelope;
  }
  void step() {
    const size_t c = chance(80) ? favourite_ : below(kCommunicators);
    constexpr size_t kPosts[] = {85, 5, 2, 40}, kArrivals[] = {5, 85, 2, 40};
    const size_t dice = below(100);
    if (dice < kPosts[phase_]) {
      both_.post(c, asked(message()));
    } else if (dice < kPosts[phase_] + kArrivals[phase_]) {
      both_.arrive(c, message());
    } else {
      other(c);
    }
    auto& comm = both_.at(c);
    most_posted = std::max(most_posted, comm.posted.size());
    most_unexpected = std::max(most_unexpected, comm.unexpected.size());
    see(hashed_[c][0], comm.queues.posted_hashed());
    see(hashed_[c][1], comm.queues.unexpected_hashed());
  }
  void see(bool& before, bool hashed) {
    times_listed += before && !hashed;
    before = hashed;
  }
  void other(size_t c) {
    switch (below(12)) {
      case 0:
        return both_.probe(c, asked(message()), false);
      case 1:
        return both_.probe(c, asked(of_unexpected(c)), false);
      case 2:
        return both_.probe(c, asked(of_unexpected(c)), true);
      case 3:
        return both_.cancel(c, below(1 << 20));
      case 4:
        return both_.remove(c, below(1 << 20));
      case 5:
        return both_.cancel_finished(c);
      case 6:
        if (below(20)) return;
        return take(c);
      case 7:
      case 8:
      case 9:
        return both_.arrive(c, for_posted(c));
      default:
        return both_.post(c, asked(of_unexpected(c)));
    }
  }
  void take(size_t c) {
    const auto source = static_cast<int32_t>(below(sources_));
    if (below(2))
      both_.take_posted(c, [=](Envelope e) { return MatchQueues::concerns(e, source); });
    else
      both_.take_unexpected(c, [=](Envelope e) { return e.source == source; });
  }

  std::mt19937 random_;
  model::Both both_;
  Phase phase_ = kMixed;
  size_t phase_left_ = 0, sources_ = 1, tags_ = 1, wildcards_ = 0, negative_ = 0, favourite_ = 0;
  bool hashed_[kCommunicators][2] = {};
};

}  // namespace

TEST_CASE("Random operations: the engine does what a scan of two lists does") {
  size_t most_posted = 0, most_unexpected = 0, times_listed = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    RandomUse use(seed);
    INFO("seed " << seed);
    REQUIRE(use.run(4'000) == "");
    most_posted = std::max(most_posted, use.most_posted);
    most_unexpected = std::max(most_unexpected, use.most_unexpected);
    times_listed += use.times_listed;
  }
  // The operations reached what they are for.
  CHECK(most_posted > 1'000);
  CHECK(most_unexpected > 1'000);
  CHECK(times_listed > 500);
}
