#include "fake_transport.hpp"

#include <cstring>
#include <stdexcept>

#include "no_memory.hpp"
#include "peers/card.hpp"
#include "protocol/control.hpp"
#include "protocol/segments.hpp"
#include "protocol/wire.hpp"
#include "tagged/claims.hpp"

namespace fake {
namespace {

// The transport's callbacks have no context, so they serve one transport at a time.
Transport* current;

bool move_blocks(void* layout, size_t offset, char* packed, size_t size, bool pack) {
  const auto& blocks = *static_cast<Layout*>(layout);
  if (blocks.refuses && blocks.refuses(offset)) return false;
  for (size_t i = 0; i < size; ++i) {
    const size_t at = offset + i;
    char& place = blocks.base[at / blocks.block * (blocks.block + blocks.gap) + at % blocks.block];
    if (pack)
      packed[i] = place;
    else
      place = packed[i];
  }
  return true;
}

efa_config config_of() {
  efa_config config{};
  efa_options_defaults(&config.options);
  config.options.staging_memory = 5 * 4096;
  config.self = {1000, 0, 0};
  config.hostname = "here";
  config.report = [](const efa_user_message* message) {
    MemoryAvailable available;
    current->reports.emplace_back(message->text);
  };
  config.fatal = [](const efa_user_message* message) {
    MemoryAvailable available;
    current->fatals.emplace_back(message->text);
    current->t->broken = false;  // the real callback does not return
  };
  config.resolve = [](void*, int32_t rank) {
    return rank == 1 ? &current->one : rank == 2 ? &current->two : rank == 3 ? current->third : nullptr;
  };
  config.pack = [](void* layout, size_t offset, void* to, size_t size) {
    return move_blocks(layout, offset, static_cast<char*>(to), size, true);
  };
  config.unpack = [](void* layout, size_t offset, const void* from, size_t size) {
    return move_blocks(layout, offset, static_cast<char*>(const_cast<void*>(from)), size, false);
  };
  config.segments = [](void* layout, const iovec** first) {
    const auto& segments = static_cast<Layout*>(layout)->segments;
    *first = segments.data();
    return static_cast<uint32_t>(segments.size());
  };
  return config;
}

std::unique_ptr<efa_transport> make_transport() {
  efa::MessagePart why;
  const auto tags = efa::TagLayout::make({~uint64_t{0} >> 1, 8, true}, why);
  return std::make_unique<efa_transport>(config_of(), tags.value());
}

}  // namespace

Transport::Transport() : owned(make_transport()), t(owned.get()), one(*t->peers.add()), two(*t->peers.add()) {
  current = this;
  efa::UserMessage why;
  t->ep = &fabric.ep;
  t->cq = &fabric.cq;
  t->traits = &efa::provider_traits("efa");
  t->rails.first.ep.reset(&fabric.ep);
  t->rails.first.cq.reset(&fabric.cq);
  t->rails.first.av.reset(&fabric.av);
  t->rails.first.domain.reset(&fabric.domain);
  t->rails.first.info.reset(fi_allocinfo());
  t->rails.first.info->fabric_attr->prov_name = strdup("efa");
  t->rails.first.info->domain_attr->name = strdup("fake0");
  auto& protocols = t->protocols;
  protocols.inject_limit = t->inject_limit = 64;
  protocols.eager_limit = 1024;
  protocols.eager_limit_packed = 512;
  protocols.longest_eager = 1024;
  protocols.piece = protocols.staging = protocols.read = protocols.stripe = 4096;
  protocols.pull_limit = 2048;
  protocols.window = 2;
  protocols.peer_window = 4;
  protocols.parts = 4;
  t->overflow.memory.reset(new char[protocols.staging]);
  t->overflow.give_room(protocols.eager_limit);
  t->address_size = 4;
  int32_t rank = 1;
  for (efa_peer* peer : {&one, &two}) {
    peer->address = static_cast<fi_addr_t>(rank);
    peer->eager_limit = static_cast<uint32_t>(protocols.eager_limit);
    peer->eager_limit_packed = static_cast<uint32_t>(protocols.eager_limit_packed);
    peer->piece = protocols.piece;
    peer->pulls = true;
    peer->uid = 1000 + static_cast<uint64_t>(rank);
    peer->world_rank = rank;
    peer->hostname = "there";
    peer->nic = "fake9";
    ++rank;
  }
  efa::start_control(t, why);
}

Transport::~Transport() {
  t->closing = true;
  efa::free_claimed(t);
  t->registrations.clear();
}

efa_result Transport::send(Request& request, efa_peer& peer, int32_t tag, const void* data, size_t size,
                           efa_send_mode mode, Layout* layout) {
  request.op.peer = &peer;
  request.data = {const_cast<void*>(data), size, layout};
  const efa_envelope envelope = to(peer.world_rank, tag);
  return efa_send(t, &request, &envelope, mode);
}

efa_result Transport::receive(Request& request, efa_peer* peer, int32_t tag, void* data, size_t size,
                              Layout* layout) {
  request.op.peer = peer;
  request.data = {data, size, layout};
  efa_envelope envelope = to(peer ? peer->world_rank : EFA_ANY_SOURCE, tag);
  envelope.any_tag = tag == EFA_ANY_TAG;
  return efa_recv(t, &request, &envelope);
}

void Transport::make_current() {
  current = this;
}

void Transport::progress() {
  while (efa_progress(t) > 0) {
  }
}

efa::ReadyToSend Transport::ready(uint64_t request, uint64_t length, uint64_t piece) const {
  efa::ReadyToSend message{};
  message.magic = efa::ReadyToSend::kMagic;
  message.version = efa::kWireVersion;
  message.request = request;
  message.length = length;
  message.piece = piece;
  return message;
}

efa::Control Transport::control(efa::ControlType type, const efa_peer& from, uint64_t request,
                                uint64_t length, uint64_t piece) const {
  efa::Control message{};
  message.magic = efa::Control::kMagic;
  message.version = efa::kWireVersion;
  message.type = type;
  message.sender = from.uid;
  message.request = request;
  message.length = length;
  message.piece = piece;
  message.handle = 3;
  return message;
}

void add_rail(Transport& transport, Fabric& fabric) {
  auto rail = std::make_unique<efa::OpenRail>();
  rail->ep.reset(&fabric.ep);
  rail->cq.reset(&fabric.cq);
  rail->av.reset(&fabric.av);
  rail->domain.reset(&fabric.domain);
  rail->eq.reset(&fabric.eq);
  rail->info.reset(fi_allocinfo());
  rail->info->fabric_attr->prov_name = strdup("efa");
  rail->info->domain_attr->name = strdup("fake1");
  transport.t->rails.more.push_back(std::move(rail));
  transport.t->config.card = [](uint64_t uid, size_t* size) -> void* {
    efa::Card card;
    card.address = {1, 1, 1, 1};
    card.more = {2, 2, 2, 2};
    const auto bytes = card.serialize();
    *size = bytes.size();
    const bool known = uid == current->one.uid || uid == current->two.uid;
    return known ? std::memcpy(std::malloc(bytes.size()), bytes.data(), bytes.size()) : nullptr;
  };
}

efa::Control answer(Transport& transport) {
  const Posted posted = transport.fabric.take(Call::send);
  const auto message = efa::parse_control(posted.bytes.data(), posted.bytes.size()).value();
  transport.fabric.complete(posted);
  transport.progress();
  return message;
}

void serve(Transport& transport, const Posted& posted, const std::vector<char>& data, size_t offset) {
  const size_t size = posted.into[0].iov_len;
  if (offset + size > data.size()) throw std::out_of_range("the message has no such bytes");
  std::memcpy(posted.into[0].iov_base, data.data() + offset, size);
  transport.fabric.complete(posted, size, posted.tag);
}

std::vector<char> pattern(size_t size, unsigned seed) {
  std::vector<char> bytes(size);
  unsigned value = seed * 2654435761u;
  for (char& byte : bytes) byte = static_cast<char>((value = value * 1664525u + 1013904223u) >> 24);
  return bytes;
}

}  // namespace fake
