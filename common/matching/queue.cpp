#include "matching/queue.hpp"

namespace efa {

namespace {

MatchEntry* merge_two(MatchEntry* a, MatchEntry* b) noexcept {
  MatchLink* merged = nullptr;
  MatchLink** end = &merged;
  while (a && b) {
    MatchEntry*& older = a->order < b->order ? a : b;
    *end = older;
    end = &older->next;
    older = static_cast<MatchEntry*>(older->next);
  }
  *end = a ? a : b;
  return static_cast<MatchEntry*>(merged);
}

}  // namespace

void OrderedRuns::add(MatchLink* run) noexcept {
  auto* merged = static_cast<MatchEntry*>(run);
  unsigned level = 0;
  for (; levels_[level]; ++level) {
    merged = merge_two(levels_[level], merged);
    levels_[level] = nullptr;
  }
  levels_[level] = merged;
}

MatchEntry* OrderedRuns::merge() noexcept {
  MatchEntry* all = nullptr;
  for (MatchEntry* level : levels_) all = merge_two(level, all);
  return all;
}

void MatchQueue::hash_all() noexcept {
  for (MatchLink* link = list_.next; link != &list_;) {
    MatchLink* next = link->next;
    append_to_bins(static_cast<MatchEntry&>(*link));
    link = next;
  }
  list_.next = list_.prev = &list_;
  hashed_ = true;
  hashed_since_ = next_order_;
}

void MatchQueue::list_all(MatchEntry* entries) noexcept {
  while (entries) {
    MatchEntry* next = following(entries);
    append_listed(*entries);
    ++count_;
    entries = next;
  }
}

MatchEntry* MatchQueue::take_bins() noexcept {
  if (count_ == 0) return nullptr;
  OrderedRuns runs;
  bins_.take_all([&](MatchLink* run) { runs.add(run); });
  return runs.merge();
}

MatchEntry* MatchQueue::take_all() noexcept {
  MatchEntry* all = nullptr;
  if (hashed_) {
    all = take_bins();
    bins_.trim();
    hashed_ = false;
  } else if (count_ > 0) {
    all = static_cast<MatchEntry*>(list_.next);
    list_.prev->next = nullptr;
    list_.next = list_.prev = &list_;
  }
  count_ = 0;
  return all;
}

}  // namespace efa
