// C++ exceptions end inside common/: the callers of extern "C" functions, and of the handlers that libfabric calls, are C.
//
// The only exception that is expected is std::bad_alloc. What handles it needs no memory itself. Allocations on which a
// state change depends are handled where they are made; this is the last resort, and it costs nothing until it is needed.
#pragma once

#include <exception>
#include <utility>

#include "base/user_message.hpp"
#include "interface/transport.h"

namespace efa {

// In a catch block: why the exception came, for a message.
const char* current_exception_text() noexcept;

namespace detail {
efa_result report_exception(const efa_transport* t, const char* operation) noexcept;
void fatal_exception(efa_transport* t, const char* operation) noexcept;
}  // namespace detail

// Reports an error with the text of the current exception: "Rank 0 on host a: OPERATION failed: out of memory." The
// operation is a part of the message catalog, without places: msg::op_call_send.
template <efa_message_id id>
efa_result report_exception(const efa_transport* t, const MessageMaker<id>& operation) noexcept {
  return detail::report_exception(t, operation.whole());
}
inline efa_result report_exception(const efa_transport* t, const FixedPart& operation) noexcept {
  return detail::report_exception(t, operation.text);
}

// Ends the job: the current exception left an operation in a state that is not known.
template <efa_message_id id>
void fatal_exception(efa_transport* t, const MessageMaker<id>& operation) noexcept {
  detail::fatal_exception(t, operation.whole());
}

// Does something that can be left out, such as a warning.
template <class Body>
void if_memory_allows(Body body) noexcept {
  try {
    body();
  } catch (...) {
  }
}

}  // namespace efa
