// Matching: any source, any tag, the smallest and largest tags, MPI_PROC_NULL, communicators, receives in the order in
// which they were posted. Open MPI's own messages (collectives, with negative tags) never match a pending receive with
// MPI_ANY_TAG on the same communicator.
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

int tag_upper_bound() {
  void* value = nullptr;
  int found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &value, &found);
  expect(found, "MPI_TAG_UB is an attribute of MPI_COMM_WORLD");
  return *static_cast<int*>(value);
}

MPI_Request irecv(Buffer& into, int source, int tag, MPI_Comm comm) {
  MPI_Request request;
  MPI_Irecv(into.data(), into.count(), MPI_BYTE, source, tag, comm, &request);
  return request;
}

void send_filled(std::size_t size, int to, Key key, MPI_Comm comm) {
  Buffer message(size);
  message.fill(key);
  MPI_Send(message.data(), message.count(), MPI_BYTE, to, key.tag, comm);
}

void expect_arrived(MPI_Request& request, Buffer& into, Key key, int size,
                    const Location& at = Location::current()) {
  MPI_Status status;
  MPI_Wait(&request, &status);
  expect_status(status, key.source, key.tag, size, MPI_BYTE, at);
  into.expect_message(key, static_cast<std::size_t>(size), at);
}

// Tags that differ in one bit, and the largest tag.
void tags(int rank, int size) {
  std::vector<int> all{0, 1};
  for (int bit = 1; bit < 31 && (1 << bit) <= tag_upper_bound(); ++bit) all.push_back(1 << bit);
  all.push_back(tag_upper_bound());
  all.push_back(tag_upper_bound() - 1);
  for (const int bytes : {3, 40000}) {
    Step step("all tags, %d bytes", bytes);
    if (rank == 0) {
      for (int source = 1; source < size; ++source) {
        std::vector<Buffer> buffers;
        std::vector<MPI_Request> requests;
        for (std::size_t i = 0; i < all.size(); ++i) buffers.emplace_back(static_cast<std::size_t>(bytes));
        for (std::size_t i = all.size(); i-- > 0;)  // posted in the opposite order
          requests.push_back(irecv(buffers[i], source, all[i], MPI_COMM_WORLD));
        for (std::size_t i = 0; i < all.size(); ++i)
          expect_arrived(requests[all.size() - 1 - i], buffers[i], {source, all[i]}, bytes);
      }
    } else {
      for (const int tag : all) send_filled(static_cast<std::size_t>(bytes), 0, {rank, tag}, MPI_COMM_WORLD);
    }
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

// A receive that matches several messages takes the first; a message that matches several receives takes the first.
void first_posted_first(int rank, bool unexpected) {
  Step step("posted order, messages %s", unexpected ? "unexpected" : "expected");
  constexpr int kBytes = 300;
  if (rank == 0) {
    Buffer any(kBytes), five(kBytes), six_any_source(kBytes), rest(kBytes);
    if (unexpected) {
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      make_progress();
    }
    MPI_Request first = irecv(five, 1, 5, MPI_COMM_WORLD);
    MPI_Request second = irecv(any, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD);
    MPI_Request third = irecv(six_any_source, MPI_ANY_SOURCE, 6, MPI_COMM_WORLD);
    MPI_Request fourth = irecv(rest, 1, MPI_ANY_TAG, MPI_COMM_WORLD);
    if (!unexpected) give_token(1, kTokenTag, MPI_COMM_WORLD);
    expect_arrived(second, any, {1, 6, 0}, kBytes);
    expect_arrived(first, five, {1, 5, 0}, kBytes);
    expect_arrived(fourth, rest, {1, 5, 1}, kBytes);
    expect_arrived(third, six_any_source, {1, 6, 1}, kBytes);
  } else if (rank == 1) {
    if (!unexpected) take_token(0, kTokenTag, MPI_COMM_WORLD);
    const std::array<Key, 4> keys{{{1, 6, 0}, {1, 5, 0}, {1, 5, 1}, {1, 6, 1}}};
    std::vector<Buffer> messages;
    std::vector<MPI_Request> requests;
    for (const Key& key : keys) {
      messages.emplace_back(kBytes).fill(key);
      // Nonblocking: unexpected messages above the eager limit are not buffered.
      requests.emplace_back();
      MPI_Isend(messages.back().data(), kBytes, MPI_BYTE, 0, key.tag, MPI_COMM_WORLD, &requests.back());
    }
    if (unexpected) give_token(0, kTokenTag, MPI_COMM_WORLD);
    MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  }
}

// The same source and tag on three communicators.
void communicators(int rank, int size) {
  Step step("three communicators");
  MPI_Comm comms[3] = {MPI_COMM_WORLD};
  MPI_Comm_dup(MPI_COMM_WORLD, &comms[1]);
  MPI_Comm_split(MPI_COMM_WORLD, 0, size - rank, &comms[2]);  // the same ranks in reverse order
  const int peer = size - 1;
  if (rank == 0) {
    std::vector<Buffer> buffers(3, Buffer(500));
    MPI_Request requests[3];
    for (std::size_t i = 3; i-- > 0;) requests[i] = irecv(buffers[i], MPI_ANY_SOURCE, MPI_ANY_TAG, comms[i]);
    give_token(peer, kTokenTag, comms[0]);
    // In comms[2] the sender's rank is 0.
    for (int i = 0; i < 3; ++i) {
      const auto at = static_cast<std::size_t>(i);
      MPI_Status status;
      MPI_Wait(&requests[at], &status);
      expect_status(status, i == 2 ? 0 : peer, 7, 400 + i);
      buffers[at].expect_message({peer, 7, i}, static_cast<std::size_t>(400 + i));
    }
  } else if (rank == peer) {
    take_token(0, kTokenTag, comms[0]);
    for (int i = 0; i < 3; ++i)
      send_filled(static_cast<std::size_t>(400 + i), i == 2 ? peer : 0, {peer, 7, i}, comms[i]);
  }
  MPI_Comm_free(&comms[1]);
  MPI_Comm_free(&comms[2]);
}

void proc_null() {
  Step step("MPI_PROC_NULL");
  Buffer message(1000);
  MPI_Status status;
  MPI_Send(message.data(), 1000, MPI_BYTE, MPI_PROC_NULL, 3, MPI_COMM_WORLD);
  MPI_Ssend(message.data(), 1000, MPI_BYTE, MPI_PROC_NULL, 3, MPI_COMM_WORLD);
  MPI_Recv(message.data(), 1000, MPI_BYTE, MPI_PROC_NULL, 3, MPI_COMM_WORLD, &status);
  expect_proc_null_status(status);
  MPI_Request requests[2];
  MPI_Irecv(message.data(), 1000, MPI_BYTE, MPI_PROC_NULL, MPI_ANY_TAG, MPI_COMM_WORLD, &requests[0]);
  MPI_Issend(message.data(), 1000, MPI_BYTE, MPI_PROC_NULL, 0, MPI_COMM_WORLD, &requests[1]);
  MPI_Wait(&requests[0], &status);
  expect_proc_null_status(status);
  MPI_Wait(&requests[1], &status);
  MPI_Probe(MPI_PROC_NULL, 3, MPI_COMM_WORLD, &status);
  expect_proc_null_status(status);
  int found = 0;
  MPI_Iprobe(MPI_PROC_NULL, 3, MPI_COMM_WORLD, &found, &status);
  expect(found, "MPI_Iprobe of MPI_PROC_NULL finds its empty message");
  expect_proc_null_status(status);
  MPI_Message handle;
  MPI_Mprobe(MPI_PROC_NULL, 3, MPI_COMM_WORLD, &handle, &status);
  expect(handle == MPI_MESSAGE_NO_PROC, "MPI_Mprobe of MPI_PROC_NULL gives MPI_MESSAGE_NO_PROC");
  MPI_Mrecv(message.data(), 1000, MPI_BYTE, &handle, &status);
  expect_proc_null_status(status);
  expect(handle == MPI_MESSAGE_NULL, "MPI_Mrecv nulls the handle");
  message.expect_untouched_from(0);
}

// Wildcard receives are pending on the communicator while collectives of all sizes run on it.
void pending_during_collectives(int rank, int size) {
  Step step("MPI_ANY_TAG receives pending during collectives");
  constexpr int kPending = 8;
  constexpr int kRounds = 20;
  std::vector<Buffer> buffers(kPending, Buffer(70000));
  std::vector<MPI_Request> requests;
  for (Buffer& buffer : buffers)
    requests.push_back(irecv(buffer, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD));
  for (int round = 0; round < kRounds; ++round) {
    MPI_Barrier(MPI_COMM_WORLD);
    for (const int count : {0, 1, 700, 9000}) {
      std::vector<int> mine(static_cast<std::size_t>(count), rank + round), sum(mine.size(), -1);
      MPI_Allreduce(mine.data(), sum.data(), count, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
      for (const int value : sum)
        expect_equal(size * (size - 1) / 2 + size * round, value, "sum over all ranks");
      Buffer shared(static_cast<std::size_t>(count));
      const int root = round % size;
      if (rank == root) shared.fill({root, count, round});
      MPI_Request request;
      MPI_Ibcast(shared.data(), count, MPI_BYTE, root, MPI_COMM_WORLD, &request);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
      shared.expect_message({root, count, round});
    }
    int done = 0, index = 0;
    MPI_Testany(kPending, requests.data(), &index, &done, MPI_STATUS_IGNORE);
    expect(!done, "no user receive matched a message of a collective");
    MPI_Barrier(MPI_COMM_WORLD);  // no rank sends again while another one still checks
  }
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  for (int i = 0; i < kPending; ++i)
    send_filled(static_cast<std::size_t>(i * 10000), to, {rank, i, i}, MPI_COMM_WORLD);
  for (int i = 0; i < kPending; ++i) {
    const auto at = static_cast<std::size_t>(i);
    expect_arrived(requests[at], buffers[at], {from, i, i}, i * 10000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 3);
  tags(program.rank, program.size);
  for (const bool unexpected : {false, true, false}) {
    first_posted_first(program.rank, unexpected);
    MPI_Barrier(MPI_COMM_WORLD);
  }
  communicators(program.rank, program.size);
  proc_null();
  MPI_Barrier(MPI_COMM_WORLD);
  pending_during_collectives(program.rank, program.size);
}
