// Messages for the user: the peer, what failed, why, and what to do.
#include "errors/report.hpp"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <string>

#include "errors/no_exceptions.hpp"
#include "fabric/completion.hpp"
#include "peers/first_contact.hpp"
#include "peers/peers.hpp"
#include "state.hpp"

namespace efa {
namespace {

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
  if (!peer) return msg::any_source();
  return "rank " + std::to_string(peer->world_rank) + " on host " + peer->hostname + " (NIC " + peer->nic +
         ")";
}

PeerName::PeerName(const efa_peer* peer) {
  std::snprintf(text, sizeof text, "rank %d on host %s (NIC %s)", peer->world_rank, peer->hostname,
                peer->nic);
}

MessagePart likely_cause(const efa_transport* t, const std::vector<const efa_peer*>& peers) {
  const bool leaves_host = std::any_of(peers.begin(), peers.end(), [&](const efa_peer* peer) {
    return !peer->shm && peer->hostname != std::string_view(t->config.hostname);  // containers share nodes
  });
  return leaves_host ? msg::likely_security_group() : msg::likely_same_host();
}

std::string list_peers(size_t count, const std::function<std::string(size_t)>& describe,
                       const char* separator, const char* before_rest, const char* after_rest) {
  constexpr size_t kMostNamed = 3;
  std::string text;
  for (size_t i = 0; i < std::min(kMostNamed, count); ++i) text += (i ? separator : "") + describe(i);
  if (count > kMostNamed) text += before_rest + std::to_string(count - kMostNamed) + after_rest;
  return text;
}

std::string this_process(const efa_transport* t) {
  return "Rank " + std::to_string(t->config.self.world_rank) + " on host " + t->config.hostname + " (" +
         (t->rails.first.info ? t->rails.first.provider() : t->traits->name.data()) + ", NIC " +
         (t->rails.first.info ? t->rails.first.nic() : "?") + ")";
}

std::string describe_sender(const efa_transport* t, uint64_t uid) {
  const efa_peer* peer = t->peers.find([&](const efa_peer* each) { return each->uid == uid; });
  return peer ? to_string(peer) : msg::unknown_process();
}

namespace {

// The efa provider (since about libfabric 1.20) prints the peer's address in its error text, also for an error without an
// operation. Null if the text contains no peer's address.
const efa_peer* peer_in(const efa_transport* t, const std::string& text) {
  return t->peers.find([&](const efa_peer* peer) {
    uint8_t raw[256];
    char words[256] = "";
    size_t raw_size = sizeof raw, words_size = sizeof words;
    if (fi_av_lookup(t->rails.first.av.get(), peer->address, raw, &raw_size) || raw_size > sizeof raw) return false;
    return fi_av_straddr(t->rails.first.av.get(), raw, words, &words_size) && *words &&
           text.find(words) != std::string::npos;
  });
}

}  // namespace

std::string reason_of(const efa_transport* t, const efa_failure& failure) {
  const char* error = fi_strerror(failure.error);
  if (!failure.entry) return error;
  char words[256] = "";
  const int code = failure.entry->prov_errno;
  const char* said = fi_cq_strerror(t->cq, code, failure.entry->err_data, words, sizeof words);
  const MessagePart reason =
      said && *said ? msg::failure_said(error, said, code) : msg::failure_coded(error, code);
  const efa_peer* peer = said && !failure.entry->op_context ? peer_in(t, said) : nullptr;
  return peer ? msg::failure_peer(reason, to_string(peer)) : reason;
}

MessagePart advice_for(const efa_failure& failure) {
  switch (result_of(failure.error)) {
    case EFA_UNREACHABLE:
      return msg::advice_unreachable();
    case EFA_OUT_OF_MEMORY:
      return msg::advice_memory();
    default:
      return failure.error == FI_EIO ? msg::advice_unreachable() : MessagePart();
  }
}

efa_result report_failure(efa_transport* t, const MessagePart& operation, const efa_peer* peer,
                          const efa_failure& failure) {
  if (!t->draining) ++t->counters.failures;
  if (failure.reported) return result_of(failure.error);
  // While closing, a failing message is one that was not received: its receiver has left MPI already.
  t->report_unless_draining(msg::operation_failed(this_process(t), operation, reason_of(t, failure),
                                                  advice_for(failure), FirstContacts::words(t, peer)));
  return result_of(failure.error);
}

const char* current_exception_text() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& e) {
    static thread_local char text[128];
    std::snprintf(text, sizeof text, "%s", e.what());
    return text;
  } catch (...) {
    return "unknown exception";
  }
}

namespace detail {

efa_result report_exception(const efa_transport* t, const char* operation) noexcept {
  efa_user_message message = msg::operation_exception.without_memory(
      t->config.self.world_rank, t->config.hostname, operation, current_exception_text());
  if (t->draining) message.severity = EFA_REPORT_VERBOSE;
  t->config.report(&message);
  return EFA_OUT_OF_MEMORY;
}

void fatal_exception(efa_transport* t, const char* operation) noexcept {
  if (t->broken) return;
  t->broken = true;
  const efa_user_message message = msg::state_lost.without_memory(
      t->config.self.world_rank, t->config.hostname, operation, current_exception_text());
  t->config.fatal(&message);
}

}  // namespace detail

void report_own_failure(efa_transport* t, const FixedPart& operation, const FixedPart& reason) {
  ++t->counters.failures;
  const efa_user_message message =
      msg::local_failure.without_memory(t->config.self.world_rank, t->config.hostname, operation, reason);
  t->config.report(&message);
}

}  // namespace efa

void efa_transport::report(const efa::UserMessage& message) const {
  report(message, message.severity());
}

void efa_transport::report(const efa::UserMessage& message, efa_severity severity) const {
  if (severity == EFA_REPORT_VERBOSE && config.options.verbose < 1) return;
  const efa_user_message printed = efa::printable(message, severity);
  config.report(&printed);
}

void efa_transport::report_unless_draining(const efa::UserMessage& message) const {
  report(message, draining ? EFA_REPORT_VERBOSE : message.severity());
}

void efa_transport::fatal(const efa::FatalMessage& message) {
  if (broken) return;
  broken = true;
  efa::FatalMessage all = message;
  all.append(contacts.reminder(this));
  const efa_user_message printed = efa::printable(all, EFA_REPORT_ERROR);
  config.fatal(&printed);
}
