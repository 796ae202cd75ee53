#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace regfeatd::cli {

/// What the chosen subcommand does; returns the exit status. Set by the subcommand's callback, run by main after
/// parsing, so that errors are handled in one place.
using Action = std::function<int()>;

/// Names the program and adds every subcommand to it. The man page and the completions are made from the same texts.
void add_commands(CLI::App& app, Action& action);

// One file per subcommand, src/cli/<name>_command.cpp.
void add_migrate_command(CLI::App& app, Action& action);
void add_plan_command(CLI::App& app, Action& action);
void add_apply_command(CLI::App& app, Action& action);
void add_remove_command(CLI::App& app, Action& action);
void add_run_command(CLI::App& app, Action& action);
void add_status_command(CLI::App& app, Action& action);
void add_validate_command(CLI::App& app, Action& action);
void add_fit_command(CLI::App& app, Action& action);
void add_bench_command(CLI::App& app, Action& action);
void add_metrics_command(CLI::App& app, Action& action);

// Exit statuses (sysexits.h where there is one).
inline constexpr int kExitOk = 0;
inline constexpr int kExitFindings = 1;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitUnavailable = 69;
inline constexpr int kExitInternal = 70;
inline constexpr int kExitConfiguration = 78;

}  // namespace regfeatd::cli
