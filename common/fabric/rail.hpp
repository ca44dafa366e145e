// A rail: one NIC opened for this process, with its endpoint, completion queue and address vector.
#pragma once

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fabric/discovery.hpp"
#include "fabric/shm_files.hpp"

namespace efa {

// NICs that one message can be striped over; bounds the keys in a ready-to-send message.
constexpr unsigned kMostRails = 8;

// NICs between which RDMA reads work.
enum class ReadFamily : uint32_t {
  none = 0,              // it cannot read by RDMA
  first_generation = 1,  // EFA NICs with PCI device number 0xefa0
  later = 2,             // all others
};

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
  // The endpoint's own errors. Only of efa, which calls abort() at such an error if there is no event queue, and of further
  // rails.
  FidPtr<fid_eq> eq;
  FidPtr<fid_av> av;
  FidPtr<fid_ep> ep;
  ShmFileMark shared_memory;  // of the endpoint's file in /dev/shm, if it has one

  const char* provider() const { return info->fabric_attr->prov_name; }
  const char* nic() const { return info->domain_attr->name; }
  // libfabric closes an object only after everything that uses it.
  void close() {
    ep.reset();
    shared_memory.clear();
    av.reset();
    cq.reset();
    eq.reset();
    domain.reset();
    fabric.reset();
    info.reset();
  }
};

// Opens and enables everything on a copy of `info`, under another name if that is taken; false leaves the failing call, the NIC and the
// provider's reason in `why`. `peers` is the expected number of addresses, a hint. `further`: the process can do
// without it.
bool open_rail(const fi_info* info, size_t peers, bool further, Rail& rail, UserMessage& why);

// Whether fi_read uses the NIC's RDMA. Otherwise the provider emulates it with messages.
bool reads_natively(const Rail& rail);
// The same of fi_write.
bool writes_natively(const Rail& rail);
// For a rail that reads natively: which NICs it can read from. With others libfabric's efa emulates reads.
ReadFamily read_family(const Rail& rail);

// The endpoint's address; empty with a reason on failure.
std::vector<uint8_t> rail_address(const Rail& rail, UserMessage& why);

}  // namespace efa
