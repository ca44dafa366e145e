// A rail: one NIC opened for this process, with its endpoint, completion queue and address vector.
#pragma once

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "discovery.hpp"
#include "pending.hpp"

namespace efa {

struct FidCloser {
  void operator()(void* object) const { fi_close(static_cast<fid*>(object)); }
};
template <class Object>
using FidPtr = std::unique_ptr<Object, FidCloser>;  // every libfabric object begins with its struct fid

struct Rail {
  Rail() = default;
  Rail(const Rail&) = delete;
  Rail& operator=(const Rail&) = delete;
  ~Rail() { close(); }

  InfoPtr info;
  FidPtr<fid_fabric> fabric;
  FidPtr<fid_domain> domain;
  FidPtr<fid_cq> cq;
  // What the endpoint says of itself, such as that it broke. Only further rails have it: without one, libfabric's
  // efa aborts the process when an endpoint breaks, and they are dispensable.
  FidPtr<fid_eq> eq;
  FidPtr<fid_av> av;
  FidPtr<fid_ep> ep;
  PendingList pending_reads;  // that the provider refuses for now
  bool failed = false;        // not to be used any more; never set for rail 0

  const char* provider() const { return info->fabric_attr->prov_name; }
  const char* nic() const { return info->domain_attr->name; }
  // libfabric closes an object only after everything that uses it.
  void close() {
    ep.reset();
    av.reset();
    cq.reset();
    eq.reset();
    domain.reset();
    fabric.reset();
    info.reset();
  }
};

// Opens and enables everything on a copy of `info`; false leaves the failing call, the NIC and the
// provider's reason in `why`. `peers` is the expected number of addresses, a hint. `further`: the process can do
// without it.
bool open_rail(const fi_info* info, size_t peers, bool further, Rail& rail, std::string& why);

// Whether fi_read is the NIC's own RDMA; where it is not, the provider does it with messages, and so can we.
bool reads_natively(const Rail& rail);
// The same of fi_write.
bool writes_natively(const Rail& rail);

// The endpoint's address; empty with a reason on failure.
std::vector<uint8_t> rail_address(const Rail& rail, std::string& why);

}  // namespace efa
