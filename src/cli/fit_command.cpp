#include "command.hpp"
namespace regfeatd::cli {
void add_fit_command(CLI::App&, Action&) {}
}  // namespace regfeatd::cli
