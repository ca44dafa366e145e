// Derived datatypes, each with an independent description of its layout as a list of segments. The tests compare what MPI
// sends and receives with data computed from the list, not from the MPI type.
#pragma once

#include "check.hpp"

namespace efa::mpitest {

struct Segment {
  std::ptrdiff_t displacement;  // bytes from the origin of the element
  std::size_t length;           // bytes
};

struct Layout {
  std::string name;
  MPI_Datatype type;
  std::ptrdiff_t extent;          // bytes from one element to the next; may be negative
  std::vector<Segment> segments;  // of one element, in the order of the type map
};

// Every layout has 12 ints per element, so that any layout can be received into any other.
inline constexpr int kIntsPerElement = 12;
inline constexpr int kBytesPerElement = 48;

inline Layout committed(const char* name, MPI_Datatype type, std::ptrdiff_t extent,
                        std::vector<Segment> segments) {
  MPI_Type_commit(&type);
  return {name, type, extent, std::move(segments)};
}

inline std::vector<Layout> make_layouts() {
  std::vector<Layout> all;
  MPI_Datatype type, part;

  MPI_Type_contiguous(12, MPI_INT, &type);
  all.push_back(committed("contiguous", type, 48, {{0, 48}}));

  MPI_Type_vector(6, 2, 3, MPI_INT, &type);
  all.push_back(committed("vector", type, 68, {{0, 8}, {12, 8}, {24, 8}, {36, 8}, {48, 8}, {60, 8}}));

  // Blocks before the origin: lower bound -60, upper bound 12.
  MPI_Type_vector(4, 3, -5, MPI_INT, &type);
  all.push_back(committed("vector of negative stride", type, 72, {{0, 12}, {-20, 12}, {-40, 12}, {-60, 12}}));

  // Odd byte stride: the second block's ints are not aligned.
  MPI_Type_create_hvector(2, 6, 29, MPI_INT, &part);
  MPI_Type_create_resized(part, 0, 53, &type);
  MPI_Type_free(&part);
  all.push_back(committed("hvector of odd stride", type, 53, {{0, 24}, {29, 24}}));

  {
    const int lengths[4] = {1, 5, 4, 2};
    const int displacements[4] = {20, 3, 9, 0};
    MPI_Type_indexed(4, lengths, displacements, MPI_INT, &type);
    all.push_back(committed("indexed, not ascending", type, 84, {{80, 4}, {12, 20}, {36, 16}, {0, 8}}));
  }
  {
    const int lengths[3] = {4, 0, 8};
    const MPI_Aint displacements[3] = {-1000, 5000, 40};
    MPI_Type_create_hindexed(3, lengths, displacements, MPI_INT, &part);
    MPI_Type_create_resized(part, -1000, 1072, &type);
    MPI_Type_free(&part);
    all.push_back(
        committed("hindexed, negative displacement, empty block", type, 1072, {{-1000, 16}, {40, 32}}));
  }
  {
    const int displacements[4] = {0, 10, 4, 20};
    MPI_Type_create_indexed_block(4, 3, displacements, MPI_INT, &type);
    all.push_back(committed("indexed block", type, 92, {{0, 12}, {40, 12}, {16, 12}, {80, 12}}));
  }
  {
    const int lengths[3] = {1, 7, 4};
    const MPI_Aint displacements[3] = {8, 16, 100};
    const MPI_Datatype types[3] = {MPI_INT, MPI_INT, MPI_INT};
    MPI_Type_create_struct(3, lengths, displacements, types, &part);
    MPI_Type_create_resized(part, 0, 128, &type);
    MPI_Type_free(&part);
    all.push_back(committed("struct with gaps", type, 128, {{8, 4}, {16, 28}, {100, 16}}));
  }

  MPI_Type_contiguous(12, MPI_INT, &part);
  MPI_Type_create_resized(part, -16, 96, &type);
  all.push_back(committed("resized, room on both sides", type, 96, {{0, 48}}));
  MPI_Type_create_resized(part, 0, -64, &type);
  all.push_back(committed("resized to a negative extent", type, -64, {{0, 48}}));
  MPI_Type_free(&part);

  // The first block is far behind the origin.
  {
    const int length = 12;
    const MPI_Aint displacement = 4000;
    MPI_Type_create_hindexed(1, &length, &displacement, MPI_INT, &type);
    all.push_back(committed("lower bound 4000", type, 48, {{4000, 48}}));
  }
  {
    const int sizes[2] = {5, 7}, sub_sizes[2] = {3, 4}, starts[2] = {1, 2};
    MPI_Type_create_subarray(2, sizes, sub_sizes, starts, MPI_ORDER_C, MPI_INT, &type);
    all.push_back(committed("subarray", type, 140, {{36, 16}, {64, 16}, {92, 16}}));
  }
  // A vector of structs of vectors.
  {
    MPI_Datatype inner;
    MPI_Type_vector(2, 1, 2, MPI_INT, &inner);  // ints 0 and 2; extent 12
    const int lengths[2] = {1, 1};
    const MPI_Aint displacements[2] = {0, 20};
    const MPI_Datatype types[2] = {inner, MPI_INT};
    MPI_Datatype pair;
    MPI_Type_create_struct(2, lengths, displacements, types, &pair);  // 0, 8, 20; extent 24
    MPI_Type_create_hvector(4, 1, 32, pair, &type);
    MPI_Type_free(&inner);
    MPI_Type_free(&pair);
    std::vector<Segment> segments;
    for (const std::ptrdiff_t base : {0, 32, 64, 96})
      for (const std::ptrdiff_t at : {0, 8, 20}) segments.push_back({base + at, 4});
    all.push_back(committed("vector of structs of vectors", type, 120, segments));
  }
  return all;
}

// Memory for `count` elements of a layout, from its lowest to its highest displacement, in one poisoned Buffer.
class Arena {
 public:
  Arena(const Layout& layout, int count) : layout_(layout), count_(count) {
    std::ptrdiff_t low = 0, high = 0;
    for (const int element : {0, count - 1})
      for (const Segment& s : layout.segments) {
        const std::ptrdiff_t at = element * layout.extent + s.displacement;
        low = std::min(low, at);
        high = std::max(high, at + static_cast<std::ptrdiff_t>(s.length));
      }
    origin_ = -low;
    memory_ = std::make_unique<Buffer>(static_cast<std::size_t>(high - low));
  }

