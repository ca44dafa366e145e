// Persistent requests: receives, and sends of every mode, started repeatedly with new contents; MPI_BOTTOM; types with a
// nonzero lower bound; MPI_Startall; matching by the order of the starts, not of the creation; inactive requests; freeing
// an active request.
//
// persistent MODE...   tests sends of these modes only (standard, synchronous, ready, buffered).
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kRounds = 4;

// A ready send needs a posted receive: the receiver starts its receive, then sends the token.
void exchange(Mode mode, int rank, const void* address, int count, MPI_Datatype type, Buffer& memory,
              std::size_t skip, int size, int tag) {
  const int peer = 1 - rank;
  MPI_Request request;
  if (rank == 0)
    request = send_init(mode, address, count, type, peer, tag, MPI_COMM_WORLD);
  else
    MPI_Recv_init(const_cast<void*>(address), count, type, peer, tag, MPI_COMM_WORLD, &request);
  for (int round = 0; round < kRounds; ++round) {
    MPI_Status status;
    const auto bytes = static_cast<std::size_t>(size);
    if (rank == 0) {
      fill_pattern(memory.bytes() + skip, bytes, {0, tag, round});
      take_token(peer, 1, MPI_COMM_WORLD);
      MPI_Start(&request);
      MPI_Wait(&request, &status);
      expect_pattern(memory.bytes() + skip, bytes, {0, tag, round});
    } else {
      memory.poison();
      MPI_Start(&request);
      give_token(peer, 1, MPI_COMM_WORLD);
      MPI_Wait(&request, &status);
      expect_status(status, peer, tag, count, type);
      expect_pattern(memory.bytes() + skip, bytes, {0, tag, round});
      memory.expect_untouched_from(skip + bytes);
    }
    expect(request != MPI_REQUEST_NULL, "MPI_Wait keeps a persistent request");
    int done = 0;
    MPI_Test(&request, &done, &status);
    expect(done, "an inactive persistent request tests as complete");
    expect_empty_status(status);
  }
  MPI_Request_free(&request);
}

void every_size(int rank, const std::vector<Mode>& modes) {
  int tag = 10;
  for (Mode mode : modes)
    for (int size : kSizes) {
      Step step("persistent %s send of %d bytes", name(mode), size);
      Buffer memory(static_cast<std::size_t>(size), static_cast<std::size_t>(size % 3));
      exchange(mode, rank, memory.data(), size, MPI_BYTE, memory, 0, size, ++tag);
    }
}

// The same bytes by two other ways: an absolute address from MPI_BOTTOM, and a type with a nonzero lower bound.
void bottom_and_lower_bound(int rank, const std::vector<Mode>& modes) {
  constexpr int kSkip = 40;
  int tag = 200;
  for (Mode mode : modes)
    for (int size : {1, 100, 5000, 70000, 2000003}) {
      Buffer memory(static_cast<std::size_t>(kSkip + size));
      MPI_Aint address = 0;
      MPI_Get_address(memory.data(), &address);
      for (const bool bottom : {true, false}) {
        Step step("persistent %s send of %d bytes, %s", name(mode), size,
                  bottom ? "MPI_BOTTOM" : "nonzero lower bound");
        const MPI_Aint displacement = bottom ? address + kSkip : kSkip;
        MPI_Datatype type;
        MPI_Type_create_hindexed(1, &size, &displacement, MPI_BYTE, &type);
        MPI_Type_commit(&type);
        exchange(mode, rank, bottom ? MPI_BOTTOM : memory.data(), 1, type, memory, kSkip, size, ++tag);
        MPI_Type_free(&type);
      }
    }
}

