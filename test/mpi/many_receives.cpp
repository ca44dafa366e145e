// More receives are posted than the provider takes (tcp;ofi_rxm: 2047 per endpoint). The refused ones wait. Meanwhile a
// message that only a waiting receive matches is received, rendezvous messages and probes work, and the order of messages
// holds. Then the same with noncontiguous receives, which the MTL bounds by their memory.
#include <numeric>

#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kReceives = 5000;
constexpr int kLong = 3 << 20;  // bytes of a rendezvous message
enum Tag { kWaitingLong = kReceives, kProbedShort, kProbedLong, kMatchedLong, kReceivedLong, kAbsent, kGo };

struct Posted {
  std::vector<int> values = std::vector<int>(kReceives, -1);
  std::vector<char> last = std::vector<char>(kLong);
  std::vector<MPI_Request> requests = std::vector<MPI_Request>(kReceives + 1);
};

std::vector<char> long_message(int tag) {
  std::vector<char> data(kLong);
  for (int i = 0; i < kLong; ++i)
    data[static_cast<std::size_t>(i)] = static_cast<char>(i * 7 + (i >> 9) + tag);
  return data;
}

void post(Posted& posted) {
  for (int tag = 0; tag < kReceives; ++tag)
    MPI_Irecv(&posted.values[static_cast<std::size_t>(tag)], 1, MPI_INT, 0, tag, MPI_COMM_WORLD,
              &posted.requests[static_cast<std::size_t>(tag)]);
  MPI_Irecv(posted.last.data(), kLong, MPI_BYTE, 0, kWaitingLong, MPI_COMM_WORLD,
            &posted.requests[kReceives]);
}

