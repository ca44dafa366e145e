// Random traffic: all ranks compute the same schedule from a seed. It has messages of random sizes, modes, layouts and
// communicators between random ranks, received with random calls in random order, and receives that are cancelled.
//
// random_traffic [SEED [ROUNDS [MIB [THREADS]]]]   the same seed gives the same schedule (not the same timing). ROUNDS may be
// a time, such as 900s. Some messages have up to MIB MiB (default: 1.4). Each of THREADS threads has a schedule and
// communicators of its own
#include <random>
#include <thread>

#include "layouts.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kMessagesPerRound = 60;
constexpr int kNeverSent = 5000;  // a tag

struct Message {
  int from, to, tag;
  std::size_t comm;
  Mode mode;
  int elements;
  std::size_t from_layout, to_layout;
  enum class By { kReceiveFirst, kReceive, kMatchedProbe, kProbe } by;
};

// `longest`: elements of the longest message.
std::vector<Message> make_round(std::mt19937& random, int size, std::size_t comms, std::size_t layouts,
                                int longest) {
  std::vector<Message> round;
  for (int tag = 0; tag < kMessagesPerRound; ++tag) {
    Message message;
    message.from = static_cast<int>(random() % static_cast<unsigned>(size));
    message.to = static_cast<int>(random() % static_cast<unsigned>(size));
    message.tag = tag;  // unique in its round: the messages may be received in any order
    message.comm = random() % comms;
    message.mode = kModes[random() % kModes.size()];
    constexpr unsigned kLimits[] = {2, 4, 30, 200, 1500, 4000, 30000};
    message.elements = static_cast<int>(random() % kLimits[random() % 7]);
    message.from_layout = random() % 2 ? 0 : random() % layouts;  // half of them contiguous
    message.to_layout = random() % 2 ? 0 : random() % layouts;
    message.by = static_cast<Message::By>(random() % 4);
    if (longest > 0 && random() % 300 == 0) {
      message.elements = static_cast<int>(random() % static_cast<unsigned>(longest));
      if (message.mode == Mode::kBuffered) message.mode = Mode::kStandard;
    }
    if (message.mode == Mode::kReady) message.by = Message::By::kReceiveFirst;
    round.push_back(message);
  }
  return round;
}

class Round {
 public:
  Round(int rank, int number, const std::vector<Message>& messages, const std::vector<MPI_Comm>& comms,
        const std::vector<Layout>& layouts)
      : rank_(rank), number_(number), messages_(messages), comms_(comms), layouts_(layouts) {}

  void run(std::mt19937& own_random) {
    arenas_.resize(messages_.size() * 2);
    char unused[2];
    MPI_Request cancelled[2];
    MPI_Irecv(&unused[0], 1, MPI_CHAR, MPI_ANY_SOURCE, kNeverSent, comms_[0], &cancelled[0]);
    MPI_Irecv(&unused[1], 1, MPI_CHAR, rank_, kNeverSent, comms_[0], &cancelled[1]);
    for (std::size_t i = 0; i < messages_.size(); ++i)
      if (messages_[i].to == rank_ && messages_[i].by == Message::By::kReceiveFirst) post(i);
    MPI_Barrier(comms_[0]);  // ready sends may start
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      if (messages_[i].from == rank_) start(i);
      if (messages_[i].to == rank_ && messages_[i].by != Message::By::kReceiveFirst) order.push_back(i);
    }
    std::shuffle(order.begin(), order.end(), own_random);
    for (const std::size_t i : order) receive(i);
    std::vector<MPI_Status> statuses(requests_.size());
    MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), statuses.data());
    for (std::size_t i = 0; i < requests_.size(); ++i)
      if (posted_[i] < messages_.size()) check(posted_[i], statuses[i]);
    for (MPI_Request& request : cancelled) {
      MPI_Status status;
      int was_cancelled = 0;
      MPI_Cancel(&request);
      MPI_Wait(&request, &status);
      MPI_Test_cancelled(&status, &was_cancelled);
      expect(was_cancelled, "a receive that nothing matches is cancelled");
    }
  }

 private:
  std::unique_ptr<Arena>& arena(std::size_t i, bool receiver) {
    const Message& message = messages_[i];
    std::unique_ptr<Arena>& arena = arenas_[2 * i + receiver];
    if (!arena)
      arena = std::make_unique<Arena>(layouts_[receiver ? message.to_layout : message.from_layout],
                                      message.elements);
    return arena;
  }

  void post(std::size_t i) {
    const Message& message = messages_[i];
    MPI_Request request;
    MPI_Irecv(arena(i, true)->origin(), message.elements, layouts_[message.to_layout].type,
              message.tag % 2 ? message.from : MPI_ANY_SOURCE, message.tag, comms_[message.comm], &request);
    requests_.push_back(request);
    posted_.push_back(i);
  }

  void start(std::size_t i) {
    const Message& message = messages_[i];
    arena(i, false)->fill({message.from, message.tag, number_});
    requests_.push_back(isend(message.mode, arena(i, false)->origin(), message.elements,
                              layouts_[message.from_layout].type, message.to, message.tag,
                              comms_[message.comm]));
    posted_.push_back(messages_.size());  // not a receive
  }

  void receive(std::size_t i) {
    const Message& message = messages_[i];
    Step step("message %d of %d elements from %d to %d, %s, %s", message.tag, message.elements, message.from,
              message.to, name(message.mode), layouts_[message.to_layout].name.c_str());
    const MPI_Datatype type = layouts_[message.to_layout].type;
    void* origin = arena(i, true)->origin();
    const int source = message.tag % 3 ? message.from : MPI_ANY_SOURCE;
    MPI_Status status;
    if (message.by == Message::By::kReceive) return post(i);
    if (message.by == Message::By::kProbe) {
      MPI_Probe(source, message.tag, comms_[message.comm], &status);
      expect_status(status, message.from, message.tag, message.elements * kIntsPerElement, MPI_INT);
      MPI_Recv(origin, message.elements, type, message.from, message.tag, comms_[message.comm], &status);
    } else {
      MPI_Message handle;
      MPI_Mprobe(source, message.tag, comms_[message.comm], &handle, &status);
      expect_status(status, message.from, message.tag, message.elements * kIntsPerElement, MPI_INT);
      MPI_Mrecv(origin, message.elements, type, &handle, &status);
    }
    check(i, status);
  }

  void check(std::size_t i, const MPI_Status& status) {
    const Message& message = messages_[i];
    Step step("message %d of %d elements from %d to %d, %s, %s -> %s", message.tag, message.elements,
              message.from, message.to, name(message.mode), layouts_[message.from_layout].name.c_str(),
              layouts_[message.to_layout].name.c_str());
    expect_status(status, message.from, message.tag, message.elements, layouts_[message.to_layout].type);
    arena(i, true)->expect_message({message.from, message.tag, number_},
                                   static_cast<std::size_t>(message.elements) * kBytesPerElement);
  }

  int rank_, number_;
  const std::vector<Message>& messages_;
  const std::vector<MPI_Comm>& comms_;
  const std::vector<Layout>& layouts_;
  std::vector<std::unique_ptr<Arena>> arenas_;  // of message i: sender's at 2 i, receiver's at 2 i + 1
  std::vector<MPI_Request> requests_;
  std::vector<std::size_t>
      posted_;  // per request: the message that it receives, or messages_.size() for a send
};

