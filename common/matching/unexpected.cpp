#include "matching/unexpected.hpp"

namespace efa {

namespace {

constexpr MatchKind kWildcards[] = {kAnyTagOf, kAnySourceOf, kAnything};

UnexpectedMessage* message_of(MatchLink* link, MatchKind kind) {
  MatchLink* links = link - (kind - 1);
  return static_cast<UnexpectedMessage*>(reinterpret_cast<WildcardLinks*>(links));
}

}  // namespace

void UnexpectedQueue::add_to_indexes(UnexpectedMessage& message) noexcept {
  for (const MatchKind kind : kWildcards) {
    if (!(indexed_ & 1u << kind)) continue;
    MatchLink& link = message.wild[kind - 1];
    const Envelope envelope = message.envelope();
    link.next = nullptr;
    if (!matches_kind(envelope, kind)) continue;
    link.key = match_key(envelope, kind);
    indexes_[kind - 1].append(link);
  }
}

void UnexpectedQueue::append_hashed(UnexpectedMessage& message) noexcept {
  if (!hashed_) {
    indexed_ = searched_;
    searched_ = 0;
    if (indexed_)
      for (MatchLink* link = list_.next; link != &list_; link = link->next)
        add_to_indexes(static_cast<UnexpectedMessage&>(*link));
    hash_all();
  }
  append_to_bins(message);
  if (indexed_) add_to_indexes(message);
}

void UnexpectedQueue::make_index(MatchKind kind) noexcept {
  const unsigned all = indexed_ | 1u << kind;
  MatchEntry* entry = take_bins();
  // The other indexes stay as they are.
  indexed_ = 1u << kind;
  while (entry) {
    auto* message = static_cast<UnexpectedMessage*>(entry);
    entry = following(entry);
    bins_.append(*message);
    add_to_indexes(*message);
  }
  indexed_ = all;
}

UnexpectedMessage* UnexpectedQueue::find_hashed(Envelope pattern) noexcept {
  const MatchKind kind = match_kind(pattern);
  const uint64_t key = match_key(pattern);
  if (kind == kExact) return static_cast<UnexpectedMessage*>(*bins_.find(key));
  searched_ |= 1u << kind;
  if (!(indexed_ & 1u << kind)) make_index(kind);
  MatchLink* link = *indexes_[kind - 1].find(key);
  return link ? message_of(link, kind) : nullptr;
}

UnexpectedMessage* UnexpectedQueue::take_hashed(Envelope pattern) noexcept {
  if (match_kind(pattern) == kExact) {
    MatchLink** place = bins_.find(match_key(pattern));
    if (!*place) return nullptr;
    auto* message = static_cast<UnexpectedMessage*>(*place);
    bins_.remove_first(place);
    removed(*message);
    return message;
  }
  UnexpectedMessage* message = find_hashed(pattern);
  if (message) remove_hashed(*message);
  return message;
}

void UnexpectedQueue::remove_hashed(UnexpectedMessage& message) noexcept {
  bins_.remove(message);
  removed(message);
}

void UnexpectedQueue::removed(UnexpectedMessage& message) noexcept {
  if (indexed_)
    for (const MatchKind kind : kWildcards)
      if (indexed_ & 1u << kind && message.wild[kind - 1].linked())
        indexes_[kind - 1].remove(message.wild[kind - 1]);
  --count_;
  if (list_again()) list_all(take_everything());
}

MatchEntry* UnexpectedQueue::take_everything() noexcept {
  for (const MatchKind kind : kWildcards)
    if (indexed_ & 1u << kind) {
      indexes_[kind - 1].take_all([](MatchLink*) {});
      indexes_[kind - 1].trim();
    }
  indexed_ = 0;
  return take_all();
}

size_t UnexpectedQueue::memory() const {
  size_t bytes = bins_.memory();
  for (const MatchBins& index : indexes_) bytes += index.memory();
  return bytes;
}

}  // namespace efa
