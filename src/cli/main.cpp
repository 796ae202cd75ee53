#include "regfeatd/cli/main.hpp"

#include <cstdio>
#include <exception>
#include <string>

#include "command.hpp"
#include "regfeatd/base/build_info.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::cli {
namespace {

int exit_status(const Fault& fault) {
  switch (fault.fault_class()) {
    case FaultClass::transient: return kExitUnavailable;
    case FaultClass::partition: return kExitFindings;
    case FaultClass::configuration: return kExitConfiguration;
    case FaultClass::fatal: return kExitInternal;
  }
  return kExitInternal;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Keeps rolling quadratic-regression features of every time series in PostgreSQL complete, correct and up to date.",
               "regfeatd"};
  app.set_version_flag("--version", "regfeatd " + std::string(build_id()));
  app.require_subcommand(1);
  app.footer("Exit statuses: 0 fine, 1 findings or failed partitions, 64 usage, 69 database not available, 78 configuration.\n"
             "`regfeatd COMMAND --help` explains each command.");
  Action action;
  add_migrate_command(app, action);
  add_plan_command(app, action);
  add_apply_command(app, action);
  add_run_command(app, action);
  add_status_command(app, action);
  add_fit_command(app, action);
  add_metrics_command(app, action);
  add_bench_command(app, action);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitOk : kExitUsage;
  }
  try {
    return action();
  } catch (const spec::SpecError& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return kExitConfiguration;
  } catch (const Fault& e) {
    std::fprintf(stderr, "regfeatd: %s\n", e.what());
    if (!e.context().empty()) std::fprintf(stderr, "  %s\n", e.context().c_str());
    return exit_status(e);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "regfeatd: %s\n", e.what());
    return kExitInternal;
  }
}

}  // namespace regfeatd::cli