// What one thread does. Thread 0 uses MPI_COMM_WORLD among its communicators.
void run_schedule(const Program& program, unsigned seed, int rounds, double seconds, int longest,
                  const std::vector<MPI_Comm>& comms, const std::vector<Layout>& layouts) {
  std::mt19937 shared_random(seed), own_random(seed + static_cast<unsigned>(program.rank) + 1);
  const double end = MPI_Wtime() + seconds;
  for (int number = 0, more = 1; more; ++number) {
    Step step("seed %u, round %d", seed, number);
    const std::vector<Message> messages =
        make_round(shared_random, program.size, comms.size(), layouts.size(), longest);
    Round(program.rank, number, messages, comms, layouts).run(own_random);
    if (number % 7 == 0) MPI_Barrier(comms[1]);
    more = rounds > 0 ? number + 1 < rounds : MPI_Wtime() < end;
    if (rounds == 0) MPI_Bcast(&more, 1, MPI_INT, 0, comms[0]);
    if (rounds == 0 && !more && program.rank == 0) std::printf("seed %u: %d rounds\n", seed, number + 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 4 ? std::atoi(argv[4]) : 1;
  Program program(argc, argv, 1, threads > 1 ? MPI_THREAD_MULTIPLE : MPI_THREAD_SINGLE);
  BufferedSpace space(200 << 20);
  const unsigned seed = argc > 1 ? static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10)) : 1;
  const std::string length = argc > 2 ? argv[2] : "60";
  const bool timed = length.back() == 's';
  const int rounds = timed ? 0 : std::atoi(length.c_str());
  const double seconds = timed ? std::atof(length.c_str()) : 0;
  const int longest = argc > 3 ? (std::atoi(argv[3]) << 20) / kBytesPerElement : 0;
  std::vector<Layout> layouts = make_layouts();
  std::vector<std::vector<MPI_Comm>> comms(static_cast<std::size_t>(threads),
                                           std::vector<MPI_Comm>(4, MPI_COMM_WORLD));
  for (std::size_t thread = 0; thread < comms.size(); ++thread)
    for (std::size_t i = thread == 0 ? 1 : 0; i < comms[thread].size(); ++i)
      MPI_Comm_dup(MPI_COMM_WORLD, &comms[thread][i]);
  std::vector<std::thread> others;
  for (std::size_t thread = 1; thread < comms.size(); ++thread)
    others.emplace_back([&, thread] {
      run_schedule(program, seed + 1000 * static_cast<unsigned>(thread), rounds, seconds, longest,
                   comms[thread], layouts);
    });
  run_schedule(program, seed, rounds, seconds, longest, comms[0], layouts);
  for (std::thread& other : others) other.join();
  for (Layout& layout : layouts) MPI_Type_free(&layout.type);
  for (auto& of_thread : comms)
    for (MPI_Comm& comm : of_thread)
      if (comm != MPI_COMM_WORLD) MPI_Comm_free(&comm);
}
