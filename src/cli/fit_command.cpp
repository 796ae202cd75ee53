// `regfeatd fit`: the kernel without a database, CSV to CSV.

#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "command.hpp"
#include "file_io.hpp"
#include "fit_setup.hpp"
#include "fit_stream.hpp"
#include "progress_line.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/spec/feature_set.hpp"
#include "regfeatd/spec/settings.hpp"
#include "usage_error.hpp"

namespace regfeatd::cli {
namespace {

/// Reads the header, then the first block of rows.
struct InputStart {
  CsvBlock header_block;  ///< what `header` points into
  std::vector<Field> header;
  CsvBlock first;  ///< empty when there are no rows
  std::vector<Field> first_row;
};

/// The first record of the next block that has one; blocks of empty lines are passed over. False at the end.
bool read_first_record(BlockReader& reader, BlockReader::Limits limits, CsvBlock& block, std::vector<Field>& record) {
  while (reader.next(block, limits, BlockReader::Mode::wait) == BlockReader::Result::block) {
    if (RecordReader(block.bytes, block.first_line).next(record)) return true;
  }
  block.bytes.clear();
  return false;
}

InputStart read_start(BlockReader& reader, const std::string& file) {
  InputStart start;
  try {
    if (!read_first_record(reader, {.max_rows = 1, .max_bytes = 1}, start.header_block, start.header)) {
      throw Fault(FaultClass::partition, file + ": no header line: the input is empty");
    }
  } catch (const CsvError& e) {
    throw Fault(FaultClass::partition, file + ":" + std::to_string(e.line()) + ": " + e.what());
  }
  try {
    (void)read_first_record(reader, {.max_rows = 64, .max_bytes = 65'536}, start.first, start.first_row);
  } catch (const CsvError&) {
    start.first_row.clear();  // reported when the block is read in its turn
  }
  return start;
}

int run_fit(const FitOptions& options) {
  check_options(options);
  std::optional<spec::FeatureSet> feature_set;
  if (!options.spec.empty()) feature_set = spec::read_feature_set(options.spec).feature_set;

  InputFile input(options.input);
  BlockReader reader({.read = [&](char* to, std::size_t size) { return input.read(to, size); },
                      .ready = [&] { return input.ready(); }});
  InputStart start = read_start(reader, input.name());
  const FitSetup setup = set_up_fit(options, feature_set, input.name(), start.header, start.first_row);
  const std::string header_line = output_header(setup, start.header);

  StreamOptions stream;
  stream.threads = options.threads > 0 ? options.threads : spec::available_cores();
  stream.limits = block_limits(setup.plan, setup.layout.value_columns.size(), setup.tracking.interleaved);

  (void)std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is seen by write
  OutputFile output(options.output);
  ProgressLine progress(input.size());
  std::uint64_t rows_written = 0;
  const TextSink sink = [&](std::string_view text, std::uint64_t rows) {
    rows_written += rows;
    progress.update(rows_written, reader.bytes_done());
    return output.write(text);
  };
  if (!output.write(header_line)) return kExitOk;
  fit_stream(std::move(start.first), reader, setup.layout, setup.plan, setup.tracking, stream, sink);
  output.finish();
  return kExitOk;
}

constexpr const char* kFooter =
    R"(Windows: [LABEL=]SIZE[:OPTION]... separated by commas. SIZE is a number of rows (15: label w15) or a
duration (5d: label l5d, the rows less than 5 days old). Options: min_rows=N (of a range), offset=N,
x=time with unit=DURATION, range (SIZE is a range of the sequence). Example: 15,agg=90,l5d=5d:min_rows=5

Output: the time and key columns as they stand in the input, then a column {metric}_{input}_{window} for
each value column, window and metric; nothing for NULL. The input is streamed: memory does not grow with it.

Exit statuses: 0 fine (also when the reader of the output goes away), 1 bad input data (file, line and
column are named) or a failure to read or write, 64 usage, 78 a bad specification.

Examples:
  regfeatd fit --windows 15,60 --metrics terms <in.csv >out.csv
  regfeatd fit --windows 30 --metrics inference --values close --from 2024-07-01 -o july.csv bars.csv
  regfeatd fit --windows 5d,30d --keys season,player_id --values minutes --interleaved games.csv)";

void add_table_options(CLI::App& fit, FitOptions& o) {
  fit.add_option("FILE", o.input, "CSV with a header line; - is standard input")->capture_default_str();
  fit.add_option("-o,--output", o.output,
                 "write this file, which appears only when it is complete (default: standard output)");
  fit.add_option("--time", o.time, "the column of times that orders the rows (default: the first column)");
  fit.add_option("--sequence", o.sequence,
                 "the column of integers that orders the rows; a first column whose first value is an "
                 "integer is taken as one");
  fit.add_option("--keys", o.keys, "columns that tell series apart; windows never cross keys")
      ->delimiter(',')
      ->allow_extra_args(false);
  fit.add_option("--values", o.values, "columns to fit (default: all but time and keys)")
      ->delimiter(',')
      ->allow_extra_args(false);
  fit.add_flag("--interleaved", o.interleaved,
               "the rows of different keys alternate (sorted by time); keeps the look-back rows of every key "
               "in memory");
}

void add_plan_options(CLI::App& fit, FitOptions& o) {
  fit.add_option("--windows", o.windows, "such as 15,60 or agg=90 or l5d=5d:min_rows=3; see below");
  fit.add_option("--metrics", o.metrics,
                 "families and metrics, such as terms or r2_adj,coefficients.r2 (default: terms)");
  fit.add_option("--offset", o.offset,
                 "windows end this many rows before the row they stand on (default: the family's)")
      ->check(CLI::Range(std::int64_t{0}, fit::kMaxWindowRows));
  fit.add_option("--spec", o.spec,
                 "take windows, metrics, inputs, key, order and look-back from a feature-set specification");
  fit.add_option("--from", o.from, "rows before this time are look-back only and not written");
  fit.add_option("--to", o.to, "rows from this time on are not written");
  fit.add_option("--lookback", o.lookback,
                 "rows: windows reach back before --from; none: they start cold there (default: rows)")
      ->check(CLI::IsMember({"rows", "none"}));
  fit.add_option("--threads", o.threads,
                 "threads; the output is the same for any number (default: the cores available)")
      ->check(CLI::Range(1, 1024));
}

}  // namespace

void add_fit_command(CLI::App& app, Action& action) {
  CLI::App* const fit = app.add_subcommand("fit", "Compute features of a CSV file, without a database");
  const auto options = std::make_shared<FitOptions>();  // shared: lives as long as the callback
  add_table_options(*fit, *options);
  add_plan_options(*fit, *options);
  fit->footer(kFooter);
  fit->callback([&action, options] {
    action = [options] {
      try {
        return run_fit(*options);
      } catch (const UsageError& e) {
        std::fprintf(stderr, "regfeatd fit: %s\n", e.what());
        return kExitUsage;
      }
    };
  });
}

}  // namespace regfeatd::cli
