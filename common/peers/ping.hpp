// Asking whether processes are alive, over UDP beside the fabric.
//
// libfabric does not tell: over tcp;ofi_rxm a stopped or unreachable peer gives no error, over shm sends to a killed process
// succeed, and over efa a receive waits for ever. So each process has a thread that answers pings and otherwise sleeps. A
// process that computes for an hour without calling MPI answers; one that was stopped or killed, or whose host or network is
// down, does not.
//
// A ping carries a secret from the receiver's card, which only processes of the job know (modex), and one that the answer
// must repeat. Everything else is ignored without an answer.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/user_message.hpp"

namespace efa {

// Where a process answers pings; a part of its card.
struct PingAddress {
  uint8_t ip[16] = {};  // IPv6, or an IPv4 address mapped into it
  uint16_t port = 0;    // 0: it answers none
  uint16_t reserved[3] = {};
  uint64_t secret = 0;
};
static_assert(sizeof(PingAddress) == 32);

// The datagram, little-endian like all of the wire format.
struct PingPacket {
  uint32_t magic;
  uint16_t version;  // kWireVersion
  uint16_t answer;   // kPing, kAlive or kGivenUp
  uint64_t secret;   // of the process that it goes to
  uint64_t reply;    // of the process that sends the ping, the `secret` of its answer; 0 in an answer
  uint64_t id;       // chosen by the process that sends the ping

  static constexpr uint32_t kMagic = 0x474e5045;  // "EPNG"
  static constexpr uint16_t kPing = 0;
  static constexpr uint16_t kAlive = 1;    // an answer
  static constexpr uint16_t kGivenUp = 2;  // an answer to a process that this one has given up
};
static_assert(sizeof(PingPacket) == 32);

struct PingAnswer {
  uint64_t id;    // of the ping
  bool given_up;  // the process that answers has given up the one that asks
};

// Sends pings; tests have another one.
class Pinger {
 public:
  virtual ~Pinger() = default;
  // Sends a ping; lost if it cannot be sent at once.
  virtual void ping(const PingAddress& to, uint64_t id) = 0;
  // The answers since the last call, some perhaps more than once.
  virtual std::vector<PingAnswer> take_answers() = 0;
  // From now on the process with this secret is told, when it asks, that it was given up.
  virtual void give_up(uint64_t secret) = 0;
};

class PingSocket final : public Pinger {
 public:
  // `one_host`: only processes of this host will ask, so the socket is bound to the loopback address. Null with a reason.
  static std::unique_ptr<PingSocket> open(bool one_host, MessagePart& why);
  ~PingSocket() override;
  PingSocket(const PingSocket&) = delete;

  const PingAddress& address() const { return address_; }
  void ping(const PingAddress& to, uint64_t id) override;
  std::vector<PingAnswer> take_answers() override;
  void give_up(uint64_t secret) override;

 private:
  PingSocket() = default;
  void serve();
  void handle(const PingPacket& packet, const sockaddr* from, socklen_t size);

  static constexpr size_t kMostAnswers = 4096;  // kept; the oldest are not replaced

  int socket_ = -1, stop_ = -1;
  PingAddress address_;
  std::thread thread_;
  std::mutex mutex_;  // of what follows
  std::vector<PingAnswer> answers_;
  std::vector<uint64_t> given_up_;  // secrets
};

// The packet, if its size, magic, version and fields are valid.
std::optional<PingPacket> parse_ping(const void* bytes, size_t size);

}  // namespace efa
