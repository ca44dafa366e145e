// Set-up and teardown: choosing a provider, opening the rails, closing.
#include "transport.hpp"

#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "efa_presence.hpp"
#include "lists.hpp"
#include "nic_choice.hpp"
#include "scheduler.hpp"
#include "usage.hpp"

namespace efa {
namespace {

std::vector<std::string> list_of(const char* text) {
  return split_list(text ? text : "").value_or(std::vector<std::string>());
}

Wish wish_of(const efa_config& config) {
  Wish wish;
  wish.include = list_of(config.options.provider_include);
  wish.exclude = list_of(config.options.provider_exclude);
  wish.named_by_user = config.named_by_user;
  wish.all_ranks_local = config.all_ranks_local;
  wish.local_rank = config.local_rank;
  wish.library = fi_version();
  return wish;
}

uint64_t limit_of(long parameter, uint64_t standard) {
  return parameter < 0 ? standard : static_cast<uint64_t>(parameter);
}

}  // namespace

void make_overflow(efa_transport* t, size_t longest) {
  t->overflow.reset(new char[longest]);  // touched only by messages that are too long
  t->receive_room = longest;
  t->overflow_short = {t->overflow.get(), longest - std::min<size_t>(longest, EFA_BOUNCE_SIZE)};
  t->parts_short = t->overflow_short.iov_len ? 2 : 1;
}

namespace {

// The longest message or piece in bytes. One that goes without a handshake takes all its entries of the send queue at the
// same time: where the queue cannot hold the longest of those four times over, nothing is longer than it can.
uint64_t longest_message(const ProviderTraits& traits, const fi_info* info) {
  const uint64_t longest = info->ep_attr->max_msg_size;
  if (traits.packet == 0) return longest;
  const char* bound = std::getenv("FI_EFA_TX_QUEUE_SIZE");  // the provider's own; not in its fi_info
  const uint64_t set = bound ? std::strtoul(bound, nullptr, 0) : 0;
  const uint64_t queue = set ? std::min<uint64_t>(set, info->tx_attr->size) : info->tx_attr->size;
  const uint64_t room = std::max(queue / 4 * traits.packet, kPage);
  return room < kLongestMedium ? room : longest;
}

// False with a reason if a parameter asks for more than the provider has.
bool decide_protocols(efa_transport* t, std::string& why) {
  const fi_info* info = t->rail.info.get();
  const efa_options& options = t->config.options;
  const uint64_t inject = info->tx_attr->inject_size, longest = longest_message(*t->traits, info);
  struct {
    const char* name;
    long value;
    uint64_t most;
  } bounds[] = {
      {"inject_limit", options.inject_limit, inject},
      {"eager_limit", options.eager_limit, longest},
      {"eager_limit_packed", options.eager_limit_packed, longest},
      {"eager_limit_alone", options.eager_limit_alone, longest},
      {"chunk_size", options.chunk_size, longest},
      {"staging_size", options.staging_size, longest},
  };
  for (const auto& bound : bounds) {
    if (bound.value < 0 || static_cast<uint64_t>(bound.value) <= bound.most) continue;
    why = "The parameter mtl_efa_" + std::string(bound.name) + " is " + std::to_string(bound.value) +
          ", but the provider " + std::string(t->traits->name) + " allows at most " +
          std::to_string(bound.most) + " bytes (0 to " + std::to_string(bound.most) + ", or -1: automatic).";
    return false;
  }
  if (options.staging_size >= 0 && static_cast<uint64_t>(options.staging_size) < kPage) {
    why = "The parameter mtl_efa_staging_size is " + std::to_string(options.staging_size) +
          ", but a piece has at least " + std::to_string(kPage) + " bytes (or -1: automatic).";
    return false;
  }
  Protocols& p = t->protocols;
  const ProviderTraits& traits = *t->traits;
  const auto limit = [&](long parameter, uint64_t standard) {
    return std::min(limit_of(parameter, standard), longest);
  };
  p.inject_limit = limit_of(options.inject_limit, inject);
  // What a receive's bounce takes is always eager, so that ready-to-send stands for longer messages only.
  p.eager_limit = std::max<uint64_t>(limit(options.eager_limit, traits.eager_limit), EFA_BOUNCE_SIZE);
  p.eager_limit_packed = std::clamp<uint64_t>(limit(options.eager_limit_packed, traits.eager_limit_packed),
                                              EFA_BOUNCE_SIZE, p.eager_limit);
  const bool eager_limit_set = options.eager_limit >= 0 || options.eager_limit_packed >= 0;
  p.eager_limit_alone = limit(options.eager_limit_alone, eager_limit_set ? 0 : traits.eager_limit_alone);
  p.longest_eager = std::max(p.eager_limit, p.eager_limit_alone);
  p.piece = std::max<uint64_t>(limit(options.chunk_size, traits.piece), 1);
  if (options.chunk_size < 0) p.piece_among_others = std::min(kPieceAmongOthers, longest);
  p.staging = std::max<uint64_t>(limit(options.staging_size, traits.staging), kPage);
  p.window = static_cast<unsigned>(options.staging_window);
  p.peer_window = 2 * p.window;
  p.inject_limit = std::min(p.inject_limit, p.eager_limit);
  p.pulls = traits.pull_limit != 0 && reads_natively(t->rail);
  p.pull_limit = limit_of(options.pull_limit, traits.pull_limit);
  p.read = static_cast<uint64_t>(options.read_size) & ~(kPage - 1);
  p.stripe = static_cast<uint64_t>(std::min(options.stripe_size, options.read_size)) & ~(kPage - 1);
  p.staging &= ~(kPage - 1);
  p.parts = std::clamp<size_t>(std::min(info->tx_attr->iov_limit, info->rx_attr->iov_limit), 1, kMostParts);
  p.truncates = FI_VERSION_GE(fi_version(), traits.truncates_since);
  if (!p.truncates) make_overflow(t, p.longest_eager);
  return true;
}

// The further rails. Only reads go over them, so without RDMA read there are none.
bool open_more_rails(efa_transport* t, const std::vector<Candidate>& offered, const NicPick& nic,
                     std::string& why) {
  if (t->traits->pull_limit == 0 || !reads_natively(t->rail)) return true;
  for (size_t i = 1; i < nic.rails.size() && i < kMostRails; ++i) {
    t->more_rails.push_back(std::make_unique<Rail>());
    Rail& rail = *t->more_rails.back();
    if (!open_rail(offered[nic.rails[i]].info, 1, true, rail, why)) return false;
    // The efa provider posts its receive buffers when the queue is first read; a peer's handshake may come
    // before this process has a reason to.
    fi_cq_tagged_entry entry;
    fi_cq_read(rail.cq.get(), &entry, 1);
  }
  return true;
}

// Everything after the rails themselves. False with a reason.
bool set_up(efa_transport* t, std::string& why) {
  t->ep = t->rail.ep.get();
  t->cq = t->rail.cq.get();
  if (!decide_protocols(t, why)) return false;
  t->inject_limit = t->protocols.inject_limit;

  Card card;
  card.provider = t->rail.provider();
  card.eager_limit = t->protocols.longest_eager;
  card.nic = t->rail.nic();
  card.host = t->config.hostname;
  card.address = rail_address(t->rail, why);
  if (card.address.empty()) return false;
  t->address_size = card.address.size();
  t->address = card.address;
  for (const auto& rail : t->more_rails) {
    const auto address = rail_address(*rail, why);
    if (address.size() != card.address.size()) return false;
    card.more.insert(card.more.end(), address.begin(), address.end());
  }
  t->card = card.serialize();
  return start_control(t, why);
}

constexpr uint64_t kCloseDrain_ns = 2'000'000'000;

}  // namespace
}  // namespace efa

