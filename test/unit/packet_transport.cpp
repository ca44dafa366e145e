#include "packet_transport.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "packets/incoming.hpp"
#include "packets/message_channel.hpp"
#include "packets/packet_path.hpp"
#include "peers/card.hpp"
#include "peers/peers.hpp"

namespace fake {
namespace {

efa_envelope pattern_of(const efa_peer* peer, int32_t tag, uint32_t context) {
  return {context, 0, peer ? peer->world_rank : EFA_ANY_SOURCE, tag, tag == EFA_ANY_TAG};
}

constexpr int32_t kOther = 3;  // rank of the other process of a Node

efa_peer* connect(PacketTransport& from, PacketTransport& to) {
  from.make_current();
  efa::Card card;
  card.provider = "efa";
  card.eager_limit = 1024;
  card.path = "packets";
  card.nic = "fake9";
  card.host = "here";
  card.address = {9, 9, 9, 9};
  card.shm = to.t->packets->shm.address();
  const auto bytes = card.serialize();
  const efa_identity identity{to.t->config.self.uid, kOther, 0};
  efa_peer* peer = efa_peer_create(from.t, &identity, bytes.data(), bytes.size());
  if (!peer || !peer->shm) throw std::runtime_error("the peer is not reached through shared memory");
  from.third = peer;
  return peer;
}

}  // namespace

Packet packet_of(const Posted& posted) {
  Packet packet;
  if (posted.bytes.size() < sizeof packet.header) throw std::length_error("a message without a header");
  std::memcpy(&packet.header, posted.bytes.data(), sizeof packet.header);
  packet.payload.assign(posted.bytes.begin() + sizeof packet.header, posted.bytes.end());
  return packet;
}

PacketTransport::PacketTransport(bool shm) {
  fabric.posted.clear();  // the receives for control messages of the tagged path
  t->config.options.shm = shm;
  efa::use_packets(t);
  efa::UserMessage why;
  if (!efa::start_message_channel(t, why)) throw std::runtime_error("no receives");
  t->packets->distant_peers = 2;
  for (efa_peer* peer : {&one, &two}) peer->window = t->packets->budget.half;
}

PacketTransport::~PacketTransport() {
  t->closing = true;
  efa::empty_queues(t);
}

void PacketTransport::queue(const efa::PacketHeader& header, const void* bytes, size_t size) {
  std::vector<uint8_t> message(sizeof header + size);
  std::memcpy(message.data(), &header, sizeof header);
  if (size) std::memcpy(message.data() + sizeof header, bytes, size);
  fabric.arrive_control(message.data(), message.size());
}

void PacketTransport::arrive(efa::PacketType type, int32_t rank, int32_t tag, const void* bytes, size_t size,
                             uint32_t context) {
  queue({context, rank, tag, static_cast<uint32_t>(size), 0, type, 0, 0}, bytes, size);
  progress();
}

void PacketTransport::arrive_synchronous(int32_t rank, int32_t tag, const std::string& text, uint64_t id) {
  std::string bytes = text;
  bytes.append(reinterpret_cast<const char*>(&id), sizeof id);
  arrive(efa::PacketType::synchronous, rank, tag, bytes.data(), bytes.size());
}

void PacketTransport::arrive(const efa::ReadyToSend& ready, int32_t rank, int32_t tag) {
  uint8_t bytes[sizeof ready];
  ready.write(bytes);
  arrive(efa::PacketType::ready_to_send, rank, tag, bytes, ready.size());
}

void PacketTransport::arrive(const efa::Control& message) {
  arrive(efa::PacketType::control, 0, 0, &message, sizeof message);
}

Packet PacketTransport::sent() {
  const Posted posted = fabric.take(Call::send);
  sent_to = posted.peer;
  fabric.complete(posted);
  progress();
  return packet_of(posted);
}

efa::Control PacketTransport::sent_control() {
  const Packet packet = sent();
  if (packet.header.type != efa::PacketType::control) throw std::logic_error("not a control message");
  return efa::parse_control(packet.payload.data(), packet.payload.size()).value();
}

bool PacketTransport::probe(efa_peer* peer, int32_t tag, efa_status& status, uint32_t context) {
  bool found = false;
  const efa_envelope pattern = pattern_of(peer, tag, context);
  if (efa_probe(t, peer, nullptr, &pattern, &found, &status) != EFA_SUCCESS)
    throw std::runtime_error("the probe failed");
  return found;
}

efa_message* PacketTransport::match(efa_peer* peer, int32_t tag, efa_status& status) {
  efa_message* message = nullptr;
  const efa_envelope pattern = pattern_of(peer, tag, kContext);
  if (efa_match(t, peer, nullptr, &pattern, &message, &status) != EFA_SUCCESS)
    throw std::runtime_error("the probe failed");
  return message;
}

efa_result PacketTransport::receive_matched(Request& request, efa_message* message, void* data, size_t size) {
  request.data = {data, size, nullptr};
  return efa_recv_matched(t, &request, message);
}

TextReceive::TextReceive(Transport& transport, efa_peer* peer, int32_t tag, size_t most, uint32_t context)
    : TextReceive(most) {
  op.peer = peer;
  data = {room.data(), most, nullptr};
  const efa_envelope pattern = pattern_of(peer, tag, context);
  if (efa_recv(transport.t, this, &pattern) != EFA_SUCCESS) throw std::runtime_error("the receive failed");
}

std::string TextReceive::text() const {
  if (times != 1) return "(ended " + std::to_string(times) + " times)";
  if (room.find_first_not_of('#', status.length) != std::string::npos) return "(written too far)";
  return room.substr(0, status.length);
}

Node::Node() : a(true), b(true) {
  a.t->config.self = {1000, kOther, 0};
  b.t->config.self = {1004, kOther, 0};
  a.t->packets->distant_peers = b.t->packets->distant_peers = 0;
  to_b = connect(a, b);
  to_a = connect(b, a);
}

efa_result Node::send(PacketTransport& from, Request& request, int32_t tag, const void* data, size_t size,
                      efa_send_mode mode, Layout* layout) {
  from.make_current();
  request.op.peer = other(from);
  request.data = {const_cast<void*>(data), size, layout};
  const efa_envelope envelope{kContext, kOther, kOther, tag, false};
  return efa_send(from.t, &request, &envelope, mode);
}

efa_result Node::receive(PacketTransport& at, Request& request, int32_t tag, void* data, size_t size,
                         Layout* layout, bool any_source) {
  at.make_current();
  request.op.peer = any_source ? nullptr : other(at);
  request.data = {data, size, layout};
  const efa_envelope envelope = pattern_of(request.op.peer, tag, kContext);
  return efa_recv(at.t, &request, &envelope);
}

bool Node::inject(PacketTransport& from, int32_t tag, const std::string& text) {
  from.make_current();
  const efa_envelope envelope{kContext, kOther, kOther, tag, false};
  return efa_inject_packet(from.t, other(from), &envelope, text.data(), text.size()) == EFA_INJECTED;
}

int Node::progress(PacketTransport& side) {
  side.make_current();
  return efa_progress(side.t);
}

void Node::run() {
  const auto deliver = [&](PacketTransport& from, PacketTransport& to) {
    auto& queue = from.fabric.posted;
    const auto piece = std::find_if(queue.begin(), queue.end(),
                                    [](const Posted& posted) { return posted.call == Call::tagged_send; });
    if (piece == queue.end()) return false;
    const Posted posted = *piece;
    queue.erase(piece);
    from.fabric.complete(posted);
    to.fabric.arrive(posted.tag, posted.data, posted.bytes.data(), posted.bytes.size());
    return true;
  };
  for (int idle = 0; idle < 100;) {
    const int moved = progress(a) + progress(b) + deliver(a, b) + deliver(b, a);
    idle = moved ? 0 : idle + 1;
  }
}

}  // namespace fake
