// The names of shared memory files identify their process. Only files of dead processes are removed.
#include "fabric/shm_files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace efa;
namespace fs = std::filesystem;

namespace {

// A process that has ended and whose id is not in use.
ProcessName dead_process(const ProcessName& self) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return {child, self.started, self.pid_namespace};
}

}  // namespace

TEST_CASE("a file name identifies its process, also with libfabric's suffix") {
  const ProcessName process{4711, 123456, 4026531836};
  const std::string name = shm_file_name(process);
  CHECK(name == "mtl_efa.4711.123456.4026531836");
  CHECK(process_of_shm_file(name) == process);
  CHECK(process_of_shm_file(name + ":0:2") == process);
  CHECK(process_of_shm_file(name + "=fe80::1_0001_00000002_0000") == process);
  for (const char* other : {"", "4711:0:0", "mtl_efa.", "mtl_efa.4711", "mtl_efa.4711.1", "mtl_efa.0.1.1",
                            "mtl_efa.x.1.1", "mtl_efa.4711.1.1x", "mtl_efa.99999999999.1.1"})
    CHECK_FALSE(process_of_shm_file(other));
}

TEST_CASE("a process counts as dead only if that is certain") {
  const auto self = own_process_name();
  REQUIRE(self);
  CHECK_FALSE(is_dead(*self, *self));
  const ProcessName gone = dead_process(*self);
  CHECK(is_dead(gone, *self));
  CHECK(is_dead({self->pid, self->started - 1, self->pid_namespace}, *self));  // the id was reused
  CHECK_FALSE(
      is_dead({gone.pid, gone.started, self->pid_namespace + 1}, *self));  // another PID namespace: unknown
}

TEST_CASE("only files of dead processes are removed") {
  const auto self = own_process_name();
  REQUIRE(self);
  const ProcessName gone = dead_process(*self);
  const fs::path directory = fs::temp_directory_path() / ("shm_files_test." + std::to_string(getpid()));
  fs::create_directories(directory);
  const auto make = [&](const std::string& name) { std::ofstream(directory / name) << "x"; };
  const std::string dead = shm_file_name(gone) + ":0:0";
  const std::string mine = shm_file_name(*self) + ":0:0";
  const std::string elsewhere = shm_file_name({gone.pid, gone.started, self->pid_namespace + 1}) + ":0:0";
  for (const auto& name : {dead, mine, elsewhere, std::string("1234:0:0")}) make(name);
  fs::create_symlink(directory / mine, directory / (shm_file_name(gone) + ":0:1"));
  CHECK(remove_files_of_dead(directory) == 1);
  CHECK_FALSE(fs::exists(directory / dead));
  for (const auto& name : {mine, elsewhere, std::string("1234:0:0")}) CHECK(fs::exists(directory / name));
  CHECK(fs::is_symlink(fs::symlink_status(directory / (shm_file_name(gone) + ":0:1"))));
  CHECK(remove_files_of_dead(directory / "nothing") == 0);
  fs::remove_all(directory);
}

namespace {

// A directory that the test removes again.
struct Directory {
  Directory() { fs::create_directories(path); }
  ~Directory() { fs::remove_all(path); }
  std::string make(const std::string& name) const {
    std::ofstream(path / name) << "x";
    return name;
  }
  bool has(const std::string& name) const { return fs::exists(fs::symlink_status(path / name)); }

  const fs::path path = fs::temp_directory_path() / ("shm_files_test." + std::to_string(getpid()));
};

}  // namespace

