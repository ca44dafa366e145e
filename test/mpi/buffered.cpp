// Buffered sends: they complete locally and the caller may reuse its buffer. MPI_Buffer_detach waits for them. Too little
// buffer space is MPI_ERR_BUFFER.
//
// buffered            sends that fit into the attached buffer
// buffered overflow   sends that do not
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;
constexpr int kTag = 40;

// The receives start after all sends have returned and their memory has been overwritten.
void completes_locally(int rank) {
  constexpr int kRounds = 3;
  BufferedSpace space(32 << 20);
  for (int round = 0; round < kRounds; ++round) {
    if (rank == 0) {
      Buffer message(3000017);
      for (const int bytes : kSizes) {
        Step step("MPI_Bsend of %d bytes", bytes);
        fill_pattern(message.data(), static_cast<std::size_t>(bytes), {0, kTag, bytes});
        MPI_Bsend(message.data(), bytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
        message.poison();
        fill_pattern(message.data(), static_cast<std::size_t>(bytes), {0, kTag + 1, bytes});
        MPI_Request request =
            isend(Mode::kBuffered, message.data(), bytes, MPI_BYTE, 1, kTag + 1, MPI_COMM_WORLD);
        MPI_Wait(&request, MPI_STATUS_IGNORE);
        message.poison();
      }
      give_token(1, kTokenTag, MPI_COMM_WORLD);
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      continue;
    }
    take_token(0, kTokenTag, MPI_COMM_WORLD);
    for (const int tag : {kTag + 1, kTag})
      for (const int bytes : kSizes) {
        Step step("%d bytes with tag %d", bytes, tag);
        Buffer message(static_cast<std::size_t>(bytes));
        MPI_Status status;
        MPI_Recv(message.data(), bytes, MPI_BYTE, 0, tag, MPI_COMM_WORLD, &status);
        expect_status(status, 0, tag, bytes);
        message.expect_message({0, tag, bytes});
      }
    give_token(0, kTokenTag, MPI_COMM_WORLD);
  }
}

// After MPI_Buffer_detach the messages have left the buffer, which the program may overwrite.
void detach_waits(int rank) {
  for (const int bytes : {10, 5000, 70000, 2000000}) {
    Step step("detach after MPI_Bsend of %d bytes", bytes);
    Buffer message(static_cast<std::size_t>(bytes));
    if (rank == 0) {
      std::vector<char> space(static_cast<std::size_t>(4 * (bytes + MPI_BSEND_OVERHEAD)));
      MPI_Buffer_attach(space.data(), static_cast<int>(space.size()));
      for (int i = 0; i < 4; ++i) {
        message.fill({0, kTag, i});
        MPI_Bsend(message.data(), bytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
      }
      void* detached = nullptr;
      int size = 0;
      MPI_Buffer_detach(&detached, &size);
      expect(detached == space.data() && size == static_cast<int>(space.size()),
             "the attached buffer comes back");
      std::fill(space.begin(), space.end(), 'x');
    } else {
      make_progress(std::chrono::milliseconds(1));
      for (int i = 0; i < 4; ++i) {
        MPI_Recv(message.data(), bytes, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        message.expect_message({0, kTag, i});
        message.poison();
      }
    }
  }
}

// A buffer of MPI_Pack_size plus MPI_BSEND_OVERHEAD is enough for one message at a time, repeatedly.
void exact_space(int rank) {
  Step step("exact space");
  constexpr int kBytes = 10000;
  constexpr int kRounds = 50;
  Buffer message(kBytes);
  int packed = 0;
  MPI_Pack_size(kBytes, MPI_BYTE, MPI_COMM_WORLD, &packed);
  for (int round = 0; round < kRounds; ++round) {
    if (rank == 0) {
      BufferedSpace space(static_cast<std::size_t>(packed + MPI_BSEND_OVERHEAD));
      message.fill({0, kTag, round});
      MPI_Bsend(message.data(), kBytes, MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
    } else {
      message.poison();
      MPI_Recv(message.data(), kBytes, MPI_BYTE, 0, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      message.expect_message({0, kTag, round});
    }
  }
}

// Without space the send returns MPI_ERR_BUFFER and sends nothing; later messages arrive.
void overflow(int rank) {
  Step step("too little space");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  Buffer message(10000);
  if (rank == 0) {
    BufferedSpace space(1000);
    for (int i = 0; i < 3; ++i) {
      const int code = MPI_Bsend(message.data(), message.count(), MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
      expect_error(MPI_ERR_BUFFER, code, "MPI_Bsend of more than the space");
    }
    give_token(1, kTokenTag, MPI_COMM_WORLD);
    message.fill({0, kTag});
    expect_error(MPI_SUCCESS, MPI_Bsend(message.data(), 100, MPI_BYTE, 1, kTag, MPI_COMM_WORLD), "MPI_Bsend");
  } else {
    take_token(0, kTokenTag, MPI_COMM_WORLD);
    MPI_Status status;
    MPI_Recv(message.data(), message.count(), MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &status);
    expect_status(status, 0, kTag, 100);
    message.expect_message({0, kTag}, 100);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  if (argc > 1 && std::string_view(argv[1]) == "overflow") {
    overflow(program.rank);
    return 0;
  }
  completes_locally(program.rank);
  detach_waits(program.rank);
  exact_space(program.rank);
}
