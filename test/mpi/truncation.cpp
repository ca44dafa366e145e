// A message longer than its receive: the receiver gets MPI_ERR_TRUNCATE, with source and tag; nothing behind the receive
// buffer is written; the send completes without an error; later messages are not affected.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

struct Case {
  int bytes;  // of the message
  int room;   // of the receive buffer
};
constexpr std::array kCases{Case{1, 0},          Case{8, 7},
                            Case{64, 63},        Case{65, 0},
                            Case{4096, 4095},    Case{8192, 1},
                            Case{9001, 9000},    Case{16385, 16384},
                            Case{65537, 65536},  Case{65537, 10},
                            Case{131072, 0},     Case{131072, 64},
                            Case{1048577, 1000}, Case{1048577, 1048576},
                            Case{3000017, 0},    Case{3000017, 9000}};

enum class Receive { kBlocking, kEarly, kPersistent, kVector };
constexpr std::array kReceives{Receive::kBlocking, Receive::kEarly, Receive::kPersistent, Receive::kVector};
constexpr std::array kReceiveNames{"unexpected", "posted early", "persistent", "of a vector"};

// Blocks of one byte with a stride of two: `room` bytes of data in 2 * room bytes of memory.
MPI_Datatype spread_type(int room) {
  MPI_Datatype type;
  MPI_Type_vector(room, 1, 2, MPI_BYTE, &type);
  MPI_Type_commit(&type);
  return type;
}

void receive_truncated(Receive how, const Case& test_case, int source, int tag) {
  const bool spread = how == Receive::kVector;
  Buffer into(static_cast<std::size_t>(2 * test_case.room));
  MPI_Datatype type = spread ? spread_type(test_case.room) : MPI_BYTE;
  const int count = spread ? 1 : test_case.room;
  MPI_Status status;
  int code = MPI_SUCCESS;
  MPI_Request request = MPI_REQUEST_NULL;
  if (how == Receive::kBlocking) {
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    make_progress();
    code = MPI_Recv(into.data(), count, type, source, tag, MPI_COMM_WORLD, &status);
  } else {
    if (how == Receive::kPersistent) {
      MPI_Recv_init(into.data(), count, type, source, tag, MPI_COMM_WORLD, &request);
      MPI_Start(&request);
    } else {
      MPI_Irecv(into.data(), count, type, source, tag, MPI_COMM_WORLD, &request);
    }
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    code = MPI_Wait(&request, &status);
    if (how == Receive::kPersistent) MPI_Request_free(&request);
  }
  expect_error(MPI_ERR_TRUNCATE, code, "receive of a message that is too long");
  expect_equal(0, status.MPI_SOURCE, "source in the status");
  into.expect_untouched_from(static_cast<std::size_t>(spread ? 2 * test_case.room : test_case.room));
  if (spread) {
    for (std::size_t i = 1; i < into.size(); i += 2)
      expect_equal(Buffer::kPoison, into.bytes()[i], "a byte in a gap of the receive's type");
    MPI_Type_free(&type);
  }
}

void one_case(int rank, Mode mode, Receive how, const Case& test_case, int tag) {
  Buffer message(static_cast<std::size_t>(test_case.bytes));
  if (rank == 0) {
    message.fill({0, tag});
    take_token(1, kTokenTag, MPI_COMM_WORLD);
    const int code =
        tag % 2 ? send(mode, message.data(), test_case.bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD) : MPI_SUCCESS;
    expect_error(MPI_SUCCESS, code, "send of the message that is truncated");
    if (tag % 2 == 0) {
      MPI_Request request = isend(mode, message.data(), test_case.bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
      expect_error(MPI_SUCCESS, MPI_Wait(&request, MPI_STATUS_IGNORE),
                   "send of the message that is truncated");
    }
    message.fill({0, tag, 1});
    MPI_Send(message.data(), test_case.bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
  } else {
    receive_truncated(how, test_case, tag % 3 ? 0 : MPI_ANY_SOURCE, tag);
    // The next message is complete.
    MPI_Status status;
    MPI_Recv(message.data(), test_case.bytes, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    expect_status(status, 0, tag, test_case.bytes);
    message.expect_message({0, tag, 1});
  }
}

// Source and tag of a truncated message that a wildcard receive matched.
void wildcards(int rank) {
  for (const int bytes : {100, 9000, 200000}) {
    Step step("wildcard receive of %d bytes", bytes);
    Buffer message(static_cast<std::size_t>(bytes));
    if (rank == 0) {
      MPI_Send(message.data(), bytes, MPI_BYTE, 1, 4711, MPI_COMM_WORLD);
      continue;
    }
    MPI_Status status;
    const int code =
        MPI_Recv(message.data(), 11, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    expect_error(MPI_ERR_TRUNCATE, code, "receive of a message that is too long");
    expect_equal(0, status.MPI_SOURCE, "source in the status");
    expect_equal(4711, status.MPI_TAG, "tag in the status");
    message.expect_untouched_from(11);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(32 << 20);
  if (program.rank > 1) return 0;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int tag = 10;
  for (const Mode mode : kModes)
    for (const Receive how : kReceives)
      for (const Case& test_case : kCases) {
        if (mode == Mode::kReady && how == Receive::kBlocking) continue;
        Step step("%s send of %d bytes, receive of %d, %s", name(mode), test_case.bytes, test_case.room,
                  kReceiveNames[static_cast<std::size_t>(how)]);
        one_case(program.rank, mode, how, test_case, ++tag);
      }
  wildcards(program.rank);
}
