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
  const auto present = queue::schema_state(*session);
  if (o.check) {
    const std::string objection = queue::schema_objection(present);
    std::printf("schema regfeat: version %d, this program serves version %d\n", present.version,
                queue::required_version());
    if (!objection.empty()) std::printf("%s\n", objection.c_str());
    return objection.empty() ? kExitOk : kExitFindings;
  }
  const auto result = queue::migrate(*session, o.to == 0 ? queue::required_version() : o.to);
  for (const auto& name : result.applied) std::printf("applied %s\n", name.c_str());
  for (const auto& role : result.missing_roles) {
    std::printf(
        "role %s does not exist and %s may not create it: CREATE ROLE %s NOLOGIN, then run `regfeatd migrate` again\n",
        role.c_str(), session->sql().username(), role.c_str());
  }
  const int version = queue::schema_state(*session).version;
  std::printf("schema regfeat is at version %d%s\n", version,
              version > queue::required_version() && o.to == 0 ? ", newer than this program, which can serve it" : "");
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
  command->add_flag("--check", options->check,
                    "Only say which version is there; exit 1 unless this program can serve it");
  command->add_option("--to", options->to, "Stop at this version")
      ->type_name("N")
      ->check(CLI::Range(1, queue::required_version()));
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
