#include "regfeatd/spec/settings.hpp"

#include <arpa/inet.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "regfeatd/base/quantity.hpp"
#include "regfeatd/spec/feature_set.hpp"
#include "spec/conninfo.hpp"
#include "spec/yaml_reader.hpp"

namespace regfeatd::spec {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr const char* kDefaultFile = "/etc/regfeatd/regfeatd.yaml";
constexpr std::uint64_t kLeastMemoryBytes = 64ull << 20;
constexpr const char* kPasswordAdvice =
    "passwords do not belong in this file; put it into ~/.pgpass (or the file that $PGPASSFILE names, for "
    "example a systemd "
    "credential) and the rest into a service file";

/// The line of each key that a later check may have to name.
struct Lines {
  int lease = 0, heartbeat = 0, retry_base = 0, retry_cap = 0;
};

void read_duration_into(const MapReader& map, std::string_view key, Bounds<microseconds> bounds, microseconds& value,
                        Findings& findings, int* line = nullptr) {
  const auto field = map.find(key);
  if (!field) return;
  if (line != nullptr) *line = field->line();
  value = read_duration(*field, bounds, findings).value_or(value);
}

/// A list of words, or one word alone: there is no shell that would take a line apart.
void read_password_command(const Field& field, Settings& settings, Findings& findings) {
  std::vector<std::string> words;
  if (field.node->kind == YamlNode::Kind::sequence) {
    for (const Field& item : read_list(field, findings)) words.push_back(read_text(item, findings).value_or(""));
  } else {
    words.push_back(read_text(field, findings).value_or(""));
    if (words[0].find(' ') != std::string::npos) {
      findings.add(
          field.line(),
          at(field.path,
             "must be a list, program and arguments apart, such as [/usr/bin/aws, rds, generate-db-auth-token]; it is run without a shell"));
    }
  }
  if (!words.empty() && !words[0].empty()) settings.password_command = std::move(words);
}

void read_database(const Field& field, Settings& settings, Findings& findings) {
  const auto advice = [](std::string_view key) {
    return key == "password" ? "; " + std::string(kPasswordAdvice) : std::string{};
  };
  const MapReader map(field, {"conninfo", "password_command", "password_command_timeout", "statement_timeout"},
                      findings, advice);
  if (!map.is_mapping()) return;
  if (const auto command = map.find("password_command")) read_password_command(*command, settings, findings);
  read_duration_into(map, "password_command_timeout", {milliseconds{100}, hours{1}}, settings.password_command_timeout,
                     findings);
  read_duration_into(map, "statement_timeout", {microseconds{0}, hours{24}}, settings.statement_timeout, findings);
  const auto f = map.find("conninfo");
  if (!f) return;
  if (f->node->kind == YamlNode::Kind::scalar && f->node->text.empty()) return;  // as psql, said out loud
  const auto conninfo = read_text(*f, findings);
  if (!conninfo) return;
  if (holds_password(*conninfo)) {
    findings.add(f->line(), at(f->path, std::string("holds a password; ") + kPasswordAdvice));
    return;
  }
  settings.conninfo = *conninfo;
}

/// A number of workers, or the word that stands for leaving it open.
void read_count(const Field& field, const std::string& open, std::optional<int>& out, Findings& findings) {
  if (field.node->kind == YamlNode::Kind::scalar && field.node->text == open) return;
  const bool is_number = field.node->kind == YamlNode::Kind::scalar && !field.node->text.empty() &&
                         field.node->text.find_first_not_of("-0123456789") == std::string::npos;
  if (!is_number) {
    (void)read_word(field, {open, "a whole number from 1 to 1024"}, findings);
    return;
  }
  if (const auto count = read_integer(field, {1, 1024}, findings)) out = static_cast<int>(*count);
}

void read_memory(const Field& field, Settings& settings, Findings& findings) {
  const auto text = read_text(field, findings);
  if (!text) return;
  const auto bytes = parse_bytes(*text);
  if (!bytes) {
    findings.add(field.line(), at(field.path, "must be a size such as 512MiB or 1GiB, not " + quote(*text)));
  } else if (*bytes < kLeastMemoryBytes) {
    findings.add(field.line(), at(field.path, "must be at least 64MiB, not " + quote(*text)));
  } else {
    settings.memory_budget_bytes = *bytes;
  }
}

void read_retry(const Field& field, Settings::Retry& retry, Lines& lines, Findings& findings) {
  const MapReader map(field, {"attempts", "base", "cap"}, findings);
  if (!map.is_mapping()) return;
  if (const auto f = map.find("attempts")) {
    retry.attempts = static_cast<int>(read_integer(*f, {1, 1000}, findings).value_or(retry.attempts));
  }
  read_duration_into(map, "base", {milliseconds{1}, hours{1}}, retry.base, findings, &lines.retry_base);
  read_duration_into(map, "cap", {milliseconds{1}, hours{24}}, retry.cap, findings, &lines.retry_cap);
}

void read_retention(const Field& field, Settings::Retention& retention, Findings& findings) {
  const MapReader map(field, {"attempts", "progress"}, findings);
  if (!map.is_mapping()) return;
  read_duration_into(map, "attempts", {hours{1}, hours{24 * 3650}}, retention.attempts, findings);
  read_duration_into(map, "progress", {hours{1}, hours{24 * 3650}}, retention.progress, findings);
}

void read_throttle(const Field& field, Settings::Throttle& throttle, Findings& findings) {
  const MapReader map(field, {"rows_per_second", "commit_latency", "replication_lag", "automatic"}, findings);
  if (!map.is_mapping()) return;
  if (const auto f = map.find("rows_per_second"))
    throttle.rows_per_second = read_integer(*f, {1, 1'000'000'000}, findings);
  if (const auto f = map.find("commit_latency"))
    throttle.commit_latency = read_duration(*f, {milliseconds{1}, hours{1}}, findings);
  if (const auto f = map.find("replication_lag")) {
    const auto text = read_text(*f, findings);
    const auto bytes = text ? parse_bytes(*text) : std::nullopt;
    if (bytes && *bytes > 0) {
      throttle.replication_lag_bytes = *bytes;
    } else if (text) {
      findings.add(f->line(), at(f->path, "must be a size such as 64MiB, not " + quote(*text)));
    }
  }
  if (const auto f = map.find("automatic"))
    throttle.automatic = read_boolean(*f, findings).value_or(throttle.automatic);
}

void read_log(const Field& field, Settings& settings, Findings& findings) {
  const MapReader map(field, {"level", "format"}, findings);
  if (!map.is_mapping()) return;
  if (const auto f = map.find("level")) {
    const Words<log::Level> words{{"debug", log::Level::debug},
                                  {"info", log::Level::info},
                                  {"warning", log::Level::warning},
                                  {"error", log::Level::error}};
    settings.log_level = read_enum(*f, words, findings).value_or(settings.log_level);
  }
  if (const auto f = map.find("format")) {
    const Words<log::Format> words{{"text", log::Format::text}, {"json", log::Format::json}};
    settings.log_format = read_enum(*f, words, findings).value_or(settings.log_format);
  }
}

/// Loopback or not is decided on the text alone: names are not looked up here.
bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

bool is_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 || inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

void read_http(const Field& field, Settings::Http& http, Findings& findings) {
  const MapReader map(field, {"address", "port", "allow_remote"}, findings);
  if (!map.is_mapping()) return;
  if (const auto f = map.find("port")) {
    if (const auto port = read_integer(*f, {0, 65535}, findings)) http.port = static_cast<int>(*port);
  }
  if (const auto f = map.find("allow_remote")) http.allow_remote = read_boolean(*f, findings).value_or(false);
  if (const auto f = map.find("address")) {
    http.address = read_text(*f, findings).value_or(http.address);
    if (!is_address(http.address)) {
      findings.add(f->line(),
                   at(f->path, "must be an IP address such as 127.0.0.1 or ::1, not " + quote(http.address)));
    } else if (!is_loopback(http.address) && !http.allow_remote) {
      findings.add(
          f->line(),
          at(f->path,
             http.address +
                 " can be reached from other machines, and what is served has neither encryption nor a login; use "
                 "127.0.0.1 with an SSH tunnel or a proxy before it, or say allow_remote: true"));
    }
    if (!map.has("port")) findings.add(f->line(), at(field.path, "key \"port\" is missing"));
  }
}

void read_times(const MapReader& map, Settings& settings, Lines& lines, Findings& findings) {
  read_duration_into(map, "lease", {milliseconds{500}, hours{24}}, settings.lease, findings, &lines.lease);
  read_duration_into(map, "heartbeat", {milliseconds{100}, hours{1}}, settings.heartbeat, findings, &lines.heartbeat);
  read_duration_into(map, "poll", {milliseconds{10}, hours{1}}, settings.poll, findings);
  read_duration_into(map, "progress", {milliseconds{100}, hours{1}}, settings.progress, findings);
  read_duration_into(map, "stalled_after", {milliseconds{1000}, hours{24}}, settings.stalled_after, findings);
  read_duration_into(map, "shutdown_grace", {microseconds{0}, hours{1}}, settings.shutdown_grace, findings);
}

/// Holds values against each other, defaults included: a changed one may not fit a default.
void check_together(const Settings& s, const Lines& lines, Findings& findings) {
  if (s.heartbeat * 2 > s.lease) {
    findings.add(lines.heartbeat != 0 ? lines.heartbeat : lines.lease,
                 "heartbeat: " + format_duration(s.heartbeat) + " is more than half the lease of " +
                     format_duration(s.lease) + "; one late heartbeat must not lose the lease");
  }
  if (s.retry.base > s.retry.cap) {
    findings.add(
        lines.retry_base != 0 ? lines.retry_base : lines.retry_cap,
        "retry.base: " + format_duration(s.retry.base) + " is more than the cap of " + format_duration(s.retry.cap));
  }
}

Settings read_settings(const Field& document, Findings& findings) {
  const MapReader map(
      document,
      {"database", "workers", "writers", "memory_budget", "lease", "heartbeat", "poll", "progress", "stalled_after",
       "retry", "retention", "throttle", "shutdown_grace", "listen", "daemon_name", "http", "log"},
      findings);
  Settings settings;
  Lines lines;
  if (const auto f = map.find("database")) read_database(*f, settings, findings);
  if (const auto f = map.find("workers")) read_count(*f, "auto", settings.workers, findings);
  if (const auto f = map.find("writers")) read_count(*f, "all", settings.writers, findings);
  if (const auto f = map.find("memory_budget")) read_memory(*f, settings, findings);
  read_times(map, settings, lines, findings);
  if (const auto f = map.find("retry")) read_retry(*f, settings.retry, lines, findings);
  if (const auto f = map.find("retention")) read_retention(*f, settings.retention, findings);
  if (const auto f = map.find("throttle")) read_throttle(*f, settings.throttle, findings);
  if (const auto f = map.find("listen")) settings.listen = read_boolean(*f, findings).value_or(settings.listen);
  if (const auto f = map.find("daemon_name")) settings.daemon_name = read_text(*f, findings).value_or("");
  if (const auto f = map.find("http")) read_http(*f, settings.http, findings);
  if (const auto f = map.find("log")) read_log(*f, settings, findings);
  check_together(settings, lines, findings);
  return settings;
}

}  // namespace

Settings parse_settings(const std::string& text, const std::string& file) {
  Findings findings(file);
  YamlNode tree;
  Settings settings;
  // An empty file, or one of comments, is a valid configuration: the defaults.
  auto parsed = parse_yaml(text, findings);
  if (parsed && parsed->kind != YamlNode::Kind::null) {
    tree = std::move(*parsed);
    if (tree.kind == YamlNode::Kind::mapping) {
      settings = read_settings({&tree, ""}, findings);
    } else {
      findings.add(tree.line, "the document must be a mapping of keys to values");
    }
  }
  findings.throw_if_any();
  settings.file = file;
  return settings;
}

Settings load_settings(const std::string& path) {
  if (!path.empty()) return parse_settings(read_file(path), path);
  const char* const from_environment = std::getenv("REGFEATD_CONFIG");
  if (from_environment != nullptr && *from_environment != '\0') {
    return parse_settings(read_file(from_environment), from_environment);
  }
  std::error_code code;
  const auto status = std::filesystem::status(kDefaultFile, code);
  // A file that cannot be looked at is an error of read_file, not a reason to run with the defaults.
  if (status.type() != std::filesystem::file_type::not_found)
    return parse_settings(read_file(kDefaultFile), kDefaultFile);
  return {};
}

}  // namespace regfeatd::spec
