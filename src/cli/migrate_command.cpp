#include <cstdio>
#include <memory>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/queue/migrate.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  bool check = false;
  int to = 0;
};

int run(const Options& o) {
  const auto session = o.database.connect("migrate");
  const int present = queue::schema_version(*session);
  const int to = o.to == 0 ? queue::required_version() : o.to;
  if (o.check) {
    std::printf("schema regfeat: version %d, this program serves version %d\n", present, queue::required_version());
    return present == queue::required_version() ? kExitOk : kExitFindings;
  }
  const auto applied = queue::migrate(*session, to);
  for (const auto& name : applied) std::printf("applied %s\n", name.c_str());
  std::printf("schema regfeat is at version %d\n", queue::schema_version(*session));
  return kExitOk;
}

}  // namespace

void add_migrate_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("migrate", "Create or upgrade the schema regfeat");
  command->description(
      "Creates or upgrades the schema regfeat: the work table, its history, functions and views.\n"
      "All missing migrations run in one transaction under an advisory lock; a second run changes nothing.\n"
      "Needs CREATE on the database (the first time) and ownership of the schema (later).");
  options->database.add_to(*command);
  command->add_flag("--check", options->check, "Only say which version is there; exit 1 unless it is the one this program serves");
  command->add_option("--to", options->to, "Stop at this version")->type_name("N")->check(CLI::Range(1, queue::required_version()));
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
