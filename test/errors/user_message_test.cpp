// The catalog of messages, how messages are made of it, and that there are no others: the sources print nothing that is
// not in the catalog, and use everything that is.
#include "base/user_message.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "catch.hpp"
#include "state.hpp"

using namespace efa;

namespace {

struct Explained {
  const char *name, *text, *cause, *remedy;
};
const Explained kExplained[] = {
#define EXPLAINED(id, kind, places, text, cause, remedy) {#id, text, cause, remedy},
    EFA_MESSAGE_CATALOG(EXPLAINED)
#undef EXPLAINED
};

struct Source {
  std::string name, text;
};

// Without comments.
std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string text, line;
  while (std::getline(file, line)) {
    const size_t comment = line.find("//");
    text += (comment == line.npos || line.find('"') < comment ? line : line.substr(0, comment)) + "\n";
  }
  static const std::regex kBlockComment(R"(/\*[^]*?\*/)");
  return std::regex_replace(text, kBlockComment, "");
}

// Everything that becomes the component.
const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    std::vector<Source> found;
    const char* root = std::getenv("MTL_EFA_SOURCES");
    REQUIRE(root);
    for (const char* directory : {"common", "mtl_efa"})
      for (const auto& entry :
           std::filesystem::recursive_directory_iterator(std::filesystem::path(root) / directory)) {
        const std::string name = entry.path().lexically_relative(root).string();
        const auto kind = entry.path().extension();
        if (kind == ".cpp" || kind == ".hpp" || kind == ".c" || kind == ".h")
          if (!name.starts_with("mtl_efa/test/")) found.push_back({name, read(entry.path())});
      }
    return found;
  }();
  return all;
}

// The files, other than `allowed`, in which the pattern occurs.
std::set<std::string> found_in(const char* pattern, const std::set<std::string>& allowed) {
  std::set<std::string> names;
  const std::regex searched(pattern);
  for (const auto& source : sources())
    if (!allowed.count(source.name) && std::regex_search(source.text, searched)) names.insert(source.name);
  return names;
}

template <class Reported>
concept Reportable = requires(const efa_transport* t, Reported reported) {
  t->report(reported);
};
template <class Reported>
concept Fatal = requires(efa_transport* t, Reported reported) {
  t->fatal(reported);
};

}  // namespace

TEST_CASE("Only messages of the catalog can be reported, and only those that end the job are fatal") {
  static_assert(Reportable<UserMessage> && Fatal<FatalMessage>);
  static_assert(!Reportable<std::string> && !Reportable<const char*> && !Reportable<MessagePart> &&
                !Reportable<FatalMessage>);
  static_assert(!Fatal<std::string> && !Fatal<const char*> && !Fatal<MessagePart> && !Fatal<UserMessage>);
  static_assert(!std::is_constructible_v<UserMessage, std::string> &&
                !std::is_constructible_v<UserMessage, efa_message_id, std::string> &&
                !std::is_constructible_v<MessagePart, const char*> &&
                !std::is_constructible_v<FatalMessage, efa_message_id, std::string>);
  static_assert(std::is_same_v<decltype(msg::pending_none("")), UserMessage> &&
                std::is_same_v<decltype(msg::control_no_memory()), FatalMessage> &&
                std::is_same_v<decltype(msg::any_source()), MessagePart>);
}

TEST_CASE("A message takes as many values as its text has places, numbers where it says so") {
  using Again = decltype(msg::peer_answers_again);  // "{peer} answers rank {rank} again."
  static_assert(std::is_invocable_v<Again, std::string, int>);
  static_assert(!std::is_invocable_v<Again> && !std::is_invocable_v<Again, std::string> &&
                !std::is_invocable_v<Again, std::string, int, int>);
  static_assert(!std::is_invocable_v<Again, int, std::string> &&
                !std::is_invocable_v<Again, std::string, std::string>);
}

TEST_CASE("Each entry of the catalog is complete") {
  std::set<std::string> names, causes;
  for (const auto& entry : kExplained) {
    INFO(entry.name);
    CHECK(names.insert(entry.name).second);
    const std::string text = entry.text, cause = entry.cause, remedy = entry.remedy;
    CHECK(text.size() > 3);
    CHECK((cause.size() > 10 && cause.back() == '.'));
    CHECK((remedy.size() > 10 && (remedy.back() == '.' || remedy.back() == ')')));
    CHECK(std::regex_match(entry.name, std::regex("[a-z][a-z0-9]*(_[a-z0-9]+)*")));
    CHECK(std::count(text.begin(), text.end(), '{') == std::count(text.begin(), text.end(), '}'));
    const Places places(text);
    for (size_t i = 0; i < places.count(); ++i)
      CHECK(std::regex_match(std::string(places[i]), std::regex("[a-z]+(_[a-z]+)*")));
    // Names of other entries in the explanations, which docs/troubleshooting.md makes links.
    for (const std::string& explanation : {cause, remedy}) {
      std::smatch found;
      if (std::regex_search(explanation, found, std::regex("(?:[Ss]ee|As) ([a-z]+_[a-z_]+)")) &&
          !found[1].str().starts_with("mtl_efa"))
        CHECK(std::any_of(std::begin(kCatalog), std::end(kCatalog),
                          [&](const CatalogEntry& each) { return found[1].str() == each.name; }));
    }
  }
  CHECK(names.size() == EFA_MESSAGES);
}

