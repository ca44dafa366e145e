#include "fabric/rail.hpp"

#include <rdma/fi_errno.h>
#include <sys/resource.h>

#include <cstdlib>
#include <cstring>

#include "fabric/shm_files.hpp"

namespace efa {
namespace {

UserMessage failure(const char* call, const Rail& rail, int error) {
  return msg::rail_open_failed(call, rail.provider(), rail.nic(), fi_strerror(-error), error);
}

// Calls `open` and takes ownership of the object that it creates.
template <class Object, class Open>
bool make(FidPtr<Object>& object, const char* call, const Rail& rail, UserMessage& why, int& error,
          Open open) {
  Object* raw = nullptr;
  error = open(&raw);
  if (error) {
    why = failure(call, rail, error);
    return false;
  }
  object.reset(raw);
  return true;
}

// The provider shm by a name of ours: see shm_files.hpp.
void name_shared_memory(fi_info* info) {
  const std::string address = shm_address();
  char* copy = address.empty() ? nullptr : strdup(address.c_str());
  if (!copy) return;
  std::free(info->src_addr);
  info->src_addr = copy;
  info->src_addrlen = address.size() + 1;
}

// FI_OPT_EFA_RNR_RETRY of rdma/fi_ext.h, and the value for "without end"; fixed, as kEmulatedRead below.
constexpr int kReceiverNotReadyRetries = -(0xefa << 16);
constexpr size_t kWithoutEnd = 7;

// The NIC itself repeats what a receiver had no buffer for. Otherwise libfabric's efa sends it again after a few
// attempts, and takes the data of a short injected message from the user's buffer, which has other contents by then.
// A NIC or library that does not know the option retries without end anyway, or has no such repetition.
void retry_in_hardware(const Rail& rail) {
  if (provider_traits(rail.provider()).name != "efa") return;
  fi_setopt(&rail.ep->fid, FI_OPT_ENDPOINT, kReceiverNotReadyRetries, &kWithoutEnd, sizeof kWithoutEnd);
}

// efa posts its receive buffers when the completion queue is first read, and reports a failure as an event.
bool has_receive_buffers(const Rail& rail, UserMessage& why, int& error) {
  if (!rail.eq) return true;
  fi_cq_tagged_entry entry;
  fi_cq_read(rail.cq.get(), &entry, 1);  // nothing was posted that could complete
  fi_eq_err_entry event{};
  if (fi_eq_readerr(rail.eq.get(), &event, 0) <= 0) return true;
  error = -std::abs(event.err);  // libfabric 2.1 writes it with either sign
  why = failure("posting receive buffers", rail, error);
  return false;
}

// Leaves libfabric's error.
bool open_once(const fi_info* info, size_t peers, bool further, Rail& rail, UserMessage& why, int& error) {
  rail.info.reset(fi_dupinfo(info));
  if (!rail.info) {
    why = msg::rail_no_memory(info->domain_attr->name);
    error = -FI_ENOMEM;
    return false;
  }
  fi_info* own = rail.info.get();
  if (provider_traits(rail.provider()).one_node) name_shared_memory(own);
  own->caps &= ~(own->caps & FI_HMEM);

  // Room for the completions of all operations in flight, so that the queue cannot overrun.
  fi_cq_attr cq_attr{};
  cq_attr.size = own->tx_attr->size + own->rx_attr->size;
  cq_attr.format = FI_CQ_FORMAT_TAGGED;
  cq_attr.wait_obj = FI_WAIT_NONE;
  fi_av_attr av_attr{};
  av_attr.type = FI_AV_TABLE;
  av_attr.count = peers;

  fi_eq_attr eq_attr{};
  eq_attr.wait_obj = FI_WAIT_NONE;

  const bool opened =
      make(rail.fabric, "fi_fabric", rail, why, error,
           [&](fid_fabric** out) { return fi_fabric(own->fabric_attr, out, nullptr); }) &&
      make(rail.domain, "fi_domain", rail, why, error,
           [&](fid_domain** out) { return fi_domain(rail.fabric.get(), own, out, nullptr); }) &&
      (!(further || provider_traits(rail.provider()).name == "efa") ||
       make(rail.eq, "fi_eq_open", rail, why, error,
            [&](fid_eq** out) { return fi_eq_open(rail.fabric.get(), &eq_attr, out, nullptr); })) &&
      make(rail.cq, "fi_cq_open", rail, why, error,
           [&](fid_cq** out) { return fi_cq_open(rail.domain.get(), &cq_attr, out, nullptr); }) &&
      make(rail.av, "fi_av_open", rail, why, error,
           [&](fid_av** out) { return fi_av_open(rail.domain.get(), &av_attr, out, nullptr); }) &&
      make(rail.ep, "fi_endpoint", rail, why, error,
           [&](fid_ep** out) { return fi_endpoint(rail.domain.get(), own, out, nullptr); });
  if (!opened) return false;

  struct {
    const char* call;
    int error;
  } steps[] = {
      {"fi_ep_bind (completion queue)", fi_ep_bind(rail.ep.get(), &rail.cq->fid, FI_TRANSMIT | FI_RECV)},
      {"fi_ep_bind (address vector)", fi_ep_bind(rail.ep.get(), &rail.av->fid, 0)},
      {"fi_ep_bind (event queue)", rail.eq ? fi_ep_bind(rail.ep.get(), &rail.eq->fid, 0) : 0},
  };
  for (const auto& step : steps) {
    if (step.error) {
      error = step.error;
      why = failure(step.call, rail, error);
      return false;
    }
  }
  retry_in_hardware(rail);
  error = fi_enable(rail.ep.get());
  if (error) why = failure("fi_enable", rail, error);
  return error == 0 && (further || has_receive_buffers(rail, why, error));
}

// Endpoints that are opened at most because the name of one is taken: each gets another one.
constexpr int kMostNames = 8;

bool name_is_taken(const Rail& rail, int error) {
  const ProviderTraits& traits = provider_traits(rail.provider());
  // Without the right to open it: the file is another user's. Only of shm: of efa it may be the device.
  if (error == -FI_EBUSY || error == -EEXIST) return traits.one_node || traits.name == "efa";
  return traits.one_node && (error == -FI_EACCES || error == -FI_EPERM);
}

MessagePart remedy(int error) {
  if (error == -FI_ENOSPC) return msg::rail_shm_full();
  rlimit limit{};
  if (error != -FI_ENOMEM || getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return {};
  return msg::rail_locked_memory(
      limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur / 1024) + " KiB");
}

}  // namespace

bool open_rail(const fi_info* info, size_t peers, bool further, Rail& rail, UserMessage& why) {
  int error = 0;
  for (int names = 1; !open_once(info, peers, further, rail, why, error); ++names) {
    const bool taken = rail.info && name_is_taken(rail, error);
    if (taken && names < kMostNames) {
      rail.close();
      continue;
    }
    why.append(taken ? msg::rail_names_taken() : remedy(error));
    return false;
  }
  return true;
}

namespace {

// FI_OPT_EFA_EMULATED_READ and _WRITE of rdma/fi_ext.h, since libfabric 1.18; the values are fixed, so that a
// component built with older headers asks newer libraries too. An older library does not know the options.
constexpr int kEmulatedRead = -(0xefa << 16) + 1, kEmulatedWrite = -(0xefa << 16) + 2;

bool is_native(const Rail& rail, int emulation) {
  bool emulated = true;
  size_t size = sizeof emulated;
  return fi_getopt(&rail.ep->fid, FI_OPT_ENDPOINT, emulation, &emulated, &size) == 0 && !emulated;
}

}  // namespace

bool reads_natively(const Rail& rail) {
  return is_native(rail, kEmulatedRead);
}

bool writes_natively(const Rail& rail) {
  return is_native(rail, kEmulatedWrite);
}

ReadFamily read_family(const Rail& rail) {
  // libfabric's efa_rdm_interop_rdma_read: 0xefa0 reads only from 0xefa0, and all later numbers only from each other.
  const fid_nic* nic = rail.info->nic;
  const char* id = nic && nic->device_attr ? nic->device_attr->device_id : nullptr;
  const bool first = id && std::strtoul(id, nullptr, 16) == 0xefa0;
  return first ? ReadFamily::first_generation : ReadFamily::later;
}

std::vector<uint8_t> rail_address(const Rail& rail, UserMessage& why) {
  size_t size = 0;
  int error = fi_getname(&rail.ep->fid, nullptr, &size);
  std::vector<uint8_t> address(size);
  if (error == -FI_ETOOSMALL) error = fi_getname(&rail.ep->fid, address.data(), &size);
  if (error) {
    why = failure("fi_getname", rail, error);
    return {};
  }
  address.resize(size);
  return address;
}

}  // namespace efa
