#include "health/dump_signal.hpp"

namespace efa {
namespace {

volatile sig_atomic_t arrived;

void count(int) {
  arrived = arrived + 1;
}

}  // namespace

DumpSignal::DumpSignal(int number) : seen_(arrived) {
  struct sigaction now;
  if (number == 0 || sigaction(number, nullptr, &now) || (now.sa_flags & SA_SIGINFO) ||
      now.sa_handler != SIG_DFL)
    return;
  struct sigaction ours = {};
  ours.sa_handler = count;
  ours.sa_flags = SA_RESTART;
  if (sigaction(number, &ours, nullptr) == 0) number_ = number;
}

DumpSignal::~DumpSignal() {
  struct sigaction now;
  if (number_ && sigaction(number_, nullptr, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
      now.sa_handler == count)
    signal(number_, SIG_DFL);
}

bool DumpSignal::take() {
  const sig_atomic_t now = arrived;
  if (now == seen_) return false;
  seen_ = now;
  return true;
}

}  // namespace efa
