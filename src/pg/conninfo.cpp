#include "pg/conninfo.hpp"

#include <libpq-fe.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <set>
#include <string_view>

namespace regfeatd::pg {
namespace {

struct Default {
  const char* key;
  const char* value;
  const char* variable;  ///< the environment variable by which libpq takes the same setting; nullptr: none
};

// A dead network is noticed within a minute: idle connections by keepalives, busy ones by tcp_user_timeout. read-write:
// after a failover a name may still lead to the old writer, which is a reader now; it is passed over, not written to.
constexpr std::array<Default, 7> kDefaults{{{"connect_timeout", "10", "PGCONNECT_TIMEOUT"},
                                            {"keepalives", "1", nullptr},
                                            {"keepalives_idle", "30", nullptr},
                                            {"keepalives_interval", "10", nullptr},
                                            {"keepalives_count", "3", nullptr},
                                            {"tcp_user_timeout", "60000", nullptr},
                                            {"target_session_attrs", "read-write", "PGTARGETSESSIONATTRS"}}};

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

std::string complete_conninfo(const ConnectOptions& options, const std::string& password) {
  std::string out;
  std::set<std::string_view> present;
  const OptionList given = parse(options.conninfo);
  for (const PQconninfoOption* o = given.get(); o->keyword != nullptr; ++o) {
    const std::string_view key = o->keyword;
    // Ours stands below: who rescues a lost daemon's partitions knows its backends by their application name.
    if (o->val == nullptr || key == "application_name" || (key == "dbname" && !options.database.empty()) ||
        (key == "password" && !password.empty()))
      continue;
    add(out, key, o->val);
    present.insert(key);
  }
  for (const Default& d : kDefaults) {
    if (!present.contains(d.key) && (d.variable == nullptr || std::getenv(d.variable) == nullptr))
      add(out, d.key, d.value);
  }
  if (!options.database.empty()) add(out, "dbname", options.database);
  add(out, "application_name", options.application_name);
  if (!password.empty()) add(out, "password", password);
  return out;
}

}  // namespace regfeatd::pg
