#include "command.hpp"
namespace regfeatd::cli {
void add_metrics_command(CLI::App&, Action&) {}
}  // namespace regfeatd::cli
