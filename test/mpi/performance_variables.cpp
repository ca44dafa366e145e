// The MPI_T performance variables of mtl_efa: each is there with its properties, and they count exactly what two ranks send.
//
// performance_variables [pull|push]   the protocol that messages of 3 MB must use; default: either
#include <cstdlib>
#include <map>

#include "../../common/interface/counters.h"
#include "check.hpp"

using namespace efa::mpitest;

namespace {

constexpr int kLong = 3000000;

struct Expected {
  const char* name;
  efa_counter_kind kind;
};

constexpr Expected kExpected[] = {
#define COUNT(name, text) {#name, EFA_COUNT},
#define SUM(name, text) {#name, EFA_SUM},
#define LEVEL(name, unit, text) {#name, EFA_LEVEL},
#define MOST(name, unit, text) {#name, EFA_MOST},
    EFA_COUNTER_TABLE(COUNT, SUM, LEVEL, MOST)
#undef COUNT
#undef SUM
#undef LEVEL
#undef MOST
};

int class_of(efa_counter_kind kind) {
  switch (kind) {
    case EFA_COUNT:
      return MPI_T_PVAR_CLASS_COUNTER;
    case EFA_SUM:
      return MPI_T_PVAR_CLASS_AGGREGATE;
    case EFA_LEVEL:
      return MPI_T_PVAR_CLASS_LEVEL;
    default:
      return MPI_T_PVAR_CLASS_HIGHWATERMARK;
  }
}

// All variables, as a tool reads them.
class Variables {
 public:
  Variables() {
    int variables = 0;
    MPI_T_pvar_session_create(&session_);
    MPI_T_pvar_get_num(&variables);
    for (int i = 0; i < variables; ++i) add(i);
    expect_equal(std::size(kExpected), handles_.size(), "number of variables");
  }
  ~Variables() {
    for (auto& [name, handle] : handles_) MPI_T_pvar_handle_free(session_, &handle);
    MPI_T_pvar_session_free(&session_);
  }

  unsigned long long read(const std::string& name) {
    const auto at = handles_.find(name);
    if (at == handles_.end()) fail("there is no variable " + name, Location::current());
    unsigned long long value = 0;
    expect_equal(MPI_SUCCESS, MPI_T_pvar_read(session_, at->second, &value), "result of MPI_T_pvar_read");
    return value;
  }

  // What is counted must not be written or stopped by a tool.
  void expect_readonly() {
    unsigned long long value = 0;
    for (auto& [name, handle] : handles_) {
      Step step("%s", name.c_str());
      expect(MPI_T_pvar_write(session_, handle, &value) != MPI_SUCCESS, "the variable cannot be written");
      expect(MPI_T_pvar_stop(session_, handle) != MPI_SUCCESS, "the variable cannot be stopped");
    }
  }

 private:
  void add(int index) {
    char name[256], text[1024];
    int name_size = sizeof name, text_size = sizeof text;
    int verbosity, var_class, bind, readonly, continuous, atomic, count = 0;
    MPI_Datatype type;
    MPI_T_enum values;
    if (MPI_T_pvar_get_info(index, name, &name_size, &verbosity, &var_class, &type, &values, text, &text_size,
                            &bind, &readonly, &continuous, &atomic) != MPI_SUCCESS ||
        std::string_view(name).substr(0, 8) != "mtl_efa_")
      return;
    Step step("%s", name);
    const std::string_view own = std::string_view(name).substr(8);
    const auto found = std::find_if(std::begin(kExpected), std::end(kExpected),
                                    [&](const Expected& each) { return own == each.name; });
    expect(found != std::end(kExpected), "the variable is in the table");
    expect_equal(class_of(found->kind), var_class, "class");
    expect(type == MPI_UNSIGNED_LONG_LONG, "the type is MPI_UNSIGNED_LONG_LONG");
    expect_equal(MPI_T_BIND_NO_OBJECT, bind, "object");
    expect_equal(1, readonly, "readonly");
    expect_equal(1, continuous, "continuous");
    expect(text_size > 10, "there is a description");
    MPI_T_pvar_handle handle;
    expect_equal(MPI_SUCCESS, MPI_T_pvar_handle_alloc(session_, index, nullptr, &handle, &count),
                 "result of MPI_T_pvar_handle_alloc");
    expect_equal(1, count, "number of values");
    handles_[std::string(own)] = handle;
  }

