// Signals that the program handles or ignores before it calls MPI_Init: its handlers stay in place, and messages work after
// the signals arrive. libfabric's shm installs handlers for some of them with its first endpoint; they unlink its memory.
//
// signals [session]   session: a session first (Open MPI 5.0), then MPI_Init
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kHandled[] = {SIGTERM, SIGSEGV, SIGBUS, SIGABRT};
volatile std::sig_atomic_t came[64];

void count(int number) {
  came[number] = came[number] + 1;
}
void count_with_info(int number, siginfo_t*, void*) {
  count(number);
}

void install() {
  for (const int number : kHandled) {
    struct sigaction action = {};
    if (number == SIGTERM)
      action.sa_handler = count;
    else
      action.sa_sigaction = count_with_info;
    action.sa_flags = (number == SIGTERM ? SA_RESTART : SA_SIGINFO) | (number == SIGBUS ? SA_ONSTACK : 0);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(number, &action, nullptr);
  }
  std::signal(SIGINT, SIG_IGN);
}

// All handlers are as the program installed them, with flags and mask.
void expect_unchanged(const char* when) {
  for (const int number : kHandled) {
    Step step("signal %d %s", number, when);
    struct sigaction now = {};
    sigaction(number, nullptr, &now);
    if (number == SIGTERM)
      expect(now.sa_handler == count, "the program's handler is in place");
    else
      expect(now.sa_sigaction == count_with_info, "the program's handler is in place");
    const int flags = (number == SIGTERM ? SA_RESTART : SA_SIGINFO) | (number == SIGBUS ? SA_ONSTACK : 0);
    expect_equal(flags, now.sa_flags & (SA_RESTART | SA_SIGINFO | SA_ONSTACK), "flags");
    expect(sigismember(&now.sa_mask, SIGUSR2) == 1, "the program's mask is in place");
  }
  struct sigaction interrupt = {};
  sigaction(SIGINT, nullptr, &interrupt);
  expect(interrupt.sa_handler == SIG_IGN, "SIGINT is still ignored");
}

void raise_all() {
  for (const int number : kHandled) {
    const int before = came[number];
    raise(number);
    expect_equal(before + 1, static_cast<int>(came[number]), "calls of the program's handler");
  }
  raise(SIGINT);
}

// Exchanges short and long messages with every other rank.
void exchange(int rank, int size) {
  for (int distance = 1; distance < size; ++distance) {
    for (const int bytes : {8, 4000, 100000, 3000000}) {
      Step step("%d bytes over a distance of %d", bytes, distance);
      const int to = (rank + distance) % size, from = (rank + size - distance) % size;
      Buffer out(static_cast<std::size_t>(bytes)), in(static_cast<std::size_t>(bytes));
      out.fill({rank, bytes % 1000, distance});
      MPI_Sendrecv(out.data(), bytes, MPI_BYTE, to, 1, in.data(), bytes, MPI_BYTE, from, 1, MPI_COMM_WORLD,
                   MPI_STATUS_IGNORE);
      in.expect_message({from, bytes % 1000, distance});
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  install();
#if MPI_VERSION >= 4
  MPI_Session session = MPI_SESSION_NULL;
  if (argc > 1 && std::string_view(argv[1]) == "session")
    MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL, &session);
#endif
  {
    Program program(argc, argv, 2);
    expect_unchanged("after MPI_Init");
    raise_all();  // before the ranks of the node exchange their first messages
    exchange(program.rank, program.size);
    raise_all();
    exchange(program.rank, program.size);
    expect_unchanged("after messages");
  }
#if MPI_VERSION >= 4
  if (session != MPI_SESSION_NULL) MPI_Session_finalize(&session);
#endif
  for (const int number : kHandled) {
    const int before = came[number];
    raise(number);
    if (came[number] != before + 1) {
      std::fprintf(stderr, "signal %d does not reach the program after MPI_Finalize\n", number);
      return 1;
    }
  }
  return 0;
}
