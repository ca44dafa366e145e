// Persistent buffered sends: each MPI_Start sends what the user's buffer holds at that time. Several starts of one request
// are in flight at once, with any layout; the request is freed while they are; each start has another attached buffer,
// and the earlier ones are unmapped.
#include <sys/mman.h>

#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kStarts = 5;
constexpr int kReady = 1;

// An attached buffer that is unmapped when it is detached, so that a later access to it is an error.
class MappedSpace {
 public:
  explicit MappedSpace(std::size_t bytes)
      : bytes_(bytes),
        memory_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) fail("mmap", Location::current());
    MPI_Buffer_attach(memory_, static_cast<int>(bytes));
  }
  ~MappedSpace() {
    void* data = nullptr;
    int size = 0;
    MPI_Buffer_detach(&data, &size);
    munmap(memory_, bytes_);
  }
  MappedSpace(const MappedSpace&) = delete;
  MappedSpace& operator=(const MappedSpace&) = delete;

 private:
  std::size_t bytes_;
  void* memory_;
};

// A vector of byte blocks: packed() bytes of data in extent() bytes of memory.
struct Layout {
  const char* name;
  int blocks, length, stride;  // in bytes
  int packed() const { return blocks * length; }
  int extent() const { return (blocks - 1) * stride + length; }
};
constexpr Layout kLayouts[] = {
    {"empty", 0, 1, 1},
    {"short", 1, 8, 8},
    {"contiguous", 1, 5000, 5000},
    {"long", 1, 1500000, 1500000},
    {"short with gaps", 3, 5, 9},
    {"with gaps", 500, 7, 12},
    {"long with gaps", 60000, 24, 40},
    {"few long blocks", 4, 100000, 150000},
};

void start_all(const Layout& layout, int tag, bool free_at_once) {
  std::vector<std::uint8_t> memory(static_cast<std::size_t>(std::max(layout.extent(), 1)));
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(layout.packed()));
  MPI_Datatype type;
  MPI_Type_vector(layout.blocks, layout.length, layout.stride, MPI_BYTE, &type);
  MPI_Type_commit(&type);
  MPI_Request request;
  MPI_Bsend_init(memory.data(), 1, type, 1, tag, MPI_COMM_WORLD, &request);
  for (int start = 0; start < kStarts; ++start) {
    fill_pattern(packed.data(), packed.size(), {0, tag, start});
    for (int block = 0; block < layout.blocks; ++block)
      std::memcpy(memory.data() + block * layout.stride, packed.data() + block * layout.length,
                  static_cast<std::size_t>(layout.length));
    MPI_Start(&request);
    if (free_at_once && start + 1 == kStarts) break;
    MPI_Wait(&request, MPI_STATUS_IGNORE);
  }
  MPI_Request_free(&request);
  MPI_Type_free(&type);
  std::fill(memory.begin(), memory.end(), std::uint8_t{0});
}

void receive_all(const Layout& layout, int tag) {
  Buffer in(static_cast<std::size_t>(layout.packed()));
  for (int start = 0; start < kStarts; ++start) {
    Step step("start %d", start);
    MPI_Status status;
    in.poison();
    MPI_Recv(in.data(), in.count(), MPI_BYTE, 0, tag, MPI_COMM_WORLD, &status);
    expect_status(status, 0, tag, layout.packed());
    in.expect_message({0, tag, start});
  }
}

// Each start has another attached buffer. The address of the previous one is unmapped, or belongs to its successor.
void other_buffers(int rank, int bytes) {
  constexpr int kTag = 100;
  Buffer memory(static_cast<std::size_t>(bytes));
  MPI_Request request;
  if (rank == 0) MPI_Bsend_init(memory.data(), bytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD, &request);
  for (int start = 0; start < kStarts; ++start) {
    if (rank == 0) {
      MappedSpace space(static_cast<std::size_t>((start + 2) * (bytes + 4096)));
      memory.fill({0, kTag, start});
      MPI_Start(&request);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    } else {
      MPI_Recv(memory.data(), bytes, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      memory.expect_message({0, kTag, start});
    }
  }
  if (rank == 0) MPI_Request_free(&request);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  int tag = 10;
  for (const Layout& layout : kLayouts)
    for (const bool free_at_once : {false, true}) {
      Step step("%s%s", layout.name, free_at_once ? ", freed while active" : "");
      ++tag;
      if (program.rank == 0) {
        MappedSpace space(static_cast<std::size_t>(kStarts * (layout.packed() + 1024)));
        start_all(layout, tag, free_at_once);
        give_token(1, kReady, MPI_COMM_WORLD);
      } else {
        take_token(0, kReady, MPI_COMM_WORLD);  // the sender has made all its starts
        receive_all(layout, tag);
      }
    }
  for (const int bytes : {8, 3000, 70000, 1000000}) {
    Step step("another buffer at each start, %d bytes", bytes);
    other_buffers(program.rank, bytes);
  }
}
