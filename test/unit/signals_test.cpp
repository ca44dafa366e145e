// Signal handlers and the opening of endpoints: handlers of the program are restored; without one, the provider's handler
// stays until the last endpoint is closed.
#include "fabric/signals.hpp"

#include "catch.hpp"

namespace {

void of_program(int) {}
void of_provider(int, siginfo_t*, void*) {}
void of_mpi(int) {}
void of_program_later(int) {}
bool is_of_mpi(const void* handler) {
  return handler == reinterpret_cast<const void*>(of_mpi);
}

struct sigaction action(void (*handler)(int), int flags = 0) {
  struct sigaction result = {};
  result.sa_handler = handler;
  result.sa_flags = flags;
  sigemptyset(&result.sa_mask);
  return result;
}
void set(int number, const struct sigaction& to) {
  REQUIRE(sigaction(number, &to, nullptr) == 0);
}
struct sigaction get(int number) {
  struct sigaction now;
  REQUIRE(sigaction(number, nullptr, &now) == 0);
  return now;
}
void provider_installs(int number) {
  struct sigaction taken = action(nullptr, SA_SIGINFO | SA_ONSTACK);
  taken.sa_sigaction = of_provider;
  set(number, taken);
}
bool is_of_provider(int number) {
  const struct sigaction now = get(number);
  return (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == of_provider;
}

// Sets the default dispositions, and restores the previous ones at the end: Catch2 has handlers of its own.
struct DefaultDispositions {
  static constexpr int kUsed[] = {SIGTERM, SIGINT, SIGBUS, SIGSEGV};
  struct sigaction before[4];
  DefaultDispositions() {
    for (int i = 0; i < 4; ++i) {
      before[i] = get(kUsed[i]);
      set(kUsed[i], action(SIG_DFL));
    }
  }
  ~DefaultDispositions() {
    efa::release_signals();
    for (int i = 0; i < 4; ++i) set(kUsed[i], before[i]);
  }
};

}  // namespace

TEST_CASE("the program's handlers and SIG_IGN are restored, with flags and mask") {
  DefaultDispositions dispositions;
  struct sigaction handled = action(of_program, SA_RESTART);
  sigaddset(&handled.sa_mask, SIGUSR2);
  set(SIGTERM, handled);
  set(SIGINT, action(SIG_IGN));
  {
    efa::SignalKeeper keeper(nullptr);
    provider_installs(SIGTERM);
    provider_installs(SIGINT);
  }
  CHECK(get(SIGTERM).sa_handler == of_program);
  CHECK((get(SIGTERM).sa_flags & (SA_RESTART | SA_SIGINFO)) == SA_RESTART);
  const struct sigaction now = get(SIGTERM);
  CHECK(sigismember(&now.sa_mask, SIGUSR2) == 1);
  CHECK(get(SIGINT).sa_handler == SIG_IGN);
}

TEST_CASE(
    "with the default disposition or a handler of MPI, the provider's handler stays while endpoints "
    "are open") {
  DefaultDispositions dispositions;
  set(SIGSEGV, action(of_mpi));
  {
    efa::SignalKeeper keeper(is_of_mpi);
    provider_installs(SIGTERM);
    provider_installs(SIGSEGV);
  }
  CHECK(is_of_provider(SIGTERM));
  CHECK(is_of_provider(SIGSEGV));
  efa::release_signals();
  CHECK(get(SIGTERM).sa_handler == SIG_DFL);
  CHECK(get(SIGSEGV).sa_handler == of_mpi);
  // libfabric installs its handlers only once. SignalKeeper installs them again for endpoints that are opened later.
  { efa::SignalKeeper keeper(is_of_mpi); }
  CHECK(is_of_provider(SIGTERM));
  CHECK(is_of_provider(SIGSEGV));
}

TEST_CASE("a handler that the program installs later is not changed") {
  DefaultDispositions dispositions;
  {
    efa::SignalKeeper keeper(nullptr);
    provider_installs(SIGTERM);
    provider_installs(SIGINT);
  }
  set(SIGTERM, action(of_program_later));
  efa::release_signals();
  CHECK(get(SIGTERM).sa_handler == of_program_later);
  CHECK(get(SIGINT).sa_handler == SIG_DFL);
  { efa::SignalKeeper keeper(nullptr); }
  CHECK(get(SIGTERM).sa_handler == of_program_later);
  CHECK(is_of_provider(SIGINT));
}

TEST_CASE("signals that the provider did not take are not changed") {
  DefaultDispositions dispositions;
  set(SIGBUS, action(of_program));
  { efa::SignalKeeper keeper(nullptr); }
  CHECK(get(SIGBUS).sa_handler == of_program);
}
