#include "settings.hpp"

#include <unistd.h>

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>

namespace efasim {
namespace {

using Values = std::map<std::string, std::string>;

// A number and its unit; `units` maps each unit to its factor.
bool parse_scaled(const std::string& text, const std::map<std::string, double>& units, uint64_t* value) {
  const char* begin = text.c_str();
  char* end = nullptr;
  if (!isdigit(static_cast<unsigned char>(*begin)) && *begin != '.') return false;
  const double number = strtod(begin, &end);
  const auto unit = units.find(end);
  if (unit == units.end() || !std::isfinite(number)) return false;
  const double scaled = number * unit->second;
  if (scaled > 1e18) return false;
  *value = static_cast<uint64_t>(std::llround(scaled));
  return true;
}

bool parse_link(const std::string& text, LinkModel* link) {
  for (const auto& [key, value] : parse_pairs(text)) {
    bool ok = false;
    if (key == "latency")
      ok = parse_duration_ns(value, &link->latency_ns);
    else if (key == "rate")
      ok = parse_number(value, &link->bits_per_second);
    else if (key == "jitter")
      ok = parse_duration_ns(value, &link->jitter_ns);
    else if (key == "reorder")
      ok = parse_probability(value, &link->reorder);
    else if (key == "hold")
      ok = parse_duration_ns(value, &link->reorder_ns);
    else if (key == "loss")
      ok = parse_probability(value, &link->loss);
    else if (key == "resend")
      ok = parse_duration_ns(value, &link->resend_ns);
    else if (key == "seed")
      ok = parse_number(value, &link->seed);
    if (!ok) return false;
  }
  return true;
}

bool parse_limits(const std::string& text, Limits* limits) {
  const std::map<std::string, uint32_t*> fields = {{"qp", &limits->qp}, {"cq", &limits->cq},    {"cqe", &limits->cqe},
                                                   {"mr", &limits->mr}, {"ah", &limits->ah},    {"sq", &limits->sq},
                                                   {"rq", &limits->rq}, {"ring", &limits->ring}};
  for (const auto& [key, value] : parse_pairs(text)) {
    uint64_t number = 0;
    if (!parse_number(value, &number) || number == 0) return false;
    if (key == "mr_bytes") {
      limits->mr_bytes = number;
      continue;
    }
    const auto field = fields.find(key);
    if (field == fields.end() || number > 1u << 20) return false;
    *field->second = static_cast<uint32_t>(number);
  }
  return (limits->ring & (limits->ring - 1)) == 0 && limits->ring >= 2 && limits->ring <= 1u << 14;
}

bool parse_small(const std::string& text, uint32_t* value) {
  uint64_t number = 0;
  if (!parse_number(text, &number) || number > 1u << 30) return false;
  *value = static_cast<uint32_t>(number);
  return true;
}

bool parse_switch(const std::string& text, int* value) {
  if (text != "0" && text != "1") return false;
  *value = text == "1";
  return true;
}

bool parse_flag(const std::string& text, bool* value) {
  int on = 0;
  if (!parse_switch(text, &on)) return false;
  *value = on != 0;
  return true;
}

bool parse_capabilities(const std::string& text, Settings* settings) {
  for (const auto& [key, value] : parse_pairs(text)) {
    if (key == "rdma_read" && parse_switch(value, &settings->rdma_read)) continue;
    if (key == "rdma_write" && parse_switch(value, &settings->rdma_write)) continue;
    return false;
  }
  return true;
}

void read_settings_file(const std::string& directory, Values* values) {
  std::ifstream file(directory + "/settings");
  std::string line;
  while (std::getline(file, line)) {
    const size_t equals = line.find('=');
    if (equals != std::string::npos) values->emplace(line.substr(0, equals), line.substr(equals + 1));
  }
}

}  // namespace

const std::vector<SettingName>& setting_names() {
  static const std::vector<SettingName> names = {
      {"EFASIM_DIR", "directory that the processes of one fabric share; set by efasim-run"},
      {"EFASIM_NODE", "name of the emulated host; the default is the host name"},
      {"EFASIM_PROFILE", "instance type: which NICs there are, and what they can do"},
      {"EFASIM_NICS", "only the first N NICs of the profile"},
      {"EFASIM_CAPS", "capabilities that override the profile: rdma_read=0|1,rdma_write=0|1"},
      {"EFASIM_LINK", "latency=10us,rate=10G,jitter=2us,reorder=0.05,hold=50us,loss=0.01,resend=500us,seed=1; off by default"},
      {"EFASIM_LIMITS", "qp, cq, cqe, mr, mr_bytes, ah, sq, rq, ring: e.g. mr_bytes=64Mi,ah=4,sq=8"},
      {"EFASIM_FAULTS", "rules 'kind:key=value,...;...', see docs/efasim.md"},
      {"EFASIM_CMA", "0: RDMA travels in packets instead of by cross-memory attach"},
      {"EFASIM_TICK_US", "microseconds without a poll after which the device's thread moves the traffic (1000)"},
      {"EFASIM_UNRESPONSIVE_MS", "milliseconds without an answer after which a work request fails (1000)"},
      {"EFASIM_LOG", "file for violations and faults, in addition to stderr"},
      {"EFASIM_VERBOSE", "1: also log set-up, teardown, failed work requests and injected faults"},
      {"EFASIM_QUIET", "1: nothing on stderr"},
  };
  return names;
}

bool parse_duration_ns(const std::string& text, uint64_t* ns) {
  return parse_scaled(text, {{"", 1}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}, ns);
}

bool parse_number(const std::string& text, uint64_t* value) {
  return parse_scaled(
      text, {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}}, value);
}

