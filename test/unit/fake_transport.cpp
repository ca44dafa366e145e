#include "fake_transport.hpp"

#include <cstring>
#include <stdexcept>

namespace fake {
namespace {

// The transport's callbacks have no context: one transport at a time.
Transport* current;

bool move_blocks(void* layout, size_t offset, char* packed, size_t size, bool pack) {
  const auto& l = *static_cast<Layout*>(layout);
  for (size_t i = 0; i < size; ++i) {
    const size_t at = offset + i;
    char& place = l.base[at / l.block * (l.block + l.gap) + at % l.block];
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
  config.self = {1000, 0};
  config.hostname = "here";
  config.report = [](efa_severity, const char* text) { current->reports.emplace_back(text); };
  config.fatal = [](const char* text) {
    current->fatals.emplace_back(text);
    current->t->broken = false;  // a real one does not return
  };
  config.resolve = [](void*, int32_t rank) {
    return rank == 1 ? &current->one : rank == 2 ? &current->two : nullptr;
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
  std::string why;
  const auto tags = efa::TagLayout::make({~uint64_t{0} >> 1, 8, true}, why);
  return std::make_unique<efa_transport>(config_of(), tags.value());
}

}  // namespace

Transport::Transport() : owned(make_transport()), t(owned.get()), one(*t->peers.add()), two(*t->peers.add()) {
  current = this;
  std::string why;
  t->ep = &fabric.ep;
  t->cq = &fabric.cq;
  t->traits = &efa::provider_traits("efa");
  t->rail.ep.reset(&fabric.ep);
  t->rail.cq.reset(&fabric.cq);
  t->rail.av.reset(&fabric.av);
  t->rail.domain.reset(&fabric.domain);
  t->rail.info.reset(fi_allocinfo());
  t->rail.info->fabric_attr->prov_name = strdup("efa");
  t->rail.info->domain_attr->name = strdup("fake0");
  auto& p = t->protocols;
  p.inject_limit = t->inject_limit = 64;
  p.eager_limit = 1024;
  p.eager_limit_packed = 512;
  p.longest_eager = 1024;
  p.piece = p.staging = p.read = p.stripe = 4096;
  p.pull_limit = 2048;
  p.window = 2;
  p.peer_window = 4;
  p.parts = 4;
  efa::make_overflow(t, p.eager_limit);
  t->address_size = 4;
  int32_t rank = 1;
  for (efa_peer* peer : {&one, &two}) {
    peer->address = static_cast<fi_addr_t>(rank);
    peer->eager_limit = static_cast<uint32_t>(p.eager_limit);
    peer->eager_limit_packed = static_cast<uint32_t>(p.eager_limit_packed);
    peer->piece = p.piece;
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
  for (auto* control : t->all_controls) efa::free_control(control);
}

efa_result Transport::send(Request& r, efa_peer& peer, int32_t tag, const void* data, size_t size,
                           efa_send_mode mode, Layout* layout) {
  r.op.peer = &peer;
  r.data = {const_cast<void*>(data), size, layout};
  const efa_envelope e = to(peer.world_rank, tag);
  return efa_send(t, &r, &e, mode);
}

efa_result Transport::receive(Request& r, efa_peer* peer, int32_t tag, void* data, size_t size,
                              Layout* layout) {
  r.op.peer = peer;
  r.data = {data, size, layout};
  efa_envelope e = to(peer ? peer->world_rank : EFA_ANY_SOURCE, tag);
  e.any_tag = tag == EFA_ANY_TAG;
  return efa_recv(t, &r, &e);
}

void Transport::progress() {
  while (efa_progress(t) > 0) {
  }
}

efa::ReadyToSend Transport::ready(uint64_t request, uint64_t length, uint64_t piece) const {
  efa::ReadyToSend m{};
  m.magic = efa::ReadyToSend::kMagic;
  m.version = efa::kWireVersion;
  m.request = request;
  m.length = length;
  m.piece = piece;
  return m;
}

efa::Control Transport::control(efa::ControlType type, const efa_peer& from, uint64_t request,
                                uint64_t length, uint64_t piece) const {
  efa::Control m{};
  m.magic = efa::Control::kMagic;
  m.version = efa::kWireVersion;
  m.type = type;
  m.sender = from.uid;
  m.request = request;
  m.length = length;
  m.piece = piece;
  m.handle = 3;
  return m;
}

void add_rail(Transport& x, Fabric& fabric) {
  auto rail = std::make_unique<efa::Rail>();
  rail->ep.reset(&fabric.ep);
  rail->cq.reset(&fabric.cq);
  rail->av.reset(&fabric.av);
  rail->domain.reset(&fabric.domain);
  rail->eq.reset(&fabric.eq);
  rail->info.reset(fi_allocinfo());
  rail->info->fabric_attr->prov_name = strdup("efa");
  rail->info->domain_attr->name = strdup("fake1");
  x.t->more_rails.push_back(std::move(rail));
  x.t->config.card = [](uint64_t uid, size_t* size) -> void* {
    efa::Card card;
    card.address = {1, 1, 1, 1};
    card.more = {2, 2, 2, 2};
    const auto bytes = card.serialize();
    *size = bytes.size();
    const bool known = uid == current->one.uid || uid == current->two.uid;
    return known ? std::memcpy(std::malloc(bytes.size()), bytes.data(), bytes.size()) : nullptr;
  };
}

efa::Control answer(Transport& x) {
  const Posted p = x.fabric.take(Call::send);
  const auto message = efa::parse_control(p.bytes.data(), p.bytes.size()).value();
  x.fabric.complete(p);
  x.progress();
  return message;
}

void serve(Transport& x, const Posted& p, const std::vector<char>& data, size_t offset) {
  const size_t size = p.into[0].iov_len;
  if (offset + size > data.size()) throw std::out_of_range("the message has no such bytes");
  std::memcpy(p.into[0].iov_base, data.data() + offset, size);
  x.fabric.complete(p, size, p.tag);
}

std::vector<char> pattern(size_t size, unsigned seed) {
  std::vector<char> bytes(size);
  unsigned value = seed * 2654435761u;
  for (char& byte : bytes) byte = static_cast<char>((value = value * 1664525u + 1013904223u) >> 24);
  return bytes;
}

}  // namespace fake
