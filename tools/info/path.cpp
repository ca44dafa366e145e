#include "path.hpp"

#include <algorithm>
#include <string_view>

#include "channel/shm_channel.hpp"
#include "channel/shm_words.hpp"
#include "interface/options.h"

namespace efa {
namespace {

// As Open MPI reads a parameter that is true or false.
bool is_false(const std::string& value) {
  constexpr std::string_view kWords[] = {"0", "f", "false", "disabled", "no", "n"};
  return std::ranges::find(kWords, value) != std::end(kWords);
}

std::string set_by(const char* name, const JobParameter& parameter) {
  return "mtl_efa_" + std::string(name) + "=" + parameter.value + " from " + parameter.source;
}

}  // namespace

JobPath job_path(const JobParameter& path, const JobParameter& shm, const ShmFailure& failure) {
  JobPath job;
  std::string word = path.value;
  efa_options options;
  efa_options_defaults(&options);
  options.path = word.data();
  job.why = path.source.empty() ? "the default; mtl_efa_path is not set" : set_by("path", path);
  if (efa_user_message wrong; !efa_options_check(&options, &wrong)) {
    job.name = "";
    job.trouble = std::string(wrong.text) + " It comes from " + path.source + ".";
    job.remedy = "Set mtl_efa_path to tagged or packets, or do not set it.";
    return job;
  }
  bool by_user;
  job.name = efa_options_path(&options, &by_user);
  if (job.name != "packets") return job;
  if (is_false(shm.value)) {
    job.node = "peers of the node through the provider (" + set_by("shm", shm) + ")";
  } else if (failure.call) {
    job.trouble = "no memory can be shared: " + to_string(failure);
    job.node = "peers of the node through the provider (" + job.trouble + ")";
    job.remedy = remedy_for(failure);
  } else {
    job.node = "peers of the node through shared memory";
  }
  return job;
}

JobPath job_path() {
  const auto parameters = job_parameters({"mtl_efa_path", "mtl_efa_shm"});
  ShmFailure failure;
  ShmChannel channel;
  if (channel.open(failure)) failure = {};
  return job_path(parameters[0], parameters[1], failure);
}

std::string to_string(const JobPath& path) {
  if (path.name.empty()) return "path: a job would end: " + path.trouble;
  return "path " + path.name + " (" + path.why + ")" + (path.node.empty() ? "" : ", " + path.node);
}

}  // namespace efa
