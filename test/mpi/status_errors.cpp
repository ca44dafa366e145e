// One truncated message among others: MPI_Waitall, Testall, Waitsome, Testsome, Waitany and Testany report it as MPI
// specifies, in the right status, and the other messages arrive complete.
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kMessages = 7;
constexpr int kBad = 4;  // index of the message that is longer than its receive
constexpr int kFirstTag = 20;

enum class Call { kWaitall, kTestall, kWaitsome, kTestsome, kWaitany, kTestany };
constexpr std::array kCallNames{"MPI_Waitall",  "MPI_Testall", "MPI_Waitsome",
                                "MPI_Testsome", "MPI_Waitany", "MPI_Testany"};

class Receiver {
 public:
  explicit Receiver(int bytes) : bytes_(bytes) {
    for (int i = 0; i < kMessages; ++i) {
      buffers_.emplace_back(static_cast<std::size_t>(i == kBad ? bytes / 2 : bytes));
      MPI_Irecv(buffers_.back().data(), buffers_.back().count(), MPI_BYTE, 0, kFirstTag + i, MPI_COMM_WORLD,
                &requests_[static_cast<std::size_t>(i)]);
    }
  }

  void complete(Call call) {
    switch (call) {
      case Call::kWaitall:
      case Call::kTestall:
        all(call == Call::kTestall);
        break;
      case Call::kWaitsome:
      case Call::kTestsome:
        while (finished_ < kMessages) some(call == Call::kTestsome);
        break;
      default:
        while (finished_ < kMessages) any(call == Call::kTestany);
    }
    for (const MPI_Request request : requests_) expect(request == MPI_REQUEST_NULL, "all requests are freed");
  }

 private:
  void check_one(int index, int error, const MPI_Status& status) {
    Step step("message %d", index);
    Buffer& buffer = buffers_[static_cast<std::size_t>(index)];
    ++finished_;
    if (index == kBad) {
      expect_error(MPI_ERR_TRUNCATE, error, "error of the truncated message");
      expect_equal(kFirstTag + kBad, status.MPI_TAG, "tag in the status of the truncated message");
      buffer.expect_untouched_from(buffer.size());
    } else {
      expect_error(MPI_SUCCESS, error, "error of a message that was not truncated");
      expect_status(status, 0, kFirstTag + index, bytes_);
      buffer.expect_message({0, kFirstTag + index, bytes_});
    }
  }

  // After an error, MPI_Waitall may leave requests pending, marked as such.
  void all(bool test) {
    std::array<bool, kMessages> seen{};
    bool error_seen = false;
    while (finished_ < kMessages) {
      std::array<MPI_Status, kMessages> statuses;
      for (MPI_Status& status : statuses) status.MPI_ERROR = -1;
      int done = 1;
      const int code = test ? MPI_Testall(kMessages, requests_.data(), &done, statuses.data())
                            : MPI_Waitall(kMessages, requests_.data(), statuses.data());
      if (code == MPI_SUCCESS && !done) continue;
      error_seen |= code != MPI_SUCCESS;
      if (code != MPI_SUCCESS) expect_error(MPI_ERR_IN_STATUS, code, "result");
      for (int i = 0; i < kMessages; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const int error = code == MPI_SUCCESS ? MPI_SUCCESS : statuses[at].MPI_ERROR;
        if (seen[at] || error == MPI_ERR_PENDING) continue;
        seen[at] = true;
        check_one(i, error, statuses[at]);
      }
    }
    expect(error_seen, "the call returned MPI_ERR_IN_STATUS");
  }

  void some(bool test) {
    std::array<MPI_Status, kMessages> statuses;
    std::array<int, kMessages> indices;
    int count = 0;
    const int code = (test ? MPI_Testsome : MPI_Waitsome)(kMessages, requests_.data(), &count, indices.data(),
                                                          statuses.data());
    bool bad = false;
    for (int i = 0; i < count; ++i) bad |= indices[static_cast<std::size_t>(i)] == kBad;
    expect_error(bad ? MPI_ERR_IN_STATUS : MPI_SUCCESS, code, "result");
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      check_one(indices[at], code == MPI_SUCCESS ? MPI_SUCCESS : statuses[at].MPI_ERROR, statuses[at]);
    }
  }

  void any(bool test) {
    MPI_Status status;
    int index = MPI_UNDEFINED, done = 1;
    const int code = test ? MPI_Testany(kMessages, requests_.data(), &index, &done, &status)
                          : MPI_Waitany(kMessages, requests_.data(), &index, &status);
    if (done) check_one(index, code, status);
  }

  int bytes_;
  int finished_ = 0;
  std::vector<Buffer> buffers_;
  std::array<MPI_Request, kMessages> requests_;
};

void send_all(int bytes) {
  std::vector<Buffer> buffers;
  std::array<MPI_Request, kMessages> requests;
  for (int i = 0; i < kMessages; ++i) {
    buffers.emplace_back(static_cast<std::size_t>(bytes));
    buffers.back().fill({0, kFirstTag + i, bytes});
    MPI_Isend(buffers.back().data(), bytes, MPI_BYTE, 1, kFirstTag + i, MPI_COMM_WORLD,
              &requests[static_cast<std::size_t>(i)]);
  }
  std::array<MPI_Status, kMessages> statuses;
  expect_error(MPI_SUCCESS, MPI_Waitall(kMessages, requests.data(), statuses.data()),
               "MPI_Waitall of the sender");
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  for (const int bytes : {2, 100, 5000, 20000, 100000, 2000000})
    for (std::size_t call = 0; call < kCallNames.size(); ++call)
      for (const bool early : {true, false}) {
        Step step("%s, %d bytes, receives posted %s", kCallNames[call], bytes, early ? "early" : "late");
        if (program.rank == 0) {
          if (early) take_token(1, 1, MPI_COMM_WORLD);
          send_all(bytes);
        } else {
          if (!early) make_progress();
          Receiver receiver(bytes);
          if (early) give_token(0, 1, MPI_COMM_WORLD);
          receiver.complete(static_cast<Call>(call));
        }
      }
}
