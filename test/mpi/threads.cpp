// MPI_THREAD_MULTIPLE: threads of two or more processes use one communicator at the same time: each thread with a tag of
// its own, all threads with one tag, wildcards, probes, and collectives on other communicators. No message is lost,
// duplicated, corrupted, or out of order with regard to others of its thread.
#include <atomic>
#include <thread>

#include "check.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kThreads = 4;

template <class Work>
void in_threads(const Work& work) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back([&work, thread] { work(thread); });
  for (std::thread& thread : threads) thread.join();
}

int size_of(int i) {
  return i % 50 == 0 ? 100000 + i : i % 12 == 0 ? 9000 + i : i % 200;
}

// Each thread exchanges messages with the thread of the same number on the next rank, in both directions, in order.
void own_tags(int rank, int size) {
  constexpr int kMessages = 800;
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  in_threads([&](int thread) {
    Step step("tags of their own, thread %d", thread);
    for (int i = 0; i < kMessages; ++i) {
      const int bytes = size_of(i + thread);
      Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
      out.fill({rank, thread, i});
      MPI_Request request = isend(i % 7 ? Mode::kStandard : Mode::kSynchronous, out.data(), bytes, MPI_BYTE,
                                  to, thread, MPI_COMM_WORLD);
      MPI_Status status;
      MPI_Recv(in.data(), bytes, MPI_BYTE, i % 2 ? from : MPI_ANY_SOURCE, thread, MPI_COMM_WORLD, &status);
      MPI_Wait(&request, MPI_STATUS_IGNORE);
      expect_status(status, from, thread, bytes);
      in.expect_message({from, thread, i});
    }
  });
}

// Header of a message that any thread may receive: its sender, and its number among that sender's messages.
struct Header {
  int thread;
  int sequence;
};

// All threads of all ranks send to rank 0, whose threads receive any message, in the way of `how`; each message once.
enum class How { kReceive, kMatchedProbe, kImprobe };

void shared_tag(int rank, int size, How how) {
  constexpr int kMessages = 400;  // per sending thread
  constexpr int kTag = 50;
  const int total = kMessages * kThreads * (size - 1);
  std::vector<std::atomic<int>> seen(static_cast<std::size_t>(kMessages * kThreads * size));
  std::atomic<int> taken{0};
  in_threads([&](int thread) {
    Step step("one tag for all, way %d, thread %d", static_cast<int>(how), thread);
    if (rank != 0) {
      for (int i = 0; i < kMessages; ++i) {
        Buffer message(sizeof(Header) + static_cast<std::size_t>(size_of(i)));
        const Header header{thread, i};
        fill_pattern(message.bytes() + sizeof header, message.size() - sizeof header, {rank, thread, i});
        std::memcpy(message.data(), &header, sizeof header);
        MPI_Send(message.data(), message.count(), MPI_BYTE, 0, kTag, MPI_COMM_WORLD);
      }
      return;
    }
    while (taken.fetch_add(1) < total) {
      Buffer message(sizeof(Header) + 200000);
      MPI_Status status;
      if (how == How::kReceive) {
        MPI_Recv(message.data(), message.count(), MPI_BYTE, MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &status);
      } else {
        MPI_Message handle = MPI_MESSAGE_NULL;
        if (how == How::kMatchedProbe) {
          MPI_Mprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &handle, &status);
        } else {
          for (int found = 0; !found;)
            MPI_Improbe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &found, &handle, &status);
        }
        MPI_Mrecv(message.data(), message.count(), MPI_BYTE, &handle, &status);
      }
      int bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      Header header;
      std::memcpy(&header, message.data(), sizeof header);
      const int source = status.MPI_SOURCE;
      expect(source > 0 && source < size && header.thread >= 0 && header.thread < kThreads &&
                 header.sequence >= 0 && header.sequence < kMessages,
             "the header names a message that was sent");
      expect_equal(static_cast<int>(sizeof header) + size_of(header.sequence), bytes,
                   "length of the message");
      expect_pattern(message.bytes() + sizeof header, static_cast<std::size_t>(size_of(header.sequence)),
                     {source, header.thread, header.sequence});
      message.expect_untouched_from(static_cast<std::size_t>(bytes));
      const int index = (source * kThreads + header.thread) * kMessages + header.sequence;
      expect_equal(0, seen[static_cast<std::size_t>(index)].fetch_add(1),
                   "times the message had come before");
    }
  });
}

// Two threads exchange messages and two run collectives, one of them on communicators that it creates and frees.
void beside_collectives(int rank, int size) {
  std::vector<MPI_Comm> comms(kThreads);
  for (MPI_Comm& comm : comms) MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  const int to = (rank + 1) % size, from = (rank + size - 1) % size;
  in_threads([&](int thread) {
    Step step("beside collectives, thread %d", thread);
    const MPI_Comm comm = comms[static_cast<std::size_t>(thread)];
    for (int i = 0; i < 200; ++i) {
      if (thread < 2) {
        Buffer out(static_cast<std::size_t>(size_of(i))), in(200000);
        out.fill({rank, thread, i});
        MPI_Status status;
        MPI_Sendrecv(out.data(), size_of(i), MPI_BYTE, to, thread, in.data(), in.count(), MPI_BYTE,
                     MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &status);
        expect_status(status, from, thread, size_of(i));
        in.expect_message({from, thread, i}, static_cast<std::size_t>(size_of(i)));
        continue;
      }
      int sum = 0;
      const int value = rank * i;
      MPI_Allreduce(&value, &sum, 1, MPI_INT, MPI_SUM, comm);
      expect_equal(size * (size - 1) / 2 * i, sum, "sum over all ranks");
      Buffer shared(static_cast<std::size_t>(size_of(i)));
      if (rank == i % size) shared.fill({i % size, thread, i});
      MPI_Bcast(shared.data(), size_of(i), MPI_BYTE, i % size, comm);
      shared.expect_message({i % size, thread, i});
    }
  });
  for (MPI_Comm& comm : comms) MPI_Comm_free(&comm);
}

// One thread waits for the peer's last message while another thread exchanges messages with the peer.
void waiting_beside_working(int rank) {
  constexpr int kLastTag = 90;
  constexpr int kRounds = 50;
  if (rank > 1) return;
  const int peer = 1 - rank;
  for (int round = 0; round < kRounds; ++round) {
    std::thread waiter([&] {
      Step step("waiter, round %d", round);
      Buffer last(5000);
      MPI_Recv(last.data(), 5000, MPI_BYTE, peer, kLastTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      last.expect_message({peer, kLastTag, round});
    });
    Step step("worker, round %d", round);
    for (int i = 0; i < 20; ++i) {
      int value = i;
      MPI_Sendrecv_replace(&value, 1, MPI_INT, peer, 91, peer, 91, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      expect_equal(i, value, "value from the peer");
    }
    Buffer last(5000);
    last.fill({rank, kLastTag, round});
    MPI_Send(last.data(), 5000, MPI_BYTE, peer, kLastTag, MPI_COMM_WORLD);
    waiter.join();
  }
}

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 2, MPI_THREAD_MULTIPLE);
  own_tags(program.rank, program.size);
  for (const How how : {How::kReceive, How::kMatchedProbe, How::kImprobe}) {
    MPI_Barrier(MPI_COMM_WORLD);
    shared_tag(program.rank, program.size, how);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  beside_collectives(program.rank, program.size);
  waiting_beside_working(program.rank);
}
