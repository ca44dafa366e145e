// Derived datatypes on both sides: every layout is sent to every layout, with every kind of send and receive, from an
// address or MPI_BOTTOM, with lengths from a few bytes to megabytes; partial elements; MPI_PACKED on either side.
#include "layouts.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

// The arguments of an MPI call for a layout: address, count and type, or the same memory through MPI_BOTTOM.
struct Named {
  Named(const Layout& layout, Arena& arena, int elements, bool bottom)
      : address(arena.origin()), count(elements), type(layout.type), owned(bottom) {
    if (!bottom) return;
    MPI_Aint absolute = 0;
    MPI_Get_address(address, &absolute);
    MPI_Type_create_hindexed(1, &elements, &absolute, layout.type, &type);
    MPI_Type_commit(&type);
    address = MPI_BOTTOM;
    count = 1;
  }
  ~Named() {
    if (owned) MPI_Type_free(&type);
  }
  Named(const Named&) = delete;
  Named& operator=(const Named&) = delete;

  void* address;
  int count;
  MPI_Datatype type;
  bool owned;
};

void exchange(int rank, const Layout& from, const Layout& to, int elements, int tag) {
  Step step("%d elements, %s -> %s", elements, from.name.c_str(), to.name.c_str());
  const bool early = tag % 2 == 0;
  if (rank == 0) {
    Arena arena(from, elements);
    arena.fill({0, tag});
    const Named named(from, arena, elements, tag % 5 == 0);
    Mode mode = kModes[static_cast<std::size_t>(tag) % kModes.size()];
    if (mode == Mode::kReady && !early) mode = Mode::kStandard;
    if (early) take_token(1, kTokenTag, MPI_COMM_WORLD);
    if (tag % 3) {
      send(mode, named.address, named.count, named.type, 1, tag, MPI_COMM_WORLD);
    } else {
      MPI_Request request = isend(mode, named.address, named.count, named.type, 1, tag, MPI_COMM_WORLD);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    }
    arena.expect_message({0, tag}, static_cast<std::size_t>(elements) * kBytesPerElement);
    return;
  }
  Arena arena(to, elements);
  const Named named(to, arena, elements, tag % 7 == 0);
  MPI_Status status;
  if (early) {
    MPI_Request request;
    MPI_Irecv(named.address, named.count, named.type, 0, tag, MPI_COMM_WORLD, &request);
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    MPI_Wait(&request, &status);
  } else if (tag % 3 == 0) {
    MPI_Message handle;
    MPI_Mprobe(0, tag, MPI_COMM_WORLD, &handle, &status);
    expect_status(status, 0, tag, elements * kIntsPerElement, MPI_INT);
    MPI_Mrecv(named.address, named.count, named.type, &handle, &status);
  } else {
    MPI_Recv(named.address, named.count, named.type, 0, tag, MPI_COMM_WORLD, &status);
  }
  expect_status(status, 0, tag, named.count, named.type);
  arena.expect_message({0, tag}, static_cast<std::size_t>(elements) * kBytesPerElement);
}

// A message of whole elements and five ints arrives in a receive of two more elements. MPI_Get_elements counts ints;
// nothing behind the data is written.
void partial(int rank, const Layout& layout, int tag) {
  Step step("partial element, %s", layout.name.c_str());
  for (const int whole : {2, 900, 40000}) {
    const int ints = whole * kIntsPerElement + 5;
    if (rank == 0) {
      Buffer message(static_cast<std::size_t>(4 * ints));
      message.fill({0, tag, whole});
      MPI_Send(message.data(), ints, MPI_INT, 1, tag, MPI_COMM_WORLD);
      continue;
    }
    Arena arena(layout, whole + 2);
    MPI_Status status;
    MPI_Recv(arena.origin(), whole + 2, layout.type, 0, tag, MPI_COMM_WORLD, &status);
    int elements = 0;
    MPI_Get_elements(&status, layout.type, &elements);
    expect_equal(ints, elements, "basic elements received");
    expect_status(status, 0, tag, MPI_UNDEFINED, layout.type);
    arena.expect_message({0, tag, whole}, static_cast<std::size_t>(4 * ints));
  }
}

// MPI_Pack or MPI_Unpack on one side, the derived type on the other.
void packed(int rank, const Layout& layout, int tag) {
  Step step("MPI_PACKED, %s", layout.name.c_str());
  for (const int elements : {1, 50, 5000}) {
    int room = 0;
    MPI_Pack_size(elements, layout.type, MPI_COMM_WORLD, &room);
    Buffer buffer(static_cast<std::size_t>(room));
    Arena arena(layout, elements);
    int position = 0;
    MPI_Status status;
    if (rank == 0) {
      arena.fill({0, tag, elements});
      MPI_Pack(arena.origin(), elements, layout.type, buffer.data(), room, &position, MPI_COMM_WORLD);
      MPI_Send(buffer.data(), position, MPI_PACKED, 1, tag, MPI_COMM_WORLD);
      MPI_Send(arena.origin(), elements, layout.type, 1, tag, MPI_COMM_WORLD);
      continue;
    }
    MPI_Recv(arena.origin(), elements, layout.type, 0, tag, MPI_COMM_WORLD, &status);
    arena.expect_message({0, tag, elements}, static_cast<std::size_t>(elements) * kBytesPerElement);
    MPI_Recv(buffer.data(), room, MPI_PACKED, 0, tag, MPI_COMM_WORLD, &status);
    int bytes = 0;
    MPI_Get_count(&status, MPI_PACKED, &bytes);
    MPI_Unpack(buffer.data(), bytes, &position, arena.origin(), elements, layout.type, MPI_COMM_WORLD);
    arena.expect_message({0, tag, elements}, static_cast<std::size_t>(elements) * kBytesPerElement);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(64 << 20);
  if (program.rank > 1) return 0;
  std::vector<Layout> layouts = make_layouts();
  int tag = 10;
  for (const int elements : {1, 3, 200, 2000, 12000, 90000})
    for (std::size_t from = 0; from < layouts.size(); ++from)
      for (std::size_t to = 0; to < layouts.size(); ++to) {
        // The largest messages (4 MB) only between neighbours in the list, to save time.
        if (elements > 10000 && (to + layouts.size() - from) % layouts.size() > 2) continue;
        exchange(program.rank, layouts[from], layouts[to], elements, ++tag);
      }
  for (const Layout& layout : layouts) {
    partial(program.rank, layout, ++tag);
    packed(program.rank, layout, ++tag);
  }
  for (Layout& layout : layouts) MPI_Type_free(&layout.type);
}
