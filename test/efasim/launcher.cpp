// efasim-run: runs any program on the software EFA device. See docs/efasim.md or --help.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "fabric.hpp"
#include "profile.hpp"
#include "settings.hpp"
#include "stats.hpp"
#include "sysfs.hpp"
#include "topology.hpp"

namespace efasim {
namespace fs = std::filesystem;
namespace {

constexpr const char* kUsage = R"(efasim-run [options] [--] COMMAND...     run COMMAND on the software EFA device
efasim-run --watch --dir DIR              show a running fabric's counters every second
efasim-run --set-link STATE --dir DIR --node NAME [--nic NIC]   a running fabric's NIC, or all of the node: its link is `up` or
                   `down`; `dead`: the NIC fails for good; `not-ready`: it answers every message with receiver not ready, until `up`
efasim-run --list-profiles                print the instance types

  --profile NAME   instance type (default: p4d.24xlarge)
  --nics N         only its first N NICs
  --caps C         override the profile: rdma_read=0|1,rdma_write=0|1
  --node NAME      emulated host; processes with one name share NICs (default: the host name)
  --dir DIR        the fabric's directory, shared by several efasim-run and kept afterwards
                   (default: a new one in /dev/shm, removed afterwards)
  --link L         link model: latency=10us,rate=10G,jitter=2us,reorder=0.05,hold=50us,loss=0.01,
                   resend=500us,seed=1
  --limits L       small limits: qp, cq, cqe, mr, mr_bytes, ah, sq, rq, ring: e.g. mr_bytes=64Mi,sq=8
  --faults F       'KIND:key=value,...;...' with KIND rnr unresponsive bad_qpn abort nic_dies kill
                   mr_refused ah_exhausted and keys p at every times nic process node
  --no-cma         RDMA in packets, as if cross-memory attach were forbidden
  --topology T     what hwloc shows: host (this machine with the NICs; default), profile (the instance's
                   whole machine; its cores do not exist, so do not bind to them), none
  --stats          counters of NICs and queue pairs at the end, on stderr
  --stats-json F   the same as JSON in a file
  --log FILE       also write violations and faults there
  --verbose        also log set-up, teardown and failed work requests
)";

struct Options {
  std::map<std::string, std::string> environment;  // EFASIM_* to set
  std::string topology = "host";
  std::string stats_file;
  std::string set_link;  // "up", "down", "dead" or "not-ready"
  std::string nic;       // whose; empty: all of the node
  bool stats = false;
  bool watch = false;
  bool own_directory = false;
};

[[noreturn]] void fail(const std::string& message) {
  fprintf(stderr, "efasim-run: %s\n", message.c_str());
  exit(2);
}

// Options that only set a variable.
const std::map<std::string, std::string>& variable_options() {
  static const std::map<std::string, std::string> options = {
      {"--profile", "EFASIM_PROFILE"}, {"--nics", "EFASIM_NICS"},     {"--caps", "EFASIM_CAPS"},
      {"--node", "EFASIM_NODE"},       {"--dir", "EFASIM_DIR"},       {"--link", "EFASIM_LINK"},
      {"--limits", "EFASIM_LIMITS"},   {"--faults", "EFASIM_FAULTS"}, {"--log", "EFASIM_LOG"}};
  return options;
}

// Returns the index of the command's first word.
int parse_options(int argc, char** argv, Options* options) {
  int i = 1;
  const auto value = [&]() -> std::string {
    if (i + 1 >= argc) fail(std::string(argv[i]) + " needs a value; efasim-run --help");
    return argv[++i];
  };
  for (; i < argc; i++) {
    const std::string option = argv[i];
    if (option == "--") return i + 1;
    if (option.empty() || option[0] != '-') break;
    const auto known = variable_options().find(option);
    if (known != variable_options().end())
      options->environment[known->second] = value();
    else if (option == "--no-cma")
      options->environment["EFASIM_CMA"] = "0";
    else if (option == "--verbose")
      options->environment["EFASIM_VERBOSE"] = "1";
    else if (option == "--topology")
      options->topology = value();
    else if (option == "--stats")
      options->stats = true;
    else if (option == "--stats-json")
      options->stats_file = value();
    else if (option == "--set-link")
      options->set_link = value();
    else if (option == "--nic")
      options->nic = value();
    else if (option == "--watch")
      options->watch = true;
    else if (option == "--help" || option == "-h") {
      fputs(kUsage, stdout);
      printf("\nEnvironment variables, also for programs that are not started by efasim-run:\n");
      for (const SettingName& name : setting_names()) printf("  %-23s %s\n", name.variable, name.meaning);
      exit(0);
    } else if (option == "--list-profiles") {
      fputs(list_profiles().c_str(), stdout);
      exit(0);
    } else {
      fail("unknown option " + option + "; efasim-run --help");
    }
  }
  return i;
}

std::string own_directory_of_executable() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return error ? "." : self.parent_path().string();
}