  MPI_T_pvar_session session_;
  std::map<std::string, MPI_T_pvar_handle> handles_;
};

// What has been counted since the construction.
class Since {
 public:
  explicit Since(Variables& variables) : variables_(variables) {
    for (const Expected& each : kExpected) before_[each.name] = variables_.read(each.name);
  }
  unsigned long long operator[](const std::string& name) { return variables_.read(name) - before_[name]; }

  // Exactly `messages` with `bytes` in total were sent or received, by the protocols in `names`.
  void expect_messages(const char* direction, std::initializer_list<const char*> names,
                       unsigned long long messages, unsigned long long bytes) {
    unsigned long long got = 0, got_bytes = 0, all = 0;
    for (const char* name : names) {
      got += (*this)[name];
      got_bytes += (*this)[std::string(name) + "_bytes"];
    }
    for (const char* name : {"sent_inject", "sent_eager", "sent_synchronous", "sent_pull", "sent_copy", "sent_push",
                             "received_eager", "received_synchronous", "received_pull", "received_copy", "received_push"})
      if (std::string_view(name).substr(0, 4) == std::string_view(direction).substr(0, 4))
        all += (*this)[name];
    expect_equal(messages, got, "messages");
    expect_equal(bytes, got_bytes, "bytes");
    expect_equal(messages, all, "messages of all protocols");
  }

