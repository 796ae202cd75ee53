#include "command.hpp"
#include "regfeatd/base/build_info.hpp"

namespace regfeatd::cli {

void add_commands(CLI::App& app, Action& action) {
  app.name("regfeatd");
  app.description(
      "Keeps rolling quadratic-regression features of every time series in PostgreSQL complete, correct and "
      "up to date.");
  app.set_version_flag("--version", "regfeatd " + std::string(build_id()));
  app.require_subcommand(1);
  app.footer(
      "Exit statuses: 0 fine, 1 findings or failed partitions, 64 usage, 69 database not available, 78 "
      "configuration.\n"
      "`regfeatd COMMAND --help` explains each command.");
  add_migrate_command(app, action);
  add_plan_command(app, action);
  add_apply_command(app, action);
  add_remove_command(app, action);
  add_run_command(app, action);
  add_status_command(app, action);
  add_validate_command(app, action);
  add_fit_command(app, action);
  add_metrics_command(app, action);
}

}  // namespace regfeatd::cli
