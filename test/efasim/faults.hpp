// Fault injection. A rule says which fault occurs where and when. Each process counts the events that a rule applies to
// (packets about to be sent, registrations, address handles).
//
//   EFASIM_FAULTS="rnr:p=0.01;abort:at=500,nic=0;nic_dies:at=1000,node=h1;mr_refused:every=7,times=2"
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace efasim {

enum class FaultKind {
  kRnr,           // packet: the receiver answers that no receive is posted
  kUnresponsive,  // packet: no answer; error after EFASIM_UNRESPONSIVE_MS
  kBadQpn,        // packet: the receiver answers that it has no such queue pair
  kAbort,         // packet: the receiver resets
  kNicDies,       // packet: the sending NIC fails for good
  kKill,          // packet: the sending process gets SIGKILL
  kMrRefused,     // registration: ENOMEM
  kAhExhausted,   // address handle: ENOMEM
  kNumFaults
};

struct FaultRule {
  FaultKind kind{};
  double probability = 0;  // of each event; with `seed` of the link model
  uint64_t at = 0;         // the N-th event, from 1; every one from there on with `times` > 1
  uint64_t every = 0;      // each N-th event
  uint64_t times = 0;      // at most this often; 0: once for `at`, otherwise unlimited
  int nic = -1;            // only this NIC of the node
  int process = -1;        // only the process that got this number in the fabric
  std::string node;        // only this node
};

const char* fault_name(FaultKind kind);

// "kind:key=value,...;..." Returns false and a message.
bool parse_faults(const std::string& text, std::vector<FaultRule>* rules, std::string* error);

// The rules that concern one NIC of one process, with their counts.
class FaultInjector {
 public:
  FaultInjector(const std::vector<FaultRule>& rules, uint64_t seed, const std::string& node, int nic, int process);

  // No rule applies to packets: the only check on the fast path.
  bool idle() const { return rules_.empty(); }

  // Counts one event for each rule of a kind within [first, last]; returns the kind of the rule that fires, or -1.
  int fire(FaultKind first, FaultKind last);

 private:
  struct Armed {
    FaultRule rule;
    uint64_t stream;
    std::atomic<uint64_t> events{0};
    std::atomic<uint64_t> fired{0};
  };
  std::vector<std::unique_ptr<Armed>> rules_;
  uint64_t seed_;
};

}  // namespace efasim
