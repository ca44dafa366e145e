#include "node.hpp"

#include <rdma/fabric.h>
#include <unistd.h>

#include <algorithm>

#include "fabric/discovery.hpp"
#include "fabric/nic_choice.hpp"
#include "fabric/rail.hpp"
#include "machine/instances.hpp"
#include "machine/machine_topology.hpp"
#include "machine/this_machine.hpp"
#include "path.hpp"

namespace efa {
namespace {

constexpr uint64_t kGiga = 1'000'000'000;

NodeNic probe(const Candidate& candidate) {
  NodeNic each;
  each.nic = nic_of(candidate);
  each.endpoints = candidate.info->domain_attr->ep_cnt;
  Rail rail;
  UserMessage why;
  if (candidate.provider == "efa" && candidate.link_up && open_rail(candidate.info, 1, false, rail, why))
    each.reads = reads_natively(rail), each.writes = writes_natively(rail);
  each.trouble = why;
  return each;
}

std::string versions_of(const fi_info* info) {
  const uint32_t version = info->fabric_attr->prov_version;
  std::string text = std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
  const fi_device_attr* device = info->nic ? info->nic->device_attr : nullptr;
  if (device && device->driver && *device->driver) text += std::string(", driver ") + device->driver;
  if (device && device->firmware && *device->firmware) text += std::string(", firmware ") + device->firmware;
  return text;
}

}  // namespace

Node this_node() {
  Node node;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  node.title = std::string("this machine (") + host + ")";
  node.is_here = true;
  const uint32_t version = fi_version();
  node.libfabric = std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
  node.path = to_string(job_path());
  node.topology = load_this_machine();

  ProviderRequest request;
  request.named_by_user = true;
  request.library = version;
  Discovery discovery;
  std::vector<Candidate> offered;
  const Choice choice = choose(
      request, [&](const std::string& name) { return offered = discovery.offer(name); },
      [&](const std::string& name) { return discovery.reason(name); },
      Discovery::known_providers());
  node.provider = choice.provider;
  if (choice.index >= 0) {
    node.versions = versions_of(offered.front().info);
    // libfabric lists an interface once per address family; affinity removes duplicates of NICs.
    for (const auto& candidate : offered) {
      const bool known = std::ranges::any_of(
          node.nics, [&](const NodeNic& each) { return each.nic.name == candidate.domain; });
      if (!known) node.nics.push_back(probe(candidate));
    }
  }
  return node;
}

std::optional<Node> instance_node(const std::string& name) {
  const InstanceType* instance = find_instance(name);
  if (!instance) return std::nullopt;
  Node node;
  node.title = name + ", from the instance table";
  node.provider = "efa";
  node.topology = load_topology(to_hwloc_xml(*instance));
  for (const auto& device : instance->nics) {
    NodeNic each;
    each.nic = {rdma_device_name(device.pci) + "-rdm", device.pci, instance->nic_gbps * kGiga, true, "efa"};
    each.reads = instance->rdma_read;
    each.writes = instance->rdma_write;
    node.nics.push_back(each);
  }
  return node;
}

}  // namespace efa
