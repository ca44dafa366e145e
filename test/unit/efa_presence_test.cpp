// The message if an EFA device exists but is not used: it names the parameter, variable or component that is the cause.
#include "fabric/efa_presence.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace efa;

namespace {

constexpr uint32_t kLibrary = FI_VERSION(1, 17);

EfaPresence four() {
  EfaPresence presence;
  presence.on_bus = presence.in_kernel = presence.offered = 4;
  presence.provider = true;
  return presence;
}

ProviderRequest request(std::vector<std::string> include, std::vector<std::string> exclude = {}) {
  ProviderRequest result;
  result.include = std::move(include);
  result.exclude = std::move(exclude);
  result.library = kLibrary;
  return result;
}

}  // namespace

TEST_CASE("No message if EFA is used or does not exist") {
  CHECK(unused_efa(four(), request({}), "efa").empty());
  CHECK(unused_efa({}, request({"shm"}), "shm").empty());
  CHECK(why_not_usable(four(), kLibrary).empty());
  CHECK(why_not_usable({}, kLibrary).empty());
}

TEST_CASE("A parameter that excludes EFA is named, with its value") {
  CHECK_THAT(unused_efa(four(), request({"tcp;ofi_rxm"}), "tcp;ofi_rxm"),
             Catch::Matchers::StartsWith("EFA device found but not used: ") &&
                 Contains("mtl_efa_provider_include (\"tcp;ofi_rxm\") does not name efa") &&
                 Contains("MPI messages go over libfabric's provider tcp;ofi_rxm"));
  CHECK_THAT(unused_efa(four(), request({}, {"net", "efa"}), "shm"),
             Contains("mtl_efa_provider_exclude (\"net,efa\") names efa") && !Contains("include"));
  CHECK_THAT(unused_efa(four(), request({"shm", "efa"}), "shm"),
             Contains("mtl_efa_provider_include (\"shm,efa\") names shm before efa"));
  CHECK_THAT(unused_efa(four(), request({}, {"efa"}), ""), !Contains("go over"));
  // Also if libfabric could not use EFA: the user has to change the parameter first.
  EfaPresence broken = four();
  broken.offered = 0;
  CHECK_THAT(unused_efa(broken, request({"shm"}), "shm"),
             Contains("provider_include") && !Contains("libfabric offers"));
}

TEST_CASE("A device that libfabric does not show: the message says where it is missing, and what to do") {
  EfaPresence presence = four();
  presence.offered = 0;
  const auto hint = [&] { return unused_efa(presence, request({}), "tcp;ofi_rxm"); };
  CHECK_THAT(hint(),
             Contains("the kernel shows 4 EFA devices, but libfabric offers none") && Contains("uverbs"));
  presence.provider = false;
  CHECK_THAT(hint(), Contains("this libfabric (1.17) has no efa provider"));
  presence.filter = "tcp,shm";
  CHECK_THAT(hint(), Contains("FI_PROVIDER is \"tcp,shm\""));
  presence.in_kernel = 0;
  presence.on_bus = 1;
  CHECK_THAT(hint(), Contains("1 EFA device on its PCI bus") && Contains("modprobe efa"));
}

TEST_CASE("EFA devices on the PCI bus are found by vendor and device") {
  namespace fs = std::filesystem;
  const fs::path bus = fs::temp_directory_path() / ("efa_presence_test." + std::to_string(getpid()));
  const auto device = [&](const char* name, const char* vendor, const char* id) {
    fs::create_directories(bus / name);
    std::ofstream(bus / name / "vendor") << vendor << "\n";
    std::ofstream(bus / name / "device") << id << "\n";
  };
  device("0000:10:1b.0", "0x1d0f", "0xefa1");
  device("0000:20:1b.0", "0x1d0f", "0xefa3");
  device("0000:00:05.0", "0x1d0f", "0xec20");  // ENA
  device("0000:00:06.0", "0x8086", "0xefa1");  // the same device number of another vendor
  CHECK(efa_functions(bus) == 2);
  CHECK(efa_functions(bus / "nothing") == 0);
  fs::remove_all(bus);
}
