// MPI_Cancel: cancelling an unmatched receive succeeds and leaves its buffer unchanged; cancelling a matched one has no
// effect; in a race either happens; a cancelled send is either not received or arrives complete.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;
constexpr int kTag = 50;

MPI_Request irecv(Buffer& into, int source, int tag) {
  MPI_Request request;
  MPI_Irecv(into.data(), into.count(), MPI_BYTE, source, tag, MPI_COMM_WORLD, &request);
  return request;
}

void send_filled(int bytes, int sequence) {
  Buffer message(static_cast<std::size_t>(bytes));
  message.fill({0, kTag, sequence});
  MPI_Send(message.data(), bytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
}

bool finish_cancelled(MPI_Request& request, MPI_Status& status) {
  int cancelled = 0;
  MPI_Wait(&request, &status);
  MPI_Test_cancelled(&status, &cancelled);
  return cancelled != 0;
}

// Of ten equal receives every other one is cancelled: the messages go to the others, in order.
void some_of_many(int rank, int bytes) {
  constexpr int kReceives = 10;
  Step step("some of many, %d bytes", bytes);
  if (rank == 0) {
    take_token(1, kTokenTag, MPI_COMM_WORLD);
    for (int i = 0; i < kReceives / 2; ++i) send_filled(bytes, i);
    return;
  }
  std::vector<Buffer> buffers(kReceives, Buffer(static_cast<std::size_t>(bytes)));
  std::vector<MPI_Request> requests;
  for (Buffer& buffer : buffers)
    requests.push_back(
        irecv(buffer, requests.size() % 3 ? 0 : MPI_ANY_SOURCE, requests.size() % 4 ? kTag : MPI_ANY_TAG));
  MPI_Status status;
  for (std::size_t i = 0; i < kReceives; i += 2) {
    MPI_Cancel(&requests[i]);
    expect(finish_cancelled(requests[i], status), "a receive that nothing matched is cancelled");
  }
  give_token(0, kTokenTag, MPI_COMM_WORLD);
  for (std::size_t i = 1; i < kReceives; i += 2) {
    MPI_Wait(&requests[i], &status);
    expect_status(status, 0, kTag, bytes);
    buffers[i].expect_message({0, kTag, static_cast<int>(i / 2)});
  }
  for (std::size_t i = 0; i < kReceives; i += 2) buffers[i].expect_untouched_from(0);
}

// The message has already been received when the receive is cancelled.
void too_late(int rank, int bytes) {
  Step step("cancel of a matched receive of %d bytes", bytes);
  if (rank == 0) {
    take_token(1, kTokenTag, MPI_COMM_WORLD);
    send_filled(bytes, 3);
    give_token(1, kTokenTag, MPI_COMM_WORLD);
    return;
  }
  Buffer message(static_cast<std::size_t>(bytes));
  MPI_Request request = irecv(message, 0, kTag);
  give_token(0, kTokenTag, MPI_COMM_WORLD);
  take_token(0, kTokenTag,
             MPI_COMM_WORLD);  // the token was sent after the message, which is therefore matched
  MPI_Cancel(&request);
  MPI_Status status;
  expect(!finish_cancelled(request, status), "a matched receive is not cancelled");
  expect_status(status, 0, kTag, bytes);
  message.expect_message({0, kTag, 3});
}

// Message and cancel at about the same time: either this receive gets the message, or the next one.
void race(int rank, int bytes) {
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    Step step("race, %d bytes, round %d", bytes, round);
    if (rank == 0) {
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      send_filled(bytes, round);
      continue;
    }
    Buffer first(static_cast<std::size_t>(bytes)), second(static_cast<std::size_t>(bytes));
    MPI_Request request = irecv(first, 0, kTag);
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    for (int spin = 0; spin < round * 7 % 100; ++spin) make_progress(std::chrono::microseconds(0));
    MPI_Cancel(&request);
    MPI_Status status;
    if (finish_cancelled(request, status)) {
      first.expect_untouched_from(0);
      MPI_Recv(second.data(), bytes, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &status);
      second.expect_message({0, kTag, round});
    } else {
      first.expect_message({0, kTag, round});
    }
    expect_status(status, 0, kTag, bytes);
  }
}

