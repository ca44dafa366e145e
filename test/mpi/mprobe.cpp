// Matched probes: MPI_Mprobe and MPI_Improbe take a message out of matching; MPI_Mrecv and MPI_Imrecv receive it at any
// later time, in any order, into any layout. mtl/ofi of Open MPI 4.1 to 6.0 fails this test for noncontiguous data,
// truncation and synchronous sends.
#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

void send_one(Mode mode, int bytes, int tag, int sequence = 0) {
  Buffer message(static_cast<std::size_t>(bytes));
  message.fill({0, tag, sequence});
  send(mode, message.data(), bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
}

// Probes with MPI_Mprobe or MPI_Improbe, alternately with wildcards.
MPI_Message probe_one(int tag, int bytes) {
  const int source = tag % 2 ? 0 : MPI_ANY_SOURCE;
  const int wanted = tag % 3 ? tag : MPI_ANY_TAG;
  MPI_Message handle = MPI_MESSAGE_NULL;
  MPI_Status status;
  if (tag % 5 < 3) {
    MPI_Mprobe(source, wanted, MPI_COMM_WORLD, &handle, &status);
  } else {
    int found = 0;
    while (!found) MPI_Improbe(source, wanted, MPI_COMM_WORLD, &found, &handle, &status);
  }
  expect(handle != MPI_MESSAGE_NULL && handle != MPI_MESSAGE_NO_PROC, "the probe gives a message handle");
  expect_status(status, 0, tag, bytes);
  return handle;
}

int receive_matched(MPI_Message& handle, void* data, int count, MPI_Datatype type, bool blocking,
                    MPI_Status& status) {
  int code = MPI_SUCCESS;
  if (blocking) {
    code = MPI_Mrecv(data, count, type, &handle, &status);
  } else {
    MPI_Request request;
    MPI_Imrecv(data, count, type, &handle, &request);
    code = MPI_Wait(&request, &status);
  }
  expect(handle == MPI_MESSAGE_NULL, "receiving nulls the message handle");
  return code;
}

void every_mode_and_size(int rank) {
  int tag = 10;
  for (const Mode mode : {Mode::kStandard, Mode::kSynchronous, Mode::kBuffered})
    for (const int bytes : kSizes)
      for (const bool blocking : {true, false}) {
        Step step("%s send of %d bytes, %s", name(mode), bytes, blocking ? "MPI_Mrecv" : "MPI_Imrecv");
        ++tag;
        if (rank == 0) {
          send_one(mode, bytes, tag);
          continue;
        }
        Buffer message(static_cast<std::size_t>(bytes + tag % 2 * 50));
        MPI_Message handle = probe_one(tag, bytes);
        int found = 0;
        MPI_Iprobe(0, tag, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
        expect(!found, "a matched message is not found again");
        MPI_Status status;
        receive_matched(handle, message.data(), message.count(), MPI_BYTE, blocking, status);
        expect_status(status, 0, tag, bytes);
        message.expect_message({0, tag}, static_cast<std::size_t>(bytes));
      }
}

// Receives into a vector of 3-byte blocks with a stride of 5 bytes.
void noncontiguous(int rank) {
  int tag = 300;
  for (const Mode mode : {Mode::kStandard, Mode::kSynchronous})
    for (const int blocks : {1, 10, 500, 5000, 50000, 700000})
      for (const bool blocking : {true, false}) {
        Step step("%s send of %d bytes into a vector", name(mode), 3 * blocks);
        ++tag;
        if (rank == 0) {
          send_one(mode, 3 * blocks, tag);
          continue;
        }
        MPI_Datatype vector;
        MPI_Type_vector(blocks, 3, 5, MPI_BYTE, &vector);
        MPI_Type_commit(&vector);
        Buffer spread(static_cast<std::size_t>(5 * blocks)), packed(static_cast<std::size_t>(3 * blocks));
        MPI_Message handle = probe_one(tag, 3 * blocks);
        MPI_Status status;
        receive_matched(handle, spread.data(), 1, vector, blocking, status);
        expect_status(status, 0, tag, 1, vector);
        for (std::size_t i = 0; i < static_cast<std::size_t>(blocks); ++i) {
          std::copy_n(spread.bytes() + 5 * i, 3, packed.bytes() + 3 * i);
          std::fill_n(spread.bytes() + 5 * i, 3, Buffer::kPoison);  // the gaps must be unchanged
        }
        packed.expect_message({0, tag});
        spread.expect_untouched_from(0);
        MPI_Type_free(&vector);
      }
}

void truncated(int rank) {
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int tag = 400;
  for (const Mode mode : {Mode::kStandard, Mode::kSynchronous})
    for (const int bytes : {1, 64, 5000, 70000, 2000000})
      for (const bool blocking : {true, false})
        for (const bool spread : {true, false}) {
          Step step("%s send of %d bytes, truncated%s", name(mode), bytes, spread ? ", vector" : "");
          ++tag;
          if (rank == 0) {
            send_one(mode, bytes, tag);
            continue;
          }
          const int room = bytes / 2;
          MPI_Datatype type = MPI_BYTE;
          if (spread) MPI_Type_vector(room, 1, 2, MPI_BYTE, &type);
          if (spread) MPI_Type_commit(&type);
          Buffer message(static_cast<std::size_t>(2 * room));
          MPI_Message handle = probe_one(tag, bytes);
          MPI_Status status;
          const int code = receive_matched(handle, message.data(), spread ? 1 : room, type, blocking, status);
          expect_error(MPI_ERR_TRUNCATE, code, "receive of a matched message that is too long");
          expect_equal(0, status.MPI_SOURCE, "source in the status");
          expect_equal(tag, status.MPI_TAG, "tag in the status");
          message.expect_untouched_from(static_cast<std::size_t>(spread ? 2 * room : room));
          if (spread) MPI_Type_free(&type);
        }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
}

// Many message handles at once, received in reverse order, with other receives of the same tag in between.
void many_handles(int rank) {
  constexpr int kHandles = 300;
  constexpr int kOthers = 300;
  constexpr int kTag = 502;
  const auto size_of = [](int i) { return i % 40 == 0 ? 100000 + i : i % 9 == 0 ? 9000 + i : i; };
  Step step("many handles at once");
  if (rank == 0) {
    std::vector<Buffer> messages;
    std::vector<MPI_Request> requests;
    for (int i = 0; i < kHandles + kOthers; ++i) {
      messages.emplace_back(static_cast<std::size_t>(size_of(i)));
      messages.back().fill({0, kTag, i});
      requests.push_back(isend(i % 5 ? Mode::kStandard : Mode::kSynchronous, messages.back().data(),
                               size_of(i), MPI_BYTE, 1, kTag, MPI_COMM_WORLD));
    }
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
    return;
  }
  std::vector<MPI_Message> handles;
  for (int i = 0; i < kHandles; ++i) handles.push_back(probe_one(kTag, size_of(i)));
  for (int i = kHandles; i-- > 0;) {
    MPI_Status status;
    const int other = kHandles + (kHandles - 1 - i);  // the next message that no handle has
    Buffer message(static_cast<std::size_t>(size_of(other)));
    MPI_Recv(message.data(), message.count(), MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    expect_status(status, 0, kTag, size_of(other));
    message.expect_message({0, kTag, other});
    Buffer matched(static_cast<std::size_t>(size_of(i)));
    receive_matched(handles[static_cast<std::size_t>(i)], matched.data(), matched.count(), MPI_BYTE, i % 2,
                    status);
    expect_status(status, 0, kTag, size_of(i));
    matched.expect_message({0, kTag, i});
  }
}

// Probes before a message arrives find nothing; afterwards the message is found and received once.
void found_once(int rank) {
  Step step("MPI_Improbe finds a message once");
  if (rank == 0) {
    take_token(1, kTokenTag, MPI_COMM_WORLD);
    send_one(Mode::kStandard, 777, 600);
    return;
  }
  MPI_Message handle = MPI_MESSAGE_NULL, second = MPI_MESSAGE_NULL;
  MPI_Status status;
  int found = 0;
  for (int i = 0; i < 100; ++i) {
    MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &handle, &status);
    expect(!found, "nothing is found before it was sent");
  }
  give_token(0, kTokenTag, MPI_COMM_WORLD);
  while (!found) MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &handle, &status);
  for (int i = 0; i < 100; ++i) {
    MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &second, &status);
    expect(!found, "a matched message is not found again");
  }
  Buffer message(777);
  receive_matched(handle, message.data(), 777, MPI_BYTE, true, status);
  expect_status(status, 0, 600, 777);
  message.expect_message({0, 600});
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(64 << 20);
  if (program.rank > 1) return 0;
  every_mode_and_size(program.rank);
  noncontiguous(program.rank);
  truncated(program.rank);
  many_handles(program.rank);
  found_once(program.rank);
}
