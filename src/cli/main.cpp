#include "regfeatd/cli/main.hpp"

#include <cstdio>
#include <exception>
#include <string>

#include "command.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/pg/session.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::cli {
namespace {

int exit_status(const Fault& fault) {
  switch (fault.fault_class()) {
    case FaultClass::transient:
      return kExitUnavailable;
    case FaultClass::partition:
      return kExitFindings;
    case FaultClass::configuration:
      return kExitConfiguration;
    case FaultClass::fatal:
      return kExitInternal;
  }
  return kExitInternal;
}

}  // namespace

int main(int argc, char** argv) {
  pg::set_environment_defaults();
  CLI::App app;
  Action action;
  add_commands(app, action);

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
