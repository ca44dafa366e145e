// Messages from memory that may not be written, such as an input file that is mapped. A NIC registers memory for writing
// unless it is asked not to, and the kernel refuses that here. The message must arrive all the same.
#include <sys/mman.h>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kLargest = 9 << 20;
constexpr int kBlock = 1024;  // of the noncontiguous messages, bytes; every second one is sent

// Half of the memory, so that the same bytes are sent contiguously and not.
int blocks_of(int size) {
  return size / 2 / kBlock;
}

void exchange(int rank, const char* memory, int size, Mode mode, bool contiguous) {
  MPI_Datatype blocks;
  MPI_Type_vector(blocks_of(size), kBlock, 2 * kBlock, MPI_BYTE, &blocks);
  MPI_Type_commit(&blocks);
  const int length = contiguous ? size : blocks_of(size) * kBlock;
  if (rank == 0) {
    take_token(1, 1, MPI_COMM_WORLD);
    if (contiguous)
      send(mode, memory, size, MPI_BYTE, 1, 7, MPI_COMM_WORLD);
    else
      send(mode, memory, 1, blocks, 1, 7, MPI_COMM_WORLD);
  } else {
    std::vector<char> got(static_cast<std::size_t>(length) + 1, '!');
    MPI_Request request;
    MPI_Irecv(got.data(), length + 1, MPI_BYTE, 0, 7, MPI_COMM_WORLD, &request);
    give_token(0, 1, MPI_COMM_WORLD);
    MPI_Status status;
    MPI_Wait(&request, &status);
    expect_status(status, 0, 7, length);
    for (int i = 0; i < length; ++i) {
      const int from = contiguous ? i : i / kBlock * 2 * kBlock + i % kBlock;
      if (got[static_cast<std::size_t>(i)] != memory[from])
        fail("byte " + std::to_string(i) + " is wrong", Location::current());
    }
    expect_equal(int{'!'}, int{got.back()}, "the byte after the message");
  }
  MPI_Type_free(&blocks);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(kLargest + (1 << 16));
  if (program.rank > 1) return 0;
  void* mapped = mmap(nullptr, kLargest, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  expect(mapped != MAP_FAILED, "memory");
  auto* memory = static_cast<char*>(mapped);
  fill_pattern(memory, kLargest, {0, 1, 2});
  expect(mprotect(memory, kLargest, PROT_READ) == 0, "mprotect");
  for (const int size : {8, 4096, 65536, 262144, 1 << 20, kLargest})
    for (const Mode mode : kModes)
      for (const bool contiguous : {true, false}) {
        Step step("%d bytes, %s send, %s", size, name(mode), contiguous ? "contiguous" : "blocks");
        exchange(program.rank, memory, size, mode, contiguous);
      }
  munmap(mapped, kLargest);
}
