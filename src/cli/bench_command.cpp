// `bench`: what COPY can do on this server, and what of it the pipeline reaches, in one run.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "command.hpp"
#include "database_options.hpp"
#include "regfeatd/base/quantity.hpp"
#include "regfeatd/populate/bench.hpp"

namespace regfeatd::cli {
namespace {

using populate::BenchMeasurement;
using populate::BenchPath;

struct Options {
  DatabaseOptions database;
  populate::BenchOptions bench;
  std::vector<int> connections{1, 2, 4};
  int rounds = 5;
  bool warm_up = true;
  std::vector<BenchPath> paths{BenchPath::bare,  BenchPath::raw,    BenchPath::pipeline,
                               BenchPath::ahead, BenchPath::insert, BenchPath::insert_1000};
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  const std::size_t n = v.size();
  return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double rate(const BenchMeasurement& m) { return static_cast<double>(m.rows) / m.seconds; }

/// Of server and client together.
double rows_per_cpu_second(const BenchMeasurement& m) {
  return static_cast<double>(m.rows) / (m.server_cpu_s.value_or(0) + m.client_cpu_s);
}

std::string cpu(const BenchMeasurement& m) {
  return fmt::format("client {:5.2f} s, server {}", m.client_cpu_s,
                     m.server_cpu_s ? fmt::format("{:5.2f} s", *m.server_cpu_s) : std::string("unknown (elsewhere)"));
}

void print(const std::string& what, const BenchMeasurement& m) {
  fmt::print("  {:<15} {:>9} rows/s  {:6.1f} MB/s  {:6.2f} s  CPU {}\n", what,
             format_count(static_cast<std::int64_t>(rate(m))), static_cast<double>(m.bytes) / m.seconds / 1e6,
             m.seconds, cpu(m));
  std::fflush(stdout);
}

using Results = std::map<BenchPath, std::vector<BenchMeasurement>>;

/// Ratios of the paths' rates, pair by pair: neighbours in time are compared, as a machine's speed drifts. By processor time
/// too, of server and client together: rows per second of it.
void print_ratio(const Results& results, BenchPath of, BenchPath to) {
  if (!results.contains(of) || !results.contains(to)) return;
  const auto &a = results.at(of), &b = results.at(to);
  std::vector<double> ratios, cpu;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ratios.push_back(rate(a[i]) / rate(b[i]));
    if (a[i].server_cpu_s && b[i].server_cpu_s) cpu.push_back(rows_per_cpu_second(a[i]) / rows_per_cpu_second(b[i]));
  }
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  fmt::print("  {} / {}: median {:.3f} of {} pairs, {:.3f} to {:.3f}{}\n", populate::to_string(of),
             populate::to_string(to), median(ratios), ratios.size(), *least, *most,
             cpu.empty() ? "" : fmt::format("; by CPU time {:.3f}", median(cpu)));
}

/// Where the workers' time goes, as medians over the rounds.
void print_phases(const Results& results, BenchPath path) {
  if (!results.contains(path)) return;
  using Part = std::pair<const char*, double (*)(const queue::Timings&)>;
  constexpr Part kParts[] = {{"claim", [](const queue::Timings& t) { return t.claim_ms; }},
                             {"read", [](const queue::Timings& t) { return t.read_ms; }},
                             {"fit", [](const queue::Timings& t) { return t.fit_ms; }},
                             {"encode", [](const queue::Timings& t) { return t.encode_ms; }},
                             {"send", [](const queue::Timings& t) { return t.send_ms; }},
                             {"publish", [](const queue::Timings& t) { return t.publish_ms; }},
                             {"wait for a turn", [](const queue::Timings& t) { return t.wait_ms; }}};
  const auto share = [&](auto&& of) {
    std::vector<double> percent;
    for (const BenchMeasurement& m : results.at(path))
      percent.push_back(100 * of(m.timings) / (m.seconds * m.workers * 1000));
    return median(percent);
  };
  fmt::print("  {}, {} workers' time:", populate::to_string(path), results.at(path).front().workers);
  for (const auto& [name, of] : kParts) fmt::print(" {} {:.1f} %,", name, share(of));
  const double known = share([&](const queue::Timings& t) {
    double sum = 0;
    for (const auto& part : kParts) sum += part.second(t);
    return sum;
  });
  fmt::print(" the rest (begin, complete, commit, end) {:.1f} %; read + fit + encode {:.1f} %\n", 100 - known,
             share([](const queue::Timings& t) { return t.read_ms + t.fit_ms + t.encode_ms; }));
}

void measure_copy(const Options& o, populate::Bench& bench, int connections) {
  fmt::print("\n{} connection{}\n", connections, connections == 1 ? "" : "s");
  Results results;
  std::vector<BenchPath> paths = o.paths;
  if (connections > 1) std::erase_if(paths, populate::is_insert);
  for (const BenchPath path : o.warm_up ? paths : std::vector<BenchPath>{})
    (void)bench.measure(path, connections);  // warm: files, caches, what is learnt of the catalogue
  for (int r = 0; r < o.rounds; ++r) {
    std::vector<BenchPath> order = paths;
    if (r % 2 == 1) std::reverse(order.begin(), order.end());
    for (const BenchPath path : order) {
      results[path].push_back(bench.measure(path, connections));
      print(populate::to_string(path), results[path].back());
    }
  }
  using enum BenchPath;
  for (const BenchPath path : {pipeline, ahead, raw_compact, compact, compact_real, insert, insert_1000})
    print_ratio(results, path, raw);
  print_ratio(results, compact, raw_compact);
  print_ratio(results, pipeline, bare);
  print_ratio(results, raw, bare);
  for (const BenchPath path : {pipeline, ahead, compact, compact_real}) print_phases(results, path);
}

int run(const Options& o) {
  populate::BenchOptions options = o.bench;
  options.connect = o.database.connect_options("bench");
  populate::Bench bench(options);
  fmt::print("{}\n", bench.describe());
  fmt::print(
      "bare COPY: encoded rows into new tables, no keys. raw COPY: published as the pipeline publishes. "
      "INSERT: 5,000 rows as text, on one connection. rows: of 90 columns; MB: of them as a COPY stream\n");
  for (const int connections : o.connections) measure_copy(o, bench, connections);
  return kExitOk;
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure what COPY can do on a server, and what of it the pipeline reaches");
  command->description(
      "Makes a database of its own on the given server (the role needs CREATEDB), with sources and targets "
      "like those of the main job, and\n"
      "measures in turn: COPY of encoded rows into bare tables, the same with keys and publishing, and the "
      "whole pipeline on the same rows, also\n"
      "with more workers than send rows at a time (`writers`), and with compact storage; with one connection "
      "also INSERTs of a sample. The database is dropped at the end.\n"
      "Ratios are of neighbours in time (docs/performance.md).");
  options->database.add_to(*command);
  command->add_option("--connections", options->connections, "Numbers of connections to measure with")
      ->delimiter(',')
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "Rounds with each")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--partitions", options->bench.partitions, "Partitions in each measurement")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--rows", options->bench.rows, "Rows of a partition")
      ->check(CLI::Range(1, 44640))
      ->capture_default_str();
  command->add_option("--columns", options->bench.columns, "Type of the feature columns: double, real or numeric")
      ->transform(CLI::CheckedTransformer(std::map<std::string, pg::FeatureType>{{"double", pg::FeatureType::float8},
                                                                                 {"real", pg::FeatureType::float4},
                                                                                 {"numeric", pg::FeatureType::numeric}})
                      .description("{double,real,numeric}"));
  command
      ->add_option("--publish", options->bench.publish,
                   "How partitions are published: create (new ones), or truncate, swap or delete (that hold rows)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, spec::Publish>{{"create", spec::Publish::create},
                                                                               {"truncate", spec::Publish::truncate},
                                                                               {"swap", spec::Publish::swap},
                                                                               {"delete", spec::Publish::remove}})
                      .description("{create,truncate,swap,delete}"));
  command->add_option("--send-rows", options->bench.send_rows, "Rows that the pipeline encodes and sends at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      ->add_option(
          "--paths", options->paths,
          "What is measured, of bare, raw, pipeline, ahead, insert, insert-1000, raw-compact, compact and compact-real. Default: the first six")
      ->delimiter(',')
      ->transform(CLI::CheckedTransformer(std::map<std::string, BenchPath>{{"bare", BenchPath::bare},
                                                                           {"raw", BenchPath::raw},
                                                                           {"pipeline", BenchPath::pipeline},
                                                                           {"ahead", BenchPath::ahead},
                                                                           {"insert", BenchPath::insert},
                                                                           {"insert-1000", BenchPath::insert_1000},
                                                                           {"raw-compact", BenchPath::raw_compact},
                                                                           {"compact", BenchPath::compact},
                                                                           {"compact-real", BenchPath::compact_real}})
                      .description("{bare,raw,pipeline,ahead,insert,insert-1000,raw-compact,compact,compact-real}"));
  command->add_flag("!--no-warmup", options->warm_up, "Without a first run of each path that is not counted");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace regfeatd::cli
