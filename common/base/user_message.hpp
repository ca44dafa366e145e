// Messages for the user, made from the catalog only (message_catalog.h): nothing else can be given to report() and
// fatal(). msg::ID(values...) makes one; the number of values, and which of them are numbers, is checked when it is compiled.
//
//   t->report(msg::peer_answers_again(to_string(peer), rank));
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "interface/message_catalog.h"

namespace efa {

enum class MessageKind { FATAL, ERROR, WARNING, NOTICE, VERBOSE, PART };

struct CatalogEntry {
  const char* name;
  MessageKind kind;
  unsigned places;
  const char* text;
};

inline constexpr CatalogEntry kCatalog[] = {
#define EFA_MESSAGE_ENTRY(id, kind, places, text, ...) {#id, MessageKind::kind, places, text},
    EFA_MESSAGE_CATALOG(EFA_MESSAGE_ENTRY)
#undef EFA_MESSAGE_ENTRY
};

// The places of a text, each name once, in the order of their first appearance.
class Places {
 public:
  static constexpr size_t kMost = 12;

  constexpr explicit Places(std::string_view text) {
    for (size_t open = text.find('{'); open != text.npos; open = text.find('{', open + 1)) {
      const size_t close = text.find('}', open);
      if (close == text.npos || count_ == kMost) throw "a place without an end, or too many";
      std::string_view name = text.substr(open + 1, close - open - 1);
      if (name.starts_with(' ')) name.remove_prefix(1);
      if (index(name) == count_) names_[count_++] = name;
    }
  }
  constexpr size_t count() const { return count_; }
  constexpr std::string_view operator[](size_t i) const { return names_[i]; }
  // count() if there is no such place.
  constexpr size_t index(std::string_view name) const {
    return static_cast<size_t>(std::find(names_.begin(), names_.begin() + count_, name) - names_.begin());
  }

 private:
  std::array<std::string_view, kMost> names_{};
  size_t count_ = 0;
};

// Whether the values of a place are numbers. All others are texts.
constexpr bool is_number(std::string_view place) {
  constexpr std::string_view kNumbers[] = {"bound",      "bytes",    "code",  "count",  "eager",
                                           "expected",   "greatest", "index", "inject", "least",
                                           "other_rank", "packed",   "piece", "rank",   "seconds",
                                           "staging",    "tag",      "total", "value",  "window"};
  return std::find(std::begin(kNumbers), std::end(kNumbers), place) != std::end(kNumbers);
}

// A text of the catalog with its places filled in.
class CatalogText {
 public:
  CatalogText() = default;  // empty
  const std::string& text() const { return text_; }
  operator const std::string&() const { return text_; }
  bool empty() const { return text_.empty(); }
  efa_message_id id() const { return id_; }
  // Appends a text of the catalog; after a space unless it begins with a punctuation mark.
  void append(const CatalogText& more);

  friend bool operator==(const CatalogText& a, std::string_view b) { return a.text_ == b; }
  friend std::ostream& operator<<(std::ostream& out, const CatalogText& it) { return out << it.text_; }

 protected:
  CatalogText(efa_message_id id, std::string text) : id_(id), text_(std::move(text)) {}

 private:
  efa_message_id id_ = EFA_MESSAGES;
  std::string text_;
};

template <efa_message_id id>
struct MessageMaker;

// A value within other messages.
class MessagePart : public CatalogText {
 public:
  MessagePart() = default;

 private:
  using CatalogText::CatalogText;
  template <efa_message_id id>
  friend struct MessageMaker;
};

// Printed on its own.
class UserMessage : public CatalogText {
 public:
  UserMessage() = default;
  efa_severity severity() const;

 private:
  using CatalogText::CatalogText;
  template <efa_message_id id>
  friend struct MessageMaker;
};

// An error that ends the job.
class FatalMessage : public CatalogText {
  using CatalogText::CatalogText;
  template <efa_message_id id>
  friend struct MessageMaker;
};

// A part without memory. A longer text is cut.
struct FixedPart {
  char text[512];
};

// A value of a place: a text that outlives it, or a number.
class MessageValue {
 public:
  MessageValue(std::string_view text) : text_(text) {}
  MessageValue(const char* text) : text_(text) {}
  MessageValue(const std::string& text) : text_(text) {}
  MessageValue(const CatalogText& text) : text_(text.text()) {}
  MessageValue(const FixedPart& part) : text_(part.text) {}
  MessageValue(std::integral auto number) {
    const auto end = std::to_chars(digits_, digits_ + sizeof digits_, number).ptr;
    text_ = {digits_, static_cast<size_t>(end - digits_)};
  }
  MessageValue(const MessageValue&) = delete;
  std::string_view text() const { return text_; }

 private:
  char digits_[24];
  std::string_view text_;
};

// As it is printed. A longer text is cut.
efa_user_message printable(const CatalogText& text, efa_severity severity) noexcept;

std::string fill_in(efa_message_id id, const MessageValue* values);
// The same without memory.
void fill_in(efa_user_message& message, efa_message_id id, const MessageValue* values) noexcept;
void fill_in(FixedPart& part, efa_message_id id, const MessageValue* values) noexcept;

template <efa_message_id id>
struct MessageMaker {
  static constexpr CatalogEntry kEntry = kCatalog[id];
  static constexpr Places kPlaces{kEntry.text};
  static_assert(kPlaces.count() == kEntry.places, "the catalog's number of places is not that of its text");

  using Made =
      std::conditional_t<kEntry.kind == MessageKind::PART, MessagePart,
                         std::conditional_t<kEntry.kind == MessageKind::FATAL, FatalMessage, UserMessage>>;

  // As many values as the text has places, numbers for those that is_number() names and texts for the others.
  template <class... Values>
  static constexpr bool accepts() {
    if constexpr (sizeof...(Values) == kPlaces.count()) return [&]<size_t... i>(std::index_sequence<i...>) {
        return ((std::is_integral_v<Values> == is_number(kPlaces[i])) && ...);
      }
    (std::index_sequence_for<Values...>());
    else return false;
  }

  template <class... Values>
  requires(accepts<Values...>()) Made operator()(const Values&... given) const {
    const MessageValue values[sizeof...(given) + 1] = {MessageValue(given)..., MessageValue("")};
    return Made(id, fill_in(id, values));
  }
  // A part without places.
  static constexpr const char* whole() {
    static_assert(kEntry.kind == MessageKind::PART && kPlaces.count() == 0);
    return kEntry.text;
  }
  // Allocates no memory.
  template <class... Values>
  requires(accepts<Values...>()) auto without_memory(const Values&... given) const noexcept {
    std::conditional_t<kEntry.kind == MessageKind::PART, FixedPart, efa_user_message> made;
    const MessageValue values[sizeof...(given) + 1] = {MessageValue(given)..., MessageValue("")};
    fill_in(made, id, values);
    return made;
  }
};

namespace msg {
#define EFA_MESSAGE_MAKER(id, ...) inline constexpr MessageMaker<EFA_MSG_##id> id;
EFA_MESSAGE_CATALOG(EFA_MESSAGE_MAKER)
#undef EFA_MESSAGE_MAKER
}  // namespace msg

}  // namespace efa
