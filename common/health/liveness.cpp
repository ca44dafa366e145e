#include "health/liveness.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "health/peer_failure.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "peers/ping.hpp"
#include "state.hpp"

namespace efa {
namespace {

// Where the peer answers pings; without a port if its card is not available any more.
PingAddress ping_address(const efa_transport* t, uint64_t uid) {
  const auto card = card_of(t, uid);
  return card ? card->ping : PingAddress{};
}

uint64_t neighbour_of(const efa_transport* t, const efa_peer* peer) {
  const efa_peer* other = t->peers.find([&](const efa_peer* each) {
    return each != peer && each->hostname == peer->hostname && !each->pending.failed();
  });
  return other ? other->uid : 0;
}

}  // namespace

std::vector<efa_peer*> waited_for(efa_transport* t) {
  std::vector<efa_peer*> peers;
  bool anyone = false;
  const auto add = [&](const efa_request* request) {
    if (request->op.peer)
      peers.push_back(request->op.peer);
    else
      anyone = true;
  };
  for (const efa_request* request : open_requests(t)) add(request);
  t->pending.for_each([&](const PendingList& list) {
    if (list.first() && list.first()->peer) peers.push_back(list.first()->peer);
  });
  // Not those of other jobs, which may end after MPI_Comm_disconnect.
  if (anyone)
    t->peers.find([&](const efa_peer* each) {
      if (each->own_job) peers.push_back(const_cast<efa_peer*>(each));
      return peers.size() >= kMostWaitedFor;
    });
  std::sort(peers.begin(), peers.end());
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  std::erase_if(
      peers, [](const efa_peer* each) { return each->state != PeerState::live || each->pending.failed(); });
  if (peers.size() > kMostWaitedFor) peers.resize(kMostWaitedFor);
  return peers;
}

PingAddress Liveness::start(bool one_host, MessagePart& why) {
  if (timeout_ns_ == 0) return {};
  auto socket = PingSocket::open(one_host, why);
  const PingAddress address = socket ? socket->address() : PingAddress{};
  pinger_ = std::move(socket);
  return address;
}

void Liveness::hello(const char* hostname, const PingAddress& address, uint64_t uid) {
  if (!pinger_ || address.port == 0) return;
  if (!hosts_.try_emplace(hostname).second) return;
  hellos_.emplace(uid, hostname);
  pinger_->ping(address, uid);
}

uint64_t Liveness::silent_ns(const efa_peer* peer) const {
  const auto at = watched_.find(const_cast<efa_peer*>(peer));
  return at == watched_.end() || at->second.pings < kLeastPings ? 0 : clock_.ns() - at->second.since_ns;
}

bool Liveness::is_stuck(const efa_transport* t) {
  if (t->completions != completions_) {
    completions_ = t->completions;
    moved_ns_ = clock_.ns();
    watched_.clear();
  }
  return clock_.ns() - moved_ns_ >= kStuck_ns;
}

void Liveness::look(efa_transport* t, uint64_t now_ns) {
  if (!pinger_ || !clock_.tick(now_ns)) return;
  ++looks_;
  const std::vector<efa_peer*> peers = waited_for(t);
  if (peers.empty()) moved_ns_ = clock_.ns();  // the time begins with the operation
  if (t->draining) return;
  end_if_nothing_ends(t);
  if (!is_stuck(t)) return;
  take_answers(t);
  fail_those_that_gave_us_up(t);
  ask(t, peers);
  std::erase_if(watched_, [&](const auto& each) { return each.second.seen != looks_; });
  for (efa_peer* peer : peers) {
    const auto at = watched_.find(peer);
    if (at != watched_.end()) judge(t, peer, at->second);
  }
}

void Liveness::take_answers(efa_transport* t) {
  for (const auto& [uid, given_up] : pinger_->take_answers()) {
    const auto reach = [&](const char* hostname) {
      Host& host = hosts_[hostname];
      host.reached = true;
      host.last_ns = clock_.ns();
    };
    if (const auto hello = hellos_.find(uid); hello != hellos_.end()) {
      reach(hello->second);
      hellos_.erase(hello);
    }
    const efa_peer* peer = t->peers.find([&](const efa_peer* each) { return each->uid == uid; });
    if (!peer) continue;
    reach(peer->hostname);
    if (given_up && !peer->pending.failed() &&
        std::find(gave_us_up_.begin(), gave_us_up_.end(), peer) == gave_us_up_.end())
      gave_us_up_.push_back(const_cast<efa_peer*>(peer));
    const auto at = watched_.find(const_cast<efa_peer*>(peer));
    if (at == watched_.end()) continue;
    if (at->second.warned) t->report(msg::peer_answers_again(to_string(peer), t->config.self.world_rank));
    at->second.pings = 0;
    at->second.warned = false;
  }
}

// Sends a ping to each of these peers, or to the next kPingsPerTick of them.
void Liveness::ask(efa_transport* t, const std::vector<efa_peer*>& peers) {
  const size_t count = std::min(peers.size(), kPingsPerTick);
  if (peers.empty()) return;
  next_ %= peers.size();
  for (size_t i = 0; i < peers.size(); ++i) {
    efa_peer* peer = peers[(next_ + i) % peers.size()];
    auto at = watched_.find(peer);
    if (at != watched_.end()) at->second.seen = looks_;
    if (i >= count) continue;
    if (at == watched_.end()) {
      at = watched_.try_emplace(peer).first;
      at->second.address = ping_address(t, peer->uid);
      at->second.seen = looks_;
    }
    Watch& watch = at->second;
    if (watch.pings++ == 0) watch.since_ns = clock_.ns();
    pinger_->ping(watch.address, peer->uid);
    if (watch.pings < kLeastPings) continue;
    if (watch.neighbour == 0) watch.neighbour = neighbour_of(t, peer);
    if (watch.neighbour != 0) pinger_->ping(ping_address(t, watch.neighbour), watch.neighbour);
  }
  next_ += count;
}

MessagePart Liveness::describe(const efa_transport* t, const efa_peer* peer, const Watch& watch) const {
  const auto host = hosts_.find(peer->hostname);
  const bool others_answer = host != hosts_.end() && host->second.last_ns > watch.since_ns;
  const uint64_t seconds = whole_seconds(clock_.ns() - watch.since_ns);
  if (peer->hostname == std::string_view(t->config.hostname) || others_answer)
    return msg::silent_process(to_string(peer), seconds);
  if (watch.neighbour == 0) return msg::silent_alone(to_string(peer), seconds);
  return msg::silent_host(to_string(peer), seconds);
}

void Liveness::judge(efa_transport* t, efa_peer* peer, Watch& watch) {
  const auto host = hosts_.find(peer->hostname);
  if (host == hosts_.end() || !host->second.reached || watch.pings < kLeastPings) return;
  const uint64_t silent = clock_.ns() - watch.since_ns;
  if (silent >= timeout_ns_) {
    const UserMessage why = msg::peer_lost(this_process(t), describe(t, peer, watch));
    watched_.erase(peer);
    fail(t, peer, why);
  } else if (warning_ns_ && silent >= warning_ns_ && !watch.warned) {
    watch.warned = true;
    t->report(msg::peer_silent(this_process(t), describe(t, peer, watch), whole_seconds(timeout_ns_)));
  }
}

void Liveness::fail_those_that_gave_us_up(efa_transport* t) {
  for (efa_peer* peer : std::exchange(gave_us_up_, {})) {
    if (peer->pending.failed()) continue;
    watched_.erase(peer);
    fail(t, peer, msg::peer_gave_up(to_string(peer), this_process(t)));
  }
}

void Liveness::give_up(const efa_transport* t, const efa_peer* peer) {
  if (!pinger_) return;
  if (const PingAddress address = ping_address(t, peer->uid); address.port) pinger_->give_up(address.secret);
}

bool Liveness::can_tell(efa_transport* t, const efa_peer* peer) {
  if (!pinger_) return false;
  take_answers(t);
  const auto host = hosts_.find(peer->hostname);
  return host != hosts_.end() && host->second.reached;
}

void Liveness::fail(efa_transport* t, efa_peer* peer, const UserMessage& why) {
  failed_.emplace_back(peer, clock_.ns());
  try {
    fail_peer(t, peer, why);
    end_receives_from_anyone(t);
  } catch (...) {  // some of the peer's operations have ended, others never would
    fatal_exception(t, msg::op_give_up_peer);
  }
}

// An operation that the provider has taken ends when the provider returns its memory, which it may never do.
void Liveness::end_if_nothing_ends(efa_transport* t) {
  for (const auto& [peer, since_ns] : failed_) {
    if (clock_.ns() - since_ns < timeout_ns_) continue;
    bool open = false;
    for (const efa_request* request : t->path->open_receives(t)) open = open || request->op.peer == peer;
    for (const efa_request* request = t->requests.first(); request; request = request->next_open)
      open = open || request->op.peer == peer;
    if (!open) continue;
    t->fatal(msg::peer_memory_kept(this_process(t), to_string(peer), t->rails.first.provider()));
    return;
  }
}

}  // namespace efa
