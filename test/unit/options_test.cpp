// Options: defaults, ranges, and the message for each bad value.
#include "interface/options.h"

#include "catch.hpp"

TEST_CASE("Options: the defaults are valid, and the error for a bad value has its name and range") {
  efa_options options;
  efa_user_message why{};
  efa_options_defaults(&options);
  CHECK(efa_options_check(&options, &why));
  struct {
    long efa_options::*field;
    long value;
    const char* says;
  } bad[] = {
      {&efa_options::eager_limit, -2, "mtl_efa_eager_limit is -2, but must be from -1 to 1073741824 bytes"},
      {&efa_options::inject_limit, 65537,
       "mtl_efa_inject_limit is 65537, but must be from -1 to 65536 bytes"},
      {&efa_options::send_timeout, -1, "mtl_efa_send_timeout is -1, but must be from 0 to 86400 seconds"},
      {&efa_options::priority, 101, "mtl_efa_priority is 101, but must be from 0 to 100"},
      {&efa_options::staging_window, 65, "mtl_efa_staging_window is 65, but must be from 1 to 64 pieces"},
      {&efa_options::progress_batch, 257, "mtl_efa_progress_batch is 257, but must be from 1 to 256"},
  };
  for (const auto& each : bad) {
    efa_options_defaults(&options);
    options.*each.field = each.value;
    CHECK_FALSE(efa_options_check(&options, &why));
    CHECK_THAT(why.text, Contains(each.says));
  }
  efa_options_defaults(&options);
  char list[] = "shm, tcp";
  options.provider_exclude = list;
  CHECK_FALSE(efa_options_check(&options, &why));
  CHECK_THAT(why.text, Contains("mtl_efa_provider_exclude is \"shm, tcp\""));

  struct {
    char* efa_options::*field;
    const char* value;
    const char* says;  // empty: the value is valid
  } texts[] = {
      {&efa_options::nic_policy, "nearest",
       "mtl_efa_nic_policy is \"nearest\", but must be near, spread or one"},
      {&efa_options::nic_policy, "spread", ""},
      {&efa_options::statistics, "tables",
       "mtl_efa_statistics is \"tables\", but must be none, table or json"},
      {&efa_options::statistics, "json", ""},
      {&efa_options::statistics, "none", ""},
      {&efa_options::path, "packet", "mtl_efa_path is \"packet\", but must be auto, tagged or packets"},
      {&efa_options::path, "auto", ""},
      {&efa_options::path, "tagged", ""},
      {&efa_options::path, "packets", ""},
      {&efa_options::path, "", ""},
      {&efa_options::nic_include, "rdmap16s27,",
       "mtl_efa_nic_include is \"rdmap16s27,\", which has an empty"},
      {&efa_options::nic_include, "rdmap*, 0000:10:1b.0", ""},
      {&efa_options::nics, "a;;b", "mtl_efa_nics is \"a;;b\", which has an empty entry"},
      {&efa_options::nics, "a,b;c,d", ""},
  };
  for (const auto& each : texts) {
    efa_options_defaults(&options);
    std::string value = each.value;
    options.*each.field = value.data();
    CHECK(efa_options_check(&options, &why) == !*each.says);
    if (*each.says) CHECK_THAT(why.text, Contains(each.says));
  }
}
