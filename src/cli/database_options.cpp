#include "database_options.hpp"

#include "regfeatd/base/log.hpp"
#include "spec/conninfo.hpp"

namespace regfeatd::cli {

void DatabaseOptions::add_to(CLI::App& command) {
  command
      .add_option(
          "--config", config_path,
          "The configuration file. Default: $REGFEATD_CONFIG, then /etc/regfeatd/regfeatd.yaml if it is there, then defaults")
      ->type_name("FILE");
  command
      .add_option("--conninfo", conninfo,
                  "The database, as libpq keywords or a URI, without a password (use ~/.pgpass or a service file). "
                  "Default: database.conninfo of the configuration, then PG* variables, as psql")
      ->type_name("CONNINFO");
}

spec::Settings DatabaseOptions::settings() const {
  spec::Settings s = spec::load_settings(config_path);
  if (spec::holds_password(conninfo)) {
    throw Fault(
        FaultClass::configuration,
        "--conninfo holds a password, which everybody on this machine can read there; put it into ~/.pgpass (or the file "
        "that $PGPASSFILE names)");
  }
  if (!conninfo.empty()) s.conninfo = conninfo;
  return s;
}

pg::ConnectOptions DatabaseOptions::connect_options(const char* command) const {
  pg::ConnectOptions options = pg::connect_options(settings(), command);
  options.statement_timeout = {};  // a person waits, and may interrupt
  return options;
}

std::unique_ptr<pg::Session> DatabaseOptions::connect(const char* command) const {
  const spec::Settings s = settings();
  log::configure(s.log_level, s.log_format);
  return std::make_unique<pg::Session>(connect_options(command));
}

}  // namespace regfeatd::cli
