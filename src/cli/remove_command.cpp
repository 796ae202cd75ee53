#include <cstdio>
#include <memory>
#include <string>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/populate/apply.hpp"
#include "regfeatd/populate/remove.hpp"
#include "regfeatd/queue/migrate.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  std::string name;
  bool drop_tables = false;
  bool dry_run = false;
};

void print_plan(const populate::RemovalPlan& plan) {
  std::printf("feature set %s\n", plan.name.c_str());
  std::printf("  partitions  %s (%s running), %s attempts of history: forgotten\n",
              format_count(plan.partitions).c_str(), format_count(plan.running).c_str(),
              format_count(plan.attempts).c_str());
  for (const std::string& t : plan.dropped) std::printf("  dropped     %s, with all its rows\n", t.c_str());
  for (const std::string& t : plan.kept) std::printf("  kept        %s\n", t.c_str());
}

/// false: something stands in the way, and was printed.
bool check(const populate::RemovalPlan& plan) {
  if (plan.findings.empty()) return true;
  std::fflush(stdout);
  for (const std::string& f : plan.findings) std::fprintf(stderr, "  %s\n", f.c_str());
  return false;
}

int run(const Options& o) {
  const auto session = o.database.connect("remove");
  queue::require_schema(*session);
  return pg::guarded("remove", [&] {
    {
      pqxx::work tx(session->sql());
      const auto plan = populate::plan_removal(tx, o.name, o.drop_tables);
      print_plan(plan);
      if (!check(plan)) return kExitConfiguration;
      if (o.dry_run) return kExitOk;
      populate::stop_work(tx, plan);
      tx.commit();
    }
    pqxx::work tx(session->sql());
    tx.exec("SET LOCAL lock_timeout = '60s'");
    populate::one_apply_at_a_time(tx);
    const auto plan = populate::plan_removal(tx, o.name, o.drop_tables);
    if (!check(plan)) return kExitConfiguration;
    populate::remove(tx, plan);
    tx.commit();
    std::printf("removed\n");
    return kExitOk;
  });
}

}  // namespace

void add_remove_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("remove", "Take a feature set out of the database");
  command->description(
      "Forgets a feature set: its specification, partitions and history. What runs of it is fenced first.\n"
      "Its target tables stay as they are, unless --drop-tables says otherwise; tables that were there before the first\n"
      "`apply` are never dropped. A feature set that others depend on is not removed (exit status 78).");
  command->add_option("FEATURE_SET", options->name, "Its name, as `regfeatd status` shows it")->required();
  options->database.add_to(*command);
  command->add_flag("--drop-tables", options->drop_tables,
                    "Also drop the target tables that `apply` created, with all their rows");
  command->add_flag("--dry-run", options->dry_run, "Only say what would be removed");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
