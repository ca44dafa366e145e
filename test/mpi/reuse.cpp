// Memory that goes away and comes back at the same address with other contents, as sender and as receiver of long
// messages: whatever the transport or libfabric remembers of an address must have been forgotten with the memory.
// munmap and mmap, free and malloc, realloc, the program break, madvise, mremap. Data is verified each time.
//
// reuse [ROUNDS]   default: 12
#include <malloc.h>
#include <sys/mman.h>

#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr std::size_t kPage = 4096;
// Bytes: above where rendezvous begins, at and around where RDMA read and several NICs do; page multiples and not.
constexpr std::array<std::size_t, 5> kLengths{70000, 131072, 262144 + 4096, 1 << 20, 3000017};

std::size_t pages(std::size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

// Addresses at which memory came back, and how often it came back elsewhere: a test that never met an address again
// would prove nothing.
struct Places {
  std::vector<const void*> seen;
  int again = 0;
  void note(const void* at) {
    if (std::find(seen.begin(), seen.end(), at) != seen.end())
      ++again;
    else
      seen.push_back(at);
  }
};

class Exchange {
 public:
  explicit Exchange(int rank) : rank_(rank) {}
  // Sends `memory` to the other rank, or receives into it and verifies; the two take turns.
  void operator()(void* memory, std::size_t bytes, Places& places) {
    places.note(memory);
    const bool sends = (rank_ + sequence_) % 2 == 0;
    const Key key{sends ? rank_ : 1 - rank_, kTag, sequence_++};
    if (sends) {
      fill_pattern(memory, bytes, key);
      MPI_Send(memory, static_cast<int>(bytes), MPI_BYTE, 1 - rank_, kTag, MPI_COMM_WORLD);
    } else {
      std::memset(memory, 0xe5, bytes);
      MPI_Status status;
      MPI_Recv(memory, static_cast<int>(bytes), MPI_BYTE, 1 - rank_, kTag, MPI_COMM_WORLD, &status);
      expect_status(status, 1 - rank_, kTag, static_cast<int>(bytes));
      expect_pattern(memory, bytes, key);
    }
  }

 private:
  static constexpr int kTag = 7;
  int rank_, sequence_ = 0;
};

// Places far from where the kernel puts mappings, so that nobody else gets one that is free for a moment.
char* place(std::size_t number) {
  return reinterpret_cast<char*>(0x200000000000 + number * (std::size_t{1} << 30));
}

void* map(void* at, std::size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  void* memory = mmap(at, bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  expect(memory == at, "memory can be mapped where it was before");
  return memory;
}

void expect_again(const Places& places, int least) {
  expect(places.again >= least, "addresses did come again");
}

// A mapping at one address, its length now this and now that.
void mapped_again(int rounds, Exchange& exchange) {
  Step step("munmap, mmap at the same address");
  Places places;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t bytes = kLengths[static_cast<std::size_t>(round) % kLengths.size()];
    Step each("round %d, %zu bytes", round, bytes);
    void* memory = map(place(0), pages(bytes));
    exchange(memory, bytes, places);
    exchange(memory, bytes, places);  // once more while it is known
    munmap(memory, pages(bytes));
  }
  expect_again(places, rounds);
}

// Only a part of the memory is replaced, in the middle of what was registered as one.
void middle_replaced(int rounds, Exchange& exchange) {
  Step step("the middle unmapped and mapped again");
  Places places;
  constexpr std::size_t kBytes = 1 << 20, kHole = 64 * kPage;
  auto* memory = static_cast<char*>(map(place(1), kBytes));
  for (int round = 0; round < rounds; ++round) {
    Step each("round %d", round);
    exchange(memory, kBytes, places);
    char* const hole = memory + static_cast<std::size_t>(1 + round % 3) * kHole;
    munmap(hole, kHole);
    map(hole, kHole);
  }
  munmap(memory, kBytes);
}

void freed_again(int rounds, Exchange& exchange) {
  Step step("free, malloc of the same length");
  Places places;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t bytes = kLengths[static_cast<std::size_t>(round) / 3 % kLengths.size()];
    Step each("round %d, %zu bytes", round, bytes);
    void* memory = std::malloc(bytes);
    exchange(memory, bytes, places);
    std::free(memory);
  }
  expect_again(places, 1);
}

