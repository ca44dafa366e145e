// Every message for the user: one catalog, from which the messages and docs/troubleshooting.md are made.
//
// MESSAGE(id, kind, places, text, cause, remedy)
//   id      what the user finds the message by: "mtl_efa: error [id]"
//   kind    FATAL ends the job; ERROR, WARNING, NOTICE, VERBOSE (printed with mtl_efa_verbose 1); PART of other messages
//   places  the number of places in `text` that are filled in: "{name}", or "{ name}" for one that may be empty and
//           otherwise follows a space. Values are given in the order of the names' first appearance. user_message.hpp
//           has the names of places that are numbers
//   cause   for docs/troubleshooting.md: when and why the message comes
//   remedy  there: what the user does
//
// C++ makes messages with user_message.hpp, the component's C files with mtl_efa_say (mtl_efa/mtl_efa.h).
#pragma once

#include <stddef.h>

#include "catalog/failures.h"
#include "catalog/nics.h"
#include "catalog/parameters.h"
#include "catalog/paths.h"
#include "catalog/peers.h"
#include "catalog/program.h"
#include "catalog/start.h"

#define EFA_MESSAGE_CATALOG(MESSAGE) \
  EFA_MESSAGES_START(MESSAGE)        \
  EFA_MESSAGES_PARAMETERS(MESSAGE)   \
  EFA_MESSAGES_NICS(MESSAGE)         \
  EFA_MESSAGES_PATHS(MESSAGE)        \
  EFA_MESSAGES_PEERS(MESSAGE)        \
  EFA_MESSAGES_FAILURES(MESSAGE)     \
  EFA_MESSAGES_PROGRAM(MESSAGE)

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { EFA_REPORT_ERROR, EFA_REPORT_WARNING, EFA_REPORT_NOTICE, EFA_REPORT_VERBOSE } efa_severity;

typedef enum {
#define EFA_MESSAGE_ID(id, ...) EFA_MSG_##id,
  EFA_MESSAGE_CATALOG(EFA_MESSAGE_ID)
#undef EFA_MESSAGE_ID
      EFA_MESSAGES
} efa_message_id;

// EFA_PLACES_id: constants, so that calls from C are checked when they are compiled.
enum {
#define EFA_MESSAGE_PLACES(id, kind, places, ...) EFA_PLACES_##id = places,
  EFA_MESSAGE_CATALOG(EFA_MESSAGE_PLACES)
#undef EFA_MESSAGE_PLACES
};

// Bytes of a message with its terminating 0. A longer text is cut.
enum { EFA_MESSAGE_SIZE = 3584 };

// A message as it is printed. It owns its text, so that it can be made without memory.
typedef struct {
  efa_message_id id;
  efa_severity severity;
  char text[EFA_MESSAGE_SIZE];
} efa_user_message;

// "peer_lost".
const char* efa_message_name(efa_message_id id);
// Makes a message from the catalog's text and the values of its places. Allocates no memory.
void efa_message_make(efa_user_message* message, efa_message_id id, const char* const* values, size_t count);

#ifdef __cplusplus
}
#endif
