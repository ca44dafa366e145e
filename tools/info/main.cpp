// mtl_efa_info: prints the NICs of this node, which rank would use which, and whether the node is ready for EFA. Needs
// neither an MPI job nor root.
#include <getopt.h>
#include <langinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "machine/instances.hpp"
#include "picture.hpp"
#include "show.hpp"

namespace {

using namespace efa;

constexpr int kMostRanks = 4096;
enum Exit { kGood = 0, kFailure = 1, kUsage = 2, kWarning = 3 };

constexpr const char* kUsageText =
    R"(mtl_efa_info [OPTIONS]     print the NICs of the machine, and which rank would use which NIC

  --ranks N          ranks on the node (default: one per core)
  --bind WHERE       core (default), numa, socket or none: how they are bound
  --rails N          NICs per rank; 0: the rank's share (default 1)
  --policy NAME      near (default), spread, one
  --include LIST, --exclude LIST, --nics LISTS
                     as mtl_efa_nic_include, mtl_efa_nic_exclude, mtl_efa_nics
  --map              also print a line per rank
  --instance NAME    another instance type instead of this machine, such as p4d.24xlarge; "list" prints all
  --check            preflight for a job script, for --ranks ranks on this node; exit status 0: no problem,
                     3: warnings, 1: failures. Under mpirun or srun: once per node, with the parameters of
                     the job, as in mpirun --mca mtl efa mtl_efa_info --check
  --problems         with --check: print only warnings and failures, and exit with 0 for warnings: mpirun
                     and srun -K end the checks of all nodes at the first status that is not 0
  --protocols        print the thresholds of each provider
  --parameters       print every parameter of the component
  --svg FILE         draw the machine and the ranks; "-": to standard output
  --json             print JSON; works with all of the above but --svg
  --version, --help
)";

[[noreturn]] void usage(const std::string& why) {
  std::fprintf(stderr, "mtl_efa_info: %s\n%s", why.c_str(), kUsageText);
  std::exit(kUsage);
}

int number(const char* option, const char* text, int least, int most) {
  char* end;
  const long value = std::strtol(text, &end, 10);
  if (end == text || *end || value < least || value > most)
    usage("--" + std::string(option) + " must be from " + std::to_string(least) + " to " +
          std::to_string(most) + ", not '" + text + "'");
  return static_cast<int>(value);
}

struct Request {
  int ranks = 0;  // 0: one per core
  Binding binding = Binding::core;
  NicParameters parameters;
  std::string instance, svg;
  bool check = false, problems = false, protocols = false, show_options = false, map = false, json = false;
};

Request parse(int argc, char** argv) {
  enum {
    kRanks = 1,
    kBind,
    kRails,
    kPolicy,
    kInclude,
    kExclude,
    kNics,
    kMap,
    kInstance,
    kCheck,
    kProblems,
    kProtocols,
    kParameters,
    kJson,
    kSvg,
    kVersion,
    kHelp
  };
  static const option options[] = {{"ranks", required_argument, nullptr, kRanks},
                                   {"bind", required_argument, nullptr, kBind},
                                   {"rails", required_argument, nullptr, kRails},
                                   {"policy", required_argument, nullptr, kPolicy},
                                   {"include", required_argument, nullptr, kInclude},
                                   {"exclude", required_argument, nullptr, kExclude},
                                   {"nics", required_argument, nullptr, kNics},
                                   {"map", no_argument, nullptr, kMap},
                                   {"instance", required_argument, nullptr, kInstance},
                                   {"check", no_argument, nullptr, kCheck},
                                   {"problems", no_argument, nullptr, kProblems},
                                   {"protocols", no_argument, nullptr, kProtocols},
                                   {"parameters", no_argument, nullptr, kParameters},
                                   {"json", no_argument, nullptr, kJson},
                                   {"svg", required_argument, nullptr, kSvg},
                                   {"version", no_argument, nullptr, kVersion},
                                   {"help", no_argument, nullptr, kHelp},
                                   {}};
  Request request;
  for (int c; (c = getopt_long(argc, argv, "h", options, nullptr)) != -1;) {
    switch (c) {
      case kRanks:
        request.ranks = number("ranks", optarg, 1, kMostRanks);
        break;
      case kRails:
        request.parameters.rails = number("rails", optarg, 0, 8);
        break;
      case kInclude:
        request.parameters.filter.include = optarg;
        break;
      case kExclude:
        request.parameters.filter.exclude = optarg;
        break;
      case kNics:
        request.parameters.nics = optarg;
        break;
      case kInstance:
        request.instance = optarg;
        break;
      case kMap:
        request.map = true;
        break;
      case kCheck:
        request.check = true;
        break;
      case kProblems:
        request.problems = true;
        break;
      case kProtocols:
        request.protocols = true;
        break;
      case kParameters:
        request.show_options = true;
        break;
      case kJson:
        request.json = true;
        break;
      case kSvg:
        request.svg = optarg;
        break;
      case kBind:
        if (const auto binding = parse_binding(optarg))
          request.binding = *binding;
        else
          usage("--bind must be core, numa, socket or none, not '" + std::string(optarg) + "'");
        break;
      case kPolicy:
        if (const auto policy = parse_nic_policy(optarg))
          request.parameters.policy = *policy;
        else
          usage("--policy must be near, spread or one, not '" + std::string(optarg) + "'");
        break;
      case kVersion:
        std::printf("mtl_efa %s, built for Open MPI %s\n", EFA_VERSION, EFA_OPEN_MPI);
        std::exit(kGood);
      case 'h':
      case kHelp:
        std::fputs(kUsageText, stdout);
        std::exit(kGood);
      default:
        usage("unknown option, or its value is missing");
    }
  }
  if (optind < argc) usage("unexpected argument '" + std::string(argv[optind]) + "'");
  if (request.check && !request.instance.empty())
    usage("--check examines this node; it cannot be used with --instance");
  if (request.problems && !request.check) usage("--problems belongs to --check");
  if (!request.svg.empty() && (request.check || request.json || request.protocols || request.show_options))
    usage("--svg draws the machine; it cannot be used with --check, --json, --protocols or --parameters");
  return request;
}

