// Settings: numbers with units, and the message for each bad value.
#include "settings.hpp"

#include <cstdlib>

#include "test/unit/catch.hpp"

using namespace efasim;

TEST_CASE("numbers with units", "[settings]") {
  uint64_t value = 0;
  CHECK((parse_duration_ns("10us", &value) && value == 10'000));
  CHECK((parse_duration_ns("1.5ms", &value) && value == 1'500'000));
  CHECK((parse_duration_ns("250", &value) && value == 250));
  CHECK((parse_number("10G", &value) && value == 10'000'000'000));
  CHECK((parse_number("64Ki", &value) && value == 65'536));
  for (const char* bad : {"", "us", "-1", "10 us", "1e30", "5x"}) CHECK_FALSE(parse_duration_ns(bad, &value));
}

TEST_CASE("a setting that is not understood names its variable", "[settings]") {
  const char* bad[][2] = {{"EFASIM_LINK", "latency=soon"}, {"EFASIM_LINK", "colour=1"}, {"EFASIM_LIMITS", "ring=100"},
                          {"EFASIM_LIMITS", "ah=0"},       {"EFASIM_CAPS", "rdma=1"},   {"EFASIM_CMA", "maybe"},
                          {"EFASIM_FAULTS", "flood:at=1"}, {"EFASIM_NICS", "many"}};
  for (const auto& [variable, value] : bad) {
    setenv(variable, value, 1);
    Settings settings;
    std::string error;
    CHECK_FALSE(read_settings(&settings, &error));
    CHECK(error.find(std::string(variable) + "=" + value) == 0);
    unsetenv(variable);
  }
  Settings settings;
  std::string error;
  CHECK(read_settings(&settings, &error));
}
