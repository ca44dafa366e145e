// The rest of the world for the protocol engine's fuzz target: a provider that matches messages, and peers that
// know what they sent and were sent. It does what it is told, possible or not, and checks what comes back.
//
// Content says where it belongs: every message has an address that is a multiple of 2^24, and the aligned 8-byte
// word at an address has that address as its value. So whatever arrives anywhere can be checked, however it came.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fake_transport.hpp"
#include "fuzz.hpp"

namespace efa::fuzz {

constexpr uint64_t kAddressStep = 1 << 24;  // longer than any message here
constexpr char kPoison = 0x5a;

void fill_content(void* to, uint64_t address, size_t size);
bool has_content(const void* at, uint64_t address, size_t size);

struct Network;

// A send or receive of the user. Ends, and is freed with all its memory, when it is done: whatever still touches
// it then is found by the sanitizer, whatever is still posted for it by the network.
struct UserRequest : efa_request {
  Network* network;
  bool sends;
  bool starts_another;  // from inside `done`, as MPI does
  size_t size;          // bytes of the message or of the room for it
  uint64_t address;     // of the content, if it sends
  std::unique_ptr<char[]> memory;
  fake::Layout layout;
};

// A message of a peer that no receive has matched.
struct Arrived {
  int32_t from;
  uint64_t tag, data;
  std::vector<uint8_t> bytes;
};

// A rendezvous that a peer began, truthfully or not.
struct RemoteSend {
  int32_t from;
  ReadyToSend ready;
  uint64_t address;
  bool well_formed;
  bool answered = false;
  Control clear{};          // once answered by clear-to-send
  uint64_t next_piece = 0;  // that was not sent
};

// A ready-to-send message that our side sent.
struct OpenSend {
  int32_t to;
  ReadyToSend ready;
  uint64_t address;
  bool answered = false;
};

// What our side was told to send in pieces.
struct Told {
  int32_t by;
  uint64_t address, length, piece;
};

struct Network {
  Network();
  ~Network();

  fake::Fabric second;  // before `x`, which closes it
  fake::Transport x;
  std::list<UserRequest*> open;
  std::vector<efa_message*> matched;
  std::list<Arrived> unexpected;
  std::map<void*, Arrived> claimed;
  std::vector<RemoteSend> remote;
  std::vector<OpenSend> offered;
  std::map<uint32_t, Told> told;                          // by handle
  std::vector<std::pair<int32_t, uint64_t>> synchronous;  // to a peer, or from one (negative): rank and bits
  Control last_control{};
  uint64_t next_address = kAddressStep, next_id = 1;
  uint32_t next_handle = 1;
  bool ended =
      false;  // something fatal was said: the job would be over, so only memory is watched from here on

  efa_peer& peer(int32_t rank) { return rank == 1 ? x.one : x.two; }
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
  // Takes out what the provider was given, the n-th that is not a receive, and ends it well or badly.
  void end_posted(size_t n, int error);

  void progress();  // ours, and matching
  void settle();    // every peer does what it should, until nothing is left to be done; then checks that

 private:
  UserRequest* make(bool sends, size_t size, bool layout);
  void watch(const fake::Posted& post);
  void learn_control(const fake::Posted& post);
  void learn_tagged(const fake::Posted& post);
  void match();
  void check_fatals(size_t before);
  bool possible(const Control& message) const;
  static void done(efa_request* r);
  void check_received(const UserRequest& r) const;
  void check_not_posted(const UserRequest& r) const;
};

}  // namespace efa::fuzz
