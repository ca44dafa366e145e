// Judges whether a job would use the component: found, loaded, selected.
#include "preflight.hpp"

#include <optional>

namespace efa {
namespace {

constexpr const char* kTopic = "component";
constexpr const char* kSource =
    "Source mtl_efa.sh, which is installed beside the component, before mpirun or srun.";

std::string joined(const std::vector<std::string>& list) {
  std::string text;
  for (const auto& each : list) text += (text.empty() ? "" : ", ") + each;
  return text;
}

bool hides_components(const std::string& open_mpi) {
  return open_mpi.rfind("5.", 0) == 0;
}

std::optional<Finding> cannot_be_loaded(const PreflightFacts& f) {
  const ComponentFacts& c = f.component;
  if (c.file.empty())
    return Finding{Level::failure, kTopic,
                   "Open MPI does not find mca_mtl_efa.so: it searches " + joined(c.searched), kSource};
  if (!c.load_error.empty())
    return Finding{Level::failure, kTopic, c.file + " cannot be loaded: " + c.load_error,
                   "ldd " + c.file +
                       " lists missing libraries (LD_LIBRARY_PATH). Open MPI would go on with another "
                       "transport."};
  if (!c.built_for.empty() && !f.running.empty() && series(c.built_for) != series(f.running))
    return Finding{
        Level::failure, kTopic,
        c.file + " was built for Open MPI " + c.built_for + ", but " + f.running + " is in PATH",
        "Build it for this Open MPI (-Dopenmpi=PREFIX), or load the environment file of the right build."};
  return std::nullopt;
}

// The parameters mtl and pml; they are known in a job only.
Finding selection(const PreflightFacts& f) {
  const ComponentFacts& c = f.component;
  const std::string set =
      "mtl=" + (c.mtl.empty() ? "(not set)" : c.mtl) + ", pml=" + (c.pml.empty() ? "(not set)" : c.pml);
  const bool mtl_named = !c.mtl.empty() && c.mtl[0] != '^', pml_named = !c.pml.empty() && c.pml[0] != '^';
  if (!allows(c.pml, "cm") || !allows(c.mtl, "efa"))
    return {
        Level::failure, "selection", "the parameters exclude mtl_efa: " + set,
        "mpirun --mca pml cm --mca mtl efa; parameters also come from the environment (OMPI_MCA_*) and from "
        "mca-params.conf."};
  if (!mtl_named && f.nics_up == 0)
    return {Level::warning, "selection",
            "mtl_efa is not selected: there is no EFA NIC, and mtl does not name it (" + set + ")",
            "mpirun --mca mtl efa"};
  if (!pml_named)
    return {Level::ok, "selection",
            set +
                "; if mtl_efa cannot be used, Open MPI goes on with another transport (--mca pml cm makes "
                "that an error)",
            ""};
  return {Level::ok, "selection", set + "; if mtl_efa cannot be used, the job ends", ""};
}

// Which osc component carries windows: in 5.0 only osc/rdma does where the pml is cm; osc/ucx needs UCX.
std::optional<Finding> one_sided(const PreflightFacts& f) {
  const ComponentFacts& c = f.component;
  if (!hides_components(f.running) || allows(c.osc, "rdma")) return std::nullopt;
  return Finding{
      Level::warning, "one-sided",
      "osc=" + c.osc + " leaves out rdma: MPI_Win_create fails (MPI_ERR_WIN) unless UCX carries it",
      "Do not set osc, or name rdma, if the program uses windows."};
}

}  // namespace

void judge_component(const PreflightFacts& f, std::vector<Finding>& findings) {
  const ComponentFacts& c = f.component;
  if (!c.known) return;  // no ompi_info; that is a finding already
  if (const auto trouble = cannot_be_loaded(f))
    findings.push_back(*trouble);
  else if (!c.in_job && !c.path_is_set && hides_components(f.running))
    findings.push_back({Level::warning, kTopic,
                        c.file + " loads, but mpirun of Open MPI 5.0 hides it from the job (ompi #13314)",
                        kSource});
  else
    findings.push_back({Level::ok, kTopic, c.file + " is found and can be loaded", ""});
  if (c.in_job) findings.push_back(selection(f));
  if (const auto trouble = one_sided(f)) findings.push_back(*trouble);
}

}  // namespace efa
