// The verbs that the headers' inline functions reach through tables in the handles, and what an older rdma-core
// (Debian 12's 44) does not declare yet.
#pragma once

#include "device.hpp"

ibv_cq_ex* verbs_create_cq_ex(ibv_context* context, ibv_cq_init_attr_ex* attr);
ibv_qp* verbs_create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr);
int verbs_post_send(ibv_qp* qp, ibv_send_wr* wr, ibv_send_wr** bad);
int verbs_post_recv(ibv_qp* qp, ibv_recv_wr* wr, ibv_recv_wr** bad);
int verbs_poll_cq(ibv_cq* cq, int entries, ibv_wc* wc);
int verbs_req_notify_cq(ibv_cq* cq, int solicited_only);

namespace efasim {

// Bits of the driver's interface, from rdma-core 56's efadv.h.
constexpr uint32_t kCapsRdmaWrite = 1u << 3;
constexpr uint32_t kCapsUnsolicitedWriteRecv = 1u << 4;
constexpr uint64_t kWcWithSgid = 1u << 0;
constexpr uint64_t kWcWithIsUnsolicited = 1u << 1;
constexpr uint16_t kQpUnsolicitedWriteRecv = 1u << 0;

}  // namespace efasim
