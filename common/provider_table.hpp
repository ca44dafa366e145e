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
};

// FI_LOCAL_COMM | FI_REMOTE_COMM for efa: without the former its endpoint does not use shared memory inside
// the node. Nothing that is not used is asked for: FI_HMEM makes shm's inject size 0 (libfabric 2.1).
// efa: up to kLongestMedium its medium protocol needs no handshake; a longer message falls into long-CTS, with a round trip
// of its own. So pushed data goes in pieces of that length, and a message of that length that is alone goes at once
// (10 us, no rate, of mtl/ofi's time: 128 KiB 0.66, 256 KiB 0.80, 1 MiB in pieces 0.81 where those of 64 KiB took 0.91).
// A stream does not: 64 such messages at once flood the receiver's packet buffers and run at 0.7 of its speed.
// shm has FI_PEEK since it uses libfabric's common receive queue; with 1.17.0 probes fail and long unexpected
// messages get lost (test/mpi). In 2.1.0 a message longer than 4 KiB that is read by cross-memory attach never
// arrives once it was probed while unexpected (test mpi/random_traffic); such messages go by rendezvous, whose
// pieces are always expected. The same for efa inside a node, where it hands messages to shm. Messages that are
// copied through shared segments (without cross-memory attach) do arrive.
// Where shm copies through shared segments, long eager messages are the fastest (128 KiB, 64 at once, best of 26 rounds: 17.6
// GB/s, by rendezvous 14.3). One that nobody receives crashes libfabric 2.1 when it is discarded, also by fi_close (test
// mpi/finalize unreceived): efa_close receives it.
// A truncated message crashes or hangs shm, and so efa (2.1, messages over 4 KiB), and makes tcp's connection
// unusable (1.17: the next send fails with "Broken pipe"). So receives are never too short: see recv.cpp.
// tcp without ofi_rxm serves reliable datagrams itself since libfabric 1.18.
inline constexpr ProviderTraits kProviders[] = {
    {"efa", false, FI_LOCAL_COMM | FI_REMOTE_COMM | FI_RMA | FI_READ | FI_REMOTE_READ, FI_VERSION(1, 10),
     kNever, 64 * kKiB, kLongestMedium, 4 * kKiB, 64 * kKiB, kLongestMedium, 128 * kKiB, 32 * kKiB, 4 * kKiB},
    {"shm", true, 0, FI_VERSION(1, 20), kNever, 1 * kMiB, 0, 4 * kKiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"tcp;ofi_rxm", false, 0, FI_VERSION(1, 9), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"tcp", false, 0, FI_VERSION(1, 18), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"net", false, 0, FI_VERSION(1, 16), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
    {"udp;ofi_rxd", false, 0, kNever, kNever, 64 * kKiB, 0, 64 * kKiB, 32 * kKiB, 64 * kKiB, 64 * kKiB, 0, 0},
    {"sockets", false, 0, FI_VERSION(1, 9), kNever, 1 * kMiB, 0, 1 * kMiB, 64 * kKiB, 1 * kGiB, 128 * kKiB, 0, 0},
};

// For a provider that the user names and that has no row: careful values.
inline constexpr ProviderTraits kUnknownProvider = {
    "", false, 0, FI_VERSION(1, 9), kNever, 64 * kKiB, 0, 64 * kKiB, 32 * kKiB, 64 * kKiB, 64 * kKiB, 0, 0};

// What a provider is told by variables of libfabric. Set before libfabric's first use in the process, and only where
// the user has set nothing.
struct ProviderVariable {
  std::string_view provider;
  uint32_t until;  // libfabric version that does not need it any more
  const char* name;
  const char* value;
};
// efa inside a node hands messages to shm, which cannot probe before 1.20 (see above): an unexpected message
// that is probed ends the process with "EFA internal error: (4104) Packet already processed" (1.17.0; test
// mpi/unexpected, probe, self on the software device; all pass over the NIC alone).
inline constexpr ProviderVariable kVariables[] = {
    {"efa", FI_VERSION(1, 20), "FI_EFA_ENABLE_SHM_TRANSFER", "0"},
    {"efa", kNever, "FI_EFA_INTER_MAX_MEDIUM_MESSAGE_SIZE", "262144"},  // kLongestMedium
};
static_assert(kLongestMedium == 262144);  // an environment variable wants text

// libfabric's switch for cross-memory attach in shm, also under efa. Where there is no EFA NIC it is turned off:
// two copies that two cores share beat one copy by the kernel from 4 KiB to 4 MiB (bench/compare --lanes shm,
// against mtl/ofi, whose FI_HMEM turns it off too: 8 KiB 1.0 against 3.2 us, 1 MiB 60 against 105 us), and the
// eager limit need not care about the fault above. Beside an EFA NIC it stays: between cores that do not share
// a cache the two copies take up to twice as long.
inline constexpr const char* kCrossMemoryAttachOff = "FI_SHM_DISABLE_CMA";

// Length of a pushed piece to a peer on the same node: one piece, since shared memory needs no pipeline.
inline constexpr uint64_t kPieceLocal = kGiB;

// Least length of a pushed piece while other long messages are sent, unless the user has set one: efa's own
// long protocol needs a round trip for each piece, which others hide then, and fewer instructions and copies after it
// (medium protocol up to 64 KiB, 10 us, no rate, 64 messages of 4 MiB at once: 8.9 GB/s against 5.8 with pieces of 64 KiB; one message
// of 128 KiB alone: 91 us against 74).
inline constexpr uint64_t kPieceAmongOthers = kMiB;

constexpr const ProviderTraits& provider_traits(std::string_view name) {
  for (const auto& row : kProviders)
    if (row.name == name) return row;
  return kUnknownProvider;
}

}  // namespace efa
