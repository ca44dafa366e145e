// flood [bounded] [MESSAGES]   A rank is sent far more than it receives for a while. Every message arrives once, in order,
//                              whichever is received first; with "bounded" the receiver's memory must stay within the
//                              default of mtl_efa_unexpected_memory (packet path).
#include <fstream>
#include <numeric>

#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTag = 5, kOther = 6;
// 64 MiB, and for what else a process allocates meanwhile.
constexpr long kMostGrowth = (64 + 4) * 1024;

// KiB that the process has in memory, or had at most.
long memory(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::atol(line.c_str() + field.size() + 1);
  return 0;
}

// Is in MPI for a while, and receives nothing.
void make_progress(double seconds) {
  int found = 0;
  for (const double begin = MPI_Wtime(); MPI_Wtime() - begin < seconds;)
    MPI_Iprobe(MPI_ANY_SOURCE, kOther, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
  expect(!found, "no message with another tag");
}

// Blocking sends of one rank to one that does not receive.
void blocking(const Program& program, int messages, bool bounded) {
  Step step("%d blocking sends to a rank that does not receive", messages);
  std::uint64_t value = 0;
  // Providers allocate their queues when they are first used, tens of MiB on efa.
  MPI_Barrier(MPI_COMM_WORLD);
  make_progress(0.5);
  const long before = memory("VmHWM");
  MPI_Barrier(MPI_COMM_WORLD);
  if (program.rank == 1) {
    for (int i = 0; i < messages; ++i) {
      value = static_cast<std::uint64_t>(i);
      MPI_Send(&value, 1, MPI_UINT64_T, 0, kTag, MPI_COMM_WORLD);
    }
  } else if (program.rank == 0) {
    make_progress(2);
    for (int i = 0; i < messages; ++i) {
      MPI_Recv(&value, 1, MPI_UINT64_T, i % 2 ? 1 : MPI_ANY_SOURCE, i % 3 ? kTag : MPI_ANY_TAG, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
      if (value != static_cast<std::uint64_t>(i)) fail("message " + std::to_string(i) + " was lost or overtaken", Location::current());
    }
    const long growth = memory("VmHWM") - before;
    if (bounded && growth > kMostGrowth)
      fail("the receiver's memory grew by " + std::to_string(growth) + " KiB", Location::current());
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

// The last of many messages is received first, and then the others from both ends.
void backwards(const Program& program, int messages) {
  Step step("%d messages, the last received first", messages);
  const auto count = static_cast<std::size_t>(messages);
  if (program.rank == 1) {
    std::vector<std::uint64_t> values(count);
    std::iota(values.begin(), values.end(), 0);
    std::vector<MPI_Request> requests(count);
    for (std::size_t i = 0; i < count; ++i)
      MPI_Isend(&values[i], 1, MPI_UINT64_T, 0, static_cast<int>(i), MPI_COMM_WORLD, &requests[i]);
    MPI_Waitall(messages, requests.data(), MPI_STATUSES_IGNORE);
  } else if (program.rank == 0) {
    std::uint64_t value = 0;
    int first = 0, last = messages - 1;
    for (int i = 0; i < messages; ++i) {
      const int tag = i % 4 == 1 ? first++ : last--;
      const int source = i % 3 ? 1 : MPI_ANY_SOURCE;
      MPI_Status status;
      if (i % 100 == 7) {
        MPI_Probe(source, tag, MPI_COMM_WORLD, &status);
        expect_status(status, 1, tag, 8);
      }
      if (i % 100 == 8) {
        MPI_Message message;
        MPI_Mprobe(source, tag, MPI_COMM_WORLD, &message, &status);
        MPI_Mrecv(&value, 1, MPI_UINT64_T, &message, &status);
      } else {
        MPI_Recv(&value, 1, MPI_UINT64_T, source, tag, MPI_COMM_WORLD, &status);
      }
      expect_status(status, 1, tag, 8);
      if (value != static_cast<std::uint64_t>(tag)) fail("another message than that of tag " + std::to_string(tag), Location::current());
    }
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

// All other ranks send to one, which computes first. Some messages are long.
void from_all(const Program& program, int messages) {
  Step step("%d messages of each rank", messages);
  Buffer data(20000);
  const auto size = [](int i) { return i % 50 == 3 ? 20000 : i % 7 == 2 ? 1000 : 16; };
  if (program.rank > 0) {
    for (int i = 0; i < messages; ++i) {
      data.fill({program.rank, i});
      MPI_Send(data.data(), size(i), MPI_BYTE, 0, i % 3, MPI_COMM_WORLD);
    }
  } else {
    make_progress(0.2);
    std::vector<int> next(static_cast<std::size_t>(program.size));
    for (int i = 0; i < messages * (program.size - 1); ++i) {
      MPI_Status status;
      if (i % 20 == 9) MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      data.poison();
      MPI_Recv(data.data(), data.count(), MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      int& index = next[static_cast<std::size_t>(status.MPI_SOURCE)];
      expect_status(status, status.MPI_SOURCE, index % 3, size(index));
      data.expect_message({status.MPI_SOURCE, index}, static_cast<std::size_t>(size(index)));
      ++index;
    }
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  bool bounded = false;
  int messages = 1000000;
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]) == "bounded")
      bounded = true;
    else
      messages = std::atoi(argv[i]);
  blocking(program, messages, bounded);
  backwards(program, std::min(messages, 30000));
  from_all(program, std::min(messages, 20000));
}
