#include "network.hpp"

#include <algorithm>
#include <cstring>

namespace efa::fuzz {

using fake::Call;
using fake::Posted;

namespace {

// The next byte of an address's word.
uint8_t byte_at(uint64_t address) {
  return static_cast<uint8_t>((address & ~uint64_t{7}) >> (address % 8 * 8));
}

void scatter(const std::vector<iovec>& into, const std::vector<uint8_t>& bytes) {
  size_t done = 0;
  for (const iovec& part : into) {
    const size_t now = std::min(bytes.size() - done, part.iov_len);
    if (now) std::memcpy(part.iov_base, bytes.data() + done, now);
    done += now;
  }
}
size_t room(const std::vector<iovec>& into) {
  size_t size = 0;
  for (const iovec& part : into) size += part.iov_len;
  return size;
}
bool overlaps(const void* at, size_t size, const void* begin, size_t length) {
  const auto a = reinterpret_cast<uintptr_t>(at), b = reinterpret_cast<uintptr_t>(begin);
  return size && length && a < b + length && b < a + size;
}

constexpr fake::Layout kBlocks{nullptr, 24, 8};  // bytes of a block, and of the gap behind it

}  // namespace

void fill_content(void* to, uint64_t address, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<uint8_t*>(to)[i] = byte_at(address + i);
}
bool has_content(const void* at, uint64_t address, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (static_cast<const uint8_t*>(at)[i] != byte_at(address + i)) return false;
  return true;
}

// ---- our side's user -----------------------------------------------------------------------------------

UserRequest* Network::make(bool sends, size_t size, bool layout) {
  auto* r = new UserRequest{};
  r->network = this;
  r->sends = sends;
  r->size = size;
  r->done = done;
  const size_t span = layout ? (size / kBlocks.block + 1) * (kBlocks.block + kBlocks.gap) : size;
  r->memory.reset(new char[span]);
  std::memset(r->memory.get(), kPoison, span);
  r->layout = {r->memory.get(), kBlocks.block, kBlocks.gap};
  r->data = {layout ? nullptr : r->memory.get(), size, layout ? &r->layout : nullptr};
  if (sends) {
    r->address = fresh_address();
    for (size_t i = 0; i < size; ++i)
      r->memory[layout ? i / kBlocks.block * (kBlocks.block + kBlocks.gap) + i % kBlocks.block : i] =
          static_cast<char>(byte_at(r->address + i));
  }
  open.push_back(r);
  return r;
}

void Network::send(int32_t to, size_t size, int32_t tag, bool sync, bool layout, bool starts_another) {
  UserRequest* r = make(true, size, layout);
  r->op.peer = &peer(to);
  r->starts_another = starts_another;
  const efa_envelope e = x.to(to, tag);
  if (efa_send(x.t, r, &e, sync ? EFA_SEND_SYNCHRONOUS : EFA_SEND_STANDARD) != EFA_SUCCESS) {
    open.remove(r);
    delete r;
  }
}

void Network::receive(int32_t from, size_t size, int32_t tag, bool layout, bool starts_another) {
  UserRequest* r = make(false, size, layout);
  r->op.peer = from ? &peer(from) : nullptr;
  r->starts_another = starts_another;
  efa_envelope e = x.to(from ? from : EFA_ANY_SOURCE, tag);
  e.any_tag = tag == EFA_ANY_TAG;
  if (efa_recv(x.t, r, &e) != EFA_SUCCESS) {
    open.remove(r);
    delete r;
  }
}

void Network::receive_matched(size_t which, size_t size, bool layout) {
  efa_message* message = matched[which];
  matched.erase(matched.begin() + static_cast<long>(which));
  UserRequest* r = make(false, size, layout);
  if (efa_recv_matched(x.t, r, message) != EFA_SUCCESS) {
    open.remove(r);
    delete r;
  }
}

void Network::probe(int32_t from, int32_t tag, bool take) {
  efa_envelope e = x.to(from ? from : EFA_ANY_SOURCE, tag);
  e.any_tag = tag == EFA_ANY_TAG;
  efa_status status{};
  const size_t before = x.fatals.size();
  if (take) {
    efa_message* message = nullptr;
    efa_match(x.t, from ? &peer(from) : nullptr, nullptr, &e, &message, &status);
    if (message) matched.push_back(message);
  } else {
    bool found = false;
    efa_probe(x.t, from ? &peer(from) : nullptr, nullptr, &e, &found, &status);
  }
  check_fatals(before);
}

void Network::done(efa_request* request) {
  auto* r = static_cast<UserRequest*>(request);
  Network& n = *r->network;
  const auto at = std::find(n.open.begin(), n.open.end(), r);
  fuzz_expect(at != n.open.end(), "a request is done once");
  n.open.erase(at);
  if (!n.ended) n.check_not_posted(*r);
  const bool good = r->status.result == EFA_SUCCESS || r->status.result == EFA_TRUNCATED;
  if (!r->sends && good) n.check_received(*r);
  const bool another = r->starts_another && !n.x.t->closing;
  delete r;
  if (another) n.receive(1, 3000, 1, false, false);
}

// Whatever came must be one message's content from its beginning, and nothing else may have been written.
void Network::check_received(const UserRequest& r) const {
  const size_t length = r.status.length;
  fuzz_expect(length <= r.size, "no more is received than there is room for");
  std::vector<char> packed(r.size);
  const size_t whole = kBlocks.block + kBlocks.gap;
  for (size_t i = 0; i < r.size; ++i)
    packed[i] = r.memory[r.data.layout ? i / kBlocks.block * whole + i % kBlocks.block : i];
  if (r.data.layout)
    for (size_t i = 0; i < r.size / kBlocks.block * whole; ++i)
      fuzz_expect(i % whole < kBlocks.block || r.memory[i] == kPoison, "gaps of a layout are not written");
  if (length < 8) return;
  uint64_t address;
  std::memcpy(&address, packed.data(), sizeof address);
  fuzz_expect(address % 8 == 0 && has_content(packed.data(), address, length),
              "what is received is what was sent");
  // Room behind a short message belongs to nobody else either; the provider may use it, up to what it was given.
}

// Once a request is done its memory is the user's again.
void Network::check_not_posted(const UserRequest& r) const {
  const size_t span = r.data.layout ? (r.size / kBlocks.block + 1) * (kBlocks.block + kBlocks.gap) : r.size;
  for (const auto* fabric : {&x.fabric, &second}) {
    for (const Posted& p : fabric->posted) {
      fuzz_expect(!overlaps(&r, sizeof r, p.context, 1), "nothing of a request is posted once it is done");
      for (const iovec& part : p.into) {
        fuzz_expect(!overlaps(part.iov_base, part.iov_len, r.memory.get(), span),
                    "user memory is not posted any more");
        fuzz_expect(!overlaps(part.iov_base, part.iov_len, &r, sizeof r),
                    "the request is not posted any more");
      }
      fuzz_expect(!overlaps(p.from, p.bytes.size(), r.memory.get(), span),
                  "user memory is not sent from any more");
      fuzz_expect(!overlaps(p.from, p.bytes.size(), &r, sizeof r), "the request is not sent from any more");
    }
  }
}

// ---- the provider --------------------------------------------------------------------------------------

Network::Network() {
  x.t->protocols.pulls = true;
  fake::add_rail(x, second);
  for (auto* fabric : {&x.fabric, &second}) fabric->on_post = [this](const Posted& post) { watch(post); };
  x.fabric.on_peek = [this](const Posted& post) {
    const auto found = std::find_if(unexpected.begin(), unexpected.end(), [&](const Arrived& m) {
      return ((post.tag ^ m.tag) & ~post.ignore) == 0 &&
             (post.peer == FI_ADDR_UNSPEC || post.peer == static_cast<fi_addr_t>(m.from));
    });
    if (found == unexpected.end()) {
      x.fabric.fail(post.context, FI_ENOMSG);
      return;
    }
    x.fabric.complete(post, found->bytes.size(), found->tag, found->data);
    if (post.flags & FI_CLAIM) claimed[post.context] = std::move(*found);
    if (post.flags & (FI_CLAIM | FI_DISCARD)) unexpected.erase(found);
  };
  x.fabric.on_claim = [this](const Posted& post) {
    const auto at = claimed.find(post.context);
    fuzz_expect(at != claimed.end(), "only a claimed message is received by its claim");
    const Arrived message = std::move(at->second);
    claimed.erase(at);
    scatter(post.into, message.bytes);
    if (message.bytes.size() > room(post.into))
      x.fabric.fail(post.context, FI_ETRUNC, 0, message.tag, message.data);
    else
      x.fabric.complete(post, message.bytes.size(), message.tag, message.data);
  };
}

Network::~Network() {
  // What nothing will end any more: the engine's own objects are left alone, as efa_close leaves them.
  x.t->closing = x.t->draining = true;
}

void Network::match() {
  for (auto post = x.fabric.posted.begin(); post != x.fabric.posted.end();) {
    if (post->call != Call::tagged_receive) {
      ++post;
      continue;
    }
    const auto found = std::find_if(unexpected.begin(), unexpected.end(), [&](const Arrived& m) {
      return ((post->tag ^ m.tag) & ~post->ignore) == 0 &&
             (post->peer == FI_ADDR_UNSPEC || post->peer == static_cast<fi_addr_t>(m.from));
    });
    if (found == unexpected.end()) {
      ++post;
      continue;
    }
    scatter(post->into, found->bytes);
    if (found->bytes.size() > room(post->into))
      x.fabric.fail(post->context, FI_ETRUNC, 0, found->tag, found->data);
    else
      x.fabric.complete(*post, found->bytes.size(), found->tag, found->data);
    unexpected.erase(found);
    post = x.fabric.posted.erase(post);
  }
}

void Network::progress() {
  const size_t before = x.fatals.size();
  for (int i = 0; i < 64; ++i) {
    match();
    if (efa_progress(x.t) == 0 && i > 0) break;
  }
  match();
  check_fatals(before);
}

// Whoever reads the message must learn which peer to look at.
void Network::check_fatals(size_t before) {
  const auto says = [](const std::string& text, const char* words) {
    return text.find(words) != std::string::npos;
  };
  for (size_t i = before; i < x.fatals.size(); ++i) {
    const std::string& text = x.fatals[i];
    // Of a probe for any source only the rank is known; and an operation that fails is no message.
    const bool named = says(text, "rank 1 on host there") || says(text, "rank 2 on host there") ||
                       says(text, "rank 1 of a communicator") || says(text, "rank 2 of a communicator");
    if (!named && !says(text, "could not be delivered") && !says(text, "can no longer be received"))
      fuzz_fail("an impossible message names its peer: " + text);
  }
  ended = ended || !x.fatals.empty();
}

void Network::end_posted(size_t n, int error) {
  std::vector<std::pair<fake::Fabric*, size_t>> all;
  for (auto* fabric : {&x.fabric, &second})
    for (size_t i = 0; i < fabric->posted.size(); ++i)
      if (const Call call = fabric->posted[i].call; call == Call::send || call == Call::tagged_send ||
                                                    call == Call::read ||
                                                    (error && call == Call::tagged_receive))
        all.emplace_back(fabric, i);
  if (all.empty()) return;
  const auto [fabric, place] = all[n % all.size()];
  const Posted post = fabric->posted[place];
  fabric->posted.erase(fabric->posted.begin() + static_cast<long>(place));
  if (error) {
    if (post.call == Call::send) ended = true;  // control messages that cannot be delivered end the job
    fabric->fail(post.context, error, 13);
    return;
  }
  uint64_t address = post.address;
  if (post.call == Call::read)
    for (const iovec& part : post.into) {
      fill_content(part.iov_base, address, part.iov_len);
      address += part.iov_len;
    }
  fabric->complete(post, room(post.into));
}

// ---- what our side posts -------------------------------------------------------------------------------

void Network::watch(const Posted& post) {
  if (ended || !x.fatals.empty()) return;
  if (post.call == Call::send) learn_control(post);
  if (post.call == Call::tagged_send) learn_tagged(post);
  if (post.call == Call::read) {
    fuzz_expect(std::any_of(remote.begin(), remote.end(),
                            [&](const RemoteSend& s) {
                              return s.ready.rails && post.address >= s.ready.address &&
                                     post.address - s.ready.address + room(post.into) <= s.ready.length &&
                                     std::find(s.ready.keys, s.ready.keys + s.ready.rails, post.key) !=
                                         s.ready.keys + s.ready.rails;
                            }),
                "only what was offered is read, with its key");
  }
}

void Network::learn_control(const Posted& post) {
  const auto message = parse_control(post.bytes.data(), post.bytes.size());
  fuzz_expect(message.has_value(), "our own control messages are well-formed");
  fuzz_expect(message->sender == x.t->config.self.uid, "and say whose they are");
  const auto to = static_cast<int32_t>(post.peer);
  if (message->type == ControlType::acknowledge) {
    const auto at = std::find(synchronous.begin(), synchronous.end(), std::pair(-to, message->request));
    fuzz_expect(at != synchronous.end(), "only a synchronous message is acknowledged, once");
    synchronous.erase(at);
    return;
  }
  const auto at = std::find_if(remote.begin(), remote.end(), [&](const RemoteSend& s) {
    return s.from == to && s.ready.request == message->request && !s.answered && s.well_formed &&
           message->length <= s.ready.length;
  });
  fuzz_expect(at != remote.end(), "only a ready-to-send message is answered, once, for at most its length");
  at->answered = true;
  at->clear = *message;
  if (message->type == ControlType::finished) {
    fuzz_expect(at->ready.rails > 0, "finished is said only of what could be read");
    at->clear.length = 0;
  }
}

void Network::learn_tagged(const Posted& post) {
  const auto to = static_cast<int32_t>(post.peer);
  const uint64_t kind = x.t->tags.kind(post.tag);
  if (kind & kKindControl) {
    for (const auto& [handle, transfer] : told) {
      const auto index = static_cast<uint32_t>(post.tag);
      if (post.tag != x.t->tags.piece_bits(handle, index) || transfer.by != to) continue;
      const uint64_t offset = index * transfer.piece;
      fuzz_expect(offset < transfer.length, "a piece is within its message");
      fuzz_expect(post.bytes.size() == std::min(transfer.piece, transfer.length - offset),
                  "and as long as asked for");
      fuzz_expect(has_content(post.bytes.data(), transfer.address + offset, post.bytes.size()),
                  "and the right part of it");
      return;
    }
    fuzz_fail("a piece was sent that nobody asked for");
  }
  if (kind == kKindRts) {
    const auto ready = parse_ready_to_send(post.bytes.data(), post.bytes.size());
    fuzz_expect(ready.has_value(), "our own ready-to-send messages are well-formed");
    for (const UserRequest* r : open)
      if (r->sends && r->ready_id == ready->request && r->bounce == post.from)
        offered.push_back({to, *ready, r->address});
  }
  if (kind == kKindSync) synchronous.emplace_back(to, post.tag);
}

// ---- what peers send -----------------------------------------------------------------------------------

void Network::arrive(int32_t from, uint64_t tag, const void* bytes, size_t size) {
  const auto* first = static_cast<const uint8_t*>(bytes);
  unexpected.push_back({from, tag, static_cast<uint64_t>(from), {first, first + size}});
}

void Network::arrive_eager(int32_t from, int32_t tag, size_t size, bool sync) {
  std::vector<uint8_t> bytes(size);
  fill_content(bytes.data(), fresh_address(), size);
  const uint64_t bits = x.bits(sync ? kKindSync : kKindEager, from, tag);
  if (sync) synchronous.emplace_back(-from, bits);
  arrive(from, bits, bytes.data(), size);
}

void Network::arrive_ready(int32_t from, int32_t tag, RemoteSend send, size_t cut) {
  const size_t size = std::min(cut, std::min(send.ready.size(), sizeof send.ready));
  uint8_t bytes[sizeof send.ready];
  if (send.ready.rails <= kMostRails && send.ready.segments <= kMostSegments)
    send.ready.write(bytes);
  else
    std::memcpy(bytes, &send.ready, sizeof bytes);
  send.from = from;
  send.well_formed = parse_ready_to_send(bytes, size).has_value();
  remote.push_back(send);
  arrive(from, x.bits(kKindRts, from, tag), bytes, size);
}

bool Network::possible(const Control& message) const {
  if (message.type == ControlType::acknowledge) {
    return std::any_of(x.t->synchronous.begin(), x.t->synchronous.end(), [&](const efa_request* r) {
      return r->bits == message.request && r->op.peer->uid == message.sender;
    });
  }
  const efa_request* r = x.t->ready_to_send.find(message.request);
  if (!r || r->op.peer->uid != message.sender || message.length > r->data.length) return false;
  if (message.type == ControlType::finished) return r->exposure != nullptr;
  if (r->data.layout && message.length && message.piece > x.t->protocols.staging) return false;
  return message.length == 0 || (message.piece && (message.length - 1) / message.piece <= UINT32_MAX);
}

void Network::arrive_control(const void* bytes, size_t size) {
  if (x.fabric.count(Call::receive) == 0) return;
  const auto message = parse_control(bytes, size);
  const bool expected = message && possible(*message);
  if (message) last_control = *message;
  if (expected && message->type == ControlType::clear_to_send && message->length)
    told[message->handle] = {
        message->sender == x.one.uid ? 1 : 2,
        static_cast<const UserRequest*>(x.t->ready_to_send.find(message->request))->address, message->length,
        message->piece};
  // Handled apart from whatever else is due, so that what is said is about this message.
  progress();
  if (message && possible(*message) != expected) return;  // its send ended meanwhile
  const size_t before = x.fatals.size();
  x.fabric.arrive_control(bytes, size);
  while (efa_progress(x.t) > 0) {
  }
  const bool refused = x.fatals.size() > before;
  if (expected == refused && !ended)
    fuzz_fail(refused ? "a possible message is accepted: " + x.fatals.back()
                      : "an impossible message is refused");
  ended = ended || refused;
  // Without a sender's name in it nobody can be named.
  uint64_t uid = 0;
  if (size >= offsetof(Control, request))
    std::memcpy(&uid, static_cast<const char*>(bytes) + offsetof(Control, sender), sizeof uid);
  if (uid == x.one.uid || uid == x.two.uid || (message && x.t->ready_to_send.find(message->request)))
    check_fatals(before);
}

void Network::arrive_piece(RemoteSend& send, uint64_t index, size_t size) {
  std::vector<uint8_t> bytes(size);
  fill_content(bytes.data(), send.address + index * send.clear.piece, size);
  arrive(send.from, x.t->tags.piece_bits(send.clear.handle, static_cast<uint32_t>(index)), bytes.data(),
         size);
}

// ---- the end -------------------------------------------------------------------------------------------

void Network::settle() {
  for (auto* fabric : {&x.fabric, &second}) {
    fabric->refuse.clear();
    fabric->refuse_registration = 0;
  }
  while (!matched.empty()) receive_matched(0, 2000, false);
  for (int round = 0; round < 400; ++round) {
    progress();
    for (int i = 0; i < 32; ++i) end_posted(0, 0);
    progress();
    for (size_t i = 0; i < offered.size() && !ended; ++i) {
      if (offered[i].answered) continue;
      offered[i].answered = true;
      const efa_request* r = x.t->ready_to_send.find(offered[i].ready.request);
      if (!r) continue;  // failed meanwhile
      Control answer = x.control(ControlType::clear_to_send, peer(offered[i].to), offered[i].ready.request,
                                 offered[i].ready.length, 4096);
      if (offered[i].ready.rails) answer.type = ControlType::finished;
      answer.handle = next_handle++;
      arrive_control(&answer, sizeof answer);
    }
    for (RemoteSend& send : remote)
      for (; send.answered && send.clear.length && send.next_piece * send.clear.piece < send.clear.length;
           ++send.next_piece)
        arrive_piece(send, send.next_piece,
                     std::min(send.clear.piece, send.clear.length - send.next_piece * send.clear.piece));
    std::vector<Control> matches;
    std::erase_if(synchronous, [&](const auto& sent) {
      if (sent.first > 0)
        matches.push_back(x.control(ControlType::acknowledge, peer(sent.first), sent.second));
      return sent.first > 0;
    });
    for (const Control& each : matches)
      if (!ended && possible(each)) arrive_control(&each, sizeof each);
    if (ended || open.empty()) break;
    if (round % 8 == 7)  // receives that nothing matches
      for (auto* r : std::vector<UserRequest*>(open.begin(), open.end()))
        if (std::find(open.begin(), open.end(), r) != open.end()) efa_cancel(x.t, r);
  }
  if (ended) return;
  progress();
  while (x.fabric.count(Call::send) || x.fabric.count(Call::tagged_send) || x.fabric.count(Call::read)) {
    end_posted(0, 0);
    progress();
  }
  if (ended) return;
  for (const UserRequest* r : open)
    fuzz_fail(std::string("every request ends: ") + (r->sends ? "a send" : "a receive") + " of " +
              std::to_string(r->size) + " bytes, kind " + std::to_string(r->kind));
  fuzz_expect(x.fabric.registrations == 0 && second.registrations == 0, "no memory stays registered");
  fuzz_expect(x.t->buffers.bytes_used() == 0, "no buffer stays in use");
  fuzz_expect(x.t->sends_posted == 0 && x.t->pulls_open == 0, "nothing is counted as under way");
  fuzz_expect(x.t->ready_to_send.size() == 0 && x.t->synchronous.empty() && x.t->pending.empty(),
              "nothing waits");
  fuzz_expect(x.fabric.count(Call::tagged_receive) == 0, "no receive stays posted");
}

}  // namespace efa::fuzz
