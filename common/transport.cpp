// Set-up and teardown: choosing a provider, opening the rails, closing.

#include <rdma/fi_errno.h>
#include <rdma/fi_tagged.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/lists.hpp"
#include "errors/no_exceptions.hpp"
#include "errors/report.hpp"
#include "fabric/efa_presence.hpp"
#include "fabric/medium_limit.hpp"
#include "fabric/nic_choice.hpp"
#include "fabric/shm_files.hpp"
#include "fabric/signals.hpp"
#include "health/watchdog.hpp"
#include "interface/transport.h"
#include "packets/incoming.hpp"
#include "packets/message_channel.hpp"
#include "packets/packet_path.hpp"
#include "peers/card.hpp"
#include "peers/peers.hpp"
#include "peers/pending.hpp"
#include "protocol/control.hpp"
#include "protocol/scheduler.hpp"
#include "protocol/thresholds.hpp"
#include "state.hpp"
#include "tagged/claims.hpp"
#include "tagged/match.hpp"
#include "tagged/tagged_path.hpp"
#include "tagged/waiting_receives.hpp"
#include "usage.hpp"

namespace efa {
namespace {

std::vector<std::string> list_of(const char* text) {
  return split_list(text ? text : "").value_or(std::vector<std::string>());
}

ProviderRequest provider_request(const efa_config& config) {
  ProviderRequest request;
  request.include = list_of(config.options.provider_include);
  request.exclude = list_of(config.options.provider_exclude);
  request.named_by_user = config.named_by_user;
  request.all_ranks_local = config.all_ranks_local;
  request.spawned = config.spawned;
  request.local_rank = config.local_rank;
  request.library = fi_version();
  return request;
}

uint64_t limit_of(long parameter, uint64_t standard) {
  return parameter < 0 ? standard : static_cast<uint64_t>(parameter);
}

// The maximum length of a message or piece, in bytes. A message without a handshake needs all its send queue entries at
// the same time. If the queue cannot hold four messages of kLongestMedium, the length is reduced so that it can.
uint64_t longest_message(const ProviderTraits& traits, const fi_info* info) {
  const uint64_t longest = info->ep_attr->max_msg_size;
  if (traits.packet == 0) return longest;
  const char* bound = std::getenv("FI_EFA_TX_QUEUE_SIZE");  // the provider's own; not in its fi_info
  const uint64_t set = bound ? std::strtoul(bound, nullptr, 0) : 0;
  const uint64_t queue = set ? std::min<uint64_t>(set, info->tx_attr->size) : info->tx_attr->size;
  const uint64_t room = std::max(queue / 4 * traits.packet, kPage);
  return room < kLongestMedium ? room : longest;
}

// False with a reason if a parameter exceeds what the provider supports.
bool decide_protocols(efa_transport* t, UserMessage& why) {
  const fi_info* info = t->rails.first.info.get();
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
    why = msg::parameter_above_provider(bound.name, bound.value, t->traits->name, bound.most);
    return false;
  }
  if (options.staging_size >= 0 && static_cast<uint64_t>(options.staging_size) < kPage) {
    why = msg::parameter_staging_size(options.staging_size, kPage);
    return false;
  }
  Protocols& protocols = t->protocols;
  const ProviderTraits& traits = *t->traits;
  const auto limit = [&](long parameter, uint64_t standard) {
    return std::min(limit_of(parameter, standard), longest);
  };
  protocols.inject_limit = limit_of(options.inject_limit, inject);
  // Messages that fit into a bounce are always eager, so rendezvous messages are longer.
  protocols.eager_limit = std::max<uint64_t>(limit(options.eager_limit, traits.eager_limit), EFA_BOUNCE_SIZE);
  protocols.eager_limit_packed = std::clamp<uint64_t>(
      limit(options.eager_limit_packed, traits.eager_limit_packed), EFA_BOUNCE_SIZE, protocols.eager_limit);
  const bool eager_limit_set = options.eager_limit >= 0 || options.eager_limit_packed >= 0;
  // No longer than libfabric's efa sends without a handshake.
  const uint64_t medium = traits.packet ? std::max(t->medium_limit, traits.eager_limit) : kLongestMedium;
  const uint64_t alone = medium > traits.eager_limit ? std::min(traits.eager_limit_alone, medium) : 0;
  protocols.eager_limit_alone = limit(options.eager_limit_alone, eager_limit_set ? 0 : alone);
  protocols.longest_eager = std::max(protocols.eager_limit, protocols.eager_limit_alone);
  const uint64_t piece = traits.packet ? std::min(traits.piece, medium) : traits.piece;
  protocols.piece = std::max<uint64_t>(limit(options.chunk_size, piece), 1);
  if (options.chunk_size < 0) protocols.piece_among_others = std::min(kPieceAmongOthers, longest);
  protocols.staging = std::max<uint64_t>(limit(options.staging_size, traits.staging), kPage);
  protocols.window = static_cast<unsigned>(options.staging_window);
  protocols.peer_window = 2 * protocols.window;
  protocols.inject_limit = std::min(protocols.inject_limit, protocols.eager_limit);
  protocols.pulls = traits.pull_limit != 0 && reads_natively(t->rails.first);
  protocols.read_family = protocols.pulls ? read_family(t->rails.first) : ReadFamily::none;
  protocols.pull_limit = limit_of(options.pull_limit, traits.pull_limit);
  protocols.read = static_cast<uint64_t>(options.read_size) & ~(kPage - 1);
  protocols.stripe = static_cast<uint64_t>(std::min(options.stripe_size, options.read_size)) & ~(kPage - 1);
  protocols.staging &= ~(kPage - 1);
  protocols.parts =
      std::clamp<size_t>(std::min(info->tx_attr->iov_limit, info->rx_attr->iov_limit), 1, kMostParts);
  protocols.truncates = FI_VERSION_GE(fi_version(), traits.truncates_since);
  // Touched only by messages that are too long, and by what arrives of transfers that failed.
  t->overflow.memory.reset(new char[std::max(protocols.longest_eager, protocols.staging)]);
  if (!protocols.truncates) t->overflow.give_room(protocols.longest_eager);
  return true;
}

// The further rails. They carry only reads, so without RDMA read there are none.
bool open_more_rails(efa_transport* t, const std::vector<Candidate>& offered, const NicPick& nic,
                     UserMessage& why) {
  if (t->traits->pull_limit == 0 || !reads_natively(t->rails.first)) return true;
  for (size_t i = 1; i < nic.rails.size() && i < kMostRails; ++i) {
    t->rails.more.push_back(std::make_unique<OpenRail>());
    Rail& rail = *t->rails.more.back();
    if (!open_rail(offered[nic.rails[i]].info, 1, true, rail, why)) return false;
    // The efa provider posts its receive buffers when the queue is first read. A peer's handshake may arrive before this
    // process polls the rail.
    fi_cq_tagged_entry entry;
    fi_cq_read(rail.cq.get(), &entry, 1);
  }
  return true;
}

// Set-up after the rails are open. False with a reason.
bool set_up(efa_transport* t, UserMessage& why) {
  t->ep = t->rails.first.ep.get();
  t->cq = t->rails.first.cq.get();
  if (!decide_protocols(t, why)) return false;
  t->inject_limit = t->protocols.inject_limit;
  bool by_user;
  if (efa_options_path(&t->config.options, &by_user) == std::string_view(kPacketPath.name)) use_packets(t);

  Card card;
  card.provider = t->rails.first.provider();
  card.eager_limit = t->protocols.longest_eager;
  card.read_family = t->protocols.read_family;
  card.path = t->path->name;
  if (t->packets) card.shm = t->packets->shm.address();
  card.nic = t->rails.first.nic();
  card.host = t->config.hostname;
  card.address = rail_address(t->rails.first, why);
  if (card.address.empty()) return false;
  t->address_size = card.address.size();
  t->address = card.address;
  t->rails.first.shared_memory.set(shm_file_of_endpoint(t->traits->name, card.address));
  for (const auto& rail : t->rails.more) {
    const auto address = rail_address(*rail, why);
    if (address.size() != card.address.size()) return false;
    rail->shared_memory.set(shm_file_of_endpoint(t->traits->name, address));
    card.more.insert(card.more.end(), address.begin(), address.end());
  }
  MessagePart unheard;
  card.ping = t->liveness.start(t->config.all_ranks_local && !t->config.spawned, unheard);
  if (!unheard.empty()) t->report(msg::pings_off(unheard));
  t->card = card.serialize();
  if (t->packets) return make_controls(t) && start_message_channel(t, why);
  return start_control(t, why) && keep_receives(t, t->traits->receives_kept, why);
}

// Of this process; changed by set-up and teardown only.
int open_transports = 0;

constexpr uint64_t kCloseDrain_ns = 2'000'000'000;

}  // namespace
}  // namespace efa

