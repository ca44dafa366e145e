// MPI_Probe and MPI_Iprobe: length, source and tag of messages of every size and mode; no message is found that was not
// sent; a probed message can be probed again, and probing does not change the order of receiving.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kTokenTag = 1;

// A number that ranks 0 and 1 share without MPI, so that waiting for it makes no progress; in the working directory,
// which emulated hosts (test/hosts) share.
class SharedNumber {
 public:
  explicit SharedNumber(int rank) {
    char name[] = "mtl_efa_probe_XXXXXX";
    const int file = rank == 0 ? mkstemp(name) : -1;
    if (rank == 0) {
      expect(ftruncate(file, sizeof(int)) == 0, "a file for a shared number");
      MPI_Send(name, sizeof name, MPI_CHAR, 1, kTokenTag, MPI_COMM_WORLD);
      map(file);
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      unlink(name);
      return;
    }
    MPI_Recv(name, sizeof name, MPI_CHAR, 0, kTokenTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    map(open(name, O_RDWR));
    give_token(0, kTokenTag, MPI_COMM_WORLD);
  }
  SharedNumber(const SharedNumber&) = delete;
  ~SharedNumber() { munmap(at_, sizeof(int)); }
  void set(int value) { __atomic_store_n(at_, value, __ATOMIC_RELEASE); }
  void wait_for(int value) const {
    while (__atomic_load_n(at_, __ATOMIC_ACQUIRE) != value) usleep(1000);
  }

 private:
  void map(int file) {
    at_ = static_cast<int*>(mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    expect(file >= 0 && at_ != MAP_FAILED, "both ranks map the shared number");
    close(file);
  }
  int* at_ = nullptr;
};

constexpr int kLength = 512;

// Whether dozens of messages of `kLength` bytes need no progress of their sender: not if test/efasim/protocols sets a lower
// eager limit, or ci/test a small memory for unmatched messages.
bool is_eager() {
  const char* limit = std::getenv("OMPI_MCA_mtl_efa_eager_limit");
  const char* memory = std::getenv("OMPI_MCA_mtl_efa_unexpected_memory");
  return (!limit || std::atoi(limit) >= kLength) && (!memory || std::atoi(memory) >= 1 << 20);
}

// The first MPI_Iprobe finds a message that has arrived, also behind completions that were not read yet. No rank makes
// progress in between, so all messages must be eager.
void first_probe_finds(int rank) {
  SharedNumber sent(rank);
  if (!is_eager()) return;
  int step = 0;
  for (const int sends : {0, 1, 40})
    for (const bool take : {false, true}) {
      Step where("the first probe, behind %d sends of its own", sends);
      std::vector<char> data(kLength);
      ++step;
      if (rank == 0) {
        take_token(1, kTokenTag, MPI_COMM_WORLD);
        for (int i = 0; i < sends; ++i)
          MPI_Recv(data.data(), kLength, MPI_CHAR, 1, 40, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(data.data(), 8, MPI_CHAR, 1, 41, MPI_COMM_WORLD);
        sent.set(step);
        continue;
      }
      give_token(0, kTokenTag, MPI_COMM_WORLD);
      std::vector<char> bytes(kLength);
      std::vector<MPI_Request> requests(static_cast<std::size_t>(sends));
      for (MPI_Request& request : requests)
        MPI_Isend(bytes.data(), kLength, MPI_CHAR, 0, 40, MPI_COMM_WORLD, &request);
      sent.wait_for(step);
      usleep(20000);  // the sender's provider may still transmit after MPI_Send
      int found = 0;
      MPI_Message message = MPI_MESSAGE_NULL;
      if (take)
        MPI_Improbe(0, 41, MPI_COMM_WORLD, &found, &message, MPI_STATUS_IGNORE);
      else
        MPI_Iprobe(0, 41, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(found, "the first probe finds a message that has arrived");
      if (take)
        MPI_Mrecv(data.data(), 8, MPI_CHAR, &message, MPI_STATUS_IGNORE);
      else
        MPI_Recv(data.data(), 8, MPI_CHAR, 0, 41, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      MPI_Waitall(sends, requests.data(), MPI_STATUSES_IGNORE);
    }
}

void every_mode_and_size(int rank) {
  int tag = 10;
  for (const Mode mode : {Mode::kStandard, Mode::kSynchronous, Mode::kBuffered})
    for (const int bytes : kSizes) {
      Step step("%s send of %d bytes", name(mode), bytes);
      ++tag;
      Buffer message(static_cast<std::size_t>(bytes));
      if (rank == 0) {
        message.fill({0, tag});
        send(mode, message.data(), bytes, MPI_BYTE, 1, tag, MPI_COMM_WORLD);
        continue;
      }
      const int source = tag % 2 ? 0 : MPI_ANY_SOURCE;
      const int wanted = tag % 3 ? tag : MPI_ANY_TAG;
      MPI_Status status;
      if (tag % 5) {
        MPI_Probe(source, wanted, MPI_COMM_WORLD, &status);
      } else {
        int found = 0;
        while (!found) MPI_Iprobe(source, wanted, MPI_COMM_WORLD, &found, &status);
      }
      expect_status(status, 0, tag, bytes);
      int found = 0;
      MPI_Iprobe(0, tag + 1000, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(!found, "a tag that was not sent is not found");
      MPI_Iprobe(1, MPI_ANY_TAG, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(!found, "a source that did not send is not found");
      for (int again = 0; again < 3; ++again) {
        MPI_Iprobe(0, tag, MPI_COMM_WORLD, &found, &status);
        expect(found, "a message is found by every probe");
        expect_status(status, 0, tag, bytes);
      }
      MPI_Recv(message.data(), bytes, MPI_BYTE, 0, tag, MPI_COMM_WORLD, &status);
      expect_status(status, 0, tag, bytes);
      message.expect_message({0, tag});
      MPI_Iprobe(0, tag, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
      expect(!found, "a received message is not found any more");
    }
}

// A small message with tag 5, then a large one with tag 6. A probe of the later one must not change the order: MPI_ANY_TAG
// receives the earlier one first.
void order_is_kept(int rank) {
  for (const int large : {100, 9000, 70000, 2000000})
    for (const bool matching_first : {true, false}) {
      Step step("probe of the later message of %d bytes", large);
      Buffer small(30), big(static_cast<std::size_t>(large));
      if (rank == 0) {
        small.fill({0, 5, large});
        big.fill({0, 6, large});
        MPI_Request requests[2];
        MPI_Isend(small.data(), 30, MPI_BYTE, 1, 5, MPI_COMM_WORLD, &requests[0]);
        MPI_Isend(big.data(), large, MPI_BYTE, 1, 6, MPI_COMM_WORLD, &requests[1]);
        MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
        continue;
      }
      MPI_Status status;
      MPI_Probe(0, 6, MPI_COMM_WORLD, &status);
      expect_status(status, 0, 6, large);
      MPI_Probe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      expect_status(status, 0, 5, 30);
      if (matching_first) {
        MPI_Recv(big.data(), large, MPI_BYTE, 0, 6, MPI_COMM_WORLD, &status);
        expect_status(status, 0, 6, large);
      }
      MPI_Recv(small.data(), 30, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
      expect_status(status, 0, 5, 30);
      if (!matching_first) {
        MPI_Recv(big.data(), large, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
        expect_status(status, 0, 6, large);
      }
      small.expect_message({0, 5, large});
      big.expect_message({0, 6, large});
    }
}

// A message that matches a posted receive is not found by a probe.
void posted_receive_wins(int rank) {
  for (const int bytes : {0, 8, 20000, 500000}) {
    Step step("receive of %d bytes posted before", bytes);
    Buffer message(static_cast<std::size_t>(bytes));
    if (rank == 0) {
      message.fill({0, 7, bytes});
      take_token(1, kTokenTag, MPI_COMM_WORLD);
      MPI_Send(message.data(), bytes, MPI_BYTE, 1, 7, MPI_COMM_WORLD);
      MPI_Send(nullptr, 0, MPI_BYTE, 1, 8, MPI_COMM_WORLD);
      continue;
    }
    MPI_Request request;
    MPI_Status status;
    MPI_Irecv(message.data(), bytes, MPI_BYTE, 0, 7, MPI_COMM_WORLD, &request);
    give_token(0, kTokenTag, MPI_COMM_WORLD);
    MPI_Probe(0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
    expect_status(status, 0, 8, 0);
    int found = 0;
    MPI_Iprobe(0, 7, MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE);
    expect(!found, "a message with a posted receive is not probed");
    MPI_Recv(nullptr, 0, MPI_BYTE, 0, 8, MPI_COMM_WORLD, &status);
    MPI_Wait(&request, &status);
    expect_status(status, 0, 7, bytes);
    message.expect_message({0, 7, bytes});
  }
}

// Probe, allocate, receive: messages of unknown size from any number of senders.
void unknown_sizes(int rank, int size) {
  Step step("messages of unknown sizes from all ranks");
  constexpr int kMessages = 60;
  const auto size_of = [](int source, int i) { return (i * i * 37 + source * 11) % 30000; };
  if (rank != 0) {
    for (int i = 0; i < kMessages; ++i) {
      Buffer message(static_cast<std::size_t>(size_of(rank, i)));
      message.fill({rank, 9, i});
      MPI_Send(message.data(), message.count(), MPI_BYTE, 0, 9, MPI_COMM_WORLD);
    }
    return;
  }
  std::vector<int> next(static_cast<std::size_t>(size));
  for (int received = 0; received < kMessages * (size - 1); ++received) {
    MPI_Status status;
    MPI_Probe(MPI_ANY_SOURCE, 9, MPI_COMM_WORLD, &status);
    const int source = status.MPI_SOURCE, i = next[static_cast<std::size_t>(source)]++;
    const int bytes = size_of(source, i);
    expect_status(status, source, 9, bytes);
    Buffer message(static_cast<std::size_t>(bytes));
    MPI_Recv(message.data(), bytes, MPI_BYTE, source, 9, MPI_COMM_WORLD, &status);
    expect_status(status, source, 9, bytes);
    message.expect_message({source, 9, i});
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 3);
  BufferedSpace space(8 << 20);
  if (program.rank < 2) {
    first_probe_finds(program.rank);
    every_mode_and_size(program.rank);
    order_is_kept(program.rank);
    posted_receive_wins(program.rank);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  unknown_sizes(program.rank, program.size);
}