// /dev/shm, because packets must not be written to a disk.
std::string default_parent() { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

std::string directory_prefix() { return "efasim." + std::to_string(getuid()) + "."; }

// Whether only this user can write there, so that nobody else's files or links are met below it.
bool is_private(const std::string& directory) {
  struct stat status;
  return lstat(directory.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
         (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// Removes directories of killed launchers: no process holds the launcher's lock, and no process of the fabric is alive.
void remove_stale_directories() {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(default_parent(), error)) {
    const std::string name = entry.path().filename();
    if (name.rfind(directory_prefix(), 0) != 0 || !is_private(entry.path())) continue;
    const int lock = open((entry.path() / "launcher").c_str(), O_RDWR | O_CLOEXEC);
    struct flock record = {};
    record.l_type = F_WRLCK;
    record.l_whence = SEEK_SET;
    const bool launcher_lives = lock >= 0 && fcntl(lock, F_GETLK, &record) == 0 && record.l_type != F_UNLCK;
    struct stat status;
    const bool fresh = stat(entry.path().c_str(), &status) == 0 && time(nullptr) - status.st_mtime < 10;
    if (lock >= 0) close(lock);
    if (launcher_lives || (lock < 0 && fresh) || Fabric::sweep(entry.path()) > 0) continue;
    fs::remove_all(entry.path(), error);
  }
}

// Held until this launcher ends: the descriptor is never closed.
void hold_launcher_lock(const std::string& directory) {
  const int fd = open((directory + "/launcher").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct flock record = {};
  record.l_type = F_WRLCK;
  record.l_whence = SEEK_SET;
  if (fd < 0 || fcntl(fd, F_SETLK, &record) != 0) fail("cannot lock " + directory + "/launcher");
}

std::string make_directory(Options* options) {
  std::string& directory = options->environment["EFASIM_DIR"];
  if (!directory.empty()) {
    std::error_code error;
    directory = fs::absolute(directory, error);
    if (!fs::exists(directory, error)) {
      fs::create_directories(fs::path(directory).parent_path(), error);
      // Another launcher may be faster.
      if (!error && mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) error.assign(errno, std::generic_category());
    }
    if (error) fail("cannot make " + directory + ": " + error.message());
    if (!is_private(directory))
      fail(directory + " must be a directory that you own and that only you can write to: its files are memory of your processes");
    return directory;
  }
  remove_stale_directories();
  std::string name = default_parent() + "/" + directory_prefix() + "XXXXXX";
  if (mkdtemp(name.data()) == nullptr) fail("cannot make a directory in " + default_parent() + ": " + strerror(errno));
  options->own_directory = true;
  hold_launcher_lock(name);
  return directory = name;
}

// Later launchers with the same directory, for other hosts of the fabric, read from here the settings that they were
// not given.
void write_settings_file(const Options& options, const std::string& directory) {
  const std::string path = directory + "/settings";
  if (access(path.c_str(), F_OK) == 0) return;
  std::ofstream file(path);
  for (const auto& [variable, value] : options.environment) {
    if (variable != "EFASIM_DIR" && variable != "EFASIM_NODE") file << variable << "=" << value << "\n";
  }
}

void prepare_environment(const Options& options, const Settings& settings, const std::string& topology) {
  const std::string library = own_directory_of_executable() + "/libefasim.so";
  if (access(library.c_str(), R_OK) != 0) fail(library + " is missing: build it with ninja");
  const char* before = getenv("LD_PRELOAD");
  setenv("LD_PRELOAD", before && *before ? (std::string(before) + ":" + library).c_str() : library.c_str(), 1);
  setenv("EFASIM_NODE", settings.node.c_str(), 1);
  setenv("SYSFS_PATH", sysfs_path(settings).c_str(), 1);
  if (!topology.empty()) {
    setenv("HWLOC_XMLFILE", topology.c_str(), 1);
    // The cores are this machine's, so binding works; with a profile's machine it would not.
    if (options.topology == "host") setenv("HWLOC_THISSYSTEM", "1", 1);
  }
}

volatile sig_atomic_t child = 0;
void forward(int signal_number) {
  if (child > 0) kill(static_cast<pid_t>(child), signal_number);
}

int run_and_wait(char** command) {
  const pid_t pid = fork();
  if (pid < 0) fail(std::string("cannot fork: ") + strerror(errno));
  if (pid == 0) {
    execvp(command[0], command);
    fprintf(stderr, "efasim-run: cannot run %s: %s\n", command[0], strerror(errno));
    _exit(127);
  }
  child = pid;
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP}) signal(signal_number, forward);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int watch(const Settings& settings) {
  const FabricShared* fabric = Fabric::inspect(settings.directory);
  if (fabric == nullptr) fail("no fabric in '" + settings.directory + "'; give --dir");
  while (access((settings.directory + "/fabric").c_str(), F_OK) == 0) {
    printf("%s%s\n", isatty(STDOUT_FILENO) ? "\033[H\033[J" : "", stats_table(*fabric, true).c_str());
    fflush(stdout);
    sleep(1);
  }
  return 0;
}

uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Nothing enters or leaves a NIC whose link is down. What is on its way waits; after EFASIM_UNRESPONSIVE_MS the work
// requests fail.
void set_state(NicEntry& nic, const std::string& state) {
  if (state == "dead") {
    nic.dead.store(1);
    return;
  }
  nic.link_down_since.store(state == "down" ? monotonic_ns() : 0);
  nic.not_ready.store(state == "not-ready");
}

int set_link(const Options& options, const Settings& settings) {
  const std::string& state = options.set_link;
  if (state != "up" && state != "down" && state != "dead" && state != "not-ready")
    fail("--set-link is up, down, dead or not-ready, not " + state);
  auto* fabric = const_cast<FabricShared*>(Fabric::inspect(settings.directory));
  if (fabric == nullptr) fail("no fabric in '" + settings.directory + "', or no process has opened it yet; give --dir");
  unsigned found = 0;
  for (NicEntry& nic : fabric->nics) {
    if (nic.state.load(std::memory_order_acquire) != SlotState::kLive) break;
    if (settings.node != nic.node || (!options.nic.empty() && options.nic != nic.name)) continue;
    set_state(nic, state);
    found++;
  }
  if (found == 0)
    fail("no process on node '" + settings.node + "' has opened " + (options.nic.empty() ? "a NIC" : options.nic));
  return 0;
}

void report(const Options& options, const Settings& settings) {
  if (!options.stats && options.stats_file.empty()) return;
  const FabricShared* fabric = Fabric::inspect(settings.directory);
  if (options.stats) {
    fputs(fabric ? stats_table(*fabric, true).c_str() : "efasim-run: nothing opened the device\n", stderr);
  }
  if (!options.stats_file.empty()) {
    std::ofstream file(options.stats_file);
    file << (fabric ? stats_json(*fabric) : std::string("{\"nics\": [], \"total\": {}}\n"));
    if (!file) fail("cannot write " + options.stats_file);
  }
}

int launch(int argc, char** argv) {
  Options options;
  const int command = parse_options(argc, argv, &options);
  if (options.watch) {
    Settings settings;
    settings.directory = options.environment["EFASIM_DIR"];
    return watch(settings);
  }
  if (!options.set_link.empty()) {
    Settings settings;
    settings.directory = options.environment["EFASIM_DIR"];
    settings.node = options.environment["EFASIM_NODE"];
    return set_link(options, settings);
  }
  if (command >= argc) fail("what shall run? efasim-run --help");
  if (options.topology != "host" && options.topology != "profile" && options.topology != "none") {
    fail("--topology is host, profile or none, not " + options.topology);
  }
  const std::string directory = make_directory(&options);
  for (const auto& [variable, value] : options.environment) setenv(variable.c_str(), value.c_str(), 1);

  Settings settings;
  Profile profile;
  std::string error, topology;
  bool ok = read_settings(&settings, &error) && make_profile(settings, &profile, &error) &&
            write_sysfs(settings, profile, &error);
  if (ok && options.topology != "none") {
    topology = directory + "/nodes/" + settings.node + "/topology.xml";
    ok = write_topology(profile, options.topology == "profile", topology, &error);
  }
  int status = 2;
  if (ok) {
    write_settings_file(options, directory);
    prepare_environment(options, settings, topology);
    status = run_and_wait(argv + command);
    Fabric::sweep(directory);
    report(options, settings);
  } else {
    fprintf(stderr, "efasim-run: %s\n", error.c_str());
  }
  if (options.own_directory) {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  }
  return status;
}

}  // namespace
}  // namespace efasim

int main(int argc, char** argv) { return efasim::launch(argc, argv); }