efa_transport::efa_transport(const efa_config& from, const efa::TagLayout& layout)
    : threads(from.threads),
      progress_otherwise(from.threads),
      tells_at_once(!from.threads),
      slow_path(from.threads || !layout.wide() || from.options.send_timeout != 0),
      tags(layout),
      batch(static_cast<unsigned>(from.options.progress_batch)),
      contacts(static_cast<uint64_t>(from.options.contact_timeout) * 1'000'000'000u),
      stalls(static_cast<uint64_t>(from.options.stall_warning) * 1'000'000'000u,
             static_cast<uint64_t>(from.options.send_timeout) * 1'000'000'000u),
      unacknowledged(static_cast<uint64_t>(from.options.stall_warning) * 1'000'000'000u,
                     static_cast<uint64_t>(from.options.send_timeout) * 1'000'000'000u),
      liveness(static_cast<uint64_t>(from.options.peer_timeout) * 1'000'000'000u,
               static_cast<uint64_t>(std::min(from.options.stall_warning, from.options.peer_timeout / 2)) *
                   1'000'000'000u),
      config(from),
      path(&efa::kTaggedPath),
      buffers(static_cast<size_t>(from.options.staging_memory)),
      landings(static_cast<size_t>(from.options.staging_memory)) {
  for (const auto* list : {&pending_receives, &controls.pending, &pending_internal, &kept_receives.pending})
    pending.keep_apart(*list);
}

void efa_transport::begin_draining() {
  draining = true;
  tells_at_once = false;
}

efa_transport::~efa_transport() = default;

// Without memory: no.
extern "C" bool efa_available(const efa_options* options) try {
  efa::ProviderRequest request;
  request.include = efa::list_of(options->provider_include);
  request.exclude = efa::list_of(options->provider_exclude);
  return request.allows("efa") && efa::filter_allows(std::getenv("FI_PROVIDER"), "efa") &&
         efa::kernel_efa_devices() > 0;
} catch (...) {
  return false;
}

extern "C" bool efa_unused(const efa_options* options, efa_user_message* hint) try {
  efa::ProviderRequest request;
  request.include = efa::list_of(options->provider_include);
  request.exclude = efa::list_of(options->provider_exclude);
  request.library = fi_version();
  // libfabric is not asked: it would read its variables now, for all its users in this process.
  const efa::UserMessage message = efa::unused_efa(efa::detect_efa(nullptr), request, "");
  *hint = efa::printable(message, message.severity());
  return !message.empty();
} catch (...) {
  return false;
}

namespace efa {
namespace {

struct Closer {
  void operator()(efa_transport* t) const { efa_close(t); }
};

efa_transport* open_transport(const efa_config* config) {
  const auto report = [&](const UserMessage& message) {
    const efa_user_message printed = printable(message, message.severity());
    config->report(&printed);
  };
  const auto refuse = [&](const UserMessage& why) -> efa_transport* {
    report(why);
    return nullptr;
  };
  if (efa_user_message wrong; !efa_options_check(&config->options, &wrong)) {
    config->report(&wrong);
    return nullptr;
  }

  const SignalKeeper signals(config->ends_process);
  const ProviderRequest request = provider_request(*config);
  const MediumLimit medium;
  remove_files_of_dead(kSharedMemory);  // first: libfabric does without shared memory if too little is free
  Discovery discovery;
  std::vector<Candidate> offered;
  const Choice choice = choose(
      request, [&](const std::string& name) { return offered = discovery.offer(name); },
      [&](const std::string& name) { return discovery.reason(name); }, Discovery::known_providers());
  if (choice.index < 0 && !config->named_by_user) {
    // The kernel shows a device, or nobody would have asked for an endpoint; Open MPI uses another transport.
    const UserMessage unused = unused_efa(detect_efa(&discovery), request, "");
    if (config->self.world_rank == 0) report(unused.empty() ? choice.why : unused);
    return nullptr;
  }
  if (choice.index < 0) return refuse(choice.why);
  if (const UserMessage skipped = skipped_words(choice); !skipped.empty() && config->local_rank == 0)
    report(skipped);
  const NicPick nic =
      pick_nics(offered, config->local_rank, config->local_ranks, nic_parameters(config->options));
  if (!nic.error.empty()) return refuse(nic.error);
  const fi_info* info = offered[nic.rails.empty() ? static_cast<size_t>(choice.index) : nic.rails[0]].info;

  MessagePart narrow;
  const TagSpace space{info->ep_attr->mem_tag_format, info->domain_attr->cq_data_size,
                       (info->caps & FI_DIRECTED_RECV) != 0};
  const auto tags = TagLayout::make(space, narrow);
  if (!tags) return refuse(msg::tags_too_small(choice.provider, narrow));

  std::unique_ptr<efa_transport, Closer> owned(new efa_transport(*config, *tags));
  efa_transport* t = owned.get();
  ++open_transports;
  t->traits = &provider_traits(choice.provider);
  t->medium_limit = medium.in_force();
  t->without_shared_memory =
      FI_VERSION_LT(request.library, kEfaSharesMemorySince) || switched_off("FI_EFA_ENABLE_SHM_TRANSFER");
  UserMessage why;
  if (!open_rail(info, static_cast<size_t>(std::max(config->local_ranks, 1)), false, t->rails.first, why) ||
      !open_more_rails(t, offered, nic, why) || !set_up(t, why))
    return refuse(msg::endpoint_not_opened(config->self.world_rank, config->hostname, why));
  if (discovery.words().contain("Disabling EFA shared memory")) {
    t->without_shared_memory = true;
    if (config->local_rank == 0 && config->local_ranks > 1)
      report(efa_without_shared_memory(discovery.words().of("shm")));
  }
  describe_usage(t, discovery, request, nic);
  return owned.release();
}

}  // namespace
}  // namespace efa

extern "C" efa_transport* efa_open(const efa_config* config) try {
  efa_transport* t = efa::open_transport(config);
  // Here, because open_transport() watches which signals libfabric takes.
  if (t)
    efa::if_memory_allows([&] {
      t->watchdog =
          std::make_unique<efa::Watchdog>(static_cast<uint64_t>(config->options.watchdog) * 1'000'000'000u,
                                          static_cast<int>(config->options.dump_signal));
    });
  return t;
} catch (...) {
  const efa_user_message message = efa::msg::open_exception.without_memory(efa::current_exception_text());
  config->report(&message);
  return nullptr;
}

extern "C" void efa_set_report(efa_transport* t, void (*report)(const efa_user_message*)) {
  t->config.report = report;
}

extern "C" void efa_begin_threads(efa_transport* t) {
  t->slow_path = 1;
  t->slow_packets = true;
  t->tells_at_once = false;
  t->progress_otherwise = true;
  t->threads = true;
}

extern "C" void efa_communicator_freed(efa_transport* t, uint32_t context) {
  efa::Guard guard(t);
  if (t->packets) efa::forget_communicator(t, context);
}

extern "C" void efa_limits_get(const efa_transport* t, efa_limits* limits) {
  limits->max_tag = t->tags.max_tag();
  limits->max_context = t->tags.max_context();
  limits->packets = t->packets != nullptr;
  limits->provider = t->rails.first.provider();
  limits->nic = t->rails.first.nic();
}

extern "C" const void* efa_card(const efa_transport* t, size_t* size) {
  *size = t->card.size();
  return t->card.data();
}

extern "C" void efa_close(efa_transport* t) {
  {
    efa::Guard guard(t);
    t->begin_draining();
    // Sends that the provider has not completed yet.
    const uint64_t until = efa::monotonic_ns() + efa::kCloseDrain_ns;
    while (t->ep && (t->sends_posted || !t->pending.ring_empty()) && !t->broken &&
           efa::monotonic_ns() < until)
      efa_progress(t);
    efa::if_memory_allows([&] {
      if (const efa::UserMessage late = t->contacts.reminder(t); !late.empty() && !t->broken) t->report(late);
    });
    // Messages that nobody received, where shared memory holds them: shm and efa of libfabric 2.1 do not clean them up
    // reliably when they are closed (test mpi/finalize unreceived).
    efa::if_memory_allows([&] {
      if (t->ep && !t->broken && !t->packets && efa::shares_memory(t))
        efa::receive_unexpected(t, efa::monotonic_ns() + efa::kCloseDrain_ns);
    });
    efa::if_memory_allows([&] {
      if (t->buffers.most_used())
        t->report(efa::msg::staging_used(t->buffers.most_used(), t->buffers.bound()));
    });
    t->closing = true;
    if (t->packets) efa::empty_queues(t);
    t->registrations.clear();
    t->rails.more.clear();
    t->rails.first.close();
    efa::free_claimed(t);
  }
  delete t;
  if (--efa::open_transports == 0) efa::release_signals();
}
