// The path that the messages of a job would take if it were started now (docs/protocols.md#paths), and why.
#pragma once

#include <string>

#include "channel/shm_segment.hpp"
#include "component.hpp"

namespace efa {

struct JobPath {
  std::string name = "tagged";  // or "packets"; empty: the parameter is wrong, and a job would end
  std::string why;              // which parameter decides, and where it is set
  std::string node;             // packets: how peers of the node are reached
  std::string trouble, remedy;  // what is wrong, and what to do; empty: nothing
};

// `failure`: why this process cannot share memory; no `call`: it can, or was not asked.
JobPath job_path(const JobParameter& path, const JobParameter& shm, const ShmFailure& failure);
// From the environment and the files of parameters; tries to share memory.
JobPath job_path();
// "path packets (mtl_efa_path=packets from FILE), peers of the node through shared memory".
std::string to_string(const JobPath& path);

}  // namespace efa
