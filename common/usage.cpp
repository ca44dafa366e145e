#include "usage.hpp"

#include <algorithm>

#include "channel/shm_words.hpp"
#include "fabric/efa_presence.hpp"
#include "packets/message_channel.hpp"
#include "peers/peers.hpp"
#include "state.hpp"

namespace efa {
namespace {

std::string library_version() {
  const uint32_t library = fi_version();
  return "libfabric " + std::to_string(FI_MAJOR(library)) + "." + std::to_string(FI_MINOR(library));
}

// "Open MPI 5.0.7", as it is found at run time.
std::string mpi_version(const efa_transport* t) {
  return t->config.mpi ? t->config.mpi : "MPI version unknown";
}

// How peers of this node are reached on the packet path. A peer may still be an exception: its first message says so.
MessagePart node_by(const efa_transport* t) {
  if (t->packets->shm.is_open()) return msg::node_by_shm();
  const ShmFailure& failure = t->packets->shm_failure;
  return msg::node_by_provider(failure.call ? msg::shm_failed(to_string(failure)) : msg::shm_is_off());
}

MessagePart path_in_use(const efa_transport* t) {
  bool by_user;
  efa_options_path(&t->config.options, &by_user);
  const MessagePart why = by_user ? msg::path_by_parameter() : msg::path_by_default();
  return t->packets ? msg::path_packets(why, node_by(t)) : msg::path_tagged(why);
}

// The limits for messages to one peer.
struct Limits {
  uint64_t inject, eager, packed;
  bool operator==(const Limits&) const = default;
};

Limits to_other_nodes(const efa_transport* t) {
  const Protocols& protocols = t->protocols;
  return {t->packets ? most_injected(t) : protocols.inject_limit, protocols.eager_limit,
          protocols.eager_limit_packed};
}

Limits inside_node(const efa_transport* t) {
  Limits limits = to_other_nodes(t);
  uint64_t longest = longest_eager_inside(t);
  if (t->packets) longest = t->packets->shm.is_open() ? limits.inject = kMostShmPayload : UINT64_MAX;
  limits.eager = std::min(limits.eager, longest);
  limits.packed = std::min(limits.packed, longest);
  return limits;
}

MessagePart protocols(const efa_transport* t) {
  const Protocols& protocols = t->protocols;
  const bool alone = protocols.eager_limit_alone > protocols.eager_limit && !protocols.pulls;
  const Limits outside = to_other_nodes(t), inside = inside_node(t);
  return msg::protocol_limits(
      outside.inject, outside.eager, outside.packed,
      alone ? msg::protocol_alone(protocols.eager_limit_alone) : MessagePart(),
      inside == outside ? MessagePart() : msg::protocol_inside(inside.inject, inside.eager, inside.packed),
      protocols.pulls ? msg::protocol_reads(protocols.pull_limit, protocols.read) : MessagePart(),
      protocols.piece, protocols.staging, protocols.window);
}

// "4 EFA NICs"; network interfaces for other providers; no NIC for shared memory.
std::string nics_of_node(const efa_transport* t, const NicPick& nic) {
  if (t->traits->one_node) return "no NIC";
  return counted(static_cast<int>(nic.usable), t->traits->name == "efa" ? "EFA NIC" : "network interface");
}

}  // namespace

UserMessage process_line(const efa_transport* t, const NicPick& nic) {
  std::string nics = t->rails.first.nic();
  for (const auto& rail : t->rails.more) nics += std::string("+") + rail->nic();
  return msg::process_summary(t->config.self.world_rank, t->config.hostname, t->rails.first.provider(),
                              library_version(), nics, nic.place.empty() ? "no PCI device" : nic.place,
                              nics_of_node(t, nic), path_in_use(t), protocols(t), mpi_version(t));
}

UserMessage job_line(const efa_transport* t, const NicPick& nic) {
  return msg::job_summary(counted(t->config.world_ranks, "rank"), t->config.local_ranks, t->config.hostname,
                          t->rails.first.provider(), library_version(), nics_of_node(t, nic),
                          counted(static_cast<int>(t->rails.count()), "rail"), path_in_use(t), protocols(t),
                          mpi_version(t));
}

void describe_usage(efa_transport* t, Discovery& discovery, const ProviderRequest& request,
                    const NicPick& nic) {
  t->usage.push_back(process_line(t, nic));
  if (t->config.self.world_rank != 0) return;
  const std::string provider = t->rails.first.provider();
  if (provider != "efa") {
    const UserMessage unused = unused_efa(detect_efa(&discovery), request, provider);
    t->usage.push_back(unused.empty() ? msg::no_efa_device(provider, library_version()) : unused);
  }
  if (t->config.options.summary) t->usage.push_back(job_line(t, nic));
  if (!nic.hint.empty()) t->usage.push_back(nic.hint);
}

}  // namespace efa

extern "C" void efa_say_what_is_used(efa_transport* t) {
  for (const auto& message : t->usage) t->report(message);
  t->usage.clear();
}
