#include "network.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/segments.hpp"
#include "protocol/synchronous.hpp"
#include "protocol/wire.hpp"
#include "tagged/match.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace efa::fuzz {

using fake::Call;
using fake::Posted;

namespace {

// The byte at this address: of the aligned 8-byte word there, whose value is its own address.
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
  const auto first = reinterpret_cast<uintptr_t>(at), second = reinterpret_cast<uintptr_t>(begin);
  return size && length && first < second + length && second < first + size;
}

const fake::Layout kBlocks{nullptr, 24, 8};  // bytes of a block, and of the gap behind it

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
  auto* request = new UserRequest{};
  request->network = this;
  request->sends = sends;
  request->size = size;
  request->done = done;
  const size_t span = layout ? (size / kBlocks.block + 1) * (kBlocks.block + kBlocks.gap) : size;
  request->memory.reset(new char[span]);
  std::memset(request->memory.get(), kPoison, span);
  request->layout = {request->memory.get(), kBlocks.block, kBlocks.gap};
  request->data = {layout ? nullptr : request->memory.get(), size, layout ? &request->layout : nullptr};
  if (sends) {
    request->address = fresh_address();
    for (size_t i = 0; i < size; ++i)
      request->memory[layout ? i / kBlocks.block * (kBlocks.block + kBlocks.gap) + i % kBlocks.block : i] =
          static_cast<char>(byte_at(request->address + i));
  }
  open.push_back(request);
  return request;
}

void Network::send(int32_t to, size_t size, int32_t tag, bool sync, bool layout, bool starts_another) {
  UserRequest* request = make(true, size, layout);
  request->op.peer = &peer(to);
  request->starts_another = starts_another;
  const efa_envelope envelope = transport.to(to, tag);
  if (efa_send(transport.t, request, &envelope, sync ? EFA_SEND_SYNCHRONOUS : EFA_SEND_STANDARD) !=
      EFA_SUCCESS) {
    open.remove(request);
    delete request;
  }
}

void Network::receive(int32_t from, size_t size, int32_t tag, bool layout, bool starts_another) {
  UserRequest* request = make(false, size, layout);
  request->op.peer = from ? &peer(from) : nullptr;
  request->starts_another = starts_another;
  efa_envelope envelope = transport.to(from ? from : EFA_ANY_SOURCE, tag);
  envelope.any_tag = tag == EFA_ANY_TAG;
  if (efa_recv(transport.t, request, &envelope) != EFA_SUCCESS) {
    open.remove(request);
    delete request;
  }
}

void Network::receive_matched(size_t which, size_t size, bool layout) {
  efa_message* message = matched[which];
  matched.erase(matched.begin() + static_cast<long>(which));
  UserRequest* request = make(false, size, layout);
  if (efa_recv_matched(transport.t, request, message) != EFA_SUCCESS) {
    open.remove(request);
    delete request;
  }
}

void Network::probe(int32_t from, int32_t tag, bool take) {
  efa_envelope envelope = transport.to(from ? from : EFA_ANY_SOURCE, tag);
  envelope.any_tag = tag == EFA_ANY_TAG;
  efa_status status{};
  const size_t before = transport.fatals.size();
  if (take) {
    efa_message* message = nullptr;
    efa_match(transport.t, from ? &peer(from) : nullptr, nullptr, &envelope, &message, &status);
    if (message) matched.push_back(message);
  } else {
    bool found = false;
    efa_probe(transport.t, from ? &peer(from) : nullptr, nullptr, &envelope, &found, &status);
  }
  check_fatals(before);
}

void Network::done(efa_request* request) {
  auto* user_request = static_cast<UserRequest*>(request);
  Network& network = *user_request->network;
  const auto at = std::find(network.open.begin(), network.open.end(), user_request);
  fuzz_expect(at != network.open.end(), "a request is done once");
  network.open.erase(at);
  if (!network.ended) network.check_not_posted(*user_request);
  const bool good =
      user_request->status.result == EFA_SUCCESS || user_request->status.result == EFA_TRUNCATED;
  if (!user_request->sends && good) network.check_received(*user_request);
  const bool another = user_request->starts_another && !network.transport.t->closing;
  delete user_request;
  if (another) network.receive(1, 3000, 1, false, false);
}

