// Everything at once: for a seeded random schedule that all ranks compute alike, every rank sends and
// receives messages of random sizes, modes, layouts and communicators, by random calls, posted in random
// order.
//
// random_traffic [SEED [ROUNDS]]   a failing seed repeats the schedule (not the timing)
#include <random>

#include "layouts.hpp"
#include "modes.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kMessagesPerRound = 60;

struct Message {
  int from, to, tag;
  std::size_t comm;
  Mode mode;
  int elements;
  std::size_t from_layout, to_layout;
  enum class By { kReceiveFirst, kReceive, kMatchedProbe, kProbe } by;
};

std::vector<Message> make_round(std::mt19937& random, int size, std::size_t comms, std::size_t layouts) {
  std::vector<Message> round;
  for (int tag = 0; tag < kMessagesPerRound; ++tag) {
    Message m;
    m.from = static_cast<int>(random() % static_cast<unsigned>(size));
    m.to = static_cast<int>(random() % static_cast<unsigned>(size));
    m.tag = tag;  // unique in its round: any order of receiving is right
    m.comm = random() % comms;
    m.mode = kModes[random() % kModes.size()];
    constexpr unsigned kLimits[] = {2, 4, 30, 200, 1500, 4000, 30000};
    m.elements = static_cast<int>(random() % kLimits[random() % 7]);
    m.from_layout = random() % 2 ? 0 : random() % layouts;  // half of them contiguous
    m.to_layout = random() % 2 ? 0 : random() % layouts;
    m.by = static_cast<Message::By>(random() % 4);
    if (m.mode == Mode::kReady) m.by = Message::By::kReceiveFirst;
    round.push_back(m);
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
    for (std::size_t i = 0; i < messages_.size(); ++i)
      if (messages_[i].to == rank_ && messages_[i].by == Message::By::kReceiveFirst) post(i);
    MPI_Barrier(MPI_COMM_WORLD);  // ready sends may start
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
  }

 private:
  std::unique_ptr<Arena>& arena(std::size_t i, bool receiver) {
    const Message& m = messages_[i];
    std::unique_ptr<Arena>& arena = arenas_[2 * i + receiver];
    if (!arena) arena = std::make_unique<Arena>(layouts_[receiver ? m.to_layout : m.from_layout], m.elements);
    return arena;
  }

  void post(std::size_t i) {
    const Message& m = messages_[i];
    MPI_Request request;
    MPI_Irecv(arena(i, true)->origin(), m.elements, layouts_[m.to_layout].type,
              m.tag % 2 ? m.from : MPI_ANY_SOURCE, m.tag, comms_[m.comm], &request);
    requests_.push_back(request);
    posted_.push_back(i);
  }

  void start(std::size_t i) {
    const Message& m = messages_[i];
    arena(i, false)->fill({m.from, m.tag, number_});
    requests_.push_back(isend(m.mode, arena(i, false)->origin(), m.elements, layouts_[m.from_layout].type,
                              m.to, m.tag, comms_[m.comm]));
    posted_.push_back(messages_.size());  // not a receive
  }

  void receive(std::size_t i) {
    const Message& m = messages_[i];
    Step step("message %d of %d elements from %d to %d, %s, %s", m.tag, m.elements, m.from, m.to,
              name(m.mode), layouts_[m.to_layout].name.c_str());
    const MPI_Datatype type = layouts_[m.to_layout].type;
    void* origin = arena(i, true)->origin();
    const int source = m.tag % 3 ? m.from : MPI_ANY_SOURCE;
    MPI_Status status;
    if (m.by == Message::By::kReceive) return post(i);
    if (m.by == Message::By::kProbe) {
      MPI_Probe(source, m.tag, comms_[m.comm], &status);
      expect_status(status, m.from, m.tag, m.elements * kIntsPerElement, MPI_INT);
      MPI_Recv(origin, m.elements, type, m.from, m.tag, comms_[m.comm], &status);
    } else {
      MPI_Message handle;
      MPI_Mprobe(source, m.tag, comms_[m.comm], &handle, &status);
      expect_status(status, m.from, m.tag, m.elements * kIntsPerElement, MPI_INT);
      MPI_Mrecv(origin, m.elements, type, &handle, &status);
    }
    check(i, status);
  }

  void check(std::size_t i, const MPI_Status& status) {
    const Message& m = messages_[i];
    Step step("message %d of %d elements from %d to %d, %s, %s -> %s", m.tag, m.elements, m.from, m.to,
              name(m.mode), layouts_[m.from_layout].name.c_str(), layouts_[m.to_layout].name.c_str());
    expect_status(status, m.from, m.tag, m.elements, layouts_[m.to_layout].type);
    arena(i, true)->expect_message({m.from, m.tag, number_},
                                   static_cast<std::size_t>(m.elements) * kBytesPerElement);
  }

  int rank_, number_;
  const std::vector<Message>& messages_;
  const std::vector<MPI_Comm>& comms_;
  const std::vector<Layout>& layouts_;
  std::vector<std::unique_ptr<Arena>> arenas_;  // of message i: sender's at 2 i, receiver's at 2 i + 1
  std::vector<MPI_Request> requests_;
  std::vector<std::size_t> posted_;  // per request: its message, or one past the last for a send
};

}  // namespace

int main(int argc, char** argv) {
  Program program(argc, argv, 1);
  BufferedSpace space(200 << 20);
  const unsigned seed = argc > 1 ? static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10)) : 1;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 60;
  std::vector<MPI_Comm> comms(4, MPI_COMM_WORLD);
  for (std::size_t i = 1; i < comms.size(); ++i) MPI_Comm_dup(MPI_COMM_WORLD, &comms[i]);
  std::vector<Layout> layouts = make_layouts();
  std::mt19937 shared_random(seed), own_random(seed + static_cast<unsigned>(program.rank) + 1);
  for (int number = 0; number < rounds; ++number) {
    Step step("seed %u, round %d", seed, number);
    const std::vector<Message> messages =
        make_round(shared_random, program.size, comms.size(), layouts.size());
    Round(program.rank, number, messages, comms, layouts).run(own_random);
    if (number % 7 == 0) MPI_Barrier(comms[1]);
  }
  for (Layout& layout : layouts) MPI_Type_free(&layout.type);
  for (std::size_t i = 1; i < comms.size(); ++i) MPI_Comm_free(&comms[i]);
}
