// Whether the Open MPI of a job would find the component, load it and select it: Open MPI itself goes on with another
// transport when it cannot, after a warning that is easily missed.
#pragma once

#include <string>
#include <vector>

namespace efa {

// Of a process that mpirun or srun started. The first one of a node speaks for the others.
struct JobPlace {
  bool in_job = false;
  int local_rank = 0, local_ranks = 1;  // on this node
};
JobPlace job_place();

// An MCA parameter as a job that is started now would have it.
struct JobParameter {
  std::string value;
  std::string source;  // "the environment (OMPI_MCA_mtl)", or a file; empty: it is not set
};
std::vector<JobParameter> job_parameters(const std::vector<std::string>& names);

struct ComponentFacts {
  bool in_job = false;
  bool known = false;  // whether the rest was found out; needs ompi_info or a search path in the environment
  bool path_is_set = false;           // the search path is set by the environment or a file of parameters
  std::vector<std::string> searched;  // directories of the search path
  std::string file;                   // first mca_mtl_efa.so in them; empty: none
  std::string load_error;             // as dlopen says it; empty: it loads
  std::string built_for;      // version of Open MPI that the file was built for; empty: it does not say
  std::string mtl, pml, osc;  // MCA parameters from the environment or files; empty: not set
};
ComponentFacts component_facts(bool in_job);

// Whether a list such as "efa,ofi" or "^ob1,ucx" lets `name` be selected; an empty one does.
bool allows(const std::string& list, const std::string& name);

}  // namespace efa
