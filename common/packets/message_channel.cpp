#include "packets/message_channel.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "packets/arrival.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"
#include "protocol/submit.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {

struct PacketReceive {
  efa_operation op;  // first
  alignas(8) uint8_t bytes[sizeof(PacketHeader) + kMostMessagePayload];
};

namespace {

// A packet that is injected is put together here, on the stack.
constexpr size_t kMostInjected = 256;

// Bytes of a message's data that a packet carries.
uint64_t data_of(const PacketHeader& header) {
  switch (header.type) {
    case PacketType::eager:
    case PacketType::answer_eager:
      return header.length;
    case PacketType::synchronous:
    case PacketType::answer_synchronous:
      return header.length >= sizeof(SyncTrailer) ? header.length - sizeof(SyncTrailer) : 0;
    default:
      return 0;
  }
}

// Receives posted at a time; the provider buffers what arrives beyond them.
constexpr int kReceives = 64;

PacketReceive* receive_of(efa_operation* op) {
  return reinterpret_cast<PacketReceive*>(op);
}

int post_receive(efa_transport* t, efa_operation* op) {
  PacketReceive* receive = receive_of(op);
  return static_cast<int>(
      fi_recv(t->ep, receive->bytes, sizeof receive->bytes, nullptr, FI_ADDR_UNSPEC, &op->context));
}

void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
              const efa_failure* failure) {
  if (t->closing) return;
  if (failure) {
    report_failure(t, msg::op_receive_control(msg::any_source()), nullptr, *failure);
    t->fatal(msg::control_not_received());
    return;
  }
  PacketReceive* receive = receive_of(op);
  PacketHeader header{};
  if (entry->len >= sizeof header) std::memcpy(&header, receive->bytes, sizeof header);
  if (entry->len < sizeof header || header.length != entry->len - sizeof header) {
    packet_impossible(t, nullptr, header);
  } else {
    t->counters.rail_0_bytes += data_of(header);
    packet_arrived(t, nullptr, header, receive->bytes + sizeof header);
  }
  submit(t, t->controls.pending, op);
}

}  // namespace

Packets::Packets() = default;
Packets::~Packets() = default;

bool start_message_channel(efa_transport* t, UserMessage& why) {
  auto& receives = t->packets->receives;
  for (int i = 0; i < kReceives; ++i) {
    receives.push_back(std::make_unique<PacketReceive>());
    efa_operation* op = &receives.back()->op;
    op->completed = received;
    op->post = post_receive;
    const int error = post_receive(t, op);
    if (error == -FI_EAGAIN && i > 0) {  // a small receive queue: fewer are enough
      receives.pop_back();
      return true;
    }
    if (error) {
      why = msg::rail_open_failed("fi_recv", t->rails.first.provider(), t->rails.first.nic(),
                                  fi_strerror(-error), error);
      return false;
    }
  }
  return true;
}

size_t most_message_payload(const efa_transport* t) {
  if (t->traits->packet == 0) return kMostMessagePayload;
  // libfabric's efa: what a packet of the NIC carries beside the longest header of the provider.
  const fid_nic* nic = t->rails.first.info->nic;
  const uint64_t told = nic && nic->link_attr ? nic->link_attr->mtu : 0;
  return std::min<size_t>(std::max(told, t->traits->packet) - sizeof(PacketHeader), kMostMessagePayload);
}

size_t most_injected(const efa_transport* t) {
  const uint64_t most = std::min<uint64_t>(t->protocols.inject_limit, kMostInjected);
  return most > sizeof(PacketHeader) ? most - sizeof(PacketHeader) : 0;
}

int inject_packet(efa_transport* t, const efa_peer* peer, const PacketHeader& header, const void* payload) {
  const size_t size = sizeof header + header.length;
  if (header.length > most_injected(t) || size > t->protocols.inject_limit) return -FI_EMSGSIZE;
  uint8_t packet[kMostInjected];
  std::memcpy(packet, &header, sizeof header);
  if (header.length) std::memcpy(packet + sizeof header, payload, header.length);
  const ssize_t error = fi_inject(t->ep, packet, size, peer->address);
  if (error == 0) t->counters.rail_0_bytes += data_of(header);
  return static_cast<int>(error);
}

int send_packet(efa_transport* t, efa_operation* op, const void* header, const void* payload, size_t length) {
  const iovec parts[2] = {{const_cast<void*>(header), sizeof(PacketHeader)}, {const_cast<void*>(payload), length}};
  const ssize_t error =
      fi_sendv(t->ep, parts, nullptr, length ? 2 : 1, op->peer->address, &op->context);
  if (error == 0) {
    ++t->sends_posted;
    PacketHeader sent;
    std::memcpy(&sent, header, sizeof sent);
    t->counters.rail_0_bytes += data_of(sent);
  }
  return static_cast<int>(error);
}

}  // namespace efa
