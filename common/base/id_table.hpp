// Ids for objects that a peer refers to: 32 bits index, 32 bits generation, so that a late or forged message cannot reach
// another object that reuses the index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace efa {

template <class Object>
class IdTable {
 public:
  // Throws std::bad_alloc, and then has changed nothing.
  uint64_t add(Object* object) {
    if (unused_ == kNone) {
      slots_.emplace_back();
      unused_ = static_cast<uint32_t>(slots_.size() - 1);
    }
    const uint32_t place = unused_;
    Slot& slot = slots_[place];
    unused_ = slot.next_unused;
    slot.object = object;
    ++size_;
    return uint64_t{slot.generation} << 32 | place;
  }
  // Null if there is no such object (any more).
  Object* find(uint64_t id) const {
    const auto place = static_cast<uint32_t>(id);
    if (place >= slots_.size() || slots_[place].generation != id >> 32) return nullptr;
    return slots_[place].object;
  }
  // Some object that `condition` holds for, or null. Visits them all.
  template <class Condition>
  Object* find_if(Condition condition) const {
    for (const Slot& slot : slots_)
      if (slot.object && condition(slot.object)) return slot.object;
    return nullptr;
  }
  void remove(uint64_t id) {
    if (!find(id)) return;
    Slot& slot = slots_[static_cast<uint32_t>(id)];
    slot.object = nullptr;
    ++slot.generation;
    slot.next_unused = unused_;
    unused_ = static_cast<uint32_t>(id);
    --size_;
  }
  size_t size() const { return size_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Slot {
    Object* object = nullptr;
    uint32_t generation = 1;
    uint32_t next_unused = kNone;
  };
  std::vector<Slot> slots_;
  uint32_t unused_ = kNone;  // the first of a list
  size_t size_ = 0;
};

}  // namespace efa
