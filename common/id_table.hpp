// Names for objects that a peer refers to: 32 bits place, 32 bits generation, so that a late or forged
// message cannot reach an object that took the place of the one it was meant for.
#pragma once

#include <cstdint>
#include <vector>

namespace efa {

template <class Object>
class IdTable {
 public:
  uint64_t add(Object* object) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(slots_.size()));
      slots_.push_back({});
    }
    const uint32_t place = free_.back();
    free_.pop_back();
    slots_[place].object = object;
    return uint64_t{slots_[place].generation} << 32 | place;
  }
  // Null if there is no such object (any more).
  Object* find(uint64_t id) const {
    const auto place = static_cast<uint32_t>(id);
    if (place >= slots_.size() || slots_[place].generation != id >> 32) return nullptr;
    return slots_[place].object;
  }
  void remove(uint64_t id) {
    if (!find(id)) return;
    auto& slot = slots_[static_cast<uint32_t>(id)];
    slot.object = nullptr;
    ++slot.generation;
    free_.push_back(static_cast<uint32_t>(id));
  }
  size_t size() const { return slots_.size() - free_.size(); }

 private:
  struct Slot {
    Object* object = nullptr;
    uint32_t generation = 1;
  };
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace efa
