// Control messages: untagged and small, received into buffers that are always posted.
#include "protocol/control.hpp"

#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "errors/report.hpp"
#include "fabric/completion.hpp"
#include "peers/peers.hpp"
#include "protocol/failed_transfers.hpp"
#include "protocol/rendezvous.hpp"
#include "protocol/submit.hpp"
#include "protocol/synchronous.hpp"
#include "protocol/wire.hpp"
#include "state.hpp"

namespace efa {

struct ControlOperation {
  efa_operation op;
  bool dispensable;  // of a message to be sent: the peer does not wait for it
  alignas(8) uint8_t bytes[64];
};
static_assert(sizeof(Control) <= sizeof ControlOperation::bytes);

namespace {

// Receives posted at a time. If more messages arrive, the provider buffers them.
constexpr int kReceives = 16;
// Operations allocated at set-up, so that control messages can be sent when memory is short.
constexpr int kSpares = 8;

ControlOperation* control_of(efa_operation* op) {
  return reinterpret_cast<ControlOperation*>(op);
}

// Allocates one more. If it throws std::bad_alloc, nothing has changed.
void make(efa_transport* t) {
  auto made = std::make_unique<ControlOperation>();
  t->controls.all.push_back(made.get());
  try {
    t->controls.unused.reserve(t->controls.all.capacity());  // so that returning one needs no memory
  } catch (const std::bad_alloc&) {
    t->controls.all.pop_back();
    throw;
  }
  t->controls.unused.push_back(made.release());
}

// Null if all are in use and memory is short.
ControlOperation* take(efa_transport* t) {
  try {
    if (t->controls.unused.empty()) make(t);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  ControlOperation* control = t->controls.unused.back();
  t->controls.unused.pop_back();
  return control;
}

int post_receive(efa_transport* t, efa_operation* op) {
  auto* control = control_of(op);
  return static_cast<int>(
      fi_recv(t->ep, control->bytes, sizeof control->bytes, nullptr, FI_ADDR_UNSPEC, &op->context));
}

int post_send(efa_transport* t, efa_operation* op) {
  return t->path->post_control(t, op, reinterpret_cast<const Control&>(control_of(op)->bytes));
}

// Has progress give up the peer, if it will learn of that: then it waits for us no longer. False: it would wait for ever.
bool give_up_later(efa_transport* t, efa_peer* peer) noexcept {
  auto& all = t->undeliverable;
  try {
    if (!t->liveness.can_tell(t, peer)) return false;
    if (std::find(all.begin(), all.end(), peer) != all.end()) return true;
    all.push_back(peer);
    ++t->pulls_open;
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure* failure) {
  if (!failure || failure->entry) --t->sends_posted;
  Control message;
  std::memcpy(&message, control_of(op)->bytes, sizeof message);
  const bool dispensable = control_of(op)->dispensable;
  t->controls.unused.push_back(control_of(op));
  // If the peer failed as a whole, fail_peer() has handled its operations.
  if (!failure || failure->reported || t->closing || dispensable) return;
  if (!t->draining) report_failure(t, msg::op_send_control(to_string(op->peer)), op->peer, *failure);
  if (message.type != ControlType::withdraw && !t->draining && give_up_later(t, op->peer)) return;
  switch (message.type) {
    case ControlType::receive_failed:
    case ControlType::send_failed:
      // An error was reported, and the program may continue without that peer.
      could_not_notify(t, op->peer, message);
      break;
    case ControlType::withdraw:
      break;  // the message stays at the receiver
    default:
      if (!t->draining) t->fatal(msg::control_not_delivered());
  }
}

void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
              const efa_failure* failure) {
  if (t->closing) return;
  auto* control = control_of(op);
  if (failure) {
    report_failure(t, msg::op_receive_control(msg::any_source()), nullptr, *failure);
    t->fatal(msg::control_not_received());
    return;
  }
  uint8_t bytes[sizeof control->bytes];
  const size_t size = entry->len < sizeof bytes ? entry->len : sizeof bytes;
  std::memcpy(bytes, control->bytes, size);
  submit(t, t->controls.pending, op);  // first, so that a buffer is always posted
  handle_control(t, bytes, size);
}

}  // namespace

bool make_controls(efa_transport* t) {
  for (int i = 0; i < kSpares; ++i) make(t);
  return true;
}

bool start_control(efa_transport* t, UserMessage& why) {
  make_controls(t);
  for (int i = 0; i < kReceives; ++i) make(t);
  for (int i = 0; i < kReceives; ++i) {
    ControlOperation* control = take(t);
    control->op.peer = nullptr;
    control->op.completed = received;
    control->op.post = post_receive;
    const int error = post_receive(t, &control->op);
    if (error == -FI_EAGAIN && i > 0) {
      t->controls.unused.push_back(control);  // a small receive queue: fewer are enough
      return true;
    }
    if (error) {
      why = msg::rail_open_failed("fi_recv", t->rails.first.provider(), t->rails.first.nic(),
                                  fi_strerror(-error), error);
      return false;
    }
  }
  return true;
}

bool is_control(const efa_operation* op) {
  return op->post == post_send;
}

void send_control(efa_transport* t, efa_peer* peer, const Control& message, bool dispensable) {
  ControlOperation* control = take(t);
  if (!control) {
    if (!dispensable) t->fatal(msg::control_no_memory());
    return;
  }
  control->dispensable = dispensable;
  std::memcpy(control->bytes, &message, sizeof message);
  control->op.peer = peer;
  control->op.completed = sent;
  control->op.post = post_send;
  submit(t, peer->pending, &control->op);
}

Controls::~Controls() {
  for (ControlOperation* control : all) delete control;
}

Control control(const efa_transport* t, ControlType type, uint64_t id) {
  Control message{};
  message.magic = Control::kMagic;
  message.version = kWireVersion;
  message.type = type;
  message.sender = t->config.self.uid;
  message.request = id;
  return message;
}

void handle_control(efa_transport* t, const void* bytes, size_t size) {
  const auto message = parse_control(bytes, size);
  if (!message) {
    // Every version so far has the sender at the same offset; no other field identifies it.
    uint64_t uid = 0;
    if (size >= offsetof(Control, sender) + sizeof uid)
      std::memcpy(&uid, static_cast<const uint8_t*>(bytes) + offsetof(Control, sender), sizeof uid);
    t->fatal(msg::control_unknown(size, describe_sender(t, uid)));
    return;
  }
  if (is_failed_send(t, *message)) {
    if (message->type == ControlType::clear_to_send)
      if (efa_peer* peer = peer_of(t, message->sender))
        send_send_failed(t, peer, message->request, message->handle, 0, 0, 0);
    return;
  }
  switch (message->type) {
    case ControlType::clear_to_send:
      clear_to_send(t, *message);
      break;
    case ControlType::acknowledge:
      acknowledge(t, *message);
      break;
    case ControlType::finished:
      finished(t, *message);
      break;
    case ControlType::alone_matched:
      alone_matched(t, *message);
      break;
    case ControlType::receive_failed:
      receive_failed(t, *message);
      break;
    case ControlType::send_failed:
      send_failed(t, *message);
      break;
    case ControlType::withdraw:
      t->path->withdraw(t, *message);
      break;
    case ControlType::withdrawn:
      withdrawn(t, *message);
      break;
    case ControlType::window_used:
    case ControlType::window_granted:
    case ControlType::ask:
    case ControlType::offer:
    case ControlType::take:
    case ControlType::decline:
    case ControlType::unask:
      if (!t->path->flow_control(t, *message))
        t->fatal(msg::message_about_nothing(describe_sender(t, message->sender), to_string(*message)));
      break;
  }
}

}  // namespace efa