TEST_CASE("Each entry of the catalog is used") {
  std::set<std::string> used;
  static const std::regex kUse(R"((?:\bmsg::|\bMTL_EFA_SAY\(|\bMTL_EFA_MAKE\(&?\w+, )(\w+))");
  for (const auto& source : sources())
    for (std::sregex_iterator at(source.text.begin(), source.text.end(), kUse), end; at != end; ++at)
      used.insert((*at)[1]);
  REQUIRE(used.size() > 100);
  for (const auto& entry : kCatalog) {
    INFO(entry.name << " is not used in common/ or mtl_efa/");
    CHECK(used.count(entry.name) == 1);
  }
}

TEST_CASE("The sources print nothing else") {
  using Files = std::set<std::string>;
  REQUIRE(sources().size() > 100);
  // The one place that writes.
  CHECK(found_in(R"(\b(STDERR_FILENO|STDOUT_FILENO|stderr|stdout|cerr|cout|clog)\b)", {"mtl_efa/report.c"}) ==
        Files{});
  CHECK(found_in(
            R"(\b(perror|v?f?printf|dprintf|fputs|puts|putchar|v?syslog|opal_output\w*|opal_show_help)\s*\()",
            {}) == Files{});
  CHECK(found_in(R"(\bmtl_efa_print\b)", {"mtl_efa/report.c", "mtl_efa/mtl_efa.h", "mtl_efa/statistics.c"}) ==
        Files{});
  // Texts of messages are written where messages are made.
  CHECK(found_in(R"(\befa_message_make\b)", {"mtl_efa/mtl_efa.h", "mtl_efa/report.c",
                                             "common/interface/message_catalog.h", "common/base/user_message.cpp"}) ==
        Files{});
  CHECK(found_in(R"(\bmtl_efa_say\b)", {"mtl_efa/mtl_efa.h", "mtl_efa/report.c"}) == Files{});
  CHECK(found_in(R"((printf|str\w+|mem\w+)\((\w+(\.|->))*(message|why|hint|printed)(\.|->)text)",
                 {"common/base/user_message.cpp"}) == Files{});
  // The lint sees what it looks for.
  CHECK(found_in(R"(\bSTDERR_FILENO\b)", {}) == Files{"mtl_efa/report.c"});
}

TEST_CASE("Places are filled in with values in the order of their first appearance") {
  CHECK(msg::peer_answers_again("rank 3 on host b", 7) == "rank 3 on host b answers rank 7 again.");
  const std::string repeated = msg::parameter_above_provider("chunk_size", 9L, "tcp", uint64_t{8});
  CHECK(repeated ==
        "The parameter mtl_efa_chunk_size is 9, but the provider tcp allows at most 8 bytes (0 to 8, or -1: "
        "automatic).");
  CHECK(msg::op_send(uint64_t{0} - 1, INT32_MIN, "x") ==
        "sending 18446744073709551615 bytes with tag -2147483648 to x");
  CHECK(msg::pending_none("a {rank} b") ==
        "a {rank} b: no operation is pending");  // values are not searched for places
}

TEST_CASE("A place that may be empty takes its space with it") {
  CHECK(msg::parameter_range("rails", 9L, 0L, 8L, "NICs") ==
        "The parameter mtl_efa_rails is 9, but must be from 0 to 8 NICs.");
  CHECK(msg::parameter_range("rails", 9L, 0L, 8L, "") ==
        "The parameter mtl_efa_rails is 9, but must be from 0 to 8.");
}

TEST_CASE("Parts are appended after a space, or a punctuation mark of their own") {
  UserMessage message = msg::nic_none_offered();
  message.append(MessagePart());
  CHECK(message == "libfabric offers no NIC on this node.");
  message.append(msg::nic_link_down());
  CHECK(message == "libfabric offers no NIC on this node. its link is down");
  message.append(msg::rail_shm_full());
  CHECK_THAT(message.text(), Contains("its link is down; /dev/shm may be full"));
  CHECK(message.id() == EFA_MSG_nic_none_offered);
}

TEST_CASE("A message that is made without memory has the same text") {
  const efa_user_message made = msg::state_lost.without_memory(3, "a", "completing", "out of memory");
  CHECK(msg::state_lost(3, "a", "completing", "out of memory") == made.text);
  CHECK(made.id == EFA_MSG_state_lost);
  CHECK(made.severity == EFA_REPORT_ERROR);
  CHECK(std::string(msg::op_connect.without_memory(5).text) == "preparing to talk to rank 5");
}

TEST_CASE("A message from C has the same text, and a missing value is left out") {
  const char* const values[] = {"1000", "tcp;ofi_rxm"};
  efa_user_message made;
  efa_message_make(&made, EFA_MSG_communicators_last, values, 2);
  CHECK_THAT(made.text,
             Contains("There are now 1000 communicators, the maximum for the message tags of the provider "
                      "tcp;ofi_rxm. Creating"));
  CHECK(made.severity == EFA_REPORT_WARNING);
  CHECK(std::string(efa_message_name(made.id)) == "communicators_last");
  efa_message_make(&made, EFA_MSG_communicators_last, values, 1);
  CHECK_THAT(made.text, Contains("of the provider . Creating"));
}

TEST_CASE("Texts that are too long are cut and end with 0") {
  const std::string lengthy(2 * EFA_MESSAGE_SIZE, 'x');
  const efa_user_message printed = printable(msg::pending_none(lengthy), EFA_REPORT_NOTICE);
  CHECK(std::string(printed.text) == lengthy.substr(0, EFA_MESSAGE_SIZE - 1));
  const efa_user_message made = msg::open_exception.without_memory(lengthy);
  CHECK(std::strlen(made.text) == EFA_MESSAGE_SIZE - 1);
  CHECK(std::strlen(msg::op_fetch.without_memory(lengthy).text) == sizeof(FixedPart) - 1);
}
