// Completion statuses of the hardware (vendor_err of a work completion), as the interface between EFA devices and
// their drivers numbers them, and the verbs status that rdma-core makes of each.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>

namespace efasim {

enum class Status : uint8_t {
  kOk = 0,
  kFlushed = 1,
  kLocalQpInternalError = 2,
  kLocalUnsupportedOp = 3,
  kLocalInvalidAh = 4,
  kLocalInvalidLkey = 5,
  kLocalBadLength = 6,
  kRemoteBadAddress = 7,
  kRemoteAbort = 8,
  kRemoteBadDestQpn = 9,
  kRemoteRnr = 10,
  kRemoteBadLength = 11,
  kRemoteBadStatus = 12,
  kLocalUnresponsiveRemote = 13,
  kRemoteUnknownPeer = 14,
  kLocalUnreachableRemote = 15,
  kNumStatuses
};

struct StatusFacts {
  ibv_wc_status verbs;
  const char* meaning;
};

inline constexpr StatusFacts kStatusFacts[static_cast<size_t>(Status::kNumStatuses)] = {
    {IBV_WC_SUCCESS, "success"},
    {IBV_WC_WR_FLUSH_ERR, "flushed: the queue pair or the NIC failed"},
    {IBV_WC_LOC_QP_OP_ERR, "internal error of the queue pair"},
    {IBV_WC_LOC_QP_OP_ERR, "operation not supported"},
    {IBV_WC_LOC_QP_OP_ERR, "invalid address handle"},
    {IBV_WC_LOC_PROT_ERR, "lkey not registered, or not for this memory or access"},
    {IBV_WC_LOC_LEN_ERR, "bad length"},
    {IBV_WC_REM_ACCESS_ERR, "rkey not registered at the peer, or not for this memory or access"},
    {IBV_WC_REM_ABORT_ERR, "reset by the peer"},
    {IBV_WC_REM_INV_RD_REQ_ERR, "the peer has no such queue pair, or it has another connection id (qkey)"},
    {IBV_WC_RNR_RETRY_EXC_ERR, "receiver not ready: no receive posted"},
    {IBV_WC_REM_INV_REQ_ERR, "the posted receive is shorter than the message"},
    {IBV_WC_BAD_RESP_ERR, "unexpected answer of the peer"},
    {IBV_WC_RESP_TIMEOUT_ERR, "the peer does not respond"},
    {IBV_WC_REM_OP_ERR, "the peer has no address handle for this NIC, which RDMA needs"},
    {IBV_WC_RESP_TIMEOUT_ERR, "the peer is unreachable: nothing at this address"},
};

inline const StatusFacts& facts(Status status) { return kStatusFacts[static_cast<size_t>(status)]; }

}  // namespace efasim
