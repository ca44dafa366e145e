// Messages between two ranks are received in the order in which they were sent, for all sizes and protocols, whether the
// receive or the message is first. All bytes of a message depend on its number.
#include <random>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;
constexpr int kTag = 70;

// The sizes of a stream: random, mostly small, the same on both sides.
std::vector<int> stream_sizes(int messages, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> sizes;
  for (int i = 0; i < messages; ++i) {
    const unsigned kind = random() % 20;
    const unsigned limit = kind == 0 ? 300000 : kind < 4 ? 70000 : kind < 10 ? 9000 : 70;
    sizes.push_back(static_cast<int>(random() % limit));
  }
  return sizes;
}

void receive_in_order(const std::vector<int>& sizes, int source, int tag, unsigned seed) {
  std::mt19937 random(seed);
  Buffer into(300000);
  for (int i = 0; i < static_cast<int>(sizes.size()); ++i) {
    const int bytes = sizes[static_cast<std::size_t>(i)];
    Step step("message %d of the stream, %d bytes", i, bytes);
    MPI_Status status;
    // Some receive buffers are as short as their message: a longer message that overtook it would be truncated.
    const int room = random() % 2 ? bytes : into.count();
    MPI_Recv(into.data(), room, MPI_BYTE, source, tag, MPI_COMM_WORLD, &status);
    expect_status(status, 0, kTag, bytes);
    expect_pattern(into.data(), static_cast<std::size_t>(bytes), {0, kTag, i});
  }
}

// Blocking sends of alternating modes, received one by one.
void blocking_stream(int rank, int source, int tag) {
  constexpr int kMessages = 1500;
  const std::vector<int> sizes = stream_sizes(kMessages, 1);
  if (rank == 1) return receive_in_order(sizes, source, tag, 2);
  for (int i = 0; i < kMessages; ++i) {
    Buffer message(static_cast<std::size_t>(sizes[static_cast<std::size_t>(i)]));
    message.fill({0, kTag, i});
    send(i % 7 == 3   ? Mode::kSynchronous
         : i % 5 == 2 ? Mode::kBuffered
                      : Mode::kStandard,
         message.data(), message.count(), MPI_BYTE, 1, kTag, MPI_COMM_WORLD);
  }
}

// All sends in progress at once, before the first receive is posted or after all are.
void nonblocking_stream(int rank, bool posted_first) {
  constexpr int kMessages = 600;
  const std::vector<int> sizes = stream_sizes(kMessages, 3);
  std::vector<Buffer> messages;
  std::vector<MPI_Request> requests(kMessages);
  for (const int bytes : sizes) messages.emplace_back(static_cast<std::size_t>(bytes));
  if (rank == 0) {
    if (posted_first) take_token(1, kTokenTag, MPI_COMM_WORLD);
    for (std::size_t i = 0; i < kMessages; ++i) {
      messages[i].fill({0, kTag, static_cast<int>(i)});
      MPI_Isend(messages[i].data(), sizes[i], MPI_BYTE, 1, kTag, MPI_COMM_WORLD, &requests[i]);
    }
    if (!posted_first) give_token(1, kTokenTag, MPI_COMM_WORLD);
    MPI_Waitall(kMessages, requests.data(), MPI_STATUSES_IGNORE);
  } else {
    if (!posted_first) take_token(0, kTokenTag, MPI_COMM_WORLD);
    for (std::size_t i = 0; i < kMessages; ++i)
      MPI_Irecv(messages[i].data(), sizes[i], MPI_BYTE, i % 3 ? 0 : MPI_ANY_SOURCE,
                i % 2 ? kTag : MPI_ANY_TAG, MPI_COMM_WORLD, &requests[i]);
    if (posted_first) give_token(0, kTokenTag, MPI_COMM_WORLD);
    std::vector<MPI_Status> statuses(kMessages);
    MPI_Waitall(kMessages, requests.data(), statuses.data());
    for (std::size_t i = 0; i < kMessages; ++i) {
      expect_status(statuses[i], 0, kTag, sizes[i]);
      messages[i].expect_message({0, kTag, static_cast<int>(i)});
    }
  }
}

// Ten thousand small sends before the first receive.
void burst(int rank, int size_limit) {
  constexpr int kMessages = 10000;
  const auto size_of = [&](int i) { return static_cast<std::size_t>(i * 7 % size_limit); };
  if (rank == 0) {
    std::vector<std::uint8_t> data(kMessages * static_cast<std::size_t>(size_limit));
    std::vector<MPI_Request> requests(kMessages);
    for (int i = 0; i < kMessages; ++i) {
      std::uint8_t* message = data.data() + static_cast<std::size_t>(i * size_limit);
      fill_pattern(message, size_of(i), {0, kTag, i});
      MPI_Isend(message, static_cast<int>(size_of(i)), MPI_BYTE, 1, kTag, MPI_COMM_WORLD,
                &requests[static_cast<std::size_t>(i)]);
    }
    MPI_Waitall(kMessages, requests.data(), MPI_STATUSES_IGNORE);
  } else {
    make_progress(std::chrono::milliseconds(20));
    for (int i = 0; i < kMessages; ++i) {
      Buffer into(static_cast<std::size_t>(size_limit));
      MPI_Status status;
      MPI_Recv(into.data(), into.count(), MPI_BYTE, 0, kTag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, kTag, static_cast<int>(size_of(i)));
      into.expect_message({0, kTag, i}, size_of(i));
    }
  }
}

// A large message, then a small one, which must not overtake it; receives posted before or after the sends.
void large_before_small(int rank) {
  for (const bool posted_first : {true, false})
    for (const int large : {9000, 70000, 2000000}) {
      Step step("%d bytes, then 4; receives posted %s", large, posted_first ? "first" : "last");
      Buffer first(static_cast<std::size_t>(large)), second(static_cast<std::size_t>(large));
      MPI_Request requests[2];
      MPI_Status statuses[2];
      if (rank == 0) {
        first.fill({0, kTag, large});
        second.fill({0, kTag, 4});
        if (posted_first) take_token(1, kTokenTag, MPI_COMM_WORLD);
        MPI_Isend(first.data(), large, MPI_BYTE, 1, kTag, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(second.data(), 4, MPI_BYTE, 1, kTag, MPI_COMM_WORLD, &requests[1]);
        if (!posted_first) give_token(1, kTokenTag, MPI_COMM_WORLD);
        MPI_Waitall(2, requests, statuses);
      } else {
        if (!posted_first) take_token(0, kTokenTag, MPI_COMM_WORLD);
        MPI_Irecv(first.data(), large, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &requests[0]);
        MPI_Irecv(second.data(), large, MPI_BYTE, MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &requests[1]);
        if (posted_first) give_token(0, kTokenTag, MPI_COMM_WORLD);
        MPI_Waitall(2, requests, statuses);
        expect_status(statuses[0], 0, kTag, large);
        expect_status(statuses[1], 0, kTag, 4);
        first.expect_message({0, kTag, large});
        second.expect_message({0, kTag, 4}, 4);
      }
    }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  BufferedSpace space(64 << 20);
  if (program.rank > 1) return 0;
  blocking_stream(program.rank, 0, kTag);
  blocking_stream(program.rank, MPI_ANY_SOURCE, MPI_ANY_TAG);
  nonblocking_stream(program.rank, true);
  nonblocking_stream(program.rank, false);
  burst(program.rank, 48);
  burst(program.rank, 1200);
  large_before_small(program.rank);
}