 private:
  Variables& variables_;
  std::map<std::string, unsigned long long> before_;
};

// The first messages of two processes go another way than later ones.
void meet(int rank) {
  for (int i = 0; i < 4; ++i)
    if (rank == 0) {
      give_token(1, 1, MPI_COMM_WORLD);
      take_token(1, 1, MPI_COMM_WORLD);
    } else {
      take_token(0, 1, MPI_COMM_WORLD);
      give_token(0, 1, MPI_COMM_WORLD);
    }
}

bool is_set(const char* parameter, const char* to) {
  const char* value = std::getenv((std::string("OMPI_MCA_mtl_efa_") + parameter).c_str());
  return value && std::string_view(value) == to;
}

// Whether all ranks reach each other through the shared memory of mtl_efa, which no NIC sees.
bool share_memory() {
  MPI_Comm node;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int on_node, all;
  MPI_Comm_size(node, &on_node);
  MPI_Comm_size(MPI_COMM_WORLD, &all);
  MPI_Comm_free(&node);
  return is_set("path", "packets") && !is_set("shm", "0") && !is_set("shm", "false") && on_node == all;
}

void short_messages(Variables& variables, int rank, bool shared) {
  Step step("100 messages of 8 bytes");
  Since since(variables);
  Buffer buffer(8);
  for (int i = 0; i < 100; ++i)
    if (rank == 0)
      MPI_Send(buffer.data(), 8, MPI_BYTE, 1, 5, MPI_COMM_WORLD);
    else
      MPI_Recv(buffer.data(), 8, MPI_BYTE, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  if (rank == 0)
    since.expect_messages("sent", {"sent_inject", "sent_eager"}, 100, 800);
  else
    since.expect_messages("received", {"received_eager"}, 100, 800);
  expect_equal(shared ? 0 : 800, since["rail_0_bytes"], "bytes over the first NIC");
  expect_equal(0, since["first_contacts"], "first contacts");
}

// Received into a shorter receive each, of which only the bytes that arrive count.
void wildcards(Variables& variables, int rank) {
  Step step("10 messages of 600 bytes, received from any source");
  Since since(variables);
  Buffer buffer(600);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  for (int i = 0; i < 10; ++i)
    if (rank == 0)
      MPI_Send(buffer.data(), 600, MPI_BYTE, 1, 6, MPI_COMM_WORLD);
    else
      MPI_Recv(buffer.data(), 500, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
  if (rank == 0)
    since.expect_messages("sent", {"sent_inject", "sent_eager"}, 10, 6000);
  else
    since.expect_messages("received", {"received_eager"}, 10, 5000);
}

void synchronous(Variables& variables, int rank) {
  Step step("5 synchronous messages of 100 bytes");
  Since since(variables);
  Buffer buffer(100);
  for (int i = 0; i < 5; ++i)
    if (rank == 0)
      MPI_Ssend(buffer.data(), 100, MPI_BYTE, 1, 7, MPI_COMM_WORLD);
    else
      MPI_Recv(buffer.data(), 100, MPI_BYTE, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  if (rank == 0)
    since.expect_messages("sent", {"sent_synchronous"}, 5, 500);
  else
    since.expect_messages("received", {"received_synchronous"}, 5, 500);
}

void long_messages(Variables& variables, int rank, const std::string& protocol) {
  Step step("3 messages of %d bytes", kLong);
  Since since(variables);
  Buffer buffers[3] = {Buffer(kLong), Buffer(kLong), Buffer(kLong)};
  MPI_Request requests[3];
  for (int i = 0; i < 3; ++i)
    if (rank == 0)
      MPI_Isend(buffers[i].data(), kLong, MPI_BYTE, 1, 8, MPI_COMM_WORLD, &requests[i]);
    else
      MPI_Irecv(buffers[i].data(), kLong, MPI_BYTE, 0, 8, MPI_COMM_WORLD, &requests[i]);
  MPI_Waitall(3, requests, MPI_STATUSES_IGNORE);
  unsigned long long pulled;
  if (rank == 0) {
    since.expect_messages("sent", {"sent_pull", "sent_copy", "sent_push"}, 3, 3ull * kLong);
    pulled = since["sent_pull"];
    if (pulled) expect(since["registrations_made"] >= pulled, "what is read has been registered");
  } else {
    since.expect_messages("received", {"received_pull", "received_copy", "received_push"}, 3, 3ull * kLong);
    pulled = since["received_pull"];
    unsigned long long rails = since["received_copy_bytes"];
    for (int i = 0; i < 8; ++i) rails += since["rail_" + std::to_string(i) + "_bytes"];
    expect_equal(3ull * kLong, rails, "bytes over all rails, and copied");
  }
  expect_equal(0, variables.read("registrations"), "open registrations");
  expect_equal(0, variables.read("operations_pending"), "operations that wait");
  if (!protocol.empty()) expect_equal(protocol == "pull" ? 3 : 0, pulled, "messages that were read");
  unsigned long long others = 0;
  MPI_Sendrecv(&pulled, 1, MPI_UNSIGNED_LONG_LONG, 1 - rank, 9, &others, 1, MPI_UNSIGNED_LONG_LONG, 1 - rank,
               9, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  expect_equal(others, pulled, "messages that the other side says were read");
}

// A probe finds a long message.
void unexpected(Variables& variables, int rank) {
  Step step("a long message is probed");
  Buffer buffer(kLong);
  if (rank == 0) {
    take_token(1, 1, MPI_COMM_WORLD);  // the packet path counts a message when it arrives
    MPI_Send(buffer.data(), kLong, MPI_BYTE, 1, 10, MPI_COMM_WORLD);
    return;
  }
  // Out of the provider's queue, or in the memory of the packet path. The other number stays 0, so this also shows that
  // the path is the one that was asked for.
  const char* path = std::getenv("OMPI_MCA_mtl_efa_path");
  const std::string name = path && std::string_view(path) == "packets" ? "unexpected_kept" : "unexpected_claimed";
  const std::string other = name == "unexpected_kept" ? "unexpected_claimed" : "unexpected_kept";
  expect_equal(0, variables.read(name), "unmatched messages before");
  give_token(0, 1, MPI_COMM_WORLD);
  MPI_Probe(0, 10, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  expect_equal(1, variables.read(name), "unmatched messages");
  MPI_Recv(buffer.data(), kLong, MPI_BYTE, 0, 10, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  expect_equal(0, variables.read(name), "unmatched messages after");
  expect(variables.read(name + "_most") >= 1, "the greatest number of unmatched messages is kept");
  expect_equal(0, variables.read(other + "_most"), "unmatched messages of the other path");
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_T_init_thread(MPI_THREAD_SINGLE, &provided);
  Program program(argc, argv, 2);
  {
    Variables variables;
    variables.expect_readonly();
    const bool shared = share_memory();
    meet(program.rank);
    short_messages(variables, program.rank, shared);
    wildcards(variables, program.rank);
    synchronous(variables, program.rank);
    long_messages(variables, program.rank, argc > 1 ? argv[1] : "");
    unexpected(variables, program.rank);
    short_messages(variables, program.rank, shared);
    expect(variables.read("peers") >= 1, "there is a peer");
    expect_equal(0, variables.read("failures"), "failures");
  }
  MPI_T_finalize();  // before MPI_Finalize: Open MPI 4.1 crashes otherwise (docs/known-issues.md)
  return 0;
}
