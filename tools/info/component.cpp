#include "component.hpp"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

namespace efa {
namespace {

constexpr const char* kFile = "mca_mtl_efa.so";

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

int number_of(const char* name, int otherwise) {
  const char* value = variable(name);
  return value ? std::atoi(value) : otherwise;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

// "libdir" -> "/usr/lib/..." and its like, from ompi_info; empty without one in PATH.
std::map<std::string, std::string> open_mpi_paths() {
  std::map<std::string, std::string> paths;
  FILE* pipe = popen("ompi_info --path all --parsable 2>/dev/null", "r");
  if (!pipe) return paths;
  char line[4096];
  while (std::fgets(line, sizeof line, pipe)) {
    const auto parts = split(std::string(line).substr(0, std::string(line).find('\n')), ':');
    if (parts.size() == 3 && parts[0] == "path") paths[parts[1]] = parts[2];
  }
  pclose(pipe);
  return paths;
}

std::string home() {
  const char* directory = variable("HOME");
  return directory ? directory : "";
}

// Values of MCA parameters that are not in the environment: the user's file before the system's.
class ParameterFiles {
 public:
  explicit ParameterFiles(const std::string& sysconfdir) {
    read(home() + "/.openmpi/mca-params.conf");
    if (!sysconfdir.empty()) read(sysconfdir + "/openmpi-mca-params.conf");
  }
  std::optional<std::string> value(const std::string& name) const {
    const JobParameter found = parameter(name);
    return found.source.empty() ? std::nullopt : std::optional(found.value);
  }
  JobParameter parameter(const std::string& name) const {
    const std::string in_environment = "OMPI_MCA_" + name;
    if (const char* set = variable(in_environment.c_str()))
      return {set, "the environment (" + in_environment + ")"};
    const auto found = values_.find(name);
    return found == values_.end() ? JobParameter() : found->second;
  }

 private:
  void read(const std::string& path) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      line = line.substr(0, line.find('#'));
      const size_t equals = line.find('=');
      if (equals != std::string::npos)
        values_.emplace(trimmed(line.substr(0, equals)),
                        JobParameter{trimmed(line.substr(equals + 1)), path});
    }
  }
  std::map<std::string, JobParameter> values_;
};

// What a program has loaded before Open MPI opens components; this tool is no MPI program.
void load_open_mpi(const std::string& libdir) {
  std::error_code ignored;
  for (const char* name : {"libopen-pal.so.", "libmpi.so."})
    for (const auto& entry : std::filesystem::directory_iterator(libdir, ignored))
      if (entry.path().filename().string().rfind(name, 0) == 0 &&
          dlopen(entry.path().c_str(), RTLD_LAZY | RTLD_GLOBAL))
        break;
}

// Opens the file as Open MPI does, in a child: nothing of Open MPI stays in this process, and a file that ends
// the process is a finding as well.
void try_to_load(ComponentFacts& facts, const std::string& libdir) {
  int ends[2];
  if (pipe(ends) != 0) return;
  const pid_t child = fork();
  if (child == 0) {
    load_open_mpi(libdir);
    std::string said = "E";
    if (void* handle = dlopen(facts.file.c_str(), RTLD_LAZY)) {
      const auto* version = static_cast<const char*>(dlsym(handle, "mtl_efa_built_for"));
      said = dlsym(handle, "mca_mtl_efa_component") ? "V" + std::string(version ? version : "")
                                                    : "Eit has no mca_mtl_efa_component";
    } else {
      const char* why = dlerror();
      said += why ? why : "unknown reason";
    }
    _exit(write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string said;
  char part[1024];
  for (ssize_t got; child > 0 && (got = read(ends[0], part, sizeof part)) > 0;)
    said.append(part, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  if (said.empty())
    facts.load_error = "the process that opened it ended";
  else
    (said[0] == 'V' ? facts.built_for : facts.load_error) = said.substr(1);
}

}  // namespace

bool allows(const std::string& list, const std::string& name) {
  if (list.empty()) return true;
  const bool excludes = list[0] == '^';
  const auto names = split(list.substr(excludes), ',');
  return (std::find(names.begin(), names.end(), name) != names.end()) != excludes;
}

// mpirun sets OMPI_*. Under srun there are Slurm's, which a batch script has as well, without a step.
JobPlace job_place() {
  if (variable("OMPI_COMM_WORLD_RANK"))
    return {true, number_of("OMPI_COMM_WORLD_LOCAL_RANK", 0), number_of("OMPI_COMM_WORLD_LOCAL_SIZE", 1)};
  if (variable("PMIX_RANK") && variable("SLURM_LOCALID"))
    return {true, number_of("SLURM_LOCALID", 0), number_of("SLURM_STEP_TASKS_PER_NODE", 1)};
  return {variable("PMIX_RANK") != nullptr, 0, 1};
}

std::vector<JobParameter> job_parameters(const std::vector<std::string>& names) {
  const ParameterFiles parameters(open_mpi_paths()["sysconfdir"]);
  std::vector<JobParameter> found;
  for (const auto& name : names) found.push_back(parameters.parameter(name));
  return found;
}

ComponentFacts component_facts(bool in_job) {
  ComponentFacts facts;
  facts.in_job = in_job;
  auto paths = open_mpi_paths();
  const ParameterFiles parameters(paths["sysconfdir"]);
  facts.mtl = parameters.value("mtl").value_or("");
  facts.pml = parameters.value("pml").value_or("");
  facts.osc = parameters.value("osc").value_or("");
  const auto path = parameters.value("mca_base_component_path");
  facts.path_is_set = path.has_value();
  facts.known = facts.path_is_set || !paths["pkglibdir"].empty();
  if (!facts.known) return facts;
  const std::string user = home() + "/.openmpi/components";
  for (std::string directory : path ? split(*path, ':') : std::vector{paths["pkglibdir"], user}) {
    if (directory == "USER_DEFAULT" || directory == "USR_DEFAULT") directory = user;
    if (directory == "SYS_DEFAULT" || directory == "SYSTEM_DEFAULT") directory = paths["pkglibdir"];
    if (std::find(facts.searched.begin(), facts.searched.end(), directory) != facts.searched.end()) continue;
    facts.searched.push_back(directory);
    const std::string file = directory + "/" + kFile;
    if (facts.file.empty() && access(file.c_str(), F_OK) == 0) facts.file = file;
  }
  if (!facts.file.empty()) try_to_load(facts, paths["libdir"]);
  return facts;
}

}  // namespace efa
