// Transports on the packet path: one whose peers are reached by the fake fabric, and two that share memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "channel/packet.hpp"
#include "fake_transport.hpp"

namespace fake {

// A packet that a transport has sent over the fabric.
struct Packet {
  efa::PacketHeader header{};
  std::vector<uint8_t> payload;

  std::string text() const { return {payload.begin(), payload.end()}; }
};
Packet packet_of(const Posted&);

// What tests send and receive in, unless they name another communicator.
constexpr uint32_t kContext = 5;

class PacketTransport : public Transport {
 public:
  explicit PacketTransport(bool shm = false);
  ~PacketTransport();

  // A packet of peer `rank` arrives over the fabric, and progress is made. The second: without progress.
  void arrive(efa::PacketType type, int32_t rank, int32_t tag, const void* bytes, size_t size,
              uint32_t context = kContext);
  void queue(const efa::PacketHeader& header, const void* bytes, size_t size);
  void arrive(int32_t rank, int32_t tag, const std::string& text, uint32_t context = kContext) {
    arrive(efa::PacketType::eager, rank, tag, text.data(), text.size(), context);
  }
  void arrive_synchronous(int32_t rank, int32_t tag, const std::string& text, uint64_t id);
  void arrive(const efa::ReadyToSend& ready, int32_t rank, int32_t tag);
  void arrive(const efa::Control& message);
  // The next packet that was sent over the fabric; it completes.
  Packet sent();
  efa::Control sent_control();
  fi_addr_t sent_to = FI_ADDR_UNSPEC;  // the peer of that packet

  bool probe(efa_peer* peer, int32_t tag, efa_status& status, uint32_t context = kContext);
  efa_message* match(efa_peer* peer, int32_t tag, efa_status& status);
  efa_result receive_matched(Request& request, efa_message* message, void* data, size_t size);
};

// A receive of text.
struct TextReceive : Request {
  explicit TextReceive(size_t most = 64) : room(most, '#') {}
  TextReceive(Transport& transport, efa_peer* peer, int32_t tag, size_t most = 64,
              uint32_t context = kContext);
  // What was received, and nothing behind it was written.
  std::string text() const;

  std::string room;
};

// Two processes of one node: each is the other's rank 3.
class Node {
 public:
  Node();

  PacketTransport a, b;
  // Of `a` and `b`: the other.
  efa_peer *to_b, *to_a;

  efa_result send(PacketTransport& from, Request& request, int32_t tag, const void* data, size_t size,
                  efa_send_mode mode = EFA_SEND_STANDARD, Layout* layout = nullptr);
  efa_result receive(PacketTransport& at, Request& request, int32_t tag, void* data, size_t size,
                     Layout* layout = nullptr, bool any_source = false);
  // efa_inject_packet.
  bool inject(PacketTransport& from, int32_t tag, const std::string& text);
  // Makes progress on one side; on both until nothing moves, pieces of pushes included.
  int progress(PacketTransport& side);
  void run();

  efa_peer* other(PacketTransport& of) { return &of == &a ? to_b : to_a; }
};

}  // namespace fake
