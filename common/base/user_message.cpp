#include "base/user_message.hpp"

#include <cstring>

namespace efa {
namespace {

constexpr efa_severity severity_of(MessageKind kind) {
  switch (kind) {
    case MessageKind::FATAL:
    case MessageKind::ERROR:
      return EFA_REPORT_ERROR;
    case MessageKind::WARNING:
      return EFA_REPORT_WARNING;
    case MessageKind::NOTICE:
      return EFA_REPORT_NOTICE;
    default:
      return EFA_REPORT_VERBOSE;
  }
}

// Calls `append` with the text's parts in order; `value(i)` is the value of place i.
template <class Value, class Append>
void expand(const CatalogEntry& entry, Value value, Append append) {
  const Places places{entry.text};
  for (std::string_view rest = entry.text; !rest.empty();) {
    const size_t open = std::min(rest.find('{'), rest.size());
    append(rest.substr(0, open));
    rest.remove_prefix(open);
    if (rest.empty()) break;
    const size_t close = rest.find('}');
    const bool spaced = rest[1] == ' ';
    const std::string_view name = rest.substr(1 + spaced, close - 1 - spaced);
    const std::string_view text = value(places.index(name));
    if (spaced && !text.empty()) append(" ");
    append(text);
    rest.remove_prefix(close + 1);
  }
}

template <size_t size, class Value>
void expand_into(char (&text)[size], efa_message_id id, Value value) {
  size_t used = 0;
  expand(kCatalog[id], value, [&](std::string_view part) {
    const size_t fits = std::min(part.size(), size - 1 - used);
    std::memcpy(text + used, part.data(), fits);
    used += fits;
  });
  text[used] = 0;
}

template <class Value>
void expand_into(efa_user_message& message, efa_message_id id, Value value) {
  message.id = id;
  message.severity = severity_of(kCatalog[id].kind);
  expand_into(message.text, id, value);
}

}  // namespace

void CatalogText::append(const CatalogText& more) {
  if (more.empty()) return;
  if (!empty() && std::string_view(".,;:").find(more.text_[0]) == std::string_view::npos) text_ += ' ';
  text_ += more.text_;
}

efa_severity UserMessage::severity() const {
  return empty() ? EFA_REPORT_VERBOSE : severity_of(kCatalog[id()].kind);
}

efa_user_message printable(const CatalogText& text, efa_severity severity) noexcept {
  efa_user_message message;
  message.id = text.id();
  message.severity = severity;
  const size_t size = std::min(text.text().size(), sizeof message.text - 1);
  std::memcpy(message.text, text.text().data(), size);
  message.text[size] = 0;
  return message;
}

std::string fill_in(efa_message_id id, const MessageValue* values) {
  std::string text;
  expand(
      kCatalog[id], [&](size_t i) { return values[i].text(); }, [&](std::string_view part) { text += part; });
  return text;
}

void fill_in(efa_user_message& message, efa_message_id id, const MessageValue* values) noexcept {
  expand_into(message, id, [&](size_t i) { return values[i].text(); });
}

void fill_in(FixedPart& part, efa_message_id id, const MessageValue* values) noexcept {
  expand_into(part.text, id, [&](size_t i) { return values[i].text(); });
}

}  // namespace efa

extern "C" const char* efa_message_name(efa_message_id id) {
  return efa::kCatalog[id].name;
}

extern "C" void efa_message_make(efa_user_message* message, efa_message_id id, const char* const* values,
                                 size_t count) {
  efa::expand_into(*message, id, [&](size_t i) {
    return i < count && values[i] ? std::string_view(values[i]) : std::string_view();
  });
}
