// The environment of the protocol engine's fuzz target: a provider that matches messages, and peers that record what they
// send and receive. It executes any action, valid or not, and checks the engine's reaction.
//
// Message content identifies itself: every message has an address, a multiple of 2^24, and the aligned 8-byte word at an
// address has that address as its value. So received data can be checked whatever protocol delivered it.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fake_transport.hpp"
#include "fuzz.hpp"
#include "protocol/wire.hpp"

namespace efa::fuzz {

constexpr uint64_t kAddressStep = 1 << 24;  // longer than any message here
constexpr char kPoison = 0x5a;

void fill_content(void* to, uint64_t address, size_t size);
bool has_content(const void* at, uint64_t address, size_t size);

struct Network;

// A send or receive of the user. It is freed with its memory when it is done: the sanitizer finds later accesses, and
// check_not_posted() finds operations that are still posted.
struct UserRequest : efa_request {
  Network* network;
  bool sends;
  bool starts_another;  // from inside `done`, as MPI does
  size_t size;          // bytes of the message or of the room for it
  uint64_t address;     // of the content of a send
  std::unique_ptr<char[]> memory;
  fake::Layout layout;
};

// A message of a peer that no receive has matched.
struct Arrived {
  int32_t from;
  uint64_t tag, data;
  std::vector<uint8_t> bytes;
};

// A rendezvous that a peer started, valid or not.
struct RemoteSend {
  int32_t from;
  ReadyToSend ready;
  uint64_t address;
  bool well_formed;
  bool answered = false;
  bool stopped = false;     // our receiver reported a failure
  Control clear{};          // the clear-to-send, once it was answered
  uint64_t next_piece = 0;  // the first piece that was not sent
};

// A ready-to-send message that our side sent.
struct OpenSend {
  int32_t to;
  ReadyToSend ready;
  uint64_t address;
  bool answered = false;
};

// A push that a clear-to-send asked our side for.
struct ExpectedPush {
  int32_t receiver;
  uint64_t address, length, piece;
};

struct Network {
  Network();
  ~Network();

  fake::Fabric second;  // before `x`, which closes it
  fake::Transport transport;
  std::list<UserRequest*> open;
  std::vector<efa_message*> matched;
  std::list<Arrived> unexpected;
  std::map<void*, Arrived> claimed;
  std::vector<RemoteSend> remote;
  std::vector<OpenSend> offered;
  std::map<uint32_t, ExpectedPush> expected_pushes;       // by handle
  std::vector<std::pair<int32_t, uint64_t>> synchronous;  // to a peer, or from one (negative): rank and id
  std::vector<std::pair<int32_t, uint64_t>> withdrawals;  // that our side asked for: rank and id
  Control last_control{};
  uint64_t next_address = kAddressStep, next_id = 1;
  uint32_t next_handle = 1;
  bool ended =
      false;  // a fatal error was reported, which ends the job: from now on only memory accesses are checked

  efa_peer& peer(int32_t rank) { return rank == 1 ? transport.one : transport.two; }
  uint64_t fresh_address() { return next_address += kAddressStep; }

  void send(int32_t to, size_t size, int32_t tag, bool synchronous, bool layout, bool starts_another);
  void receive(int32_t from, size_t size, int32_t tag, bool layout, bool starts_another);
  void receive_matched(size_t which, size_t size, bool layout);
  void probe(int32_t from, int32_t tag, bool take);

  // From a peer.
  void arrive(int32_t from, uint64_t tag, const void* bytes, size_t size);
  void arrive_eager(int32_t from, int32_t tag, size_t size, bool synchronous);
  void arrive_ready(int32_t from, int32_t tag, RemoteSend send, size_t cut);
  void arrive_control(const void* bytes, size_t size);
  void arrive_piece(RemoteSend& send, uint64_t index, size_t size);
  // Completes a posted send or read, number `which` modulo their count; or, if `error` is not 0, fails one of these or of the
  // posted receives with it.
  void end_posted(size_t which, int error);

  void progress();  // of the engine and of the provider's matching
  void settle();    // every peer follows the protocol until all operations end; then checks that

 private:
  UserRequest* make(bool sends, size_t size, bool layout);
  void watch(const fake::Posted& post);
  void learn_control(const fake::Posted& post);
  void learn_tagged(const fake::Posted& post);
  void match();
  void check_fatals(size_t before);
  bool possible(const Control& message) const;
  static void done(efa_request* request);
  void check_received(const UserRequest& request) const;
  void check_not_posted(const UserRequest& request) const;
};

}  // namespace efa::fuzz
