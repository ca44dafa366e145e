// Memory that is unmapped and mapped again at the same address, as send and receive buffer of long messages. A cached
// registration of the old memory must not be used. munmap and mmap, free and malloc, realloc, the program break, madvise,
// mremap. The data is checked each time.
//
// reuse [ROUNDS]   default: 12
#include <malloc.h>
#include <sys/mman.h>

#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr std::size_t kPage = 4096;
// Message lengths in bytes: above the eager limit of efa, and where RDMA read and several rails are used. Some are
// multiples of the page size.
constexpr std::array<std::size_t, 5> kLengths{70000, 131072, 262144 + 4096, 1 << 20, 3000017};

std::size_t pages(std::size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

// The addresses that were used, and how often one was used again. The test is valid only if some were.
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
  // Sends `memory` to the other rank, or receives into it and checks the data. The ranks alternate.
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

// Addresses far from the kernel's own choices, so that no other mapping takes one that is unmapped for a moment.
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
  expect(places.again >= least, "addresses were used again");
}

// Mappings of different lengths at one address.
void mapped_again(int rounds, Exchange& exchange) {
  Step step("munmap, mmap at the same address");
  Places places;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t bytes = kLengths[static_cast<std::size_t>(round) % kLengths.size()];
    Step each("round %d, %zu bytes", round, bytes);
    void* memory = map(place(0), pages(bytes));
    exchange(memory, bytes, places);
    exchange(memory, bytes, places);  // again, with a cached registration
    munmap(memory, pages(bytes));
  }
  expect_again(places, rounds);
}

// Only a part in the middle of the registered memory is replaced.
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

// malloc from the program break: memory at the top of the heap is returned to the system when it is freed.
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

// The program moves the break up and down with sbrk, as custom allocators do.
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
    // If malloc has moved the break meanwhile, it stays.
    if (sbrk(0) == static_cast<char*>(memory) + amount)
      expect(sbrk(-amount) != reinterpret_cast<void*>(-1), "the break can be moved down");
  }
  expect_again(places, 1);
}

// The addresses stay mapped, but the pages behind them are replaced.
void pages_dropped(int rounds, Exchange& exchange) {
  Step step("madvise(MADV_DONTNEED)");
  Places places;
  constexpr std::size_t kBytes = 1 << 20;
  auto* memory = static_cast<char*>(map(place(2), kBytes));
  for (int round = 0; round < rounds; ++round) {
    Step each("round %d", round);
    exchange(memory, kBytes, places);
    expect(madvise(memory, kBytes, MADV_DONTNEED) == 0, "pages can be dropped");
    expect(memory[kBytes / 2] == 0, "the new pages are zero");
  }
  munmap(memory, kBytes);
}

// mremap moves memory, with its pages, to the address of another mapping.
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
    // mremap moves `second` to the address of `first`, which is unmapped by that. Then new memory is mapped at `second`.
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