void send_long(int tag) {
  MPI_Send(long_message(tag).data(), kLong, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
}

void send_value(int tag) {
  MPI_Send(&tag, 1, MPI_INT, 1, tag, MPI_COMM_WORLD);
}

// Rank 0 first sends a message that matches only a receive behind thousands of others, and waits until it is received.
void sender() {
  int tag = kReceives - 1;
  MPI_Ssend(&tag, 1, MPI_INT, 1, tag, MPI_COMM_WORLD);
  send_long(kWaitingLong);  // by rendezvous, so that the send returns only after its match
  tag = kReceives - 2;
  MPI_Ssend(&tag, 1, MPI_INT, 1, tag, MPI_COMM_WORLD);
  send_value(kReceives -
             3);  // for a waiting receive, before the message that the MPI_ANY_TAG probe must find
  send_value(kProbedShort);
  send_long(kProbedLong);
  send_long(kMatchedLong);
  send_long(kReceivedLong);
  for (tag = kReceives - 4; tag >= 0; --tag) send_value(tag);
}

void receiver() {
  Posted posted;
  post(posted);
  MPI_Send(nullptr, 0, MPI_BYTE, 0, kGo, MPI_COMM_WORLD);
  MPI_Status status;
  MPI_Wait(&posted.requests[kReceives - 1], &status);
  expect_status(status, 0, kReceives - 1, sizeof(int));
  MPI_Wait(&posted.requests[kReceives], &status);
  expect_status(status, 0, kWaitingLong, kLong);
  expect(posted.last == long_message(kWaitingLong), "the long message for a waiting receive is complete");
  int found = 0;
  MPI_Iprobe(0, kAbsent, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
  expect(!found, "a probe for an absent message finds nothing");
  {
    Step step("a probe for any tag finds only what no receive waits for");
    MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    expect_status(status, 0, kProbedShort, sizeof(int));
    int value = 0;
    MPI_Recv(&value, 1, MPI_INT, 0, kProbedShort, MPI_COMM_WORLD, &status);
    expect_equal(static_cast<int>(kProbedShort), value, "what was probed");
  }
  std::vector<char> into(kLong);
  MPI_Probe(0, kProbedLong, MPI_COMM_WORLD, &status);
  expect_status(status, 0, kProbedLong, kLong);
  MPI_Recv(into.data(), kLong, MPI_BYTE, 0, kProbedLong, MPI_COMM_WORLD, &status);
  expect(into == long_message(kProbedLong), "the long message after a probe is complete");
  MPI_Message message;
  MPI_Mprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &message, &status);
  expect_status(status, 0, kMatchedLong, kLong);
  MPI_Mrecv(into.data(), kLong, MPI_BYTE, &message, &status);
  expect(into == long_message(kMatchedLong), "the long message of a matched probe is complete");
  MPI_Recv(into.data(), kLong, MPI_BYTE, 0, kReceivedLong, MPI_COMM_WORLD, &status);
  expect(into == long_message(kReceivedLong), "the long message that was received is complete");
  MPI_Waitall(kReceives, posted.requests.data(), MPI_STATUSES_IGNORE);
  for (int tag = 0; tag < kReceives; ++tag)
    expect_equal(tag, posted.values[static_cast<std::size_t>(tag)], "the value of a tag");
}

// Receives of one tag match in the order in which they were posted, whether they waited or not.
void in_order(int rank) {
  std::vector<int> values(kReceives);
  std::vector<MPI_Request> requests(kReceives);
  if (rank == 0) {
    MPI_Recv(nullptr, 0, MPI_BYTE, 1, kGo, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int i = 0; i < kReceives; ++i) MPI_Send(&i, 1, MPI_INT, 1, i % 3, MPI_COMM_WORLD);
    return;
  }
  for (int i = 0; i < kReceives; ++i) {
    const auto at = static_cast<std::size_t>(i);
    MPI_Irecv(&values[at], 1, MPI_INT, i % 2 ? MPI_ANY_SOURCE : 0, i % 5 == 1 ? MPI_ANY_TAG : i % 3,
              MPI_COMM_WORLD, &requests[at]);
  }
  MPI_Send(nullptr, 0, MPI_BYTE, 0, kGo, MPI_COMM_WORLD);
  MPI_Waitall(kReceives, requests.data(), MPI_STATUSES_IGNORE);
  // Message i has tag i % 3 and matches receive i: all older receives of that tag have got older messages.
  for (int i = 0; i < kReceives; ++i) expect_equal(i, values[static_cast<std::size_t>(i)], "order");
}

// Cancels receives that are posted and receives that wait.
void cancelled(int rank) {
  if (rank == 0) return;
  Posted posted;
  post(posted);
  for (auto& request : posted.requests) MPI_Cancel(&request);
  for (auto& request : posted.requests) {
    MPI_Status status;
    MPI_Wait(&request, &status);
    int is = 0;
    MPI_Test_cancelled(&status, &is);
    expect(is, "the receive is cancelled");
  }
}

// Noncontiguous receives of messages that are shorter than they are. The messages are sent eagerly, in the opposite
// order.
void noncontiguous(int rank) {
  constexpr int kCount = 1200, kBlocks = 16384, kSent = 400;  // integers
  MPI_Datatype gaps;
  MPI_Type_vector(kBlocks, 1, 2, MPI_INT, &gaps);
  MPI_Type_commit(&gaps);
  if (rank == 0) {
    MPI_Recv(nullptr, 0, MPI_BYTE, 1, kGo, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    std::vector<int> data(kSent);
    for (int tag = kCount - 1; tag >= 0; --tag) {
      std::iota(data.begin(), data.end(), tag);
      MPI_Send(data.data(), kSent, MPI_INT, 1, tag, MPI_COMM_WORLD);
    }
  } else {
    // Each receive has memory of its own for its message. The blocks behind it lie in shared memory, which no receive may
    // write.
    std::vector<std::vector<int>> into(kCount, std::vector<int>(2 * kSent, -1));
    std::vector<int> rest(2 * kBlocks);
    std::vector<MPI_Request> requests(kCount);
    std::vector<MPI_Datatype> types(kCount);
    for (int tag = 0; tag < kCount; ++tag) {
      const auto at = static_cast<std::size_t>(tag);
      const int lengths[] = {1, 1};
      MPI_Aint places[2];
      MPI_Get_address(into[at].data(), &places[0]);
      MPI_Get_address(rest.data(), &places[1]);
      MPI_Datatype first, parts[2];
      MPI_Type_vector(kSent, 1, 2, MPI_INT, &first);
      parts[0] = first, parts[1] = gaps;
      MPI_Type_create_struct(2, lengths, places, parts, &types[at]);
      MPI_Type_commit(&types[at]);
      MPI_Type_free(&first);
      MPI_Irecv(MPI_BOTTOM, 1, types[at], 0, tag, MPI_COMM_WORLD, &requests[at]);
    }
    MPI_Send(nullptr, 0, MPI_BYTE, 0, kGo, MPI_COMM_WORLD);
    std::vector<MPI_Status> statuses(kCount);
    MPI_Waitall(kCount, requests.data(), statuses.data());
    for (int tag = 0; tag < kCount; ++tag) {
      const auto at = static_cast<std::size_t>(tag);
      expect_status(statuses[at], 0, tag, kSent * static_cast<int>(sizeof(int)));
      for (int i = 0; i < kSent; ++i) {
        expect_equal(tag + i, into[at][static_cast<std::size_t>(2 * i)], "an integer of the message");
        expect_equal(-1, into[at][static_cast<std::size_t>(2 * i + 1)], "a gap");
      }
      MPI_Type_free(&types[at]);
    }
  }
  MPI_Type_free(&gaps);
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  const int rank = program.rank;
  if (rank == 0) {
    Step step("send to receives that wait");
    MPI_Recv(nullptr, 0, MPI_BYTE, 1, kGo, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    sender();
  } else {
    Step step("receive while receives wait");
    receiver();
  }
  {
    Step step("order");
    in_order(rank);
  }
  {
    Step step("cancel");
    cancelled(rank);
  }
  {
    Step step("noncontiguous");
    noncontiguous(rank);
  }
}