// The received bytes must be the beginning of one message, and gaps must not have been written.
void Network::check_received(const UserRequest& request) const {
  const size_t length = request.status.length;
  fuzz_expect(length <= request.size, "no more is received than there is room for");
  std::vector<char> packed(request.size);
  const size_t whole = kBlocks.block + kBlocks.gap;
  for (size_t i = 0; i < request.size; ++i)
    packed[i] = request.memory[request.data.layout ? i / kBlocks.block * whole + i % kBlocks.block : i];
  if (request.data.layout)
    for (size_t i = 0; i < request.size / kBlocks.block * whole; ++i)
      fuzz_expect(i % whole < kBlocks.block || request.memory[i] == kPoison,
                  "gaps of a layout are not written");
  if (length < 8) return;
  uint64_t address;
  std::memcpy(&address, packed.data(), sizeof address);
  fuzz_expect(address % 8 == 0 && has_content(packed.data(), address, length),
              "what is received is what was sent");
  // The rest of the buffer behind a short message is not checked: the provider may write to it.
}

// The memory of a completed request belongs to the user again.
void Network::check_not_posted(const UserRequest& request) const {
  const size_t span =
      request.data.layout ? (request.size / kBlocks.block + 1) * (kBlocks.block + kBlocks.gap) : request.size;
  for (const auto* fabric : {&transport.fabric, &second}) {
    for (const Posted& post : fabric->posted) {
      fuzz_expect(!overlaps(&request, sizeof request, post.context, 1),
                  "nothing of a request is posted once it is done");
      for (const iovec& part : post.into) {
        fuzz_expect(!overlaps(part.iov_base, part.iov_len, request.memory.get(), span),
                    "user memory is not posted any more");
        fuzz_expect(!overlaps(part.iov_base, part.iov_len, &request, sizeof request),
                    "the request is not posted any more");
      }
      fuzz_expect(!overlaps(post.from, post.bytes.size(), request.memory.get(), span),
                  "user memory is not sent from any more");
      fuzz_expect(!overlaps(post.from, post.bytes.size(), &request, sizeof request),
                  "the request is not sent from any more");
    }
  }
}

// ---- the provider --------------------------------------------------------------------------------------

Network::Network() {
  transport.t->protocols.pulls = true;
  fake::add_rail(transport, second);
  for (auto* fabric : {&transport.fabric, &second})
    fabric->on_post = [this](const Posted& post) { watch(post); };
  transport.fabric.on_peek = [this](const Posted& post) {
    const auto found = std::find_if(unexpected.begin(), unexpected.end(), [&](const Arrived& message) {
      return ((post.tag ^ message.tag) & ~post.ignore) == 0 &&
             (post.peer == FI_ADDR_UNSPEC || post.peer == static_cast<fi_addr_t>(message.from));
    });
    if (found == unexpected.end()) {
      transport.fabric.fail(post.context, FI_ENOMSG);
      return;
    }
    transport.fabric.complete(post, found->bytes.size(), found->tag, found->data);
    if (post.flags & FI_CLAIM) claimed[post.context] = std::move(*found);
    if (post.flags & (FI_CLAIM | FI_DISCARD)) unexpected.erase(found);
  };
  transport.fabric.on_claim = [this](const Posted& post) {
    const auto at = claimed.find(post.context);
    fuzz_expect(at != claimed.end(), "only a claimed message is received by its claim");
    const Arrived message = std::move(at->second);
    claimed.erase(at);
    scatter(post.into, message.bytes);
    if (message.bytes.size() > room(post.into))
      transport.fabric.fail(post.context, FI_ETRUNC, 0, message.tag, message.data);
    else
      transport.fabric.complete(post, message.bytes.size(), message.tag, message.data);
  };
}

Network::~Network() {
  // Open operations end without callbacks, as in efa_close.
  transport.t->begin_draining();
  transport.t->closing = true;
}

void Network::match() {
  for (auto post = transport.fabric.posted.begin(); post != transport.fabric.posted.end();) {
    if (post->call != Call::tagged_receive) {
      ++post;
      continue;
    }
    const auto found = std::find_if(unexpected.begin(), unexpected.end(), [&](const Arrived& message) {
      return ((post->tag ^ message.tag) & ~post->ignore) == 0 &&
             (post->peer == FI_ADDR_UNSPEC || post->peer == static_cast<fi_addr_t>(message.from));
    });
    if (found == unexpected.end()) {
      ++post;
      continue;
    }
    scatter(post->into, found->bytes);
    if (found->bytes.size() > room(post->into))
      transport.fabric.fail(post->context, FI_ETRUNC, 0, found->tag, found->data);
    else
      transport.fabric.complete(*post, found->bytes.size(), found->tag, found->data);
    unexpected.erase(found);
    post = transport.fabric.posted.erase(post);
  }
}