void reallocated(int rounds, Exchange& exchange) {
  Step step("realloc, longer and shorter");
  Places places;
  void* memory = nullptr;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t bytes = kLengths[static_cast<std::size_t>(round * 3) % kLengths.size()];
    Step each("round %d, %zu bytes", round, bytes);
    memory = std::realloc(memory, bytes);
    exchange(memory, bytes, places);
  }
  std::free(memory);
}

// malloc's own way with the program break: memory at the top of the heap goes back to the system when it is freed.
void heap_shrinks(int rounds, Exchange& exchange) {
  Step step("malloc from the program break, trimmed");
  Places places;
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  for (int round = 0; round < rounds; ++round) {
    const std::size_t bytes = kLengths[static_cast<std::size_t>(round) % kLengths.size()];
    Step each("round %d, %zu bytes", round, bytes);
    void* memory = std::malloc(bytes);
    exchange(memory, bytes, places);
    std::free(memory);
    malloc_trim(0);
  }
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  expect_again(places, 1);
}

// The break itself, up and down, as programs with allocators of their own do.
void program_break(int rounds, Exchange& exchange) {
  Step step("sbrk up and down");
  Places places;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t bytes = kLengths[static_cast<std::size_t>(round) % kLengths.size()];
    const auto amount = static_cast<intptr_t>(pages(bytes));
    Step each("round %d, %zu bytes", round, bytes);
    void* memory = sbrk(amount);
    expect(memory != reinterpret_cast<void*>(-1), "the break can be moved up");
    exchange(memory, bytes, places);
    // Something else (malloc) may have moved it meanwhile; then it stays.
    if (sbrk(0) == static_cast<char*>(memory) + amount)
      expect(sbrk(-amount) != reinterpret_cast<void*>(-1), "and down");
  }
  expect_again(places, 1);
}

// The addresses stay mapped, but the pages behind them are new ones.
void pages_dropped(int rounds, Exchange& exchange) {
  Step step("madvise(MADV_DONTNEED)");
  Places places;
  constexpr std::size_t kBytes = 1 << 20;
  auto* memory = static_cast<char*>(map(place(2), kBytes));
  for (int round = 0; round < rounds; ++round) {
    Step each("round %d", round);
    exchange(memory, kBytes, places);
    expect(madvise(memory, kBytes, MADV_DONTNEED) == 0, "pages can be dropped");
    expect(memory[kBytes / 2] == 0, "and are new");
  }
  munmap(memory, kBytes);
}

// Memory moves away from an address, with its pages, and other memory moves there.
void moved(int rounds, Exchange& exchange) {
  Step step("mremap");
  Places places;
  constexpr std::size_t kBytes = 1 << 20;
  void* first = map(place(3), kBytes);
  void* second = map(place(4), kBytes);
  for (int round = 0; round < rounds; ++round) {
    Step each("round %d", round);
    exchange(first, kBytes, places);
    exchange(second, kBytes, places);
    // `second` takes the place of `first`, which is unmapped by that; then new memory comes where `second` was.
    void* const there = mremap(second, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, first);
    expect(there == first, "memory can be moved");
    map(second, kBytes);
  }
  munmap(first, kBytes);
  munmap(second, kBytes);
  expect_again(places, rounds);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 12;
  Exchange exchange(program.rank);
  mapped_again(rounds, exchange);
  middle_replaced(rounds, exchange);
  freed_again(rounds, exchange);
  reallocated(rounds, exchange);
  heap_shrinks(rounds, exchange);
  program_break(rounds, exchange);
  pages_dropped(rounds, exchange);
  moved(rounds, exchange);
}
