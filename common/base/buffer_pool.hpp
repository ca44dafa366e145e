// Buffers for packed data, with sizes that are powers of two. The callers observe the bound (is_full()); take() does not.
// Freed buffers are kept, because new memory costs a page fault per 4 KiB. Not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

namespace efa {

class BufferPool {
 public:
  // `bound`: bytes in all buffers, used or kept.
  explicit BufferPool(size_t bound) : bound_(bound) {}
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool() {
    for (auto& list : kept_)
      for (void* buffer : list) std::free(buffer);
  }

  // At least `size` bytes, aligned to a cache line; null if there is no memory.
  void* take(size_t size) {
    const unsigned order = order_of(size);
    if (order >= kept_.size()) return nullptr;
    auto& list = kept_[order];
    void* buffer;
    if (!list.empty()) {
      buffer = list.back();
      list.pop_back();
      bytes_kept_ -= size_t{1} << order;
    } else {
      buffer = std::aligned_alloc(kAlignment, size_t{1} << order);
      if (!buffer) return nullptr;
    }
    bytes_used_ += size_t{1} << order;
    most_used_ = std::max(most_used_, bytes_used_);
    return buffer;
  }
  // `size`: the size passed to take().
  void give(void* buffer, size_t size) {
    const unsigned order = order_of(size);
    const size_t bytes = size_t{1} << order;
    bytes_used_ -= bytes;
    if (bytes_used_ + bytes_kept_ + bytes > bound_) {
      std::free(buffer);
      return;
    }
    try {
      kept_[order].push_back(buffer);
      bytes_kept_ += bytes;
    } catch (const std::bad_alloc&) {
      std::free(buffer);
    }
  }
  // Whether a buffer of `size` bytes would go beyond the bound.
  bool is_full(size_t size) const { return bytes_used_ + (size_t{1} << order_of(size)) > bound_; }
  size_t bound() const { return bound_; }
  size_t bytes_used() const { return bytes_used_; }
  size_t most_used() const { return most_used_; }  // maximum at a time so far
  size_t bytes_kept() const { return bytes_kept_; }

 private:
  static constexpr size_t kAlignment = 64;
  static unsigned order_of(size_t size) {
    return static_cast<unsigned>(std::bit_width((size > kAlignment ? size : kAlignment) - 1));
  }

  std::array<std::vector<void*>, 48> kept_;
  size_t bytes_kept_ = 0, bytes_used_ = 0, most_used_ = 0, bound_;
};

}  // namespace efa