  void* origin() { return memory_->bytes() + origin_; }
  // The whole memory, and the offset of the origin in it: for a window.
  void* memory() { return memory_->data(); }
  std::size_t size() const { return memory_->size(); }
  std::ptrdiff_t origin_offset() const { return origin_; }

  void fill(Key key) {
    std::size_t element = 0;
    for (const Segment& s : layout_.segments) element += s.length;
    std::vector<std::uint8_t> packed(static_cast<std::size_t>(count_) * element);
    fill_pattern(packed.data(), packed.size(), key);
    walk(packed.size(), [&](std::size_t offset, std::uint8_t* place, std::size_t length) {
      std::copy_n(packed.data() + offset, length, place);
    });
  }

  // The first `received` bytes of the packed stream must be the key's, and nothing else in the arena may have been written.
  void expect_message(Key key, std::size_t received, const Location& at = Location::current()) {
    std::vector<std::uint8_t> packed(received);
    walk(received, [&](std::size_t offset, std::uint8_t* place, std::size_t length) {
      std::copy_n(place, length, packed.data() + offset);
      std::fill_n(place, length, Buffer::kPoison);
    });
    expect_pattern(packed.data(), packed.size(), key, at);
    memory_->expect_untouched_from(0, at);
  }

 private:
  template <class Visit>
  void walk(std::size_t bytes, Visit visit) {
    std::size_t offset = 0;
    for (int element = 0; element < count_; ++element)
      for (const Segment& s : layout_.segments) {
        const std::size_t length = std::min(s.length, bytes - offset);
        if (length == 0) return;
        visit(offset, memory_->bytes() + origin_ + element * layout_.extent + s.displacement, length);
        offset += length;
      }
  }

  const Layout& layout_;
  int count_;
  std::ptrdiff_t origin_ = 0;
  std::unique_ptr<Buffer> memory_;
};

}  // namespace efa::mpitest