// Rank 1 receives the message, unless rank 0 reports that the cancel succeeded.
void of_a_send(int rank, Mode mode, int bytes) {
  constexpr int kVerdictTag = 60;
  Step step("cancel of a %s send of %d bytes", name(mode), bytes);
  for (int round = 0; round < 5; ++round) {
    Buffer message(static_cast<std::size_t>(bytes));
    int cancelled = -1;
    if (rank == 0) {
      message.fill({0, kTag, round});
      if (mode == Mode::kReady) take_token(1, kTokenTag, MPI_COMM_WORLD);
      MPI_Request request = isend(mode, message.data(), bytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
      MPI_Cancel(&request);
      MPI_Status status;
      cancelled = finish_cancelled(request, status);
      MPI_Send(&cancelled, 1, MPI_INT, 1, kVerdictTag, MPI_COMM_WORLD);
      take_token(1, kTokenTag, MPI_COMM_WORLD);  // the receive of this round is over
      continue;
    }
    MPI_Request request = irecv(message, 0, kTag);
    if (mode == Mode::kReady) give_token(0, kTokenTag, MPI_COMM_WORLD);
    MPI_Recv(&cancelled, 1, MPI_INT, 0, kVerdictTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Status status;
    if (cancelled) {
      MPI_Cancel(&request);
      expect(finish_cancelled(request, status), "a cancelled send leaves nothing to receive");
      message.expect_untouched_from(0);
    } else {
      expect(!finish_cancelled(request, status), "a send that was not cancelled arrives");
      expect_status(status, 0, kTag, bytes);
      message.expect_message({0, kTag, round});
    }
    give_token(0, kTokenTag, MPI_COMM_WORLD);
  }
}

// A send that is never matched is cancelled and leaves no message; those before and after it arrive.
void of_an_unmatched_send(int rank, MPI_Comm comm, Mode mode, int bytes, bool receiver_knows_sender) {
  Step step("cancel of an unmatched %s send of %d bytes", name(mode), bytes);
  constexpr int kOtherTag = 61, kEndTag = 62;
  constexpr int kAlike = 3;  // with one tag; the second is cancelled
  const auto count = static_cast<std::size_t>(bytes);
  MPI_Status status;
  if (rank == 0) {
    std::vector<Buffer> messages(kAlike, Buffer(count));
    MPI_Request requests[kAlike];
    for (int i = 0; i < kAlike; ++i) {
      messages[static_cast<std::size_t>(i)].fill({0, kTag, i});
      requests[i] = isend(mode, messages[static_cast<std::size_t>(i)].data(), bytes, MPI_BYTE, 1, kTag, comm);
    }
    Buffer other(count);
    other.fill({0, kOtherTag});
    if (!receiver_knows_sender) {  // the receiver meanwhile waits for a later message
      MPI_Cancel(&requests[1]);
      expect(finish_cancelled(requests[1], status), "an unmatched send is cancelled");
    }
    MPI_Request last = isend(mode, other.data(), bytes, MPI_BYTE, 1, kOtherTag, comm);
    if (receiver_knows_sender) {
      MPI_Cancel(&requests[1]);
      MPI_Cancel(&requests[1]);  // the second cancel has no effect
      expect(finish_cancelled(requests[1], status), "an unmatched send is cancelled");
    }
    MPI_Send(nullptr, 0, MPI_BYTE, 1, kEndTag, comm);
    MPI_Wait(&requests[0], MPI_STATUS_IGNORE);
    MPI_Wait(&requests[2], MPI_STATUS_IGNORE);
    MPI_Wait(&last, &status);
    int cancelled = 1;
    MPI_Test_cancelled(&status, &cancelled);
    expect(!cancelled, "a send after a cancelled one is not cancelled");
    return;
  }
  MPI_Recv(nullptr, 0, MPI_BYTE, 0, kEndTag, comm, MPI_STATUS_IGNORE);
  Buffer message(count);
  int found = 0;
  for (const int i : {0, 2}) {
    MPI_Recv(message.data(), bytes, MPI_BYTE, i == 2 ? MPI_ANY_SOURCE : 0, kTag, comm, &status);
    expect_status(status, 0, kTag, bytes);
    message.expect_message({0, kTag, i});
  }
  MPI_Iprobe(0, kTag, comm, &found, MPI_STATUS_IGNORE);
  expect(!found, "a cancelled send leaves nothing to find");
  MPI_Recv(message.data(), bytes, MPI_BYTE, 0, MPI_ANY_TAG, comm, &status);
  expect_status(status, 0, kOtherTag, bytes);
  message.expect_message({0, kOtherTag});
}

// Cancel and receive at about the same time: exactly one succeeds.
void race_of_a_send(int rank, int bytes) {
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    Step step("cancel of a send against its receive, %d bytes, round %d", bytes, round);
    Buffer message(static_cast<std::size_t>(bytes));
    int cancelled = 0;
    MPI_Status status;
    if (rank == 0) {
      message.fill({0, kTag, round});
      MPI_Request request =
          isend(Mode::kSynchronous, message.data(), bytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
      give_token(1, kTokenTag, MPI_COMM_WORLD);
      for (int spin = 0; spin < round * 7 % 50; ++spin) make_progress(std::chrono::microseconds(0));
      MPI_Cancel(&request);
      cancelled = finish_cancelled(request, status);
      MPI_Send(&cancelled, 1, MPI_INT, 1, kTokenTag, MPI_COMM_WORLD);
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      continue;
    }
    take_token(0, kTokenTag, MPI_COMM_WORLD);
    for (int spin = 0; spin < round * 11 % 50; ++spin) make_progress(std::chrono::microseconds(0));
    MPI_Request request = irecv(message, round % 2 ? 0 : MPI_ANY_SOURCE, kTag);
    MPI_Recv(&cancelled, 1, MPI_INT, 0, kTokenTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (cancelled) MPI_Cancel(&request);
    expect(finish_cancelled(request, status) == (cancelled != 0),
           "a message is received, or its send is cancelled");
    if (!cancelled) message.expect_message({0, kTag, round});
    give_token(0, kTokenTag, MPI_COMM_WORLD);
  }
}

// Complete and persistent requests, MPI_PROC_NULL, and requests that are freed right after the cancel.
void odd_requests(int rank) {
  Step step("odd requests");
  Buffer message(100);
  MPI_Status status;
  MPI_Request request;
  MPI_Irecv(message.data(), 100, MPI_BYTE, MPI_PROC_NULL, kTag, MPI_COMM_WORLD, &request);
  MPI_Cancel(&request);
  finish_cancelled(request, status);
  if (rank == 0) {
    message.fill({0, kTag});
    request = isend(Mode::kStandard, message.data(), 100, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
    take_token(1, kTokenTag, MPI_COMM_WORLD);  // the message has been received
    MPI_Cancel(&request);
    expect(!finish_cancelled(request, status), "a send that was received is not cancelled");
    for (int round = 0; round < 3; ++round) {
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      send_filled(100, round);
    }
    send_filled(100, 3);
    return;
  }
  MPI_Recv(message.data(), 100, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &status);
  message.expect_message({0, kTag});
  give_token(0, kTokenTag, MPI_COMM_WORLD);

  MPI_Recv_init(message.data(), 100, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &request);
  for (int round = 0; round < 3; ++round) {
    message.poison();
    MPI_Start(&request);
    MPI_Cancel(&request);
    expect(finish_cancelled(request, status), "a persistent receive is cancelled");
    message.expect_untouched_from(0);
    MPI_Start(&request);
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    expect(!finish_cancelled(request, status), "a receive started anew is not cancelled");
    message.expect_message({0, kTag, round});
  }
  MPI_Request_free(&request);

  Buffer lost(100);
  request = irecv(lost, 0, kTag + 1);
  MPI_Cancel(&request);
  MPI_Request_free(&request);
  MPI_Recv(message.data(), 100, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &status);
  message.expect_message({0, kTag, 3});
  lost.expect_untouched_from(0);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(8 << 20);
  if (program.rank > 1) return 0;
  const int rank = program.rank;
  // The first message between the two: the receiver does not know the sender yet.
  of_an_unmatched_send(rank, MPI_COMM_WORLD, Mode::kSynchronous, 8, false);
  for (const int bytes : {0, 8, 64, 5000, 20000, 100000, 1500000}) {
    some_of_many(rank, bytes);
    too_late(rank, bytes);
    for (const Mode mode : kModes) of_a_send(rank, mode, bytes);
  }
  for (const int bytes : {1, 100, 9000, 70000}) race(rank, bytes);
  for (const int bytes : {0, 8, 248, 249, 5000, 100000, 1500000})
    of_an_unmatched_send(rank, MPI_COMM_WORLD, Mode::kSynchronous, bytes, bytes % 2 == 0);
  of_an_unmatched_send(rank, MPI_COMM_WORLD, Mode::kStandard, 5000000,
                       true);  // longer than the eager limit of every provider
  for (const int bytes : {8, 1000, 70000}) race_of_a_send(rank, bytes);
  odd_requests(rank);
}
