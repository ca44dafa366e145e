// The calls that complete requests: MPI_Wait and MPI_Test, and their any, some and all forms, for any order of arrival,
// with null and inactive requests in the array; MPI_Request_get_status; requests freed while active; MPI_Sendrecv.
#include <random>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kMessages = 40;
constexpr int kTokenTag = 1;
constexpr int kFirstTag = 100;

int size_of(int i) {
  return i % 8 == 0 ? 150000 + i : i % 5 == 0 ? 20000 + i : i * 50;
}

enum class Call { kWait, kTest, kWaitany, kTestany, kWaitsome, kTestsome, kWaitall, kTestall, kGetStatus };
constexpr std::array kCallNames{"MPI_Wait",    "MPI_Test",     "MPI_Waitany",
                                "MPI_Testany", "MPI_Waitsome", "MPI_Testsome",
                                "MPI_Waitall", "MPI_Testall",  "MPI_Request_get_status"};

class Receiver {
 public:
  Receiver() {
    for (int i = 0; i < kMessages; ++i) {
      buffers_.emplace_back(static_cast<std::size_t>(size_of(i)));
      MPI_Irecv(buffers_.back().data(), size_of(i), MPI_BYTE, 0, kFirstTag + i, MPI_COMM_WORLD,
                &requests_[at(2 * i)]);
      requests_[at(2 * i + 1)] = MPI_REQUEST_NULL;  // every other request is null
    }
  }

