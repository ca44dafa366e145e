// Control messages: untagged, small, and received into buffers that are always posted.
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <cstring>

#include "transport.hpp"

namespace efa {

struct ControlOperation {
  efa_operation op;
  alignas(8) uint8_t bytes[64];
};
static_assert(sizeof(Control) <= sizeof ControlOperation::bytes);

namespace {

// Posted at a time. More may arrive at once: the provider keeps what finds no buffer.
constexpr int kReceives = 16;

ControlOperation* control_of(efa_operation* op) {
  return reinterpret_cast<ControlOperation*>(op);
}

ControlOperation* take(efa_transport* t) {
  if (t->controls.empty()) {
    t->all_controls.push_back(new ControlOperation{});
    t->controls.push_back(t->all_controls.back());
  }
  ControlOperation* control = t->controls.back();
  t->controls.pop_back();
  return control;
}

int post_receive(efa_transport* t, efa_operation* op) {
  auto* control = control_of(op);
  return static_cast<int>(
      fi_recv(t->ep, control->bytes, sizeof control->bytes, nullptr, FI_ADDR_UNSPEC, &op->context));
}

int post_send(efa_transport* t, efa_operation* op) {
  const ssize_t error =
      fi_send(t->ep, control_of(op)->bytes, sizeof(Control), nullptr, op->peer->address, &op->context);
  if (error == 0) ++t->sends_posted;
  return static_cast<int>(error);
}

void sent(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry*, const efa_failure* failure) {
  if (!failure || failure->entry) --t->sends_posted;
  if (failure && !t->closing) {
    report_failure(t, "sending a control message to", op->peer, *failure);
    t->fatal(
        "A control message could not be delivered, so a peer would wait for ever; the job cannot go on.");
  }
  t->controls.push_back(control_of(op));
}

void received(efa_transport* t, efa_operation* op, const fi_cq_tagged_entry* entry,
              const efa_failure* failure) {
  if (t->closing) return;
  auto* control = control_of(op);
  if (failure) {
    report_failure(t, "receiving a control message from", nullptr, *failure);
    t->fatal("Control messages can no longer be received; the job cannot go on.");
    return;
  }
  uint8_t bytes[sizeof control->bytes];
  const size_t size = entry->len < sizeof bytes ? entry->len : sizeof bytes;
  std::memcpy(bytes, control->bytes, size);
  submit(t, t->pending_receives, op);  // first, so that a buffer is always posted
  handle_control(t, bytes, size);
}

}  // namespace

bool start_control(efa_transport* t, std::string& why) {
  for (int i = 0; i < kReceives; ++i) {
    ControlOperation* control = take(t);
    control->op.peer = nullptr;
    control->op.completed = received;
    control->op.post = post_receive;
    const int error = post_receive(t, &control->op);
    if (error == -FI_EAGAIN && i > 0) {
      t->controls.push_back(control);  // a small receive queue: fewer will do
      return true;
    }
    if (error) {
      why = std::string("fi_recv failed on ") + t->rail.nic() + ": " + fi_strerror(-error);
      return false;
    }
  }
  return true;
}

void send_control(efa_transport* t, efa_peer* peer, const Control& message) {
  ControlOperation* control = take(t);
  std::memcpy(control->bytes, &message, sizeof message);
  control->op.peer = peer;
  control->op.completed = sent;
  control->op.post = post_send;
  submit(t, peer->pending, &control->op);
}

void free_control(ControlOperation* control) {
  delete control;
}

void handle_control(efa_transport* t, const void* bytes, size_t size) {
  const auto message = parse_control(bytes, size);
  if (!message) {
    // Whoever it is from says so in the same place in every version so far; nothing else tells.
    uint64_t uid = 0;
    if (size >= offsetof(Control, sender) + sizeof uid)
      std::memcpy(&uid, static_cast<const uint8_t*>(bytes) + offsetof(Control, sender), sizeof uid);
    t->fatal("A control message of " + std::to_string(size) + " bytes arrived from " + sender_named(t, uid) +
             " that this version does not know.");
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
  }
}

}  // namespace efa
