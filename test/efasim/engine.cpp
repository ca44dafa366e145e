// Autonomous progress, as hardware has it, by one thread per process. Once per tick it checks which queue pairs the
// program has not polled since the last check, and moves the traffic of those. Then it sleeps on the process's
// doorbell, until a peer rings it for one of these queue pairs or until the next timer of the link model or of a
// retry. For a program that polls it costs one wake-up per tick.
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <utility>

#include "device.hpp"

namespace efasim {
namespace {

// Sleep when there is no work; bounds the delay by a lost wake-up.
constexpr uint64_t kIdleNs = 500'000'000;

std::atomic<bool> running{false};
std::atomic<bool> stop_requested{false};
pthread_t thread;
pid_t thread_owner = 0;

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected, uint64_t timeout_ns) {
  timespec timeout = {static_cast<time_t>(timeout_ns / 1'000'000'000), static_cast<long>(timeout_ns % 1'000'000'000)};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void ring(ProcShared& proc) {
  proc.doorbell.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&proc.doorbell), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

struct Round {
  uint64_t next_due = ~uint64_t{0};  // of the queue pairs that the program does not poll
  bool outstanding = false;
  bool polled = false;  // the program polls one: check again after a tick
};

bool polled_since(Qp& qp) {
  const uint64_t polls = Cq::of(qp.ex.qp_base.send_cq).polls.load(std::memory_order_relaxed) +
                         Cq::of(qp.ex.qp_base.recv_cq).polls.load(std::memory_order_relaxed);
  return std::exchange(qp.polls_seen, polls) != polls;
}

// Checks every queue pair once.
Round drive(Process& process, bool housekeeping) {
  Round round;
  std::lock_guard<std::mutex> guard(process.qps_mutex);
  for (Qp* qp : process.qps) {
    const bool polled = polled_since(*qp);
    round.polled |= polled;
    qp->own.shared->want_wake.store(!polled, std::memory_order_seq_cst);  // before the check of the ring
    if (!polled) qp->progress(true);
    if (!qp->lock.try_lock()) {
      round.outstanding = true;
      continue;
    }
    if (housekeeping) qp->housekeeping();
    if (!polled) round.next_due = std::min(round.next_due, qp->next_due());
    round.outstanding |= qp->outstanding() > 0;
    qp->lock.unlock();
  }
  return round;
}

void* engine_main(void*) {
  Process& process = *Process::get();
  ProcShared& proc = process.fabric->proc();
  const uint64_t tick_ns = uint64_t{process.settings.tick_us} * 1000;
  uint64_t next_housekeeping = 0;

  while (!stop_requested.load(std::memory_order_relaxed)) {
    const uint32_t bell = proc.doorbell.load(std::memory_order_acquire);
    const uint64_t now = now_ns();
    const bool housekeeping = now >= next_housekeeping;
    if (housekeeping) next_housekeeping = now + kHousekeepingNs;
    const Round round = drive(process, housekeeping);

    uint64_t sleep = round.polled ? tick_ns : round.outstanding ? kHousekeepingNs : kIdleNs;
    if (round.next_due != ~uint64_t{0}) {
      const uint64_t later = now_ns();
      sleep = std::min(sleep, round.next_due > later ? round.next_due - later : 0);
      if (sleep == 0) {
        sched_yield();
        continue;
      }
    }
    futex_wait(proc.doorbell, bell, sleep);
  }
  return nullptr;
}

}  // namespace

void wake_slow(RemoteQp& remote) {
  if (remote.shared->want_wake.exchange(0, std::memory_order_seq_cst) == 0) return;
  ring(*remote.proc);
}

void engine_start() {
  static std::mutex mutex;
  std::lock_guard<std::mutex> guard(mutex);
  if (running.load()) return;
  // The program's signals must not be delivered to this thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  stop_requested.store(false);
  if (pthread_create(&thread, nullptr, engine_main, nullptr) == 0) {
    pthread_setname_np(thread, "efasim");
    thread_owner = getpid();
    running.store(true);
  } else {
    EFASIM_ERROR("cannot start the device's thread: a program that does not poll makes no progress");
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void engine_stop() {
  if (!running.load() || thread_owner != getpid()) return;
  stop_requested.store(true);
  ring(Process::get()->fabric->proc());
  pthread_join(thread, nullptr);
  running.store(false);
}

}  // namespace efasim
