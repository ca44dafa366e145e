// All that is known of libfabric's providers and varies between them: one row each.
//
// Everything that a provider can tell itself (tag format, inject size, capabilities) is asked from it
// instead and not here.
#pragma once

#include <rdma/fabric.h>

#include <cstdint>
#include <string_view>

namespace efa {

constexpr uint32_t kNever = UINT32_MAX;  // as a version: not in any that is known
constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

// The longest message of efa's medium protocol, bytes. libfabric's own default, 64 KiB, is where users' curves jump; more
// than 256 KiB would cost the receiver of unexpected messages their memory, and gains little.
constexpr uint64_t kLongestMedium = 256 * kKiB;

struct ProviderTraits {
  std::string_view name;     // fi_fabric_attr.prov_name
  bool one_node;             // cannot leave the node
  uint64_t extra_caps;       // asked for beside FI_MSG | FI_TAGGED | FI_DIRECTED_RECV
  uint32_t usable_since;     // libfabric version from which it can carry all of MPI
  uint32_t truncates_since;  // from which a message longer than its receive harms nothing but that receive
  // Protocol thresholds, bytes; see docs/protocols.md for the measurements.
  uint64_t eager_limit;         // contiguous
  uint64_t eager_limit_alone;   // of both while no other long message is being sent; 0: no more than otherwise
  uint64_t eager_limit_local;   // upper bound of both to a peer on the same node, by cross-memory attach
  uint64_t eager_limit_packed;  // noncontiguous
  uint64_t piece;               // of a contiguous rendezvous
  uint64_t staging;             // piece of a noncontiguous rendezvous
  uint64_t pull_limit;          // contiguous messages from here on are read by RDMA; 0: never
  uint64_t packet;              // least bytes that an entry of the send queue carries; 0: a message of any length is one
  unsigned receives_kept = 0;   // see waiting_receives.cpp; only where the number of posted receives is bounded
};

// Why these values, with the measurements: docs/protocols.md.
// FI_LOCAL_COMM | FI_REMOTE_COMM for efa: without the former its endpoint does not use shared memory inside
// the node. Nothing that is not used is asked for: FI_HMEM makes shm's inject size 0 (libfabric 2.1).
// efa: up to kLongestMedium its medium protocol needs no handshake; a longer message falls into long-CTS, with a round trip
// of its own. So pushed data goes in pieces of that length, and a message of that length that is alone goes at once.
// shm has FI_PEEK since it uses libfabric's common receive queue; 1.17.0 cannot carry all of MPI (test/mpi).
// In 2.1.0 probes and cross-memory attach do not work together (test mpi/random_traffic): messages longer than
// 4 KiB go by rendezvous, whose pieces are always expected. The same for efa inside a node, where it hands
// messages to shm. Messages that are copied through shared segments (without cross-memory attach) need no such care.
// What nobody has received is not left to shm and efa of libfabric 2.1, which do not clean it up reliably (test
// mpi/finalize unreceived): efa_close receives it.
// Truncation is not left to any provider: shm and efa (2.1) and tcp;ofi_rxm (1.17) do not recover from it reliably (test
// mpi/truncation). Receives are never too short: see recv.cpp.
// tcp without ofi_rxm serves reliable datagrams itself since libfabric 1.18.
inline constexpr ProviderTraits kProviders[] = {
    {"efa", false, FI_LOCAL_COMM | FI_REMOTE_COMM | FI_RMA | FI_READ | FI_REMOTE_READ, FI_VERSION(1, 10),
     kNever, 64 * kKiB, kLongestMedium, 4 * kKiB, 64 * kKiB, kLongestMedium, 128 * kKiB, 32 * kKiB, 4 * kKiB},
    {"shm", true, 0, FI_VERSION(1, 20), kNever, 1 * kMiB, 0, 4 * kKiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"tcp;ofi_rxm", false, 0, FI_VERSION(1, 9), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0, 2},
    {"tcp", false, 0, FI_VERSION(1, 18), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"net", false, 0, FI_VERSION(1, 16), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"udp;ofi_rxd", false, 0, kNever, kNever, 64 * kKiB, 0, 64 * kKiB, 32 * kKiB, 64 * kKiB, 64 * kKiB, 0, 0},
    {"sockets", false, 0, FI_VERSION(1, 9), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
};

// For a provider that the user names and that has no row: careful values.
inline constexpr ProviderTraits kUnknownProvider = {
    "", false, 0, FI_VERSION(1, 9), kNever, 64 * kKiB, 0, 64 * kKiB, 32 * kKiB, 64 * kKiB, 64 * kKiB, 0, 0};

// The libfabric version from which efa may use shared memory inside the node. It hands messages to shm, which cannot
// probe before (see above): with 1.17.0 the tests mpi/unexpected, probe and self fail on the software device; all pass
// over the NIC alone.
inline constexpr uint32_t kEfaSharesMemorySince = FI_VERSION(1, 20);

// libfabric's switch for cross-memory attach in shm, also under efa. It is the user's: whether one copy by the kernel or
// two through shared memory are faster depends on the machine (docs/protocols.md).
inline constexpr const char* kCrossMemoryAttachOff = "FI_SHM_DISABLE_CMA";

// Length of a pushed piece to a peer on the same node: one piece, since shared memory needs no pipeline.
inline constexpr uint64_t kPieceLocal = kGiB;

// Least length of a pushed piece while other long messages are sent, unless the user has set one: efa's own long protocol
// needs a round trip for each piece, which the other messages hide, and fewer instructions and copies after it.
inline constexpr uint64_t kPieceAmongOthers = kMiB;

constexpr const ProviderTraits& provider_traits(std::string_view name) {
  for (const auto& row : kProviders)
    if (row.name == name) return row;
  return kUnknownProvider;
}

}  // namespace efa