// Receives a and b are created in this order and started in the opposite order: b gets the first message.
void order_of_starts(int rank) {
  constexpr int kTag = 300;
  constexpr int kSize = 5000;
  Buffer a(kSize), b(kSize);
  MPI_Request requests[2];
  for (int round = 0; round < kRounds; ++round) {
    if (rank == 0) {
      a.fill({0, kTag, 2 * round});
      b.fill({0, kTag, 2 * round + 1});
      if (round == 0) {
        MPI_Send_init(b.data(), kSize, MPI_BYTE, 1, kTag, MPI_COMM_WORLD, &requests[1]);
        MPI_Send_init(a.data(), kSize, MPI_BYTE, 1, kTag, MPI_COMM_WORLD, &requests[0]);
      }
      MPI_Start(&requests[0]);
      MPI_Start(&requests[1]);
      MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    } else {
      a.poison();
      b.poison();
      if (round == 0) {
        MPI_Recv_init(a.data(), kSize, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &requests[0]);
        MPI_Recv_init(b.data(), kSize, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &requests[1]);
      }
      MPI_Start(&requests[1]);
      MPI_Start(&requests[0]);
      MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
      b.expect_message({0, kTag, 2 * round});
      a.expect_message({0, kTag, 2 * round + 1});
    }
  }
  for (MPI_Request& request : requests) MPI_Request_free(&request);
}

// MPI_Startall of sends and receives, in both directions at once, with sizes of all protocols.
void start_all(int rank) {
  const int peer = 1 - rank;
  std::vector<Buffer> out, in;
  std::vector<MPI_Request> requests;
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const auto size = static_cast<std::size_t>(kSizes[i]);
    out.emplace_back(size);
    in.emplace_back(size);
  }
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    const int tag = 400 + static_cast<int>(i);
    MPI_Request request;
    MPI_Send_init(out[i].data(), kSizes[i], MPI_BYTE, peer, tag, MPI_COMM_WORLD, &request);
    requests.push_back(request);
    MPI_Recv_init(in[i].data(), kSizes[i], MPI_BYTE, peer, tag, MPI_COMM_WORLD, &request);
    requests.push_back(request);
  }
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
      out[i].fill({rank, 400 + static_cast<int>(i), round});
      in[i].poison();
    }
    MPI_Startall(static_cast<int>(requests.size()), requests.data());
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    for (std::size_t i = 0; i < kSizes.size(); ++i)
      in[i].expect_message({peer, 400 + static_cast<int>(i), round});
  }
  for (MPI_Request& request : requests) MPI_Request_free(&request);
}

// A request that is freed while active still completes; a request with MPI_PROC_NULL completes at once.
void freed_and_null(int rank) {
  constexpr int kTag = 500;
  for (int size : {0, 10, 9000, 300000}) {
    Step step("freed while active, %d bytes", size);
    Buffer memory(static_cast<std::size_t>(size));
    if (rank == 0) {
      memory.fill({0, kTag, size});
      MPI_Request request =
          send_init(Mode::kStandard, memory.data(), size, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
      MPI_Start(&request);
      MPI_Request_free(&request);
      expect(request == MPI_REQUEST_NULL, "MPI_Request_free nulls the handle");
      take_token(1, 2, MPI_COMM_WORLD);  // the message was received: the buffer may be freed
    } else {
      MPI_Recv(memory.data(), size, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      memory.expect_message({0, kTag, size});
      give_token(0, 2, MPI_COMM_WORLD);
    }
  }
  Buffer memory(100);
  MPI_Request requests[2];
  MPI_Status statuses[2];
  MPI_Send_init(memory.data(), 100, MPI_BYTE, MPI_PROC_NULL, kTag, MPI_COMM_WORLD, &requests[0]);
  MPI_Recv_init(memory.data(), 100, MPI_BYTE, MPI_PROC_NULL, kTag, MPI_COMM_WORLD, &requests[1]);
  for (int round = 0; round < kRounds; ++round) {
    MPI_Startall(2, requests);
    MPI_Waitall(2, requests, statuses);
    expect_proc_null_status(statuses[1]);
    memory.expect_untouched_from(0);
  }
  for (MPI_Request& request : requests) MPI_Request_free(&request);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(8 << 20);
  if (program.rank > 1) return 0;
  std::vector<Mode> modes;
  for (Mode mode : kModes)
    if (std::any_of(argv + 1, argv + argc, [&](std::string_view word) { return word == name(mode); }))
      modes.push_back(mode);
  expect(!modes.empty(), "the arguments name a send mode");
  every_size(program.rank, modes);
  bottom_and_lower_bound(program.rank, modes);
  order_of_starts(program.rank);
  start_all(program.rank);
  freed_and_null(program.rank);
}
