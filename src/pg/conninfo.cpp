#include "pg/conninfo.hpp"

#include <libpq-fe.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <set>
#include <string_view>

namespace regfeatd::pg {
namespace {

struct Setting {
  const char* name;
  const char* value;
};

// A dead network is noticed within a minute: idle connections by keepalives, busy ones by tcp_user_timeout. read-write:
// after a failover a name may still lead to the old writer, which is a reader now; it is passed over, not written to.
// libpq takes these two from the environment, below the connection string and the service file.
constexpr std::array<Setting, 2> kEnvironment{{{"PGCONNECT_TIMEOUT", "10"}, {"PGTARGETSESSIONATTRS", "read-write"}}};
// For these there is no variable, and libpq's own default is no value at all.
constexpr std::array<Setting, 5> kSettings{{{"keepalives", "1"},
                                            {"keepalives_idle", "30"},
                                            {"keepalives_interval", "10"},
                                            {"keepalives_count", "3"},
                                            {"tcp_user_timeout", "60000"}}};

struct OptionsFree {
  void operator()(PQconninfoOption* o) const noexcept { PQconninfoFree(o); }
};
using OptionList = std::unique_ptr<PQconninfoOption, OptionsFree>;

OptionList parse(const std::string& conninfo) {
  char* error = nullptr;
  OptionList given(PQconninfoParse(conninfo.c_str(), &error));
  if (!given) {
    // libpq's message may quote the string, and with it a password: it is not passed on.
    PQfreemem(error);
    throw Fault(FaultClass::configuration,
                "the connection string cannot be read: expected libpq keywords (host=... dbname=...) or a URI");
  }
  return given;
}

/// What libpq makes of `conninfo` with its service file. PQconninfoParse leaves that out, and only a connection shows it: this
/// one fails before it looks for a host, for its two ports go with one. A missing service shows nothing; connecting says so.
OptionList with_service(const std::string& conninfo) {
  const std::array<const char*, 5> names{"dbname", "host", "hostaddr", "port", nullptr};
  const std::array<const char*, 5> values{conninfo.c_str(), "none", "", "1,2", nullptr};
  const std::unique_ptr<PGconn, decltype(&PQfinish)> none(PQconnectStartParams(names.data(), values.data(), 1),
                                                          &PQfinish);
  OptionList all(none ? PQconninfo(none.get()) : nullptr);
  if (!all) throw Fault(FaultClass::fatal, "out of memory");
  return all;
}

void add(std::string& conninfo, std::string_view key, std::string_view value) {
  conninfo += key;
  conninfo += "='";
  for (const char c : value) {
    if (c == '\'' || c == '\\') conninfo += '\\';
    conninfo += c;
  }
  conninfo += "' ";
}

}  // namespace

void set_environment_defaults() noexcept {
  for (const Setting& variable : kEnvironment) (void)setenv(variable.name, variable.value, 0);
}

std::string complete_conninfo(const ConnectOptions& options, const std::string& password) {
  std::string out;
  const OptionList given = parse(options.conninfo);
  for (const PQconninfoOption* o = given.get(); o->keyword != nullptr; ++o) {
    const std::string_view key = o->keyword;
    // Ours stands below: who rescues a lost daemon's partitions knows its backends by their application name.
    if (o->val == nullptr || key == "application_name" || (key == "dbname" && !options.database.empty()) ||
        (key == "password" && !password.empty()))
      continue;
    add(out, key, o->val);
  }
  std::set<std::string_view> present;
  const OptionList all = with_service(options.conninfo);
  for (const PQconninfoOption* o = all.get(); o->keyword != nullptr; ++o)
    if (o->val != nullptr) present.insert(o->keyword);
  for (const Setting& setting : kSettings)
    if (!present.contains(setting.name)) add(out, setting.name, setting.value);
  if (!options.database.empty()) add(out, "dbname", options.database);
  add(out, "application_name", options.application_name);
  if (!password.empty()) add(out, "password", password);
  return out;
}

}  // namespace regfeatd::pg
