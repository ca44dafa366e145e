// Layouts of few long blocks, cut into parts that the provider accepts.
#include "catch.hpp"
#include "protocol/segments.hpp"

using efa::Segments;

namespace {

// Segments of the given lengths; each begins 1000 bytes after the beginning of the previous one.
struct Blocks {
  explicit Blocks(std::initializer_list<size_t> lengths) {
    for (const size_t length : lengths) iov.push_back({memory + 1000 * iov.size(), length});
  }
  operator Segments() const { return iov; }
  char memory[20000];
  std::vector<iovec> iov;
};

}  // namespace

TEST_CASE("The longest piece is the largest length that never touches too many segments") {
  const struct {
    std::initializer_list<size_t> lengths;
    size_t parts;
    uint64_t longest;
  } cases[] = {{{10}, 1, UINT64_MAX},         {{10, 20, 30, 40}, 4, UINT64_MAX},
               {{10, 20, 30, 40, 50}, 4, 60}, {{1, 20, 30, 40, 1}, 4, 60},
               {{10, 20, 30}, 2, 20},         {{10, 20, 30}, 1, 0},
               {{10, 1, 500, 500, 500}, 3, 2}};
  for (const auto& test_case : cases) {
    const Blocks blocks(test_case.lengths);
    CHECK(efa::longest_piece(blocks, test_case.parts) == test_case.longest);
    // No piece of that length at any offset has more parts.
    size_t length = 0;
    for (const size_t each : test_case.lengths) length += each;
    const auto piece = std::min<uint64_t>(test_case.longest, length);
    iovec out[8];
    for (size_t offset = 0; piece && offset + piece <= length; ++offset) {
      const size_t count = efa::cut(blocks, offset, piece, out, test_case.parts);
      REQUIRE(count > 0);
    }
  }
}

TEST_CASE("A piece is cut at the boundaries of the segments") {
  const Blocks blocks{100, 50, 200};
  iovec out[3];
  REQUIRE(efa::cut(blocks, 90, 80, out, 3) == 3);
  CHECK(out[0].iov_base == blocks.memory + 90);
  CHECK(out[0].iov_len == 10);
  CHECK(out[1].iov_base == blocks.memory + 1000);
  CHECK(out[1].iov_len == 50);
  CHECK(out[2].iov_base == blocks.memory + 2000);
  CHECK(out[2].iov_len == 20);
  CHECK(efa::cut(blocks, 90, 80, out, 2) == 0);
  REQUIRE(efa::cut(blocks, 100, 50, out, 1) == 1);
  CHECK(out[0].iov_base == blocks.memory + 1000);
  CHECK(efa::cut(blocks, 340, 11, out, 3) == 0);  // one byte more than the layout has
  CHECK(efa::at(blocks, 99) == blocks.memory + 99);
  CHECK(efa::at(blocks, 100) == blocks.memory + 1000);
  CHECK(efa::at(blocks, 349) == blocks.memory + 2199);
}

TEST_CASE("The extent of a prefix is from its lowest to its highest byte") {
  Blocks blocks{100, 50, 200};
  std::swap(blocks.iov[0], blocks.iov[2]);  // 200 at 2000, 50 at 1000, 100 at 0
  const auto extent = [&](uint64_t length) {
    const iovec all = efa::extent(blocks, length);
    return std::pair(static_cast<char*>(all.iov_base) - blocks.memory, all.iov_len);
  };
  CHECK(extent(1) == std::pair<long, size_t>(2000, 1));
  CHECK(extent(200) == std::pair<long, size_t>(2000, 200));
  CHECK(extent(201) == std::pair<long, size_t>(1000, 1200));
  CHECK(extent(350) == std::pair<long, size_t>(0, 2200));
}

TEST_CASE("The cuts of both sides and of even pieces are merged without duplicates") {
  std::vector<uint64_t> cuts{0, 100, 200, 300};
  efa::add_cuts(Blocks{50, 50, 1, 1000}, 400, cuts);
  CHECK(cuts == std::vector<uint64_t>{0, 50, 100, 101, 200, 300});
  efa::add_cuts(Blocks{300, 99, 2}, 400, cuts);
  CHECK(cuts == std::vector<uint64_t>{0, 50, 100, 101, 200, 300, 399});
}
