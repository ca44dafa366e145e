// The receiver's side of flow control: grants that are owed, and questions to the peers that wait for them. See
// packets/flow.hpp.
//
// While a grant is owed, `slow_packets` is set: so receives take the path that asks, and pay nothing for it otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "channel/packet.hpp"
#include "interface/transport.h"
#include "matching/envelope.hpp"
#include "packets/kept_message.hpp"
#include "protocol/wire.hpp"

namespace efa {

class Asks {
 public:
  Asks() = default;
  Asks(const Asks&) = delete;

  bool owes() const { return !owed_.empty(); }

  // Control messages from senders; false if they are impossible.
  bool window_used(efa_transport* t, efa_peer* peer, const Control& message);
  bool offered(efa_transport* t, efa_peer* peer, const Control& message);
  // A packet with the type of an answer. False if nobody asked for it.
  bool answered(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload);

  // A receive was posted, and no message has matched it. While owes().
  void posted(efa_transport* t, efa_request* request, uint32_t context, Envelope pattern);
  // A receive with the mark kAsked has been matched by another message, or was taken out of its queue.
  void ended(efa_transport* t, efa_request* request);
  // A probe that has found nothing. While owes(). What it asks for is known at a later call.
  bool probe(efa_transport* t, efa_peer* peer, uint32_t context, Envelope pattern, efa_status* status);
  // The same for a matched probe: waits for a message that was offered. Null: there is none yet.
  KeptPointer match(efa_transport* t, efa_peer* peer, uint32_t context, Envelope pattern);

  // Memory of unmatched messages has become free. While owes().
  void memory_freed(efa_transport* t);
  // Receives that wait for an answer from the peer end with an error; nothing is owed to it any more.
  void peer_failed(efa_transport* t, efa_peer* peer);
  void forget(efa_transport* t, efa_peer* peer);

 private:
  struct Owed {
    efa_peer* peer;
    uint64_t bytes;
  };
  // A question of a receive, or of a matched probe.
  struct Record {
    efa_request* request = nullptr;  // null: a matched probe
    uint32_t context = 0;
    Envelope pattern{};
    efa_peer* promised = nullptr;  // the peer whose offer was taken
    KeptPointer message;           // the answer to a matched probe
    bool none = false;             // the same: there is no message
  };
  struct Probe {
    uint32_t id, context;
    Envelope pattern;
    unsigned awaited;  // answers
    efa_peer* peer;    // that has offered a message; null: none yet
    Envelope envelope;
    uint64_t length;
  };

  uint32_t new_id() { return ++last_id_ ? last_id_ : ++last_id_; }
  void grant(efa_transport* t, efa_peer* peer, uint64_t bytes);
  void ask(efa_transport* t, efa_peer* peer, uint32_t id, AskKind kind, uint32_t context, Envelope pattern);
  void ask_for_all(efa_transport* t, efa_peer* peer);
  uint32_t question_of(efa_request* request, uint32_t context, Envelope pattern);
  void withdraw(efa_transport* t, const efa_request* request, uint32_t context, const efa_peer* except);
  Probe* find_probe(uint32_t context, Envelope pattern);

  std::vector<Owed> owed_;
  std::unordered_map<uint32_t, Record> records_;
  std::vector<Probe> probes_;  // void as soon as a receive is posted or a grant is given
  std::unordered_map<const efa_peer*, uint64_t> grown_;  // bytes by which the windows of peers have grown
  uint64_t grown_in_all_ = 0;
  uint32_t last_id_ = 0;
};

}  // namespace efa
