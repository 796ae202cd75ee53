#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "regfeatd/pg/session.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::cli {

/// --config and --conninfo, which all commands that need a database share.
struct DatabaseOptions {
  std::string config_path;
  std::string conninfo;

  void add_to(CLI::App& command);
  /// The configuration, with --conninfo put over it.
  [[nodiscard]] spec::Settings settings() const;
  /// How a command-line command connects. Throws what `settings` throws.
  [[nodiscard]] pg::ConnectOptions connect_options(const char* command) const;
  /// A session of a command-line command. Throws Fault.
  [[nodiscard]] std::unique_ptr<pg::Session> connect(const char* command) const;
};

}  // namespace regfeatd::cli
