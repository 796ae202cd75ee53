// `plan` and `apply`: the same work, with and without doing it.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "command.hpp"
#include "database_options.hpp"
#include "position_option.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/populate/apply.hpp"
#include "regfeatd/queue/migrate.hpp"

namespace regfeatd::cli {
namespace {

struct Options {
  DatabaseOptions database;
  std::string file;
  std::vector<std::string> series;
  std::string from, to;
  bool show_ddl = false;
};

populate::Restriction restriction(const Options& o, const spec::FeatureSet& fs) {
  populate::Restriction r;
  r.series = o.series;
  if (!o.from.empty()) r.from = position_option(fs.order, "--from", o.from);
  if (!o.to.empty()) r.to = position_option(fs.order, "--to", o.to);
  return r;
}

/// What readers of the targets lose.
void print_losses(const std::vector<populate::NoLongerWritten>& losses) {
  constexpr std::size_t kShown = 10;
  for (const populate::NoLongerWritten& lost : losses) {
    if (lost.columns.empty()) {
      std::printf("  left        %s is no longer a target: its rows stay as they are\n", lost.table.c_str());
      continue;
    }
    std::string names;
    for (std::size_t i = 0; i < std::min(kShown, lost.columns.size()); ++i)
      names += (i == 0 ? "" : ", ") + lost.columns[i];
    if (lost.columns.size() > kShown) names += " and " + std::to_string(lost.columns.size() - kShown) + " more";
    std::printf("  lost        %s: %s of %s no longer written, and NULL in what is computed anew: %s\n",
                lost.table.c_str(), format_count(static_cast<std::int64_t>(lost.columns.size())).c_str(),
                lost.columns.size() == 1 ? "its columns is" : "its columns are", names.c_str());
  }
}

void print_plan(const spec::FeatureSet& fs, const populate::ApplyPlan& plan, bool show_ddl) {
  std::printf("feature set %s: %s\n", fs.name.c_str(),
              plan.new_feature_set  ? "new"
              : plan.output_changed ? "changed, and its output with it: partitions that exist are computed anew"
              : plan.new_version    ? "changed, its output not"
                                    : "unchanged");
  std::printf("  series      %zu\n", plan.series.size());
  std::printf("  columns     %zu per input (%zu windows × %zu metrics), %zu inputs, %zu targets\n",
              fs.plan().column_count(), fs.windows.size(), fs.metrics.size(), fs.inputs.size(), fs.targets.size());
  std::printf("  partitions  %s new, %s to be computed anew, %s unchanged\n", format_count(plan.new_partitions).c_str(),
              format_count(plan.requeued_partitions).c_str(), format_count(plan.unchanged_partitions).c_str());
  if (!plan.removed.empty()) {
    std::printf(
        "  removed     %s partitions that the specification names no longer: cancelled; their rows stay in the targets\n",
        format_count(static_cast<std::int64_t>(plan.removed.size())).c_str());
    constexpr std::size_t kShown = 10;
    for (std::size_t i = 0; i < std::min(kShown, plan.removed.size()); ++i) {
      const queue::KnownPartition& k = plan.removed[i];
      std::printf("                %s, %s to %s\n", k.series.c_str(), format_order(fs.order, k.range.lower).c_str(),
                  format_order(fs.order, k.range.upper).c_str());
    }
    if (plan.removed.size() > kShown) std::printf("                and %zu more\n", plan.removed.size() - kShown);
  }
  print_losses(plan.no_longer_written);
  std::printf("  to compute  about %s source rows, %s to be written (estimated from statistics)\n",
              format_count(plan.estimated_rows).c_str(), format_bytes(plan.estimated_bytes).c_str());
  for (const std::string& line : plan.placement) std::printf("  publishing  %s\n", line.c_str());
  std::printf("  WAL         %s\n", plan.wal.c_str());
  std::printf("  DDL         %zu statements%s\n", plan.ddl.size(),
              plan.ddl.empty() || show_ddl ? "" : " (shown with --ddl)");
  if (show_ddl) {
    for (const std::string& s : plan.ddl) std::printf("%s;\n", s.c_str());
  }
}

void print_findings(const populate::ApplyPlan& plan) {
  std::fflush(stdout);
  std::fprintf(stderr, "%zu finding%s; nothing was changed:\n", plan.findings.size(),
               plan.findings.size() == 1 ? "" : "s");
  for (const std::string& f : plan.findings) std::fprintf(stderr, "  %s\n", f.c_str());
}

int run(const Options& o, bool doing) {
  const auto document = spec::read_feature_set(o.file);
  const auto session = o.database.connect(doing ? "apply" : "plan");
  queue::require_schema(*session);
  return pg::guarded(doing ? "apply" : "plan", [&] {
    pqxx::work tx(session->sql());
    populate::use_utc(tx);
    if (doing) populate::one_apply_at_a_time(tx);
    const auto plan = populate::plan_apply(tx, document, restriction(o, document.feature_set));
    print_plan(document.feature_set, plan, o.show_ddl);
    if (!plan.findings.empty()) {
      print_findings(plan);
      return kExitConfiguration;
    }
    if (!doing) return kExitOk;
    const auto counts = populate::apply(tx, document, plan);
    tx.commit();
    std::printf("applied: %s partitions added, %s requeued, %s unchanged\n", format_count(counts.added).c_str(),
                format_count(counts.requeued).c_str(), format_count(counts.unchanged).c_str());
    return kExitOk;
  });
}

void add(CLI::App& app, Action& action, const char* name, const char* summary, const std::string& description,
         bool doing) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(name, summary);
  command->description(description);
  command->add_option("SPEC", options->file, "The feature-set specification (docs/configuration.md)")
      ->required()
      ->type_name("FILE.yaml");
  options->database.add_to(*command);
  command->add_option("--series", options->series, "Only these series of the specification")
      ->delimiter(',')
      ->type_name("A,B");
  command->add_option("--from", options->from, "Only partitions that end after this position")->type_name("TIME");
  command->add_option("--to", options->to, "Only partitions that begin before this position")->type_name("TIME");
  command->add_flag("--ddl", options->show_ddl, "Print the DDL statements");
  command->callback([options, doing, &action] { action = [options, doing] { return run(*options, doing); }; });
}

}  // namespace

void add_plan_command(CLI::App& app, Action& action) {
  add(app, action, "plan", "Show what apply would do",
      "Checks a specification against the database and shows what `apply` would do: DDL, partitions, rows, bytes,\n"
      "and everything that stands in the way, all at once (exit status 78). Changes nothing.",
      false);
}

void add_apply_command(CLI::App& app, Action& action) {
  add(app, action, "apply", "Register or change a feature set",
      "Does what `plan` shows, in one transaction: creates the targets that do not exist, stores the specification,\n"
      "adds its partitions to the work table. A second run changes nothing. With findings nothing is changed (exit status 78).",
      true);
}

}  // namespace regfeatd::cli
