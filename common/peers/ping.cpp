#include "peers/ping.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/wire_version.hpp"

namespace efa {
namespace {

constexpr in6_addr kLoopback4 = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}}};

in6_addr mapped(const in_addr& address) {
  in6_addr wide = kLoopback4;
  std::memcpy(wide.s6_addr + 12, &address, sizeof address);
  return wide;
}

// The address from which packets leave by the default route. Nothing is sent: connect() of a datagram socket only looks
// the route up. 192.0.2.1 is reserved for documentation (RFC 5737).
bool default_route_address(in6_addr& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
  const int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in own{};
  socklen_t size = sizeof own;
  const bool found = probe >= 0 && connect(probe, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 &&
                     getsockname(probe, reinterpret_cast<sockaddr*>(&own), &size) == 0;
  if (probe >= 0) close(probe);
  if (found) address = mapped(own.sin_addr);
  return found;
}

// An address of the first interface that is up and not the loopback, IPv4 before IPv6.
bool interface_address(in6_addr& address) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all)) return false;
  bool found = false, four = false;
  for (const ifaddrs* each = all; each; each = each->ifa_next) {
    if (!each->ifa_addr || !(each->ifa_flags & IFF_UP) || (each->ifa_flags & IFF_LOOPBACK)) continue;
    if (each->ifa_addr->sa_family == AF_INET && !four) {
      address = mapped(reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr);
      found = four = true;
    } else if (each->ifa_addr->sa_family == AF_INET6 && !found) {
      const in6_addr& six = reinterpret_cast<const sockaddr_in6*>(each->ifa_addr)->sin6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&six)) continue;  // of no use without the name of the other side's interface
      address = six;
      found = true;
    }
  }
  freeifaddrs(all);
  return found;
}

// Where to send to, or from: IPv4 as such, so that a kernel without IPv6 will do.
struct SocketAddress {
  SocketAddress(const in6_addr& address, uint16_t port) {
    std::memset(&any, 0, sizeof any);
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
      four.sin_family = AF_INET;
      four.sin_port = htons(port);
      std::memcpy(&four.sin_addr, address.s6_addr + 12, sizeof four.sin_addr);
      size = sizeof four;
    } else {
      six.sin6_family = AF_INET6;
      six.sin6_port = htons(port);
      six.sin6_addr = address;
      size = sizeof six;
    }
  }
  uint16_t port() const { return ntohs(any.ss_family == AF_INET ? four.sin_port : six.sin6_port); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&any); }

  union {
    sockaddr_storage any;
    sockaddr_in four;
    sockaddr_in6 six;
  };
  socklen_t size;
};

int open_socket(const in6_addr& address, uint16_t& port) {
  SocketAddress own(address, 0);
  const int fd = socket(own.any.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (bind(fd, own.get(), own.size) == 0 && getsockname(fd, own.get(), &own.size) == 0) {
    port = own.port();
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

bool random_bytes(void* to, size_t size) {
  return getrandom(to, size, 0) == static_cast<ssize_t>(size);
}

// The thread takes no signals: they belong to the program's threads.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

std::optional<PingPacket> parse_ping(const void* bytes, size_t size) {
  PingPacket packet;
  if (size != sizeof packet) return std::nullopt;
  std::memcpy(&packet, bytes, sizeof packet);
  const bool good = packet.magic == PingPacket::kMagic && packet.version == kWireVersion &&
                    packet.answer <= PingPacket::kGivenUp &&
                    (packet.answer == PingPacket::kPing || packet.reply == 0);
  return good ? std::optional(packet) : std::nullopt;
}

std::unique_ptr<PingSocket> PingSocket::open(bool one_host, MessagePart& why) {
  std::unique_ptr<PingSocket> made(new PingSocket);
  const auto refuse = [&](const char* call) {
    why = msg::ping_call_failed(call, std::strerror(errno));
    return nullptr;
  };
  in6_addr address = kLoopback4;
  if (!one_host && !default_route_address(address) && !interface_address(address)) {
    why = msg::ping_no_interface();
    return nullptr;
  }
  made->socket_ = open_socket(address, made->address_.port);
  if (made->socket_ < 0) return refuse("socket or bind (UDP)");
  std::memcpy(made->address_.ip, &address, sizeof made->address_.ip);
  if (!random_bytes(&made->address_.secret, sizeof made->address_.secret)) return refuse("getrandom");
  made->stop_ = eventfd(0, EFD_CLOEXEC);
  if (made->stop_ < 0) return refuse("eventfd");
  made->answers_.reserve(kMostAnswers);
  const SignalsBlocked blocked;
  try {
    made->thread_ = std::thread([socket = made.get()] { socket->serve(); });
  } catch (const std::system_error& error) {
    why = msg::ping_no_thread(error.what());
    return nullptr;
  }
  return made;
}

PingSocket::~PingSocket() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    while (write(stop_, &one, sizeof one) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  if (socket_ >= 0) close(socket_);
  if (stop_ >= 0) close(stop_);
}

void PingSocket::ping(const PingAddress& to, uint64_t id) {
  if (to.port == 0) return;
  in6_addr address;
  std::memcpy(&address, to.ip, sizeof to.ip);
  SocketAddress there(address, to.port);
  const PingPacket packet{PingPacket::kMagic, kWireVersion,    PingPacket::kPing,
                          to.secret,          address_.secret, id};
  sendto(socket_, &packet, sizeof packet, MSG_DONTWAIT | MSG_NOSIGNAL, there.get(), there.size);
}

void PingSocket::give_up(uint64_t secret) {
  const std::lock_guard guard(mutex_);
  given_up_.push_back(secret);
}

std::vector<PingAnswer> PingSocket::take_answers() {
  std::vector<PingAnswer> taken;
  taken.reserve(kMostAnswers);
  const std::lock_guard guard(mutex_);
  taken.swap(answers_);
  return taken;
}

void PingSocket::handle(const PingPacket& packet, const sockaddr* from, socklen_t size) {
  if (packet.secret != address_.secret) return;
  if (packet.answer != PingPacket::kPing) {
    const std::lock_guard guard(mutex_);
    if (answers_.size() < answers_.capacity())
      answers_.push_back({packet.id, packet.answer == PingPacket::kGivenUp});
    return;
  }
  PingPacket answer{PingPacket::kMagic, kWireVersion, PingPacket::kAlive, packet.reply, 0, packet.id};
  {
    const std::lock_guard guard(mutex_);
    if (std::find(given_up_.begin(), given_up_.end(), packet.reply) != given_up_.end())
      answer.answer = PingPacket::kGivenUp;
  }
  sendto(socket_, &answer, sizeof answer, MSG_DONTWAIT | MSG_NOSIGNAL, from, size);
}

// Allocates nothing: answers_ has room.
void PingSocket::serve() {
  pollfd waiting[2] = {{socket_, POLLIN, 0}, {stop_, POLLIN, 0}};
  for (;;) {
    if (poll(waiting, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (waiting[1].revents) return;
    uint8_t bytes[sizeof(PingPacket) + 1];
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const ssize_t got = recvfrom(socket_, bytes, sizeof bytes, 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) continue;  // an ICMP error of an earlier send, or another reader was faster
    if (const auto packet = parse_ping(bytes, static_cast<size_t>(got)))
      handle(*packet, reinterpret_cast<sockaddr*>(&from), size);
  }
}

}  // namespace efa