efa_transport::efa_transport(const efa_config& from, const efa::TagLayout& layout)
    : threads(from.threads),
      usual(!from.threads && layout.wide()),
      tags(layout),
      pending(static_cast<uint64_t>(from.options.send_timeout) * 1'000'000'000u),
      batch(static_cast<unsigned>(from.options.progress_batch)),
      contacts(static_cast<uint64_t>(from.options.contact_timeout) * 1'000'000'000u),
      config(from),
      buffers(static_cast<size_t>(from.options.staging_memory)) {}

efa_transport::~efa_transport() = default;

extern "C" bool efa_available(const efa_options* options) {
  efa::Wish wish;
  wish.include = efa::list_of(options->provider_include);
  wish.exclude = efa::list_of(options->provider_exclude);
  return wish.allows("efa") && !efa::Discovery(wish).offer("efa").empty();
}

extern "C" bool efa_unused(const efa_options* options, char* hint, size_t size) {
  efa::Wish wish;
  wish.include = efa::list_of(options->provider_include);
  wish.exclude = efa::list_of(options->provider_exclude);
  wish.library = fi_version();
  // The usual case, without asking libfabric: efa_available has just found none.
  if (wish.allows("efa") && !efa::kernel_efa_devices() && !efa::efa_functions(efa::kPciDevices)) return false;
  efa::Discovery discovery(wish);
  const std::string text = efa::unused_efa(efa::look_for_efa(discovery), wish, "");
  std::snprintf(hint, size, "%s", text.c_str());
  return !text.empty();
}

extern "C" efa_transport* efa_open(const efa_config* config) {
  using namespace efa;
  const auto refuse = [&](const std::string& why) -> efa_transport* {
    config->report(EFA_REPORT_ERROR, why.c_str());
    return nullptr;
  };
  char text[512];
  if (!efa_options_check(&config->options, text, sizeof text)) return refuse(text);

  const Wish wish = wish_of(*config);
  Discovery discovery(wish);
  std::vector<Candidate> offered;
  const Choice choice = choose(
      wish, [&](const std::string& name) { return offered = discovery.offer(name); },
      Discovery::known_providers());
  if (choice.index < 0) return refuse(choice.why);
  const NicPick nic =
      pick_nics(offered, config->local_rank, config->local_ranks, nic_parameters(config->options));
  if (!nic.error.empty()) return refuse(nic.error);
  const fi_info* info = offered[nic.rails.empty() ? static_cast<size_t>(choice.index) : nic.rails[0]].info;

  std::string why;
  const TagSpace space{info->ep_attr->mem_tag_format, info->domain_attr->cq_data_size,
                       (info->caps & FI_DIRECTED_RECV) != 0};
  const auto tags = TagLayout::make(space, why);
  if (!tags) return refuse("The provider " + choice.provider + " cannot be used: " + why + ".");

  auto t = std::make_unique<efa_transport>(*config, *tags);
  t->traits = &provider_traits(choice.provider);
  if (!open_rail(info, static_cast<size_t>(std::max(config->local_ranks, 1)), false, t->rail, why) ||
      !open_more_rails(t.get(), offered, nic, why) || !set_up(t.get(), why)) {
    efa_close(t.release());
    return refuse(why);
  }
  say_what_is_used(t.get(), discovery, wish, nic);
  return t.release();
}

extern "C" void efa_set_report(efa_transport* t, void (*report)(efa_severity, const char* text)) {
  t->config.report = report;
}

extern "C" void efa_limits_get(const efa_transport* t, efa_limits* limits) {
  limits->max_tag = t->tags.max_tag();
  limits->max_context = t->tags.max_context();
  limits->provider = t->rail.provider();
  limits->nic = t->rail.nic();
}

extern "C" const void* efa_card(const efa_transport* t, size_t* size) {
  *size = t->card.size();
  return t->card.data();
}

extern "C" void efa_close(efa_transport* t) {
  {
    efa::Guard guard(t);
    t->draining = true;
    // What was sent and is not on its way yet: the provider must still push it out.
    const uint64_t until = efa::monotonic_ns() + efa::kCloseDrain_ns;
    while (t->ep && (t->sends_posted || !t->pending.empty()) && !t->broken && efa::monotonic_ns() < until)
      efa_progress(t);
    if (const std::string late = t->contacts.reminder(t); !late.empty() && !t->broken)
      t->report(EFA_REPORT_WARNING, late);
    // Messages that nobody received, where shared memory holds them. libfabric 2.1's efa closes it before them, and then
    // touches them (test mpi/finalize unreceived crashed in one of twenty runs); shm crashes when it discards long ones.
    if (t->ep && !t->broken && efa::shares_memory(*t->traits)) {
      const uint64_t end = efa::monotonic_ns() + efa::kCloseDrain_ns;
      t->traits->one_node ? efa::receive_unexpected(t, end) : efa::discard_unexpected(t, end);
    }
    if (t->buffers.most_used())
      t->report(EFA_REPORT_VERBOSE, "staging buffers took at most " + std::to_string(t->buffers.most_used()) +
                                        " bytes, of " + std::to_string(t->buffers.bound()) +
                                        " that mtl_efa_staging_memory allows");
    t->closing = true;
    t->registrations.clear();
    t->more_rails.clear();
    t->rail.close();
    efa::free_claimed(t);
    for (auto* control : t->all_controls) efa::free_control(control);
  }
  delete t;
}
