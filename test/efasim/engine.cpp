// Progress of its own, as hardware has it. The thread costs a polling program nothing but a wake-up per tick: it
// looks whether anybody polled since, and only if not it takes over. Then it sleeps on the process's doorbell,
// which peers ring when they bring something, or until the next time that the link model or a retry names.
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "device.hpp"

namespace efasim {
namespace {

std::atomic<bool> running{false};
std::atomic<bool> stop_requested{false};
pthread_t thread;
pid_t thread_owner = 0;

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected, uint64_t timeout_ns) {
  timespec timeout = {static_cast<time_t>(timeout_ns / 1'000'000'000), static_cast<long>(timeout_ns % 1'000'000'000)};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

struct Round {
  uint64_t next_due = ~uint64_t{0};
  bool outstanding = false;
};

// One look at every queue pair.
Round drive(Process& process, bool silent, bool housekeeping) {
  Round round;
  std::lock_guard<std::mutex> guard(process.qps_mutex);
  for (Qp* qp : process.qps) {
    if (silent) qp->progress(true);
    if (!qp->lock.try_lock()) {
      round.outstanding = true;
      continue;
    }
    if (housekeeping) qp->housekeeping();
    round.next_due = std::min(round.next_due, qp->next_due());
    round.outstanding |= qp->outstanding() > 0;
    qp->lock.unlock();
  }
  return round;
}

void* engine_main(void*) {
  Process& process = *Process::get();
  ProcShared& proc = process.fabric->proc();
  const uint64_t tick_ns = uint64_t{process.settings.tick_us} * 1000;
  uint64_t last_polls = ~uint64_t{0};
  uint64_t next_housekeeping = 0;

  while (!stop_requested.load(std::memory_order_relaxed)) {
    const uint64_t polls = process.polls.load(std::memory_order_relaxed);
    const bool silent = polls == last_polls;
    last_polls = polls;
    const uint32_t bell = proc.doorbell.load(std::memory_order_acquire);
    proc.want_wake.store(silent, std::memory_order_seq_cst);  // before the look at the rings

    const uint64_t now = now_ns();
    const bool housekeeping = now >= next_housekeeping;
    if (housekeeping) next_housekeeping = now + kHousekeepingNs;
    const Round round = drive(process, silent, housekeeping);

    uint64_t sleep = tick_ns;
    if (silent) {
      sleep = round.outstanding ? kHousekeepingNs : 500'000'000;
      const uint64_t later = now_ns();
      if (round.next_due != ~uint64_t{0}) sleep = std::min(sleep, round.next_due > later ? round.next_due - later : 0);
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

void wake_slow(ProcShared& proc) {
  if (proc.want_wake.exchange(0, std::memory_order_seq_cst) == 0) return;
  proc.doorbell.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&proc.doorbell), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void engine_start() {
  static std::mutex mutex;
  std::lock_guard<std::mutex> guard(mutex);
  if (running.load()) return;
  // The program's signals are not for this thread.
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
  ProcShared& proc = Process::get()->fabric->proc();
  proc.doorbell.fetch_add(1, std::memory_order_release);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&proc.doorbell), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  pthread_join(thread, nullptr);
  running.store(false);
}

}  // namespace efasim
