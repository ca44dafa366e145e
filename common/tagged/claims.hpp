// The list of claimed messages that have not been matched, and claims for receives that wait to be posted.
#pragma once

#include <cstdint>

#include "interface/transport.h"

namespace efa {

struct Claims {
  efa_message* first = nullptr;  // claimed by a probe, in the order of arrival
  efa_message* last = nullptr;
  efa_message* open = nullptr;  // a claim for waiting receives that the provider has not answered
  bool settling = false;        // no further claim is started
  int in_vain = 0;              // claims that found no message, which do not count as progress
  uint64_t ended = 0;           // claims that found no message, since set-up
  unsigned peeks = 0;  // calls that wait for a claimed message: no claimed message may be removed meanwhile
};

// The first claimed message that these bits match; it stays in the list.
efa_message* find_claimed(const efa_transport* t, uint64_t bits, uint64_t ignore, int32_t rank);
void unlink_claimed(efa_transport* t, efa_message* message);
void relink_claimed(efa_transport* t, efa_message* message);
void free_claimed(efa_transport* t);
// If receives wait because the provider refused them: claims the next message that no posted receive has matched, and gives
// it to the oldest waiting receive that matches, or appends it to the claimed messages.
void claim_for_waiting(efa_transport* t);
// Returns when no such claim is in progress.
void settle_claim(efa_transport* t);
void append_claimed(efa_transport* t, efa_message* message);
// If receives wait to be posted, claims all messages that have arrived and gives them to those receives, which are older
// than any probe. True if receives still wait: then all other messages are in the list.
bool claims_all(efa_transport* t);
// Gives a newly claimed message to the oldest waiting receive that matches, or appends it to the list.
void keep_claimed(efa_transport* t, efa_message* message);

}  // namespace efa
