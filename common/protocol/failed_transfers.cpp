// Messages between the two sides of a matched message when one side fails.
//
//   receiver  receive_failed   instead of clear-to-send, or after it: the sender stops, and its request ends with an error
//   sender    send_failed      after clear-to-send: how many pieces it posted, and which of them failed. The receiver
//                              expects only the others (transfer.hpp), and its request ends with an error
//
// The side that fails reports the cause, the other side reports nothing. A message about a transfer that has ended is
// ignored: both sides may fail at the same time, and a sender that has sent all pieces does not answer `receive_failed`.
//
// A cancelled send is withdrawn in the same way if it has not been matched:
//
//   sender    withdraw         the receiver searches its unmatched messages for the message (withdraw.cpp)
//   receiver  withdrawn        the message was found and removed; or it was matched, and the send completes as usual
#include "protocol/failed_transfers.hpp"

#include <algorithm>
#include <new>

#include "errors/report.hpp"
#include "peers/peers.hpp"
#include "protocol/control.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/transfer.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {
namespace {

// Maximum number of failed sends to remember; the oldest is forgotten first.
constexpr size_t kMostFailedSends = 256;

}  // namespace

void send_receive_failed(efa_transport* t, efa_peer* peer, uint64_t id, uint32_t handle) {
  Control message = control(t, ControlType::receive_failed, id);
  message.handle = handle;
  send_control(t, peer, message);
}

void send_send_failed(efa_transport* t, efa_peer* peer, uint64_t id, uint32_t handle, uint64_t posted,
                      uint64_t lost, uint64_t lost_from) {
  Control message = control(t, ControlType::send_failed, id);
  message.handle = handle;
  message.length = posted;
  message.piece = lost;
  message.failed = static_cast<uint32_t>(lost_from);
  send_control(t, peer, message);
}

void receive_failed(efa_transport* t, const Control& message) {
  if (t->ready_to_send.find(message.request)) {
    efa_request* request = send_named(t, message);
    if (request) end_unsent(t, request, EFA_FAILED);
    return;
  }
  Transfer* transfer = find_transfer(t, Move::send, message.sender, message.request, message.handle);
  if (!transfer) return;
  if (transfer->result == EFA_SUCCESS) transfer->result = EFA_FAILED;
  advance(t, transfer);
}

void send_failed(efa_transport* t, const Control& message) {
  Transfer* transfer = find_transfer(t, Move::receive, message.sender, message.request, message.handle);
  if (!transfer || transfer->peer_ended) return;
  transfer->peer_ended = true;
  if (transfer->result == EFA_SUCCESS) transfer->result = EFA_FAILED;
  transfer->lost = message.piece;
  transfer->lost_from = message.failed;
  expect_only(t, transfer, message.length);
  advance(t, transfer);
}

void could_not_notify(efa_transport* t, efa_peer* peer, const Control& message) {
  t->report_unless_draining(msg::not_notified(to_string(peer)));
  if (message.type != ControlType::receive_failed) return;
  Control nothing = control(t, ControlType::send_failed, message.request);
  nothing.sender = peer->uid;
  nothing.handle = message.handle;
  send_failed(t, nothing);
}

void withdraw_send(efa_transport* t, efa_request* request) {
  if (t->path->cancel_held(t, request)) return;
  if (t->ready_to_send.find(request->ready_id) != request || request->withdrawing) return;
  request->withdrawing = true;
  Control message = control(t, ControlType::withdraw, request->ready_id);
  message.length = request->bits;
  message.handle = static_cast<uint32_t>(request->self_rank);
  send_control(t, request->op.peer, message);
}

void withdrawn(efa_transport* t, const Control& message) {
  if (!t->ready_to_send.find(message.request)) return;  // it has been matched meanwhile, or has failed
  efa_request* request = send_named(t, message);
  if (request && !message.failed) end_unsent(t, request, EFA_CANCELED);
}

void remember_failed_send(efa_transport* t, const efa_request* request) {
  auto& all = t->failed_sends;
  if (all.size() == kMostFailedSends) all.erase(all.begin());
  try {
    all.push_back({request->ready_id, request->op.peer->uid});
  } catch (const std::bad_alloc&) {  // without the entry an answer to it ends the job
  }
}

bool is_failed_send(const efa_transport* t, const Control& message) {
  return std::any_of(t->failed_sends.begin(), t->failed_sends.end(), [&](const FailedSend& each) {
    return each.id == message.request && each.uid == message.sender;
  });
}

}  // namespace efa