// Whether to use colours and lines: on a terminal that supports them.
bool is_fancy() {
  const char* terminal = std::getenv("TERM");
  const char* plain = std::getenv("NO_COLOR");
  std::setlocale(LC_CTYPE, "");
  return isatty(STDOUT_FILENO) && terminal && std::string(terminal) != "dumb" && !(plain && *plain) &&
         std::string(nl_langinfo(CODESET)) == "UTF-8";
}

const char* word_of(Binding binding) {
  switch (binding) {
    case Binding::core:
      return "bound to cores";
    case Binding::numa:
      return "bound to NUMA nodes";
    case Binding::socket:
      return "bound to packages";
    case Binding::none:
      return "not bound";
  }
  return "?";
}

// False after a message.
bool write_svg(const std::string& path, const Node& node, const Placement& placement,
               const Request& request) {
  const size_t ranks = placement.ranks.size();
  std::string what = std::to_string(ranks) + (ranks == 1 ? " rank, " : " ranks, ") + word_of(request.binding);
  if (!placement.error.empty())
    what = "no ranks: they would have no NIC";
  else if (ranks == 0)
    what = "no ranks: there is no EFA NIC";
  const std::string svg = svg_of(node, placement, what);
  FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  bool good = file && std::fwrite(svg.data(), 1, svg.size(), file) == svg.size();
  if (file && file != stdout) good = std::fclose(file) == 0 && good;
  if (!good)
    std::fprintf(stderr, "mtl_efa_info: %s cannot be written: %s\n", path.c_str(), std::strerror(errno));
  return good;
}

Node wanted_node(const Request& request) {
  if (request.instance.empty()) return this_node();
  auto node = instance_node(request.instance);
  if (!node) usage("unknown instance type '" + request.instance + "'; --instance list prints all");
  return std::move(*node);
}

// In a job, the first process of each node checks and speaks for the others.
int check(const Request& request, bool fancy) {
  const JobPlace place = job_place();
  if (place.local_rank != 0) return kGood;
  const Node node = this_node();
  const int cores = node.topology ? hwloc_get_nbobjs_by_type(node.topology.get(), HWLOC_OBJ_CORE) : 1;
  const int ranks = request.ranks ? request.ranks : place.in_job ? place.local_ranks : std::max(cores, 1);
  auto findings = judge(gather(node, ranks, place.in_job));
  const Level worst = outcome(findings);
  if (request.problems)
    std::erase_if(findings, [](const Finding& finding) { return finding.level == Level::ok; });
  if (place.in_job && !request.json && !findings.empty()) {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    std::printf("node %s, %d %s of the job\n", name, ranks, ranks == 1 ? "rank" : "ranks");
  }
  // mpirun gives its processes a terminal also where its own output goes to a file.
  request.json ? show_findings_json(findings) : show_findings(findings, fancy && !place.in_job);
  if (worst == Level::failure) return kFailure;
  return worst == Level::ok || request.problems ? kGood : kWarning;
}

}  // namespace

int main(int argc, char** argv) {
  const Request request = parse(argc, argv);
  const bool fancy = is_fancy();
  if (request.instance == "list") {
    for (const auto& each : instances()) std::printf("%s\n", std::string(each.name).c_str());
    return kGood;
  }
  if (request.check) return check(request, fancy);
  if (request.protocols) request.json ? show_protocols_json() : show_protocols();
  if (request.show_options) request.json ? show_parameters_json() : show_parameters();
  if (request.protocols || request.show_options) return kGood;

  const Node node = wanted_node(request);
  const int cores = node.topology ? hwloc_get_nbobjs_by_type(node.topology.get(), HWLOC_OBJ_CORE) : 1;
  const int ranks = request.ranks ? request.ranks : std::max(cores, 1);
  Placement placement;
  placement.load.resize(node.nics.size());
  if (node.provider == "efa" && !node.nics.empty())
    placement = place_ranks(node, ranks, request.binding, request.parameters);
  if (!request.svg.empty()) {
    if (!write_svg(request.svg, node, placement, request)) return kFailure;
    if (!placement.error.empty()) std::fprintf(stderr, "mtl_efa_info: %s\n", placement.error.c_str());
  } else if (request.json) {
    show_node_json(node, placement);
  } else {
    show_node(node, placement, fancy);
    if (request.map) show_map(node, placement);
  }
  return placement.error.empty() ? kGood : kFailure;
}