TEST_CASE("a file is marked while its endpoint is open") {
  const auto self = own_process_name();
  REQUIRE(self);
  const Directory directory;
  const std::string file = directory.make("fe80::1_0001_00000002_0000");
  const std::string mark = shm_file_name(*self) + "=" + file;
  {
    ShmFileMark marked;
    marked.set(file, directory.path);
    struct stat status;
    REQUIRE(stat((directory.path / mark).c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0600);
    CHECK(remove_files_of_dead(directory.path) == 0);
    marked.clear();
    CHECK_FALSE(directory.has(mark));
    marked.set(file, directory.path);
    CHECK(directory.has(mark));
  }
  CHECK_FALSE(directory.has(mark));
  const std::string named = directory.make(shm_file_name(*self) + ":0:0");
  {
    ShmFileMark itself;
    itself.set(named, directory.path);
    const int other = open((directory.path / named).c_str(), O_RDONLY);
    CHECK(flock(other, LOCK_EX | LOCK_NB) != 0);
    itself.clear();
    CHECK(flock(other, LOCK_EX | LOCK_NB) == 0);
    close(other);
  }
  CHECK(directory.has(named));
  ShmFileMark of_nothing;
  for (const char* other : {"", "absent", "../x"}) of_nothing.set(other, directory.path);
  fs::create_symlink(directory.path / file, directory.path / "link");
  of_nothing.set("link", directory.path);
  fs::create_symlink(directory.path / file, directory.path / mark);
  of_nothing.set(file, directory.path);  // the name of the mark is taken
  CHECK(fs::is_symlink(fs::symlink_status(directory.path / mark)));
  CHECK(fs::file_size(directory.path / file) == 1);
}

TEST_CASE("a marked file is removed with its mark when the process is dead") {
  const auto self = own_process_name();
  REQUIRE(self);
  const ProcessName gone = dead_process(*self), elsewhere{gone.pid, gone.started, self->pid_namespace + 1};
  const Directory directory;
  const std::string file = directory.make("fe80::1_0001_00000002_0000");
  const auto mark = [&](const ProcessName& owner) {
    return directory.make(shm_file_name(owner) + "=" + file);
  };
  SECTION("in this PID namespace: by the process") {
    const std::string left = mark(gone);
    CHECK(remove_files_of_dead(directory.path) == 2);
    CHECK_FALSE(directory.has(left));
    CHECK_FALSE(directory.has(file));
  }
  SECTION("in another: by the lock, once there was time to take it") {
    const std::string left =
        GENERATE(true, false) ? mark(elsewhere) : directory.make(shm_file_name(elsewhere) + ":0:0");
    const int files = left.ends_with(file) ? 2 : 1;
    CHECK(remove_files_of_dead(directory.path) == 0);
    const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    REQUIRE(utimensat(AT_FDCWD, (directory.path / left).c_str(), long_ago, 0) == 0);
    const int held = open((directory.path / left).c_str(), O_RDONLY);
    REQUIRE(flock(held, LOCK_EX) == 0);
    CHECK(remove_files_of_dead(directory.path) == 0);
    close(held);
    CHECK(remove_files_of_dead(directory.path) == files);
    CHECK_FALSE(directory.has(left));
  }
  SECTION("a mark removes no link, directory or file elsewhere") {
    fs::create_directory(directory.path / "other");
    fs::create_symlink(directory.path / file, directory.path / "link");
    for (const char* what : {"other", "link", "absent", "", ".."})
      directory.make(shm_file_name(gone) + "=" + what);
    CHECK(remove_files_of_dead(directory.path) == 5);  // the marks
    for (const char* what : {"other", "link", file.c_str()}) CHECK(directory.has(what));
  }
}

TEST_CASE("the file of an endpoint has the name that libfabric's efa and shm give it") {
  std::vector<uint8_t> address(32);
  address[0] = 0xfe, address[1] = 0x80, address[15] = 1;
  address[16] = 0x34, address[17] = 0x12;                      // the queue pair
  address[20] = 0xcd, address[21] = 0xab, address[23] = 0x01;  // the queue key
  char name[64];
  std::snprintf(name, sizeof name, "fe80::1_1234_0100abcd_%04x", getuid());
  CHECK(shm_file_of_endpoint("efa", address) == name);
  address.resize(18);
  CHECK(shm_file_of_endpoint("efa", address) == "");
  const std::string text = "fi_shm://mtl_efa.1.2.3:0:0";
  std::vector<uint8_t> named(text.begin(), text.end());
  named.push_back(0);
  CHECK(shm_file_of_endpoint("shm", named) == "mtl_efa.1.2.3:0:0");
  CHECK(shm_file_of_endpoint("tcp", named) == "");
}