void Network::progress() {
  const size_t before = transport.fatals.size();
  for (int i = 0; i < 64; ++i) {
    match();
    if (efa_progress(transport.t) == 0 && i > 0) break;
  }
  match();
  check_fatals(before);
}

// Every fatal message must name the peer.
void Network::check_fatals(size_t before) {
  const auto contains = [](const std::string& text, const char* words) {
    return text.find(words) != std::string::npos;
  };
  for (size_t i = before; i < transport.fatals.size(); ++i) {
    const std::string& text = transport.fatals[i];
    // A probe for any source knows only the rank. The other two texts are about failed operations, not messages.
    const bool named = contains(text, "rank 1 on host there") || contains(text, "rank 2 on host there") ||
                       contains(text, "rank 1 of a communicator") ||
                       contains(text, "rank 2 of a communicator");
    if (!named && !contains(text, "could not be delivered") && !contains(text, "can no longer be received"))
      fuzz_fail("an impossible message names its peer: " + text);
  }
  ended = ended || !transport.fatals.empty();
}

void Network::end_posted(size_t which, int error) {
  std::vector<std::pair<fake::Fabric*, size_t>> all;
  for (auto* fabric : {&transport.fabric, &second})
    for (size_t i = 0; i < fabric->posted.size(); ++i)
      if (const Call call = fabric->posted[i].call; call == Call::send || call == Call::tagged_send ||
                                                    call == Call::read ||
                                                    (error && call == Call::tagged_receive))
        all.emplace_back(fabric, i);
  if (all.empty()) return;
  const auto [fabric, place] = all[which % all.size()];
  const Posted post = fabric->posted[place];
  fabric->posted.erase(fabric->posted.begin() + static_cast<long>(place));
  if (error) {
    if (post.call == Call::send) ended = true;  // an undeliverable control message ends the job
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
  if (ended || !transport.fatals.empty()) return;
  if (post.call == Call::send) learn_control(post);
  if (post.call == Call::tagged_send) learn_tagged(post);
  if (post.call == Call::read) {
    fuzz_expect(
        std::any_of(remote.begin(), remote.end(),
                    [&](const RemoteSend& send) {
                      return send.ready.rails && post.address >= send.ready.address &&
                             post.address - send.ready.address + room(post.into) <= send.ready.length &&
                             std::find(send.ready.keys, send.ready.keys + send.ready.rails, post.key) !=
                                 send.ready.keys + send.ready.rails;
                    }),
        "only what was offered is read, with its key");
  }
}

void Network::learn_control(const Posted& post) {
  const auto message = parse_control(post.bytes.data(), post.bytes.size());
  fuzz_expect(message.has_value(), "our own control messages are well-formed");
  fuzz_expect(message->sender == transport.t->config.self.uid, "and contain our uid");
  const auto to = static_cast<int32_t>(post.peer);
  switch (message->type) {
    case ControlType::receive_failed:  // instead of an answer to ready-to-send, or after it
      for (const bool answered : {true, false})
        for (RemoteSend& send : remote)
          if (send.from == to && send.ready.request == message->request && send.well_formed &&
              send.answered == answered && (!answered || send.clear.handle == message->handle)) {
            send.answered = send.stopped = true;
            return;
          }
      return;
    case ControlType::send_failed:
    case ControlType::withdrawn:
    case ControlType::alone_matched:
      return;
    case ControlType::withdraw:
      withdrawals.emplace_back(to, message->request);
      return;
    default:
      break;
  }
  if (message->type == ControlType::acknowledge) {
    const auto at = std::find(synchronous.begin(), synchronous.end(), std::pair(-to, message->request));
    fuzz_expect(at != synchronous.end(), "only a synchronous message is acknowledged, once");
    synchronous.erase(at);
    return;
  }
  const auto at = std::find_if(remote.begin(), remote.end(), [&](const RemoteSend& send) {
    return send.from == to && send.ready.request == message->request && !send.answered && send.well_formed &&
           message->length <= send.ready.length;
  });
  fuzz_expect(at != remote.end(), "only a ready-to-send message is answered, once, for at most its length");
  at->answered = true;
  at->clear = *message;
  if (message->type == ControlType::finished) {
    fuzz_expect(at->ready.rails > 0, "finished is sent only for readable data");
    at->clear.length = 0;
  }
}

void Network::learn_tagged(const Posted& post) {
  const auto to = static_cast<int32_t>(post.peer);
  const uint64_t kind = transport.t->tags.kind(post.tag);
  if (kind & kKindControl) {
    for (const auto& [handle, transfer] : expected_pushes) {
      const auto index = static_cast<uint32_t>(post.tag);
      if (post.tag != transport.t->tags.piece_bits(handle, index) || transfer.receiver != to) continue;
      const uint64_t offset = index * transfer.piece;
      fuzz_expect(offset < transfer.length, "a piece is within its message");
      fuzz_expect(post.bytes.size() == std::min(transfer.piece, transfer.length - offset),
                  "and as long as asked for");
      fuzz_expect(has_content(post.bytes.data(), transfer.address + offset, post.bytes.size()),
                  "and the right part of it");
      return;
    }
    fuzz_fail("a piece was sent that no peer asked for");
  }
  if (kind == kKindRts) {
    const auto ready = parse_ready_to_send(post.bytes.data(), post.bytes.size());
    fuzz_expect(ready.has_value(), "our own ready-to-send messages are well-formed");
    for (const UserRequest* request : open)
      if (request->sends && request->ready_id == ready->request && request->bounce == post.from)
        offered.push_back({to, *ready, request->address});
  }
  SyncTrailer trailer{};
  if (kind == kKindSync) {
    fuzz_expect(parse_synchronous(post.bytes.data(), post.bytes.size(), trailer),
                "a synchronous message has an id");
    synchronous.emplace_back(to, trailer.request);
  }
}

// ---- what peers send -----------------------------------------------------------------------------------

void Network::arrive(int32_t from, uint64_t tag, const void* bytes, size_t size) {
  const auto* first = static_cast<const uint8_t*>(bytes);
  unexpected.push_back({from, tag, static_cast<uint64_t>(from), {first, first + size}});
}

void Network::arrive_eager(int32_t from, int32_t tag, size_t size, bool sync) {
  std::vector<uint8_t> bytes(size);
  fill_content(bytes.data(), fresh_address(), size);
  const uint64_t bits = transport.bits(sync ? kKindSync : kKindEager, from, tag);
  if (sync) {
    bytes.resize(std::min<size_t>(size, kLongestSynchronous) + sizeof(SyncTrailer));
    const SyncTrailer trailer{next_id++};
    std::memcpy(bytes.data() + bytes.size() - sizeof trailer, &trailer, sizeof trailer);
    synchronous.emplace_back(-from, trailer.request);
    size = bytes.size();
  }
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
  arrive(from, transport.bits(kKindRts, from, tag), bytes, size);
}

bool Network::possible(const Control& message) const {
  const efa_request* request = transport.t->ready_to_send.find(message.request);
  const bool named = request && request->op.peer->uid == message.sender;
  switch (message.type) {
    case ControlType::send_failed:
      return true;  // ignored if the transfer does not exist
    case ControlType::receive_failed:
      return !request || named;
    case ControlType::withdrawn:
      return !request || (named && request->withdrawing);
    case ControlType::withdraw:
      return message.sender == transport.one.uid || message.sender == transport.two.uid;
    case ControlType::alone_matched:
      return std::any_of(transport.t->alone.begin(), transport.t->alone.end(), [&](const AloneSend& sent) {
        return sent.bits == message.request && sent.uid == message.sender;
      });
    default:
      break;
  }
  if (is_failed_send(transport.t, message)) return true;
  const bool sync = request && transport.t->tags.kind(request->bits) == kKindSync;
  if (message.type == ControlType::acknowledge) return named && sync;
  if (sync) return false;
  if (!request || request->op.peer->uid != message.sender || message.length > request->data.length)
    return false;
  if (message.type == ControlType::finished) return request->exposure != nullptr;
  if (request->data.layout && message.length && message.piece > transport.t->protocols.staging) return false;
  return message.length == 0 || (message.piece && (message.length - 1) / message.piece <= UINT32_MAX);
}

void Network::arrive_control(const void* bytes, size_t size) {
  if (transport.fabric.count(Call::receive) == 0) return;
  const auto message = parse_control(bytes, size);
  const bool expected = message && possible(*message);
  if (message) last_control = *message;
  if (expected && message->type == ControlType::clear_to_send && message->length &&
      transport.t->ready_to_send.find(message->request))
    expected_pushes[message->handle] = {
        message->sender == transport.one.uid ? 1 : 2,
        static_cast<const UserRequest*>(transport.t->ready_to_send.find(message->request))->address,
        message->length, message->piece};
  // Other events are handled first, so that a fatal message is about this control message.
  progress();
  if (message && possible(*message) != expected) return;  // its send has ended meanwhile
  const size_t before = transport.fatals.size();
  transport.fabric.arrive_control(bytes, size);
  while (efa_progress(transport.t) > 0) {
  }
  const bool refused = transport.fatals.size() > before;
  // An invalid claimed message may be read at the same time.
  const bool about_another =
      refused && transport.fatals.back().find("is to be answered cannot be read") != std::string::npos;
  if (expected == refused && !ended && !(expected && about_another))
    fuzz_fail(refused ? "a possible message is accepted: " + transport.fatals.back()
                      : "an impossible message is refused");
  ended = ended || refused;
  // A peer can be named only if the message contains its uid.
  uint64_t uid = 0;
  if (size >= offsetof(Control, request))
    std::memcpy(&uid, static_cast<const char*>(bytes) + offsetof(Control, sender), sizeof uid);
  if (uid == transport.one.uid || uid == transport.two.uid ||
      (message && transport.t->ready_to_send.find(message->request)))
    check_fatals(before);
}

void Network::arrive_piece(RemoteSend& send, uint64_t index, size_t size) {
  std::vector<uint8_t> bytes(size);
  fill_content(bytes.data(), send.address + index * send.clear.piece, size);
  arrive(send.from, transport.t->tags.piece_bits(send.clear.handle, static_cast<uint32_t>(index)),
         bytes.data(), size);
}

// ---- the end -------------------------------------------------------------------------------------------

void Network::settle() {
  for (auto* fabric : {&transport.fabric, &second}) {
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
      const efa_request* request = transport.t->ready_to_send.find(offered[i].ready.request);
      if (!request) continue;  // failed meanwhile
      Control answer = transport.control(ControlType::clear_to_send, peer(offered[i].to),
                                         offered[i].ready.request, offered[i].ready.length, 4096);
      if (offered[i].ready.rails) answer.type = ControlType::finished;
      answer.handle = next_handle++;
      arrive_control(&answer, sizeof answer);
    }
    // A peer whose message cannot be received reports which pieces it has posted, and sends the rest nevertheless.
    for (RemoteSend& send : remote) {
      if (!std::exchange(send.stopped, false) || send.clear.length == 0 || ended) continue;
      Control stopped = transport.control(ControlType::send_failed, peer(send.from), send.ready.request,
                                          send.next_piece, 0);
      stopped.handle = send.clear.handle;
      arrive_control(&stopped, sizeof stopped);
    }
    for (const auto& [to, id] : std::exchange(withdrawals, {})) {
      const Control answer = transport.control(ControlType::withdrawn, peer(to), id);
      if (!ended && possible(answer)) arrive_control(&answer, sizeof answer);
    }
    for (RemoteSend& send : remote)
      for (; send.answered && send.clear.length && send.next_piece * send.clear.piece < send.clear.length;
           ++send.next_piece)
        arrive_piece(send, send.next_piece,
                     std::min(send.clear.piece, send.clear.length - send.next_piece * send.clear.piece));
    std::vector<Control> matches;
    std::erase_if(synchronous, [&](const auto& sent) {
      if (sent.first > 0)
        matches.push_back(transport.control(ControlType::acknowledge, peer(sent.first), sent.second));
      return sent.first > 0;
    });
    for (const Control& each : matches)
      if (!ended && possible(each)) arrive_control(&each, sizeof each);
    if (ended || open.empty()) break;
    if (round % 8 == 7)  // receives that nothing matches
      for (auto* request : std::vector<UserRequest*>(open.begin(), open.end()))
        if (std::find(open.begin(), open.end(), request) != open.end()) efa_cancel(transport.t, request);
  }
  if (ended) return;
  progress();
  while (transport.fabric.count(Call::send) || transport.fabric.count(Call::tagged_send) ||
         transport.fabric.count(Call::read)) {
    end_posted(0, 0);
    progress();
  }
  if (ended) return;
  for (const UserRequest* request : open)
    fuzz_fail(std::string("every request ends: ") + (request->sends ? "a send" : "a receive") + " of " +
              std::to_string(request->size) + " bytes, kind " + std::to_string(request->kind));
  fuzz_expect(transport.fabric.registrations == 0 && second.registrations == 0, "no memory stays registered");
  fuzz_expect(transport.t->buffers.bytes_used() == 0 && transport.t->landings.bytes_used() == 0,
              "no buffer stays in use");
  fuzz_expect(transport.t->sends_posted == 0 && transport.t->pulls_open == 0,
              "nothing is counted as under way");
  fuzz_expect(transport.t->ready_to_send.size() == 0 && transport.t->transfers == nullptr &&
                  transport.t->pending.empty(),
              "nothing waits");
  fuzz_expect(transport.fabric.count(Call::tagged_receive) == 0, "no receive stays posted");
}

}  // namespace efa::fuzz
