// MPI_Probe and MPI_Iprobe: the true length, source and tag of messages of every size and mode; nothing found
// that is not there; a probed message stays where it is, and does not change the order of receiving.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

void every_mode_and_size(int rank) {
  int tag = 10;
  for (const Mode mode : {Mode::kStandard, Mode::kSynchronous, Mode::kBuffered})
    for (const int bytes : kSizes) {
      Step step("%s send of %d bytes", name(mode), bytes);
      ++tag;
      Buffer message(static_cast<std::size_t>(bytes));
      if (rank == 0) {
        message.fill({0, tag});
        send(mode, message.data(), bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
        continue;
      }
      const int source = tag % 2 ? 0 : MPI_ANY_SOURCE;
      const int wanted = tag % 3 ? tag : MPI_ANY_TAG;
      MPI_Status status;
      if (tag % 5) {
        MPI_Probe(source, wanted, MPI_COMM_WORLD, &status);
      } else {
        int found = 0;
        while (!found) MPI_Iprobe(source, wanted, MPI_COMM_WORLD, &found, &status);
      }
      expect_status(status, 0, tag, bytes);
      int found = 0;
      MPI_Iprobe(0, tag + 1000, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(!found, "a tag that was not sent is not found");
      MPI_Iprobe(1, MPI_ANY_TAG, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(!found, "a source that did not send is not found");
      for (int again = 0; again < 3; ++again) {
        MPI_Iprobe(0, tag, MPI_COMM_WORLD, &found, &status);
        expect(found, "a message is found as often as one probes");
        expect_status(status, 0, tag, bytes);
      }
      MPI_Recv(message.data(), bytes, MPI_BYTE, 0, tag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, tag, bytes);
      message.expect_message({0, tag});
      MPI_Iprobe(0, tag, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(!found, "a received message is not found any more");
    }
}

// A small message with tag 5, then a large one with tag 6. A probe of the later one must not promote it:
// MPI_ANY_TAG receives the earlier one first.
void order_is_kept(int rank) {
  for (const int large : {100, 9000, 70000, 2000000})
    for (const bool matching_first : {true, false}) {
      Step step("probe of the later message of %d bytes", large);
      Buffer small(30), big(static_cast<std::size_t>(large));
      if (rank == 0) {
        small.fill({0, 5, large});
        big.fill({0, 6, large});
        MPI_Request requests[2];
        MPI_Isend(small.data(), 30, MPI_BYTE, 1, 5, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(big.data(), large, MPI_BYTE, 1, 6, MPI_COMM_WORLD, &requests[1]);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
        continue;
      }
      MPI_Status status;
      MPI_Probe(0, 6, MPI_COMM_WORLD, &status);
      expect_status(status, 0, 6, large);
      MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      expect_status(status, 0, 5, 30);
      if (matching_first) {
        MPI_Recv(big.data(), large, MPI_BYTE, 0, 6, MPI_COMM_WORLD, &status);
        expect_status(status, 0, 6, large);
      }
      MPI_Recv(small.data(), 30, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      expect_status(status, 0, 5, 30);
      if (!matching_first) {
        MPI_Recv(big.data(), large, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        expect_status(status, 0, 6, large);
      }
      small.expect_message({0, 5, large});
      big.expect_message({0, 6, large});
    }
}

// A message that a posted receive takes is not there to be probed.
void posted_receive_wins(int rank) {
  for (const int bytes : {0, 8, 20000, 500000}) {
    Step step("receive of %d bytes posted before", bytes);
    Buffer message(static_cast<std::size_t>(bytes));
    if (rank == 0) {
      message.fill({0, 7, bytes});
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      MPI_Send(message.data(), bytes, MPI_BYTE, 1, 7, MPI_COMM_WORLD);
      MPI_Send(nullptr, 0, MPI_BYTE, 1, 8, MPI_COMM_WORLD);
      continue;
    }
    MPI_Request request;
    MPI_Status status;
    MPI_Irecv(message.data(), bytes, MPI_BYTE, 0, 7, MPI_COMM_WORLD, &request);
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    MPI_Probe(0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    expect_status(status, 0, 8, 0);
    int found = 0;
    MPI_Iprobe(0, 7, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
    expect(!found, "a message with a posted receive is not probed");
    MPI_Recv(nullptr, 0, MPI_BYTE, 0, 8, MPI_COMM_WORLD, &status);
    MPI_Wait(&request, &status);
    expect_status(status, 0, 7, bytes);
    message.expect_message({0, 7, bytes});
  }
}

// Probe, allocate, receive: messages of unknown size from any number of senders.
void unknown_sizes(int rank, int size) {
  Step step("messages of unknown sizes from all ranks");
  constexpr int kMessages = 60;
  const auto size_of = [](int source, int i) { return (i * i * 37 + source * 11) % 30000; };
  if (rank != 0) {
    for (int i = 0; i < kMessages; ++i) {
      Buffer message(static_cast<std::size_t>(size_of(rank, i)));
      message.fill({rank, 9, i});
      MPI_Send(message.data(), message.count(), MPI_BYTE, 0, 9, MPI_COMM_WORLD);
    }
    return;
  }
  std::vector<int> next(static_cast<std::size_t>(size));
  for (int n = 0; n < kMessages * (size - 1); ++n) {
    MPI_Status status;
    MPI_Probe(MPI_ANY_SOURCE, 9, MPI_COMM_WORLD, &status);
    const int source = status.MPI_SOURCE, i = next[static_cast<std::size_t>(source)]++;
    const int bytes = size_of(source, i);
    expect_status(status, source, 9, bytes);
    Buffer message(static_cast<std::size_t>(bytes));
    MPI_Recv(message.data(), bytes, MPI_BYTE, source, 9, MPI_COMM_WORLD, &status);
    expect_status(status, source, 9, bytes);
    message.expect_message({source, 9, i});
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 3);
  BufferedSpace space(8 << 20);
  if (program.rank < 2) {
    every_mode_and_size(program.rank);
    order_is_kept(program.rank);
    posted_receive_wins(program.rank);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  unknown_sizes(program.rank, program.size);
}
