// What the tests of the shm channel share: senders and receivers that check each packet, and processes.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "catch.hpp"
#include "channel/shm_channel.hpp"

namespace efa {

struct Disconnect {
  void operator()(ShmSender* sender) const { ShmChannel::disconnect(sender); }
};
using Sender = std::unique_ptr<ShmSender, Disconnect>;

inline Sender connect(const ShmAddress& peer, uint64_t uid) {
  ShmFailure failure;
  Sender sender(ShmChannel::connect(peer, uid, failure));
  INFO((failure.call != nullptr ? failure.call : "") << ": " << std::strerror(failure.error));
  REQUIRE(sender != nullptr);
  return sender;
}

inline size_t length_of(uint32_t n) {
  return n % 7 == 0 ? n * 37 % (kMostShmPayload + 1) : n % 50;
}

inline std::vector<uint8_t> bytes_of(uint64_t uid, uint32_t n) {
  std::vector<uint8_t> bytes(length_of(n));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(uid * 89 + n * 131 + i * 7);
  return bytes;
}

inline bool send(ShmSender& sender, uint64_t uid, uint32_t n) {
  const auto bytes = bytes_of(uid, n);
  return sender.send({0, static_cast<int32_t>(uid), static_cast<int32_t>(n), 0, 0, PacketType::eager, 0, 0},
                     bytes.data(), bytes.size());
}

// Checks that packets 0, 1, ... of each sender arrive in order.
struct Receiver {
  struct Peer {
    uint64_t uid;
    uint32_t next = 0;
  };
  void packet(ShmSource& source, const PacketHeader& header, const uint8_t* payload) {
    if (source.user == nullptr) source.user = &peers.emplace(source.uid, Peer{source.uid}).first->second;
    Peer& peer = *static_cast<Peer*>(source.user);
    const auto expected = bytes_of(peer.uid, peer.next);
    if (peer.uid != source.uid || header.source != static_cast<int32_t>(source.uid) ||
        header.tag != static_cast<int32_t>(peer.next) || header.length != expected.size() ||
        !std::equal(expected.begin(), expected.end(), payload))
      ++wrong;
    ++peer.next;
    ++total;
    if (then) then(source);
  }
  void broken(ShmSource& source) { broken_uids.push_back(source.uid); }

  std::map<uint64_t, Peer> peers;  // by uid
  uint32_t total = 0, wrong = 0;
  std::vector<uint64_t> broken_uids;
  std::function<void(ShmSource&)> then;
};

struct Channel {
  Channel() {
    ShmFailure failure;
    const bool open = channel.open(failure);
    INFO((failure.call != nullptr ? failure.call : "") << ": " << std::strerror(failure.error));
    REQUIRE(open);
  }
  // Until `count` packets have arrived in all, or so many polls were idle that none can be missing.
  void receive(uint32_t count, int idle_polls = 100'000) {
    for (int idle = 0; receiver.total < count && idle < idle_polls;)
      idle = channel.poll(receiver) > 0 ? 0 : idle + 1;
    CHECK(receiver.total == count);
    CHECK(receiver.wrong == 0);
  }
  // Until every ring but one is cold.
  void let_cool() {
    for (uint32_t i = 0; i < 3 * kShmTickPolls * kShmCoolTicks; ++i) REQUIRE(channel.poll(receiver) == 0);
  }
  ShmChannel channel;
  Receiver receiver;
};

inline pid_t start(const std::function<void()>& what) {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is ended leaves no senders behind
    [&]() noexcept { what(); }();      // nothing returns into the test that runs in the parent
    _exit(0);
  }
  REQUIRE(pid > 0);
  return pid;
}

inline int wait_for(pid_t pid) {
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  return status;
}

inline void send_in_child(const ShmAddress& peer, uint64_t uid, uint32_t count) {
  ShmFailure failure;
  ShmSender* const sender = ShmChannel::connect(peer, uid, failure);
  if (sender == nullptr) _exit(2);
  for (uint32_t n = 0; n < count;) {
    if (send(*sender, uid, n))
      ++n;
    else
      usleep(50);
  }
  ShmChannel::disconnect(sender);
}

inline ShmHeader* map_header(const ShmAddress& address) {
  const std::string path = "/proc/self/fd/" + std::to_string(address.fd);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  void* const at = mmap(nullptr, sizeof(ShmHeader), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  REQUIRE(at != MAP_FAILED);
  return static_cast<ShmHeader*>(at);
}

}  // namespace efa
