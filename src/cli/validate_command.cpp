#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "command.hpp"
#include "database_options.hpp"
#include "position_option.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/populate/validate.hpp"
#include "regfeatd/queue/feature_sets.hpp"
#include "regfeatd/queue/migrate.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  std::string feature_set;
  std::vector<std::string> series;
  std::string from, to;
  std::size_t sample = 0, oracle_rows = 20;
  std::uint64_t seed = 0;
};

OrderKind order_of(pg::Session& session, const std::string& name) {
  pqxx::work tx(session.sql());
  const auto stored = queue::find_feature_set(tx, name);
  return stored ? spec::parse_feature_set(stored->document, "specification").order : OrderKind::time;
}

void print(const queue::Finding& f) {
  std::string where = f.series;
  for (const std::string* part : {&f.from, &f.target, &f.column, &f.position}) {
    if (!part->empty()) where += "  " + *part;
  }
  std::printf("%-16s %s\n%-16s %s\n", f.what.c_str(), where.c_str(), "", f.message.c_str());
}

int print_report(const Options& o, const populate::ValidateReport& report) {
  constexpr std::size_t kShown = 200;
  for (std::size_t i = 0; i < report.findings.size() && i < kShown; ++i) print(report.findings[i]);
  if (report.findings.size() > kShown)
    std::printf("… and %s more\n", format_count(static_cast<std::int64_t>(report.findings.size() - kShown)).c_str());
  const auto& c = report.counts;
  std::printf(
      "%sfeature set %s: %s of %s finished partitions, %s rows, %s values compared bit by bit, %s with the "
      "oracle; seed %llu\n",
      report.findings.empty() ? "" : "\n", o.feature_set.c_str(), format_count(c.partitions).c_str(),
      format_count(c.partitions_of).c_str(), format_count(c.rows).c_str(), format_count(c.values).c_str(),
      format_count(c.oracle_values).c_str(), static_cast<unsigned long long>(o.seed));
  if (report.changed_meanwhile > 0)
    std::printf("%s partitions changed meanwhile and were not judged\n",
                format_count(report.changed_meanwhile).c_str());
  if (report.unfinished > 0)
    std::printf("%s partitions are not finished and were not looked at\n", format_count(report.unfinished).c_str());
  if (!report.nothing_looked_at.empty()) {
    std::printf("nothing was looked at: %s\n", report.nothing_looked_at.c_str());
    return kExitFindings;
  }
  if (report.findings.empty()) {
    std::printf("no findings\n");
    return kExitOk;
  }
  std::printf("%s findings: SELECT * FROM regfeat.validation WHERE validation_run_id = %lld\n",
              format_count(c.findings).c_str(), static_cast<long long>(report.run));
  return kExitFindings;
}

int run(const Options& o) {
  const auto session = o.database.connect("validate");
  queue::require_schema(*session);
  populate::ValidateOptions wanted;
  wanted.sample = o.sample;
  wanted.oracle_rows = o.oracle_rows;
  wanted.seed = o.seed;
  wanted.restriction.series = o.series;
  const OrderKind order = order_of(*session, o.feature_set);
  if (!o.from.empty()) wanted.restriction.from = position_option(order, "--from", o.from);
  if (!o.to.empty()) wanted.restriction.to = position_option(order, "--to", o.to);
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto report = populate::validate(*session, o.feature_set, wanted, [&](std::size_t done, std::size_t of) {
    if (terminal) std::fprintf(stderr, done < of ? "\r\033[K%zu of %zu partitions" : "\r\033[K", done, of);
  });
  return print_report(o, report);
}

}  // namespace

void add_validate_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  options->seed = std::random_device{}();
  CLI::App* command = app.add_subcommand("validate", "Compare what the tables hold with what they should hold");
  command->description(
      "Computes finished partitions anew and compares: every row and value bit by bit, a sample with the "
      "naive oracle, NULL counts,\n"
      "identities between columns, checksums, keys and indexes, and that no value depends on later rows. "
      "Writes nothing but its\n"
      "findings (regfeat.validation). Exit status 1 on any, and when\nnothing could be looked at. docs/validate.md explains them.");
  command->add_option("FEATURE_SET", options->feature_set, "Its name")->required();
  options->database.add_to(*command);
  command->add_option("--series", options->series, "Only these")->delimiter(',')->type_name("A,B");
  command->add_option("--from", options->from, "Only partitions that end behind this position")->type_name("POSITION");
  command->add_option("--to", options->to, "Only partitions that begin before this position")->type_name("POSITION");
  command->add_option("--sample", options->sample, "Only so many partitions, drawn at random")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--oracle-rows", options->oracle_rows, "Rows of each partition and target that the oracle computes")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of what is random, to repeat a run (default: another one each time)")
      ->type_name("N");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
