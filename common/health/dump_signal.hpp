// The signal that makes a process print its pending operations (mtl_efa_dump_signal).
//
// The handler only counts. The next idle poll prints (watchdog.hpp), so nothing unsafe is done in a signal handler. It is
// installed only where the program has no action for the signal, and a program that sets one later replaces it.
#pragma once

#include <csignal>

namespace efa {

class DumpSignal {
 public:
  // `number` 0: none. A second transport of this process does not install it again.
  explicit DumpSignal(int number);
  ~DumpSignal();
  DumpSignal(const DumpSignal&) = delete;

  // Whether the signal came since the last call.
  bool take();

 private:
  int number_ = 0;  // 0: not installed by this object
  sig_atomic_t seen_ = 0;
};

}  // namespace efa
