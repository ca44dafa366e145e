// Calls that return one status do not change its MPI_ERROR field (MPI 4.0, 3.2.5): only calls that can return
// MPI_ERR_IN_STATUS write it. They set all other fields.
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kMark = 4711;

class Marked {
 public:
  Marked() { status_.MPI_ERROR = kMark; }
  MPI_Status* out() { return &status_; }
  void expect_kept(int tag, int bytes, const Location& at = Location::current()) {
    expect_equal(kMark, status_.MPI_ERROR, "MPI_ERROR in the status", at);
    expect_status(status_, 0, tag, bytes, MPI_BYTE, at);
  }

 private:
  MPI_Status status_{};
};

enum class Call {
  kProbe,
  kIprobe,
  kRecv,
  kWait,
  kTest,
  kWaitany,
  kTestany,
  kGetStatus,
  kMprobe,
  kImprobe,
  kSendrecv,
};
constexpr std::array kCallNames{"MPI_Probe",  "MPI_Iprobe",  "MPI_Recv",    "MPI_Wait",
                                "MPI_Test",   "MPI_Waitany", "MPI_Testany", "MPI_Request_get_status",
                                "MPI_Mprobe", "MPI_Improbe", "MPI_Sendrecv"};

void receive_matched(Buffer& in, MPI_Message message, int tag, bool blocking) {
  Marked status;
  if (blocking) {
    MPI_Mrecv(in.data(), in.count(), MPI_BYTE, &message, status.out());
  } else {
    MPI_Request request;
    MPI_Imrecv(in.data(), in.count(), MPI_BYTE, &message, &request);
    MPI_Wait(&request, status.out());
  }
  status.expect_kept(tag, in.count());
}

void complete(Call call, MPI_Request& request, Buffer& in, int tag) {
  Marked status;
  int done = 0, index = 0;
  if (call == Call::kWait) MPI_Wait(&request, status.out());
  if (call == Call::kWaitany) MPI_Waitany(1, &request, &index, status.out());
  while (call == Call::kTest && !done) MPI_Test(&request, &done, status.out());
  while (call == Call::kTestany && !done) MPI_Testany(1, &request, &index, &done, status.out());
  while (call == Call::kGetStatus && !done) MPI_Request_get_status(request, &done, status.out());
  status.expect_kept(tag, in.count());
  if (call == Call::kGetStatus) MPI_Wait(&request, MPI_STATUS_IGNORE);
}

void receive(Call call, Buffer& in, int source, int tag) {
  const int size = in.count();
  Marked status;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Request request;
  int found = 0;
  switch (call) {
    case Call::kProbe:
    case Call::kIprobe:
      if (call == Call::kProbe) MPI_Probe(source, tag, MPI_COMM_WORLD, status.out());
      while (call == Call::kIprobe && !found) MPI_Iprobe(source, tag, MPI_COMM_WORLD, &found, status.out());
      status.expect_kept(tag, size);
      MPI_Recv(in.data(), size, MPI_BYTE, source, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      break;
    case Call::kMprobe:
    case Call::kImprobe:
      if (call == Call::kMprobe) MPI_Mprobe(source, tag, MPI_COMM_WORLD, &message, status.out());
      while (call == Call::kImprobe && !found)
        MPI_Improbe(source, tag, MPI_COMM_WORLD, &found, &message, status.out());
      status.expect_kept(tag, size);
      receive_matched(in, message, tag, call == Call::kMprobe);
      break;
    case Call::kRecv:
      MPI_Recv(in.data(), size, MPI_BYTE, source, tag, MPI_COMM_WORLD, status.out());
      status.expect_kept(tag, size);
      break;
    case Call::kSendrecv:
      MPI_Sendrecv(nullptr, 0, MPI_BYTE, MPI_PROC_NULL, 0, in.data(), size, MPI_BYTE, source, tag,
                   MPI_COMM_WORLD, status.out());
      status.expect_kept(tag, size);
      break;
    default:
      MPI_Irecv(in.data(), size, MPI_BYTE, source, tag, MPI_COMM_WORLD, &request);
      complete(call, request, in, tag);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2);
  if (program.rank > 1) return 0;
  int tag = 10;
  for (std::size_t call = 0; call < kCallNames.size(); ++call)
    for (const int bytes : {0, 8, 1000, 20000, 300000})
      for (const bool any_source : {false, true}) {
        Step step("%s, %d bytes%s", kCallNames[call], bytes, any_source ? ", MPI_ANY_SOURCE" : "");
        ++tag;
        Buffer message(static_cast<std::size_t>(bytes));
        if (program.rank == 0) {
          message.fill({0, tag});
          MPI_Send(message.data(), bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
        } else {
          receive(static_cast<Call>(call), message, any_source ? MPI_ANY_SOURCE : 0, tag);
          message.expect_message({0, tag});
        }
      }
}
