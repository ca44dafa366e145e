#include "usage.hpp"

#include "efa_presence.hpp"

namespace efa {
namespace {

std::string library_version() {
  const uint32_t library = fi_version();
  return "libfabric " + std::to_string(FI_MAJOR(library)) + "." + std::to_string(FI_MINOR(library));
}

// "Open MPI 5.0.7", as it is found at run time.
std::string mpi_version(const efa_transport* t) {
  return t->config.mpi ? t->config.mpi : "MPI's version unknown";
}

std::string protocols(const efa_transport* t) {
  const Protocols& p = t->protocols;
  return "inject up to " + std::to_string(p.inject_limit) + " bytes, eager up to " +
         std::to_string(p.eager_limit) + " (noncontiguous " + std::to_string(p.eager_limit_packed) + ")" +
         (p.eager_limit_alone > p.eager_limit && !p.pulls
              ? ", the only long one up to " + std::to_string(p.eager_limit_alone)
              : "") +
         ", then rendezvous: " +
         (p.pulls ? "RDMA reads from " + std::to_string(p.pull_limit) + " on, of at most " +
                        std::to_string(p.read) + ", else "
                  : "") +
         "pieces of " + std::to_string(p.piece) + " (noncontiguous " + std::to_string(p.staging) + "), " +
         std::to_string(p.window) + " in flight";
}

// "4 EFA NICs"; other providers count network interfaces, or nothing that deserves the name.
std::string nics_of_node(const efa_transport* t, const NicPick& nic) {
  if (t->traits->one_node) return "no NIC";
  return counted(static_cast<int>(nic.usable), t->traits->name == "efa" ? "EFA NIC" : "network interface");
}

}  // namespace

std::string process_line(const efa_transport* t, const NicPick& nic) {
  std::string nics = t->rail.nic();
  for (const auto& rail : t->more_rails) nics += std::string("+") + rail->nic();
  return "rank " + std::to_string(t->config.self.world_rank) + " on host " + t->config.hostname +
         ": provider " + t->rail.provider() + " (" + library_version() + "), NIC " + nics + " (" +
         (nic.place.empty() ? "no PCI device" : nic.place) + "), " + nics_of_node(t, nic) +
         " on this node; " + protocols(t) + "; " + mpi_version(t);
}

std::string job_line(const efa_transport* t, const NicPick& nic) {
  return "summary: " + counted(t->config.world_ranks, "rank") + ", " + std::to_string(t->config.local_ranks) +
         " on the first node (" + t->config.hostname + "); provider " + t->rail.provider() + " (" +
         library_version() + "), " + nics_of_node(t, nic) + " per node, " +
         counted(static_cast<int>(t->rail_count()), "rail") + " per rank; " + protocols(t) + "; " +
         mpi_version(t);
}

void say_what_is_used(efa_transport* t, Discovery& discovery, const Wish& wish, const NicPick& nic) {
  t->report(EFA_REPORT_VERBOSE, process_line(t, nic));
  if (t->config.self.world_rank != 0) return;
  const std::string provider = t->rail.provider();
  if (provider != "efa") {
    const std::string unused = unused_efa(look_for_efa(discovery), wish, provider);
    t->report(EFA_REPORT_NOTICE, !unused.empty()
                                     ? unused
                                     : "no EFA device is used: MPI messages go over libfabric's provider " +
                                           provider + " (" + library_version() + ")");
  }
  if (t->config.options.summary) t->report(EFA_REPORT_NOTICE, job_line(t, nic));
  if (!nic.hint.empty()) t->report(EFA_REPORT_VERBOSE, nic.hint);
}

}  // namespace efa
