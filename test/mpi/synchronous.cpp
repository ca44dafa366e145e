// A synchronous send completes only after its match: not before the receive is posted, not with a probe, not with a
// receive of another tag or communicator. It completes with every kind of receive.
//
// synchronous        the semantics
// synchronous many   thousands of synchronous sends outstanding
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

MPI_Request issend(Buffer& message, int tag, Key key, MPI_Comm comm = MPI_COMM_WORLD) {
  message.fill(key);
  return isend(Mode::kSynchronous, message.data(), message.count(), MPI_BYTE, 1, tag, comm);
}

// Rank 1 only makes progress until it receives the token.
void not_before_receive(int rank, MPI_Comm other) {
  int tag = 100;
  for (int size : kSizes) {
    Step step("synchronous send of %d bytes", size);
    ++tag;
    const auto bytes = static_cast<std::size_t>(size);
    Buffer message(bytes);
    if (rank == 0) {
      MPI_Request request = issend(message, tag, {0, tag});
      expect_incomplete(request, "before the receive", std::chrono::milliseconds(3));
      give_token(1, kTokenTag, MPI_COMM_WORLD);
      // The receiver probes, and posts receives that do not match.
      expect_incomplete(request, "after a probe and receives that do not match",
                        std::chrono::milliseconds(3));
      give_token(1, kTokenTag, MPI_COMM_WORLD);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    } else {
      Buffer elsewhere(bytes);
      MPI_Request strays[2];
      MPI_Status status;
      take_token(0, kTokenTag, MPI_COMM_WORLD);
      MPI_Irecv(elsewhere.data(), size, MPI_BYTE, 0, tag + 5000, MPI_COMM_WORLD, &strays[0]);
      MPI_Irecv(elsewhere.data(), size, MPI_BYTE, 0, tag, other, &strays[1]);
      MPI_Probe(0, tag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, tag, size);
      take_token(0, kTokenTag, MPI_COMM_WORLD);
      MPI_Recv(message.data(), size, MPI_BYTE, 0, tag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, tag, size);
      message.expect_message({0, tag});
      for (MPI_Request& stray : strays) {
        int cancelled = 0;
        MPI_Cancel(&stray);
        MPI_Wait(&stray, &status);
        MPI_Test_cancelled(&status, &cancelled);
        expect(cancelled, "a receive that nothing matches is cancelled");
      }
      elsewhere.expect_untouched_from(0);
    }
  }
}

// With a matched probe: incomplete until MPI_Mrecv, complete after it.
void through_matched_probe(int rank) {
  int tag = 200;
  for (int size : {0, 1, 64, 5000, 20000, 100000, 2000003}) {
    Step step("synchronous send of %d bytes, matched probe", size);
    ++tag;
    Buffer message(static_cast<std::size_t>(size));
    if (rank == 0) {
      MPI_Request request = issend(message, tag, {0, tag});
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      expect_incomplete(request, "after MPI_Mprobe, before MPI_Mrecv", std::chrono::milliseconds(3));
      give_token(1, kTokenTag, MPI_COMM_WORLD);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
    } else {
      MPI_Message handle;
      MPI_Status status;
      MPI_Mprobe(0, tag, MPI_COMM_WORLD, &handle, &status);
      expect_status(status, 0, tag, size);
      give_token(0, kTokenTag, MPI_COMM_WORLD);
      take_token(0, kTokenTag, MPI_COMM_WORLD);
      MPI_Mrecv(message.data(), size, MPI_BYTE, &handle, &status);
      expect_status(status, 0, tag, size);
      message.expect_message({0, tag});
    }
  }
}

// Many at once: each completes with its own receive, in any order of the receives.
void completes_one_by_one(int rank) {
  Step step("many at once");
  constexpr int kMessages = 24;
  std::vector<Buffer> messages;
  for (int i = 0; i < kMessages; ++i) messages.emplace_back(i % 3 == 0 ? 70000 : static_cast<std::size_t>(i));
  if (rank == 0) {
    std::vector<MPI_Request> requests;
    for (int i = 0; i < kMessages; ++i)
      requests.push_back(issend(messages[static_cast<std::size_t>(i)], 300 + i, {0, 300 + i}));
    for (int i = kMessages; i-- > 0;) {
      give_token(1, kTokenTag, MPI_COMM_WORLD);
      MPI_Wait(&requests[static_cast<std::size_t>(i)], MPI_STATUS_IGNORE);
      int done = 0;
      for (int j = 0; j < i; ++j) {
        MPI_Test(&requests[static_cast<std::size_t>(j)], &done, MPI_STATUS_IGNORE);
        expect(!done, "only the send completes that was received");
      }
    }
  } else {
    for (int i = kMessages; i-- > 0;) {
      Buffer& message = messages[static_cast<std::size_t>(i)];
      take_token(0, kTokenTag, MPI_COMM_WORLD);
      MPI_Recv(message.data(), message.count(), MPI_BYTE, 0, 300 + i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      message.expect_message({0, 300 + i});
    }
  }
}

// Thousands of sends with one tag are outstanding, and are then received with wildcards, in order.
void many_outstanding(int rank) {
  Step step("thousands outstanding");
  constexpr int kMessages = 3000;
  constexpr int kTag = 400;
  if (rank == 0) {
    std::vector<Buffer> messages;
    std::vector<MPI_Request> requests;
    for (int i = 0; i < kMessages; ++i) messages.emplace_back(static_cast<std::size_t>(i % 100));
    for (int i = 0; i < kMessages; ++i)
      requests.push_back(issend(messages[static_cast<std::size_t>(i)], kTag, {0, kTag, i}));
    give_token(1, kTokenTag, MPI_COMM_WORLD);
    MPI_Waitall(kMessages, requests.data(), MPI_STATUSES_IGNORE);
  } else {
    take_token(0, kTokenTag, MPI_COMM_WORLD);
    for (int i = 0; i < kMessages; ++i) {
      Buffer message(100);
      MPI_Status status;
      MPI_Recv(message.data(), 100, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      expect_status(status, 0, kTag, i % 100);
      message.expect_message({0, kTag, i}, static_cast<std::size_t>(i % 100));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  MPI_Comm other;
  MPI_Comm_dup(MPI_COMM_WORLD, &other);
  const bool many = argc > 1 && std::string_view(argv[1]) == "many";
  if (program.rank < 2 && many) {
    many_outstanding(program.rank);
  } else if (program.rank < 2) {
    not_before_receive(program.rank, other);
    through_matched_probe(program.rank);
    completes_one_by_one(program.rank);
  }
  MPI_Comm_free(&other);
}
