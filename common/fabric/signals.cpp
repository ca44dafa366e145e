#include "fabric/signals.hpp"

namespace efa {
namespace {

SignalHandler handler_of(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) ? reinterpret_cast<SignalHandler>(action.sa_sigaction)
                                        : reinterpret_cast<SignalHandler>(action.sa_handler);
}
const SignalHandler kDefault = reinterpret_cast<SignalHandler>(SIG_DFL);
const SignalHandler kIgnore = reinterpret_cast<SignalHandler>(SIG_IGN);

bool same(const struct sigaction& a, const struct sigaction& b) {
  return handler_of(a) == handler_of(b);
}

// A handler that libfabric keeps while endpoints are open.
struct Taken {
  bool by_libfabric = false;  // `during` was installed by libfabric
  bool in_place = false;      // and has not been taken away by release_signals
  struct sigaction before = {}, during = {};
};
// Of the process, as signals are. Changed by set-up and teardown only.
std::array<Taken, kSignals> taken;

}  // namespace

SignalKeeper::SignalKeeper(bool (*ends_process)(SignalHandler)) : ends_process_(ends_process) {
  for (int number = 1; number < kSignals; ++number)
    if (sigaction(number, nullptr, &before_[number])) before_[number].sa_handler = SIG_DFL;
}

SignalKeeper::~SignalKeeper() {
  for (int number = 1; number < kSignals; ++number) {
    const struct sigaction& before = before_[number];
    struct sigaction now;
    Taken& taken_here = taken[number];
    if (sigaction(number, nullptr, &now)) continue;
    const SignalHandler handler = handler_of(before);
    const bool ends = handler == kDefault || (handler != kIgnore && ends_process_ && ends_process_(handler));
    if (same(now, before)) {
      // libfabric installs its handlers once in a process; release_signals has taken them away since.
      if (!ends || !taken_here.by_libfabric || taken_here.in_place || !same(now, taken_here.before)) continue;
      sigaction(number, &taken_here.during, nullptr);
      taken_here.in_place = true;
    } else if (ends) {
      taken_here = {true, true, before, now};
    } else {
      sigaction(number, &before, nullptr);
    }
  }
}

void release_signals() {
  for (int number = 1; number < kSignals; ++number) {
    Taken& taken_here = taken[number];
    struct sigaction now;
    if (!taken_here.in_place || sigaction(number, nullptr, &now)) continue;
    if (same(now, taken_here.during)) sigaction(number, &taken_here.before, nullptr);
    taken_here.in_place = false;
  }
}

}  // namespace efa
