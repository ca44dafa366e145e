// The allocation functions that NoMemory lets fail. Only for tests that use it: AddressSanitizer does not check for
// mismatched new and delete in a program that replaces the operators.
#include <cstddef>
#include <cstdlib>
#include <new>

#include "no_memory.hpp"

namespace {

void* allocate(std::size_t size, std::size_t alignment) {
  void* memory = nullptr;
  if (fake::allocation_fails()) return nullptr;
  return posix_memalign(&memory, alignment, size ? size : 1) == 0 ? memory : nullptr;
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* memory = allocate(size, alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

constexpr std::size_t kDefaultAlignment = alignof(std::max_align_t);

}  // namespace

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return allocate(size, alignment);
}
void* operator new(std::size_t size) {
  return allocate_or_throw(size, kDefaultAlignment);
}
void* operator new[](std::size_t size) {
  return allocate_or_throw(size, kDefaultAlignment);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, kDefaultAlignment);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, kDefaultAlignment);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
