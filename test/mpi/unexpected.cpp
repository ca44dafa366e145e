// Thousands of unexpected messages from several senders are received in shuffled order: by tag, by source, with wildcards,
// with probes. No message is lost, duplicated or exchanged for another.
#include <numeric>
#include <random>

#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kReadyTag = 100000;  // above all tags of the messages

int size_of(int source, int tag) {
  if (tag % 97 == 5) return 200000 + source;
  if (tag % 31 == 7) return 20000 + tag;
  return (tag * 13 + source) % 400;
}

void send_all(int rank, int messages) {
  std::vector<Buffer> data;
  std::vector<MPI_Request> requests(static_cast<std::size_t>(messages));
  for (int tag = 0; tag < messages; ++tag) {
    data.emplace_back(static_cast<std::size_t>(size_of(rank, tag)));
    data.back().fill({rank, tag});
    MPI_Isend(data.back().data(), data.back().count(), MPI_BYTE, 0, tag, MPI_COMM_WORLD,
              &requests[static_cast<std::size_t>(tag)]);
  }
  MPI_Send(nullptr, 0, MPI_BYTE, 0, kReadyTag, MPI_COMM_WORLD);
  MPI_Waitall(messages, requests.data(), MPI_STATUSES_IGNORE);
}

struct Expected {
  int source;
  int tag;
};

// Receives one message: how = 0 with MPI_Recv, 1 after MPI_Probe, 2 with a matched probe.
void receive_one(Expected expected, int how) {
  Step step("message from %d with tag %d, way %d", expected.source, expected.tag, how);
  const int bytes = size_of(expected.source, expected.tag);
  Buffer into(static_cast<std::size_t>(bytes + how));
  MPI_Status status;
  MPI_Message handle;
  switch (how) {
    case 1:
      MPI_Probe(expected.source, expected.tag, MPI_COMM_WORLD, &status);
      expect_status(status, expected.source, expected.tag, bytes);
      MPI_Recv(into.data(), into.count(), MPI_BYTE, expected.source, expected.tag, MPI_COMM_WORLD, &status);
      break;
    case 2:
      MPI_Mprobe(expected.source, expected.tag, MPI_COMM_WORLD, &handle, &status);
      expect_status(status, expected.source, expected.tag, bytes);
      MPI_Mrecv(into.data(), into.count(), MPI_BYTE, &handle, &status);
      break;
    default:
      MPI_Recv(into.data(), into.count(), MPI_BYTE, expected.source, expected.tag, MPI_COMM_WORLD, &status);
  }
  expect_status(status, expected.source, expected.tag, bytes);
  into.expect_message({expected.source, expected.tag}, static_cast<std::size_t>(bytes));
}

void receive_all(int size, int messages) {
  for (int source = 1; source < size; ++source)
    MPI_Recv(nullptr, 0, MPI_BYTE, source, kReadyTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  std::vector<Expected> expected;
  for (int source = 1; source < size; ++source)
    for (int tag = 0; tag < messages; ++tag) expected.push_back({source, tag});
  std::mt19937 random(11);
  std::shuffle(expected.begin(), expected.end(), random);
  const std::size_t half = expected.size() / 2;
  for (std::size_t i = 0; i < half; ++i) receive_one(expected[i], static_cast<int>(i % 3));

  // The rest with wildcards: those of one source arrive in the order in which they were sent, which is that of the tags.
  std::vector<Expected> rest(expected.begin() + static_cast<std::ptrdiff_t>(half), expected.end());
  std::vector<int> last(static_cast<std::size_t>(size), -1);
  std::vector<std::vector<bool>> open(static_cast<std::size_t>(size),
                                      std::vector<bool>(static_cast<std::size_t>(messages)));
  for (const Expected& each : rest)
    open[static_cast<std::size_t>(each.source)][static_cast<std::size_t>(each.tag)] = true;
  Buffer into(300000);
  for (std::size_t i = 0; i < rest.size(); ++i) {
    into.poison();
    MPI_Status status;
    MPI_Recv(into.data(), into.count(), MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    const int source = status.MPI_SOURCE, tag = status.MPI_TAG;
    Step step("wildcard receive %zu got source %d, tag %d", i, source, tag);
    expect(source > 0 && source < size && tag >= 0 && tag < messages,
           "source and tag are ones that were sent");
    auto is_open = open[static_cast<std::size_t>(source)][static_cast<std::size_t>(tag)];
    expect(is_open, "the message had not been received before");
    is_open = false;
    expect(tag > last[static_cast<std::size_t>(source)], "a source's messages come in the order of sending");
    last[static_cast<std::size_t>(source)] = tag;
    expect_status(status, source, tag, size_of(source, tag));
    into.expect_message({source, tag}, static_cast<std::size_t>(size_of(source, tag)));
  }
  int found = 0;
  MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
  expect(!found, "no message is left over");
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 3);
  constexpr int kMessages = 1200;  // per sender
  if (program.rank == 0)
    receive_all(program.size, kMessages);
  else
    send_all(program.rank, kMessages);
}
