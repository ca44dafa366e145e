// Standard, synchronous, ready and buffered sends, blocking and nonblocking, of all sizes around the protocol boundaries,
// from unaligned buffers, to a receive that is posted before or after the message arrives.
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
  bool early;  // the receive is posted before the send starts; always true for ready sends
  int from;
  int size;   // bytes
  int spare;  // bytes by which the receive buffer is longer than the message
};

void send_one(const Exchange& exchange, int to, int tag, MPI_Comm comm) {
  Buffer message(static_cast<std::size_t>(exchange.size), static_cast<std::size_t>(tag % 9));
  message.fill({exchange.from, tag});
  take_token(to, kTokenTag, comm);
  if (exchange.blocking) {
    send(exchange.mode, message.data(), exchange.size, MPI_BYTE, to, tag, comm);
  } else {
    MPI_Request request = isend(exchange.mode, message.data(), exchange.size, MPI_BYTE, to, tag, comm);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    expect(request == MPI_REQUEST_NULL, "MPI_Wait frees the request");
  }
  message.expect_message({exchange.from, tag});  // a send must not change its buffer
}

void receive_one(const Exchange& exchange, int tag, MPI_Comm comm) {
  Buffer message(static_cast<std::size_t>(exchange.size + exchange.spare), static_cast<std::size_t>(tag % 5));
  MPI_Status status;
  if (exchange.early) {
    MPI_Request request;
    MPI_Irecv(message.data(), message.count(), MPI_BYTE, exchange.from, tag, comm, &request);
    give_token(exchange.from, kTokenTag, comm);
    MPI_Wait(&request, &status);
  } else {
    give_token(exchange.from, kTokenTag, comm);
    make_progress();
    MPI_Recv(message.data(), message.count(), MPI_BYTE, exchange.from, tag, comm, &status);
  }
  expect_status(status, exchange.from, tag, exchange.size);
  message.expect_message({exchange.from, tag}, static_cast<std::size_t>(exchange.size));
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
            const Exchange exchange{mode, blocking, early, from, size, tag % 3 == 0 ? 0 : 37};
            Step step("%s %s send of %d bytes from rank %d, receive posted %s", name(mode),
                      blocking ? "blocking" : "nonblocking", size, from, early ? "early" : "late");
            ++tag;
            if (program.rank == from)
              send_one(exchange, 1 - from, tag, MPI_COMM_WORLD);
            else
              receive_one(exchange, tag, MPI_COMM_WORLD);
          }
}
