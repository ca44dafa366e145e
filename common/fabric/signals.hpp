// Signal handlers of the program, kept while libfabric opens an endpoint.
//
// libfabric's shm, and so efa inside a node, installs a handler for SIGBUS, SIGSEGV, SIGTERM and SIGINT when the first
// endpoint of a process is opened (prov/shm/src/smr_ep.c, smr_init_sig_handlers, 1.17 to 2.6). The handler removes the
// process's memory from /dev/shm and only then calls what was installed before, which is right where that ends the
// process, and cuts the process off from the peers that it has not met yet where it does not.
#pragma once

#include <signal.h>

#include <array>

namespace efa {

using SignalHandler = const void*;  // a handler's address, whichever form it has

// Signals that the standard numbers; no provider takes a real-time signal.
constexpr int kSignals = 32;

// Keeps what every signal does, for the scope in which endpoints are opened. Not for several threads at once: during
// set-up only.
class SignalKeeper {
 public:
  // `ends_process` (may be null) says of a handler that was there before that it only says why the process ends, and
  // ends it.
  explicit SignalKeeper(bool (*ends_process)(SignalHandler));
  // Puts back each handler, and each SIG_IGN, that was replaced since. Signals that did the default keep their new
  // handler, and so do those whose old handler ends the process.
  ~SignalKeeper();
  SignalKeeper(const SignalKeeper&) = delete;
  SignalKeeper& operator=(const SignalKeeper&) = delete;

 private:
  bool (*ends_process_)(SignalHandler);
  std::array<struct sigaction, kSignals> before_;
};

// After the last endpoint: the handlers that libfabric was left with are taken away from it, since it may be unloaded
// while the process lives on, and what was there before is put back. An endpoint that is opened later gets them again.
void release_signals();

}  // namespace efa
