#include "rail.hpp"

#include <rdma/fi_errno.h>

namespace efa {
namespace {

std::string failure(const char* call, const Rail& rail, int error) {
  return std::string(call) + " failed on " + rail.provider() + " " + rail.nic() + ": " + fi_strerror(-error) +
         " (" + std::to_string(error) + ")";
}

// Calls `open` with a place for the object and keeps what it made.
template <class Object, class Open>
bool make(FidPtr<Object>& object, const char* call, const Rail& rail, std::string& why, Open open) {
  Object* raw = nullptr;
  const int error = open(&raw);
  if (error) {
    why = failure(call, rail, error);
    return false;
  }
  object.reset(raw);
  return true;
}

}  // namespace

bool open_rail(const fi_info* info, size_t peers, bool further, Rail& rail, std::string& why) {
  rail.info.reset(fi_dupinfo(info));
  if (!rail.info) {
    why = "out of memory";
    return false;
  }
  fi_info* own = rail.info.get();
  own->caps &= ~(own->caps & FI_HMEM);

  // A completion for everything that can be in flight, so that the queue cannot overrun.
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
      make(rail.fabric, "fi_fabric", rail, why,
           [&](fid_fabric** out) { return fi_fabric(own->fabric_attr, out, nullptr); }) &&
      make(rail.domain, "fi_domain", rail, why,
           [&](fid_domain** out) { return fi_domain(rail.fabric.get(), own, out, nullptr); }) &&
      (!further ||
       make(rail.eq, "fi_eq_open", rail, why,
            [&](fid_eq** out) { return fi_eq_open(rail.fabric.get(), &eq_attr, out, nullptr); })) &&
      make(rail.cq, "fi_cq_open", rail, why,
           [&](fid_cq** out) { return fi_cq_open(rail.domain.get(), &cq_attr, out, nullptr); }) &&
      make(rail.av, "fi_av_open", rail, why,
           [&](fid_av** out) { return fi_av_open(rail.domain.get(), &av_attr, out, nullptr); }) &&
      make(rail.ep, "fi_endpoint", rail, why,
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
      why = failure(step.call, rail, step.error);
      return false;
    }
  }
  if (const int error = fi_enable(rail.ep.get())) {
    why = failure("fi_enable", rail, error);
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

std::vector<uint8_t> rail_address(const Rail& rail, std::string& why) {
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
