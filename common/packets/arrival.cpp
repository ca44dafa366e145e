#include "packets/arrival.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "errors/report.hpp"
#include "packets/packets.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/deliver.hpp"
#include "protocol/requests.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {
namespace {

uint64_t kind_bits(const efa_transport* t, PacketType type) {
  const uint64_t kind = type == PacketType::ready_to_send ? kKindRts
                        : type == PacketType::synchronous ? kKindSync
                                                          : kKindEager;
  return t->tags.send_bits(0, kind, 0, 0);
}

// Most latency-critical messages have 8 to 16 bytes: those are copied without a call.
[[gnu::always_inline]] inline void copy_payload(void* to, const uint8_t* from, size_t size) {
  if (size >= 8 && size <= 16) [[likely]] {
    uint64_t first, last;
    std::memcpy(&first, from, 8);
    std::memcpy(&last, from + size - 8, 8);
    std::memcpy(to, &first, 8);
    std::memcpy(static_cast<char*>(to) + size - 8, &last, 8);
  } else if (size > 0) {
    std::memcpy(to, from, size);
  }
}

// It began with a matched probe, or its sender was asked for it. Not inlined: it is called from the fast path.
[[gnu::noinline]] void unmark(efa_transport* t, efa_request* request) {
  if (request->listed & kAsked) t->packets->asks.ended(t, request);
  t->requests.remove(request);
}

// A receive has matched a message.
[[gnu::always_inline]] inline void deliver_packet(efa_transport* t, efa_request* request, PacketType type,
                                                  Envelope envelope, const uint8_t* payload, size_t length) {
  request->kind = kMatchedRequest;
  request->status.source = envelope.source;
  request->status.tag = envelope.tag;
  if (type == PacketType::eager && !request->data.layout && length <= request->data.length) [[likely]] {
    ++t->counters.received_eager;
    t->counters.received_eager_bytes += length;
    request->status.length = length;
    copy_payload(request->data.buffer, payload, length);
    if (request->listed) [[unlikely]]
      unmark(t, request);
    finish_bare(t, request, EFA_SUCCESS);
    return;
  }
  if (request->listed & kAsked) t->packets->asks.ended(t, request);
  deliver_matched(t, request, kind_bits(t, type), payload, length);
}

// What a probe tells, and what a withdrawal names; false if the message is impossible.
bool describe(KeptMessage& message) {
  message.length = message.size;
  message.id = 0;
  if (message.type == PacketType::ready_to_send) {
    const auto ready = parse_ready_to_send(message.bytes(), message.size);
    if (!ready) return false;
    message.length = ready->length;
    message.id = ready->request;
  } else if (message.type == PacketType::synchronous) {
    SyncTrailer trailer;
    if (!parse_synchronous(message.bytes(), message.size, trailer)) return false;
    message.length = message.size - sizeof trailer;
    message.id = trailer.request;
  }
  return true;
}

// Needs no memory itself.
void not_kept(efa_transport* t, const efa_peer* from, const PacketHeader& header) {
  if (t->broken) return;
  t->broken = true;
  const FixedPart sender = msg::rank_of_communicator.without_memory(header.source);
  const efa_user_message message =
      msg::message_not_kept.without_memory(header.length, from ? PeerName(from).text : sender.text);
  t->config.fatal(&message);
}

// A copy, counted; null after an error that ends the job.
KeptPointer copy_of(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload) {
  KeptPointer message = make_kept(header.length);
  if (!message) {
    not_kept(t, from, header);
    return nullptr;
  }
  message->key = match_key({header.source, header.tag});  // also of one that is not queued
  message->peer = from;
  message->context = header.context;
  message->size = header.length;
  message->type = header.type;
  if (header.length) std::memcpy(message->bytes(), payload, header.length);
  if (!describe(*message)) {
    packet_impossible(t, from, header);
    return nullptr;
  }
  Packets& packets = *t->packets;
  packets.kept_most = std::max(packets.kept_most, ++packets.kept);
  packets.kept_bytes += header.length;
  return message;
}

[[gnu::noinline]] void keep(efa_transport* t, MatchQueues& queues, efa_peer* from, const PacketHeader& header,
                            const uint8_t* payload) {
  if (KeptPointer message = copy_of(t, from, header, payload))
    queues.add_unexpected(*message.release(), {header.source, header.tag});
}

// What is neither a message nor a control message. Not inlined: it is called from the fast path.
[[gnu::noinline]] void take_other(efa_transport* t, efa_peer* from, const PacketHeader& header,
                                  const uint8_t* payload) {
  switch (header.type) {
    case PacketType::answer_eager:
    case PacketType::answer_synchronous:
    case PacketType::answer_ready_to_send:
      if (t->packets->asks.answered(t, from, header, payload)) return;
      break;
    default:
      break;
  }
  packet_impossible(t, from, header);
}

[[gnu::always_inline]] inline void take_packet(efa_transport* t, efa_peer* from, const PacketHeader& header,
                                               const uint8_t* payload) {
  switch (header.type) {
    [[likely]] case PacketType::eager : case PacketType::synchronous : case PacketType::ready_to_send : break;
    case PacketType::control:
      handle_control(t, payload, header.length);
      return;
    default:
      take_other(t, from, header, payload);
      return;
  }
  const Envelope envelope{header.source, header.tag};
  if (!MatchQueues::is_message(envelope) || header.context > t->tags.max_context()) [[unlikely]] {
    packet_impossible(t, from, header);
    return;
  }
  MatchQueues& queues = t->packets->communicators.queues(header.context);
  if (PostedReceive* entry = queues.arrive(envelope)) [[likely]]
    deliver_packet(t, request_of(entry), header.type, envelope, payload, header.length);
  else
    keep(t, queues, from, header, payload);
}

}  // namespace

void packet_arrived(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload) {
  take_packet(t, from, header, payload);
}

namespace {

struct FromSharedMemory {
  efa_transport* t;

  void packet(ShmSource&, const PacketHeader& header, const uint8_t* payload) {
    take_packet(t, nullptr, header, payload);
  }
  void broken(ShmSource& source) { t->fatal(msg::shm_broken(describe_sender(t, source.uid))); }
};

}  // namespace

int poll_shared_memory(efa_transport* t) {
  FromSharedMemory handler{t};
  return t->packets->shm.poll(handler);
}

void packet_impossible(efa_transport* t, const efa_peer* from, const PacketHeader& header) {
  t->fatal(msg::packet_impossible(from ? to_string(from) : msg::rank_of_communicator(header.source).text(),
                                  static_cast<unsigned>(header.type), header.length, header.context));
}

namespace {

void uncount(efa_transport* t, const KeptMessage& message) {
  Packets& packets = *t->packets;
  --packets.kept;
  packets.kept_bytes -= message.size;
  if (packets.asks.owes()) packets.asks.memory_freed(t);
}

}  // namespace

void drop_kept(efa_transport* t, KeptPointer message) {
  uncount(t, *message);
}

void deliver_kept(efa_transport* t, efa_request* request, KeptPointer message) {
  uncount(t, *message);
  deliver_packet(t, request, message->type, message->envelope(), message->bytes(), message->size);
}

KeptPointer keep_apart(efa_transport* t, efa_peer* from, const PacketHeader& header, const uint8_t* payload) {
  return copy_of(t, from, header, payload);
}

void deliver_answer(efa_transport* t, efa_request* request, const PacketHeader& header, const uint8_t* payload) {
  deliver_packet(t, request, header.type, {header.source, header.tag}, payload, header.length);
}

}  // namespace efa
