// Standard, synchronous, ready and buffered sends, blocking and not, of every size around the protocol
// boundaries, from buffers of odd alignment, to a receive that is posted before or after the message came.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kSender = 0;
constexpr int kReceiver = 1;
constexpr int kTokenTag = 9;

struct Exchange {
  Mode mode;
  bool blocking;
  bool early;  // the receive is posted before the send starts; always so for ready sends
  int from;
  int size;   // bytes
  int spare;  // bytes that the receive buffer is longer than the message
};

void send_one(const Exchange& e, int to, int tag, MPI_Comm comm) {
  Buffer message(static_cast<std::size_t>(e.size), static_cast<std::size_t>(tag % 9));
  message.fill({e.from, tag});
  take_token(to, kTokenTag, comm);
  if (e.blocking) {
    send(e.mode, message.data(), e.size, MPI_BYTE, to, tag, comm);
  } else {
    MPI_Request request = isend(e.mode, message.data(), e.size, MPI_BYTE, to, tag, comm);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    expect(request == MPI_REQUEST_NULL, "MPI_Wait frees the request");
  }
  message.expect_message({e.from, tag});  // a send must not touch its buffer
}

void receive_one(const Exchange& e, int tag, MPI_Comm comm) {
  Buffer message(static_cast<std::size_t>(e.size + e.spare), static_cast<std::size_t>(tag % 5));
  MPI_Status status;
  if (e.early) {
    MPI_Request request;
    MPI_Irecv(message.data(), message.count(), MPI_BYTE, e.from, tag, comm, &request);
    give_token(e.from, kTokenTag, comm);
    MPI_Wait(&request, &status);
  } else {
    give_token(e.from, kTokenTag, comm);
    make_progress();
    MPI_Recv(message.data(), message.count(), MPI_BYTE, e.from, tag, comm, &status);
  }
  expect_status(status, e.from, tag, e.size);
  message.expect_message({e.from, tag}, static_cast<std::size_t>(e.size));
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(8 << 20);
  if (program.rank > kReceiver) return 0;
  int tag = 10;
  for (Mode mode : kModes)
    for (bool blocking : {true, false})
      for (bool early : {true, false})
        for (int size : kSizes)
          for (int from : {kSender, kReceiver}) {
            if (mode == Mode::kReady && !early) continue;
            const Exchange e{mode, blocking, early, from, size, tag % 3 == 0 ? 0 : 37};
            Step step("%s %s send of %d bytes from rank %d, receive posted %s", name(mode),
                      blocking ? "blocking" : "nonblocking", size, from, early ? "early" : "late");
            ++tag;
            if (program.rank == from)
              send_one(e, 1 - from, tag, MPI_COMM_WORLD);
            else
              receive_one(e, tag, MPI_COMM_WORLD);
          }
}
