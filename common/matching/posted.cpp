#include "matching/posted.hpp"

namespace efa {

namespace {

constexpr MatchKind kWildcards[] = {kAnyTagOf, kAnySourceOf, kAnything};

uint64_t order_of(const MatchLink* link) {
  return static_cast<const MatchEntry*>(link)->order;
}

}  // namespace

PostedReceive* PostedQueue::take_listed(Envelope message) noexcept {
  const uint64_t exact = match_key(message);
  uint64_t keys[kMatchKinds] = {exact};
  for (const MatchKind kind : kWildcards)
    keys[kind] = matches_kind(message, kind) ? match_key(message, kind) : exact;
  for (MatchLink* link = list_.next; link != &list_; link = link->next) {
    const uint64_t key = link->key;
    if (key != exact && key != keys[kAnyTagOf] && key != keys[kAnySourceOf] && key != keys[kAnything])
      continue;
    link->unlink();
    --count_;
    count_wildcard(envelope_of(key), size_t{0} - 1);
    return static_cast<PostedReceive*>(link);
  }
  return nullptr;
}

PostedReceive* PostedQueue::take_hashed(Envelope message) noexcept {
  MatchLink** oldest = nullptr;
  if (count_ > wildcards_) {
    oldest = bins_.find(match_key(message));
    if (!*oldest) oldest = nullptr;
  }
  if (wildcards_ > 0)
    for (const MatchKind kind : kWildcards) {
      if (of_kind_[kind] == 0 || !matches_kind(message, kind)) continue;
      MatchLink** place = bins_.find(match_key(message, kind));
      if (*place && (!oldest || order_of(*place) < order_of(*oldest))) oldest = place;
    }
  if (!oldest) return nullptr;
  auto* receive = static_cast<PostedReceive*>(*oldest);
  bins_.remove_first(oldest);
  removed(*receive);
  return receive;
}

void PostedQueue::removed(const PostedReceive& receive) noexcept {
  --count_;
  if (wildcards_ > 0) count_wildcard(receive.envelope(), size_t{0} - 1);
  if (list_again()) list_all(take_all());
}

void PostedQueue::remove(PostedReceive& receive) noexcept {
  if (hashed_) {
    bins_.remove(receive);
    removed(receive);
  } else {
    receive.unlink();
    --count_;
    if (wildcards_ > 0) count_wildcard(receive.envelope(), size_t{0} - 1);
  }
}

}  // namespace efa