  void complete(Call call) {
    constexpr int kCount = 2 * kMessages;
    std::array<MPI_Status, kCount> statuses;
    std::array<int, kCount> indices;
    int done = 0, index = 0, count = 0;
    while (finished_ < kMessages) {
      switch (call) {
        case Call::kWait:
          MPI_Wait(&requests_[at(2 * finished_)], &statuses[0]);
          arrived(2 * finished_, statuses[0]);
          break;
        case Call::kTest:
          MPI_Test(&requests_[at(2 * finished_)], &done, &statuses[0]);
          if (done) arrived(2 * finished_, statuses[0]);
          break;
        case Call::kGetStatus:
          MPI_Request_get_status(requests_[at(2 * finished_)], &done, &statuses[0]);
          if (!done) break;
          expect(requests_[at(2 * finished_)] != MPI_REQUEST_NULL,
                 "MPI_Request_get_status keeps the request");
          MPI_Wait(&requests_[at(2 * finished_)], MPI_STATUS_IGNORE);
          arrived(2 * finished_, statuses[0]);
          break;
        case Call::kWaitany:
          MPI_Waitany(kCount, requests_.data(), &index, &statuses[0]);
          arrived(index, statuses[0]);
          break;
        case Call::kTestany:
          MPI_Testany(kCount, requests_.data(), &index, &done, &statuses[0]);
          if (done) arrived(index, statuses[0]);
          break;
        case Call::kWaitsome:
        case Call::kTestsome:
          (call == Call::kWaitsome ? MPI_Waitsome : MPI_Testsome)(kCount, requests_.data(), &count,
                                                                  indices.data(), statuses.data());
          for (int i = 0; i < count; ++i) arrived(indices[at(i)], statuses[at(i)]);
          break;
        case Call::kWaitall:
        case Call::kTestall:
          done = 1;
          if (call == Call::kWaitall)
            MPI_Waitall(kCount, requests_.data(), statuses.data());
          else
            MPI_Testall(kCount, requests_.data(), &done, statuses.data());
          for (int i = 0; done && i < kCount; ++i) {
            if (i % 2 == 0)
              arrived(i, statuses[at(i)]);
            else
              expect_empty_status(statuses[at(i)]);
          }
      }
    }
    // Only null requests are left: every call must return at once and say so.
    MPI_Waitany(kCount, requests_.data(), &index, &statuses[0]);
    expect_equal(MPI_UNDEFINED, index, "index of MPI_Waitany of null requests");
    expect_empty_status(statuses[0]);
    MPI_Testsome(kCount, requests_.data(), &count, indices.data(), statuses.data());
    expect_equal(MPI_UNDEFINED, count, "count of MPI_Testsome of null requests");
    MPI_Testall(kCount, requests_.data(), &done, MPI_STATUSES_IGNORE);
    expect(done, "MPI_Testall of null requests is true");
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  void arrived(int index, const MPI_Status& status) {
    Step step("request %d", index);
    expect(index >= 0 && index < 2 * kMessages && index % 2 == 0, "only requests with a message complete");
    const int i = index / 2;
    expect(!seen_[at(i)], "a request completes once");
    seen_[at(i)] = true;
    ++finished_;
    expect(requests_[at(index)] == MPI_REQUEST_NULL, "completion nulls the request");
    expect_status(status, 0, kFirstTag + i, size_of(i));
    buffers_[at(i)].expect_message({0, kFirstTag + i});
  }

  int finished_ = 0;
  std::vector<Buffer> buffers_;
  std::array<bool, kMessages> seen_{};
  std::array<MPI_Request, 2 * kMessages> requests_;
};

void send_shuffled(unsigned seed) {
  std::array<int, kMessages> order;
  for (int i = 0; i < kMessages; ++i) order[static_cast<std::size_t>(i)] = i;
  std::mt19937 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<Buffer> messages;
  std::vector<MPI_Request> requests;
  for (const int i : order) {
    messages.emplace_back(static_cast<std::size_t>(size_of(i)));
    messages.back().fill({0, kFirstTag + i});
    requests.push_back(isend(i % 3 ? Mode::kStandard : Mode::kSynchronous, messages.back().data(), size_of(i),
                             MPI_BYTE, 1, kFirstTag + i, MPI_COMM_WORLD));
  }
  // The sender's requests complete through the same calls.
  for (std::size_t left = requests.size(); left > 0; --left) {
    int index = MPI_UNDEFINED;
    MPI_Waitany(static_cast<int>(requests.size()), requests.data(), &index, MPI_STATUS_IGNORE);
    expect(index != MPI_UNDEFINED, "MPI_Waitany finds every send");
  }
}

// Messages of sends that were freed at once arrive. A receive that was freed while active still receives.
void freed_while_active(int rank) {
  Step step("freed while active");
  std::vector<Buffer> messages;
  for (int i = 0; i < kMessages; ++i) messages.emplace_back(static_cast<std::size_t>(size_of(i)));
  if (rank == 0) {
    take_token(1, kTokenTag, MPI_COMM_WORLD);
    for (int i = 0; i < kMessages; ++i) {
      Buffer& message = messages[static_cast<std::size_t>(i)];
      message.fill({0, kFirstTag + i});
      MPI_Request request = isend(i % 2 ? Mode::kStandard : Mode::kSynchronous, message.data(), size_of(i),
                                  MPI_BYTE, 1, kFirstTag + i, MPI_COMM_WORLD);
      MPI_Request_free(&request);
      expect(request == MPI_REQUEST_NULL, "MPI_Request_free nulls the handle");
    }
    // A later message of the same tag tells the receiver that the freed receive is complete.
    for (int i = 0; i < kMessages; ++i) MPI_Ssend(nullptr, 0, MPI_BYTE, 1, kFirstTag + i, MPI_COMM_WORLD);
    take_token(1, kTokenTag, MPI_COMM_WORLD);
    return;
  }
  std::vector<MPI_Request> requests;
  for (int i = 0; i < kMessages; ++i) {
    MPI_Request request;
    Buffer& message = messages[static_cast<std::size_t>(i)];
    MPI_Irecv(message.data(), size_of(i), MPI_BYTE, 0, kFirstTag + i, MPI_COMM_WORLD, &request);
    // Only receives of short messages are freed: a program has no portable way to know when a long one is complete.
    if (size_of(i) < 2000 && i % 2)
      MPI_Request_free(&request);
    else
      requests.push_back(request);
  }
  give_token(0, kTokenTag, MPI_COMM_WORLD);
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  for (int i = 0; i < kMessages; ++i)
    MPI_Recv(nullptr, 0, MPI_BYTE, 0, kFirstTag + i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  make_progress(std::chrono::milliseconds(5));
  for (int i = 0; i < kMessages; ++i)
    messages[static_cast<std::size_t>(i)].expect_message({0, kFirstTag + i});
  give_token(0, kTokenTag, MPI_COMM_WORLD);
}

// MPI_Sendrecv does not deadlock, whatever the size.
void both_ways(int rank) {
  const int peer = 1 - rank;
  for (const int bytes : kSizes) {
    Step step("MPI_Sendrecv of %d bytes", bytes);
    Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
    out.fill({rank, bytes});
    MPI_Status status;
    MPI_Sendrecv(out.data(), bytes, MPI_BYTE, peer, 5, in.data(), bytes, MPI_BYTE, peer, 5, MPI_COMM_WORLD,
                 &status);
    expect_status(status, peer, 5, bytes);
    in.expect_message({peer, bytes});
    MPI_Sendrecv_replace(in.data(), bytes, MPI_BYTE, peer, 6, peer, 6, MPI_COMM_WORLD, &status);
    expect_status(status, peer, 6, bytes);
    in.expect_message({rank, bytes});  // this rank's message, returned by the peer
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  for (std::size_t call = 0; call < kCallNames.size(); ++call)
    for (const bool early : {true, false}) {
      Step step("%s, receives posted %s", kCallNames[call], early ? "early" : "late");
      if (program.rank == 0) {
        if (early) take_token(1, kTokenTag, MPI_COMM_WORLD);
        send_shuffled(static_cast<unsigned>(call));
      } else {
        if (!early) make_progress();
        Receiver receiver;
        if (early) give_token(0, kTokenTag, MPI_COMM_WORLD);
        receiver.complete(static_cast<Call>(call));
      }
    }
  freed_while_active(program.rank);
  both_ways(program.rank);
}
