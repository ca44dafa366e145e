// Messages of more than 2 GiB, whose length in bytes exceeds an int. All bytes and the counts in the status are checked.
// One element of a large type, many MPI_INT, and a noncontiguous type.
//
// large [BYTES]   default: 2 GiB and 4099 bytes; each rank needs that much memory
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTag = 4;

struct Shape {
  const char* name;
  int count;
  MPI_Datatype type;
};

// Blocks of 1 MiB and a shorter one for the rest, so that the length may be odd.
MPI_Datatype blocks_and_tail(std::size_t bytes) {
  constexpr int kBlock = 1 << 20;
  MPI_Datatype block, type;
  MPI_Type_contiguous(kBlock, MPI_BYTE, &block);
  const int lengths[2] = {static_cast<int>(bytes / kBlock), static_cast<int>(bytes % kBlock)};
  const MPI_Aint displacements[2] = {0, static_cast<MPI_Aint>(bytes / kBlock * kBlock)};
  const MPI_Datatype types[2] = {block, MPI_BYTE};
  MPI_Type_create_struct(2, lengths, displacements, types, &type);
  MPI_Type_commit(&type);
  MPI_Type_free(&block);
  return type;
}

void exchange(int rank, const Shape& shape, std::size_t bytes, Buffer& memory) {
  Step step("%zu bytes as %s", bytes, shape.name);
  if (rank == 0) {
    MPI_Send(memory.data(), shape.count, shape.type, 1, kTag, MPI_COMM_WORLD);
    return;
  }
  memory.poison();
  MPI_Status status;
  MPI_Probe(0, kTag, MPI_COMM_WORLD, &status);
  MPI_Count elements = 0;
  MPI_Get_elements_x(&status, shape.type, &elements);
  const auto expected = static_cast<MPI_Count>(shape.type == MPI_INT ? bytes / sizeof(int) : bytes);
  expect_equal(expected, elements, "basic elements of the probed message");
  MPI_Recv(memory.data(), shape.count, shape.type, 0, kTag, MPI_COMM_WORLD, &status);
  expect_status(status, 0, kTag, shape.count, shape.type);
  MPI_Get_elements_x(&status, shape.type, &elements);
  expect_equal(expected, elements, "basic elements of the received message");
  memory.expect_message({0, kTag}, bytes);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  constexpr std::size_t kDefault = (std::size_t{2} << 30) + 4099;
  const std::size_t bytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : kDefault;
  expect(bytes >= 4096, "the argument is a number of bytes, at least 4096");
  Buffer memory(bytes);
  if (program.rank == 0) memory.fill({0, kTag});

  MPI_Datatype large = blocks_and_tail(bytes);
  exchange(program.rank, {"one element of a large type", 1, large}, bytes, memory);
  MPI_Type_free(&large);

  exchange(program.rank, {"a large count of MPI_INT", static_cast<int>(bytes / sizeof(int)), MPI_INT},
           bytes / sizeof(int) * sizeof(int), memory);

  // Two halves with a hole between them: noncontiguous, and each half is longer than a piece of a rendezvous.
  constexpr std::size_t kHole = 256;
  const std::size_t half = (bytes - kHole) / 2;
  MPI_Datatype part = blocks_and_tail(half), halves;
  MPI_Type_create_hvector(2, 1, static_cast<MPI_Aint>(half + kHole), part, &halves);
  MPI_Type_commit(&halves);
  {
    Step step("%zu bytes in two halves with a hole", 2 * half);
    std::uint8_t* second = memory.bytes() + half + kHole;
    if (program.rank == 0) {
      fill_pattern(memory.data(), half, {0, kTag, 1});
      fill_pattern(second, half, {0, kTag, 2});
      MPI_Send(memory.data(), 1, halves, 1, kTag, MPI_COMM_WORLD);
    } else {
      memory.poison();
      MPI_Status status;
      MPI_Recv(memory.data(), 1, halves, 0, kTag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, kTag, 1, halves);
      expect_pattern(memory.data(), half, {0, kTag, 1});
      expect_pattern(second, half, {0, kTag, 2});
      for (const std::uint8_t* byte = memory.bytes() + half; byte < second; ++byte)
        expect_equal(Buffer::kPoison, *byte, "a byte in the hole");
      memory.expect_untouched_from(2 * half + kHole);
    }
  }
  MPI_Type_free(&halves);
  MPI_Type_free(&part);
}
