// Datatypes of a few long blocks, which are sent without packing. Blocks in any order and with gaps of all sizes; such a
// type on both sides, or with a packed layout or contiguous memory on the other side; several elements; MPI_BOTTOM;
// truncation; one block more than the limit.
#include <numeric>

#include "layouts.hpp"

using namespace efa::mpitest;

namespace {

constexpr std::size_t kKiB = 1024;

// A type of byte blocks, whose displacements are given in KiB. Elements do not overlap.
Layout blocks(const char* name, std::vector<std::size_t> lengths, std::vector<std::ptrdiff_t> places_kib) {
  std::vector<int> counts(lengths.begin(), lengths.end());
  std::vector<MPI_Aint> places;
  std::vector<Segment> segments;
  MPI_Datatype bytes, type;
  std::ptrdiff_t begin = 0, end = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    places.push_back(places_kib[i] * static_cast<std::ptrdiff_t>(kKiB));
    segments.push_back({places[i], lengths[i]});
    begin = std::min(begin, places[i]);
    end = std::max(end, places[i] + static_cast<std::ptrdiff_t>(lengths[i]));
  }
  MPI_Type_create_hindexed(static_cast<int>(counts.size()), counts.data(), places.data(), MPI_BYTE, &bytes);
  const std::ptrdiff_t extent = end - begin + 4096;
  MPI_Type_create_resized(bytes, 0, extent, &type);
  MPI_Type_free(&bytes);
  return committed(name, type, extent, segments);
}

// Each has 1 MiB and 300 bytes of data.
constexpr std::size_t kWhole = 1024 * kKiB + 300;

std::vector<Layout> make() {
  const std::size_t quarter = 256 * kKiB;
  std::vector<Layout> all;
  all.push_back(blocks("contiguous", {kWhole}, {0}));
  all.push_back(blocks("four alike", {quarter, quarter, quarter, quarter + 300}, {0, 512, 1024, 1536}));
  all.push_back(
      blocks("descending, before the origin", {quarter + 300, quarter, 2 * quarter}, {700, 100, -900}));
  all.push_back(blocks("a byte between", {quarter, 1, 3 * quarter + 299}, {600, 900, 1300}));
  all.push_back(blocks("neighbours", {quarter, quarter, 2 * quarter + 300}, {0, 256, 512}));
  all.push_back(blocks("far apart", {2 * quarter, 2 * quarter + 300}, {0, 8192}));
  all.push_back(blocks("eight", {131072, 131072, 131072, 131072, 131072, 131072, 131072, 131372},
                       {0, 200, 400, 600, 800, 1000, 1200, 1400}));
  std::vector<std::size_t> lengths(12, 87381);
  std::vector<std::ptrdiff_t> places;
  lengths.back() = kWhole - 11 * 87381;
  for (int i = 0; i < 12; ++i) places.push_back(i * 120);
  all.push_back(blocks("twelve: packed", lengths, places));
  MPI_Datatype type;
  std::vector<Segment> segments;
  const std::size_t small = 60, count = kWhole / small;
  static_assert(kWhole % small == 16);
  MPI_Type_vector(static_cast<int>(count), small, 100, MPI_BYTE, &type);
  for (std::size_t i = 0; i < count; ++i) segments.push_back({static_cast<std::ptrdiff_t>(i * 100), small});
  all.push_back(committed("vector: packed", type, static_cast<std::ptrdiff_t>(count * 100 - 40), segments));
  return all;
}

std::size_t bytes_of(const Layout& layout) {
  return std::accumulate(layout.segments.begin(), layout.segments.end(), std::size_t{0},
                         [](std::size_t sum, const Segment& s) { return sum + s.length; });
}

void exchange(int rank, const Layout& from, const Layout& to, int elements, bool bottom, int tag) {
  Step step("%d elements, %s -> %s%s", elements, from.name.c_str(), to.name.c_str(),
            bottom ? ", MPI_BOTTOM" : "");
  const Layout& mine = rank == 0 ? from : to;
  Arena arena(mine, elements);
  void* address = arena.origin();
  MPI_Datatype type = mine.type;
  int count = elements;
  if (bottom) {
    MPI_Aint absolute;
    MPI_Get_address(address, &absolute);
    MPI_Type_create_hindexed(1, &count, &absolute, mine.type, &type);
    MPI_Type_commit(&type);
    address = MPI_BOTTOM;
    count = 1;
  }
  const std::size_t sent = bytes_of(from) * static_cast<std::size_t>(elements);
  const std::size_t room = bytes_of(to) * static_cast<std::size_t>(elements);
  if (rank == 0) {
    arena.fill({0, tag});
    MPI_Send(address, count, type, 1, tag, MPI_COMM_WORLD);
    arena.expect_message({0, tag}, sent);
  } else {
    MPI_Status status;
    if (tag % 2) {
      MPI_Probe(0, tag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, tag, static_cast<int>(sent), MPI_BYTE);
    }
    const int error = MPI_Recv(address, count, type, 0, tag, MPI_COMM_WORLD, &status);
    expect_equal(sent > room ? MPI_ERR_TRUNCATE : MPI_SUCCESS, error, "MPI_Recv");
    arena.expect_message({0, tag}, std::min(sent, room));
  }
  if (bottom) MPI_Type_free(&type);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  std::vector<Layout> layouts = make();
  int tag = 10;
  for (const Layout& from : layouts)
    for (const Layout& to : layouts) {
      if (bytes_of(from) > bytes_of(to)) continue;
      ++tag;
      exchange(program.rank, from, to, 1, tag % 3 == 0, tag);
    }
  for (const Layout& layout : layouts) exchange(program.rank, layout, layout, 2, false, ++tag);
  Layout shorter = blocks("shorter", {300 * kKiB, 5, 200 * kKiB}, {400, 0, 900});
  for (const Layout& from : layouts) {
    ++tag;
    exchange(program.rank, from, shorter, 1, tag % 3 == 0, tag);
  }
  Layout tiny = blocks("tiny", {5, 2}, {4, 0});
  for (const Layout& from : layouts) exchange(program.rank, from, tiny, 1, false, ++tag);
  layouts.push_back(shorter);
  layouts.push_back(tiny);
  for (Layout& layout : layouts) MPI_Type_free(&layout.type);
}
