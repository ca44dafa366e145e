// MPI_Finalize with operations in progress: it completes all sends that the receiver takes, and returns in any case.
//
// finalize sends       sends whose requests were freed, and buffered sends: all must arrive
// finalize unreceived  short and long messages that are never received
// finalize posted      receives that no message matches
// finalize burst       many messages between all ranks, received late, directly before MPI_Finalize
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTag = 8;
constexpr int kMessages = 200;

int size_of(int i) {
  return i % 20 == 0 ? 300000 + i : i % 6 == 0 ? 9000 + i : i;
}

// The send buffers must live until MPI_Finalize returns: a freed request does not tell when its send completes.
using Memory = std::vector<Buffer>;

Memory make_messages(int rank) {
  Memory messages;
  for (int i = 0; i < kMessages; ++i) {
    messages.emplace_back(static_cast<std::size_t>(size_of(i)));
    messages.back().fill({rank, kTag, i});
  }
  return messages;
}

void receive_all(int source) {
  for (int i = 0; i < kMessages; ++i) {
    Step step("message %d from %d", i, source);
    Buffer message(static_cast<std::size_t>(size_of(i)));
    MPI_Status status;
    MPI_Recv(message.data(), message.count(), MPI_BYTE, source, kTag, MPI_COMM_WORLD, &status);
    expect_status(status, source, kTag, size_of(i));
    message.expect_message({source, kTag, i});
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const std::string_view what = argc > 1 ? argv[1] : "";
  Memory out = make_messages(rank), in;
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  // Large enough for all messages. It is never detached, so MPI_Finalize has to wait for the buffered sends.
  std::vector<std::byte> space(16 << 20);

  if (what == "sends") {
    MPI_Buffer_attach(space.data(), static_cast<int>(space.size()));
    if (rank % 2 == 0 && to != rank) {
      for (int i = 0; i < kMessages; ++i) {
        Buffer& message = out[static_cast<std::size_t>(i)];
        MPI_Request request = isend(i % 3 == 0 ? Mode::kBuffered : Mode::kStandard, message.data(),
                                    message.count(), MPI_BYTE, to, kTag, MPI_COMM_WORLD);
        MPI_Request_free(&request);
      }
    }
    if (rank % 2 == 1) {
      usleep(100000);  // the sender is in MPI_Finalize by now
      receive_all(from);
    }
  } else if (what == "unreceived") {
    for (int i = 0; i < kMessages; ++i) {
      Buffer& message = out[static_cast<std::size_t>(i)];
      MPI_Request request;
      MPI_Isend(message.data(), message.count(), MPI_BYTE, to, kTag, MPI_COMM_WORLD, &request);
      MPI_Request_free(&request);
    }
    MPI_Barrier(MPI_COMM_WORLD);
  } else if (what == "posted") {
    for (int i = 0; i < kMessages; ++i) {
      in.emplace_back(static_cast<std::size_t>(size_of(i)));
      MPI_Request request;
      MPI_Irecv(in.back().data(), in.back().count(), MPI_BYTE, i % 2 ? from : MPI_ANY_SOURCE,
                i % 3 ? kTag : MPI_ANY_TAG, MPI_COMM_WORLD, &request);
      if (i % 4 == 0) MPI_Request_free(&request);
    }
    MPI_Barrier(MPI_COMM_WORLD);
  } else if (what == "burst") {
    std::vector<MPI_Request> requests;
    for (int peer = 0; peer < size; ++peer)
      for (Buffer& message : out)
        requests.push_back(
            isend(Mode::kStandard, message.data(), message.count(), MPI_BYTE, peer, kTag, MPI_COMM_WORLD));
    for (int peer = size; peer-- > 0;) receive_all(peer);
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  } else {
    std::fprintf(stderr, "finalize: the argument is sends, unreceived, posted or burst\n");
    MPI_Abort(MPI_COMM_WORLD, 2);
  }
  Program::finish("finalize", rank, size);
  // A receive that no message matched has written nothing, not even during MPI_Finalize.
  for (Buffer& message : in) message.expect_untouched_from(0);
}