bool parse_probability(const std::string& text, double* value) {
  char* end = nullptr;
  *value = strtod(text.c_str(), &end);
  return end != text.c_str() && *end == '\0' && *value >= 0 && *value <= 1;
}

std::vector<std::pair<std::string, std::string>> parse_pairs(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find(',', begin);
    if (end == std::string::npos) end = text.size();
    const std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    if (item.empty()) continue;
    const size_t equals = item.find('=');
    if (equals == std::string::npos)
      pairs.emplace_back(item, "1");
    else
      pairs.emplace_back(item.substr(0, equals), item.substr(equals + 1));
  }
  return pairs;
}

bool read_settings(Settings* settings, std::string* error) {
  Values values;
  for (const SettingName& name : setting_names()) {
    const char* value = getenv(name.variable);
    if (value != nullptr) values.emplace(name.variable, value);
  }
  settings->directory = values["EFASIM_DIR"];
  if (!settings->directory.empty()) read_settings_file(settings->directory, &values);

  char host[64] = "localhost";
  gethostname(host, sizeof host - 1);
  settings->node = host;

  for (const auto& [variable, value] : values) {
    bool ok = true;
    std::string why;
    if (value.empty() || variable == "EFASIM_DIR") continue;
    if (variable == "EFASIM_NODE")
      ok = (settings->node = value).size() < 64;
    else if (variable == "EFASIM_PROFILE")
      settings->profile = value;
    else if (variable == "EFASIM_NICS")
      ok = parse_small(value, &settings->nics);
    else if (variable == "EFASIM_CAPS")
      ok = parse_capabilities(value, settings);
    else if (variable == "EFASIM_LINK")
      ok = parse_link(value, &settings->link);
    else if (variable == "EFASIM_LIMITS")
      ok = parse_limits(value, &settings->limits);
    else if (variable == "EFASIM_FAULTS")
      ok = parse_faults(value, &settings->faults, &why);
    else if (variable == "EFASIM_TICK_US")
      ok = parse_small(value, &settings->tick_us) && settings->tick_us > 0;
    else if (variable == "EFASIM_UNRESPONSIVE_MS")
      ok = parse_small(value, &settings->unresponsive_ms);
    else if (variable == "EFASIM_LOG")
      settings->log = value;
    else if (variable == "EFASIM_CMA")
      ok = parse_flag(value, &settings->cma);
    else if (variable == "EFASIM_VERBOSE")
      ok = parse_flag(value, &settings->verbose);
    else if (variable == "EFASIM_QUIET")
      ok = parse_flag(value, &settings->quiet);
    if (!ok) {
      *error = variable + "=" + value + ": " + (why.empty() ? "not understood" : why);
      for (const SettingName& name : setting_names()) {
        if (variable == name.variable) *error += std::string(" (") + name.meaning + ")";
      }
      return false;
    }
  }
  return true;
}

}  // namespace efasim
