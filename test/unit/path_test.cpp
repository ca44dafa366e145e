// mtl_efa_info: the path that a job would take, and the parameter that decides.
#include "path.hpp"

#include <cerrno>

#include "catch.hpp"

using namespace efa;

namespace {

constexpr const char* kSource = "the environment (OMPI_MCA_mtl_efa_path)";
const JobParameter kUnset;
const ShmFailure kShared;

JobParameter set(const char* value, const char* source = kSource) {
  return {value, source};
}

}  // namespace

TEST_CASE("Without a parameter the path is the default, and nothing is said of shared memory") {
  const JobPath path = job_path(kUnset, kUnset, {"memfd_create", EPERM});
  CHECK(path.name == "tagged");
  CHECK(path.trouble.empty());
  CHECK(to_string(path) == "path tagged (the default; mtl_efa_path is not set)");
  CHECK(to_string(job_path(set("auto"), kUnset, kShared)) ==
        "path tagged (mtl_efa_path=auto from the environment (OMPI_MCA_mtl_efa_path))");
}

TEST_CASE("The parameter that decides is named with its place") {
  const JobPath path = job_path(set("packets", "/etc/openmpi/openmpi-mca-params.conf"), kUnset, kShared);
  CHECK(path.name == "packets");
  CHECK(path.trouble.empty());
  CHECK(to_string(path) ==
        "path packets (mtl_efa_path=packets from /etc/openmpi/openmpi-mca-params.conf), peers of the node "
        "through shared "
        "memory");
}

TEST_CASE("Without shared memory the path has a reason, and a remedy unless the user wants it so") {
  for (const char* no : {"0", "false", "no"}) {
    const JobPath path = job_path(set("packets"), set(no, "a file"), {"memfd_create", EPERM});
    CHECK(path.trouble.empty());
    CHECK_THAT(path.node, Contains("through the provider (mtl_efa_shm=" + std::string(no) + " from a file)"));
  }
  const JobPath path = job_path(set("packets"), set("true", "a file"), {"memfd_create", EPERM});
  CHECK_THAT(
      path.node,
      Contains("through the provider (no memory can be shared: memfd_create: Operation not permitted)"));
  CHECK_THAT(path.remedy, Contains("seccomp profile"));
}

TEST_CASE("A path that does not exist") {
  const JobPath path = job_path(set("packet"), kUnset, kShared);
  CHECK(path.name.empty());
  CHECK_THAT(to_string(path), Contains("a job would end") && Contains("\"packet\"") && Contains(kSource));
  CHECK_FALSE(path.remedy.empty());
}
