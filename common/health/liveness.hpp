// Peers that this process waits for and that are not alive any more: they fail, after a time without an answer to pings
// (ping.hpp), so that no operation waits for ever.
//
// Pings are sent only while the process is stuck: it polls, operations are open, and for some seconds none has completed.
// The peers of these operations are asked, and all peers if a receive takes messages from any source. A peer that does not
// answer fails only if UDP gets through to its host: a process of that host has answered before. The first peer of each host
// is asked for that when it is created. So a firewall that blocks UDP makes this useless, and not harmful.
//
// An answer may also say that the peer has given up this process (peer_failure.hpp). Then the peer fails at once.
//
// Time counts only while this process polls (polled_clock.hpp): ranks that are all stopped together, as by Slurm's suspend,
// do not fail.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/polled_clock.hpp"
#include "interface/transport.h"
#include "peers/ping.hpp"

namespace efa {

class Liveness {
 public:
  // Times without an answer: `timeout_ns` until the peer fails, 0: never, and nothing is asked; `warning_ns` until a warning.
  Liveness(uint64_t timeout_ns, uint64_t warning_ns) : timeout_ns_(timeout_ns), warning_ns_(warning_ns) {}

  // Begins to answer pings, and returns where; without a port, and with a reason, if that is not possible.
  PingAddress start(bool one_host, MessagePart& why);
  // The same with something else than a socket, for tests.
  void start(std::unique_ptr<Pinger> pinger) { pinger_ = std::move(pinger); }
  // A peer was created; `hostname` is the pointer that it has.
  void hello(const char* hostname, const PingAddress& address, uint64_t uid);
  // This process has given up the peer, which is told so when it asks. Without that it would wait for ever: it gets no more
  // messages from here, and an answer to each ping.
  void give_up(const efa_transport* t, const efa_peer* peer);
  // Gives up a peer, and the receives from any source, which it might have matched. Ends the job later if the provider does
  // not return the memory of operations with it.
  void fail(efa_transport* t, efa_peer* peer, const UserMessage& why);
  // Whether a peer that is given up will learn of it: pings get through to its host.
  bool can_tell(efa_transport* t, const efa_peer* peer);
  // The peer is gone.
  void forget(const efa_peer* peer) {
    watched_.erase(const_cast<efa_peer*>(peer));
    std::erase(gave_us_up_, peer);
    std::erase_if(failed_, [&](const auto& each) { return each.first == peer; });
  }

  // What an idle poll does at the time `now_ns`, at most once in a tick of the clock.
  void look(efa_transport* t, uint64_t now_ns);
  // Polled time for which the peer has not answered; 0 if it answers, or is not asked.
  uint64_t silent_ns(const efa_peer* peer) const;

  static constexpr uint64_t kStuck_ns = 5 * PolledClock::kTick_ns;
  // Pings that may be lost before a peer counts as silent.
  static constexpr unsigned kLeastPings = 3;
  static constexpr size_t kPingsPerTick = 64;

 private:
  struct Watch {
    PingAddress address;
    uint64_t since_ns = 0;  // by clock_: the first ping that was not answered
    unsigned pings = 0;     // since then
    unsigned seen = 0;      // the last look at which an operation waited for it
    bool warned = false;
    uint64_t neighbour = 0;  // uid of another process of its host, asked beside it; 0: none is known
  };
  struct Host {
    bool reached = false;  // an answer has come from there
    uint64_t last_ns = 0;  // of the last one, by clock_
  };

  void take_answers(efa_transport* t);
  void ask(efa_transport* t, const std::vector<efa_peer*>& peers);
  void judge(efa_transport* t, efa_peer* peer, Watch& watch);
  void fail_those_that_gave_us_up(efa_transport* t);
  void end_if_nothing_ends(efa_transport* t);
  MessagePart describe(const efa_transport* t, const efa_peer* peer, const Watch& watch) const;
  bool is_stuck(const efa_transport* t);

  uint64_t timeout_ns_, warning_ns_;
  std::unique_ptr<Pinger> pinger_;
  PolledClock clock_;
  uint64_t completions_ = 0;  // efa_transport::completions at the last look
  uint64_t moved_ns_ = 0;     // when it changed, by clock_
  unsigned looks_ = 0;
  size_t next_ = 0;  // the first peer to ask at the next look, if there are many
  std::unordered_map<efa_peer*, Watch> watched_;
  std::unordered_map<const char*, Host> hosts_;  // by efa_peer::hostname
  std::unordered_map<uint64_t, const char*>
      hellos_;  // pings to find out whether a host can be reached, by uid
  std::vector<std::pair<efa_peer*, uint64_t>> failed_;  // and when, by clock_
  std::vector<efa_peer*> gave_us_up_;                   // not failed here yet
};

// The peers that open operations wait for, each once; at most kMostWaitedFor.
std::vector<efa_peer*> waited_for(efa_transport* t);
constexpr size_t kMostWaitedFor = 4096;

}  // namespace efa
