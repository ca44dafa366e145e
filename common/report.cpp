// What is said to a person: who the peer is, what failed, why, and what to do about it.
#include <rdma/fi_errno.h>

#include <string>

#include "transport.hpp"

namespace efa {
namespace {

// What usually helps, by the provider-independent error.
const char* advice(int error) {
  switch (error) {
    case FI_ETIMEDOUT:
      return " The provider refused the operation for as long as the parameter mtl_efa_send_timeout allows: "
             "the peer does not receive (stopped, overloaded or dead), or the network between the two is "
             "down. "
             "On EC2 the security group must allow all traffic from and to itself.";
    case FI_EHOSTUNREACH:
    case FI_ECONNREFUSED:
    case FI_ECONNABORTED:
    case FI_ECONNRESET:
    case FI_ENOTCONN:
    case FI_EIO:
      return " The peer died or cannot be reached. Look for an earlier message of that process; on EC2 the "
             "security group must allow all traffic from and to itself, and all instances must be in one "
             "subnet.";
    case FI_ENOMEM:
      return " Check `ulimit -l` (locked memory) and the number of ranks per node; fewer ranks or a larger "
             "limit help.";
    default:
      return "";
  }
}

efa_result result_of(int error) {
  switch (error) {
    case FI_ENOMEM:
      return EFA_OUT_OF_MEMORY;
    case FI_ETIMEDOUT:
    case FI_EHOSTUNREACH:
    case FI_ECONNREFUSED:
    case FI_ECONNABORTED:
    case FI_ECONNRESET:
    case FI_ENOTCONN:
      return EFA_UNREACHABLE;
    case FI_ENOSYS:
    case FI_EOPNOTSUPP:
      return EFA_UNSUPPORTED;
    default:
      return EFA_FAILED;
  }
}

}  // namespace

std::string to_string(const efa_peer* peer) {
  if (!peer) return "any source";
  return "rank " + std::to_string(peer->world_rank) + " on host " + peer->hostname + " (NIC " + peer->nic +
         ")";
}

std::string sender_named(const efa_transport* t, uint64_t uid) {
  const efa_peer* peer = t->peers.find([&](const efa_peer* each) { return each->uid == uid; });
  return peer ? to_string(peer) : "a process that is no peer of this one";
}

namespace {

// The efa provider (since libfabric 1.20 or so) tells the peer's address in words, also in an error that
// names no operation. Null if no peer's address is in the text.
const efa_peer* peer_in(const efa_transport* t, const std::string& text) {
  return t->peers.find([&](const efa_peer* peer) {
    uint8_t raw[256];
    char words[256] = "";
    size_t raw_size = sizeof raw, words_size = sizeof words;
    if (fi_av_lookup(t->rail.av.get(), peer->address, raw, &raw_size) || raw_size > sizeof raw) return false;
    return fi_av_straddr(t->rail.av.get(), raw, words, &words_size) && *words &&
           text.find(words) != std::string::npos;
  });
}

}  // namespace

std::string describe_failure(const efa_transport* t, const std::string& what, const efa_failure& failure) {
  std::string text = "Rank " + std::to_string(t->config.self.world_rank) + " on host " + t->config.hostname +
                     " (" + t->traits->name.data() + ", NIC " + (t->rail.info ? t->rail.nic() : "?") +
                     "): " + what + " failed: " + fi_strerror(failure.error);
  if (failure.entry) {
    char words[256] = "";
    const char* said =
        fi_cq_strerror(t->cq, failure.entry->prov_errno, failure.entry->err_data, words, sizeof words);
    if (said && *said) text += "; the provider says: " + std::string(said);
    text += " (" + std::to_string(failure.entry->prov_errno) + ")";
    if (const efa_peer* peer = said && !failure.entry->op_context ? peer_in(t, said) : nullptr)
      text += ", meaning " + to_string(peer);
  }
  return text + "." + advice(failure.error);
}

efa_result report_failure(efa_transport* t, const std::string& what, const efa_peer* peer,
                          const efa_failure& failure) {
  // While closing, a message that fails is one that nobody received: its receiver is through with MPI already.
  t->report(t->draining ? EFA_REPORT_VERBOSE : EFA_REPORT_ERROR,
            describe_failure(t, what + " " + to_string(peer), failure) + FirstContacts::words(t, peer));
  return result_of(failure.error);
}

}  // namespace efa

void efa_transport::report(efa_severity severity, const std::string& text) const {
  if (severity == EFA_REPORT_VERBOSE && config.options.verbose < 1) return;
  config.report(severity, text.c_str());
}

void efa_transport::fatal(const std::string& text) {
  if (broken) return;
  broken = true;
  const std::string late = contacts.reminder(this);
  config.fatal((late.empty() ? text : text + " " + late).c_str());
}
