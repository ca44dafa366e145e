#include "health/watchdog.hpp"

#include <algorithm>
#include <unordered_set>

#include "errors/report.hpp"
#include "peers/pending.hpp"
#include "protocol/transfer.hpp"
#include "state.hpp"

namespace efa {

std::vector<efa_request*> open_requests(efa_transport* t) {
  std::vector<efa_request*> all = t->path->open_receives(t);
  for (efa_request* request = t->requests.first(); request; request = request->next_open)
    if (request->kind == kSendRequest) all.push_back(request);
  for (const Transfer* transfer = t->transfers; transfer; transfer = transfer->next_open)
    if (transfer->request) all.push_back(transfer->request);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

namespace {

const Transfer* transfer_of(const efa_transport* t, const efa_request* request) {
  for (const Transfer* transfer = t->transfers; transfer; transfer = transfer->next_open)
    if (transfer->request == request) return transfer;
  return nullptr;
}

// Open MPI uses negative tags in collective operations.
std::string tag_text(int32_t tag) {
  return "tag " + std::to_string(tag) + (tag < 0 ? " (a collective operation)" : "");
}

MessagePart state_of(const efa_transport* t, const efa_request* request, bool waits) {
  if (const Transfer* transfer = transfer_of(t, request)) {
    switch (transfer->move) {
      case Move::send:
        return msg::state_sending(transfer->retired, transfer->count);
      case Move::receive:
        return msg::state_receiving(transfer->retired, transfer->count);
      case Move::read:
        return msg::state_reading(transfer->retired, transfer->count);
    }
  }
  if (waits) return msg::state_not_posted();
  if (request->kind == kRecvRequest) return msg::state_unmatched();
  if (request->kind == kMatchedRequest) return msg::state_matched();
  if (t->packets && request->held) return msg::state_held();
  switch (t->tags.kind(request->bits)) {
    case kKindRts:
      return msg::state_announced();
    case kKindSync:
      return msg::state_synchronous();
    default:
      return msg::state_eager();
  }
}

}  // namespace

Watchdog::Watchdog(uint64_t timeout_ns, int number) : timeout_ns_(timeout_ns), signal_(number) {}

// Notes which operations are open, so that their age is known.
void Watchdog::watch(efa_transport* t) {
  ++looks_;
  std::vector<efa_request*> open = open_requests(t);
  if (open.size() > kMostWatched) open.resize(kMostWatched);
  for (const efa_request* request : open) {
    auto [at, is_new] = seen_.try_emplace(request, Seen{request->bits, clock_.ns(), looks_, false});
    if (!is_new && at->second.bits != request->bits) at->second = {request->bits, clock_.ns(), looks_, false};
    at->second.look = looks_;
  }
  std::erase_if(seen_, [&](const auto& each) { return each.second.look != looks_; });
}

MessagePart Watchdog::line(const efa_transport* t, const efa_request* request, bool waits) const {
  const bool sends = request->kind == kSendRequest;
  const bool any_tag = !sends && t->tags.ignores_tag(request->ignore);
  const auto seen = seen_.find(request);
  const uint64_t age =
      seen == seen_.end() || seen->second.bits != request->bits ? 0 : clock_.ns() - seen->second.since_ns;
  const uint64_t silent_ns = request->op.peer ? t->liveness.silent_ns(request->op.peer) : 0;
  const std::string peer = to_string(request->op.peer);
  const std::string tag = any_tag ? "any tag" : tag_text(t->tags.tag(request->bits));
  const std::string for_long = age ? std::to_string(whole_seconds(age)) + " s" : "less than 2 s";
  const MessagePart state = state_of(t, request, waits);
  const MessagePart silent = silent_ns ? msg::pending_silent(whole_seconds(silent_ns)) : MessagePart();
  return sends ? msg::pending_send(peer, tag, request->data.length, for_long, state, silent)
               : msg::pending_receive(peer, tag, request->data.length, for_long, state, silent);
}

UserMessage Watchdog::describe(efa_transport* t) const {
  const std::vector<efa_request*> open = open_requests(t);
  std::unordered_set<const efa_operation*> waiting;
  t->pending.for_each([&](const PendingList& list) {
    for (const efa_operation* op = list.first(); op; op = op->next) waiting.insert(op);
  });
  for (const efa_operation* op = t->pending_receives.first(); op; op = op->next) waiting.insert(op);

  if (open.empty()) return msg::pending_none(this_process(t));
  const MessagePart posts = t->pending.size() ? msg::pending_posts(t->pending.size()) : MessagePart();
  std::string lines;
  const auto add = [&](const MessagePart& line) { lines += "\n    " + line.text(); };
  for (size_t i = 0; i < std::min(open.size(), kMostLines); ++i)
    add(line(t, open[i], waiting.count(&open[i]->op) != 0));
  if (open.size() > kMostLines) add(msg::pending_more(open.size() - kMostLines));
  return open.size() == 1 ? msg::pending_one(this_process(t), posts, lines)
                          : msg::pending_many(this_process(t), open.size(), posts, lines);
}

void Watchdog::look(efa_transport* t, uint64_t now_ns) {
  const bool asked = signal_.take();
  const bool ticked = clock_.tick(now_ns);
  if (ticked) watch(t);
  if (asked) t->report(describe(t));
  if (!ticked || timeout_ns_ == 0) return;
  bool late = false;
  for (auto& [request, seen] : seen_) {
    if (seen.reported || clock_.ns() - seen.since_ns < timeout_ns_) continue;
    late = seen.reported = true;
  }
  if (late && !asked) t->report(describe(t));
}

}  // namespace efa
