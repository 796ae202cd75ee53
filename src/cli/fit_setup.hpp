#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "csv_reader.hpp"
#include "fit_series.hpp"
#include "fit_table.hpp"
#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::cli {

/// The command line of `regfeatd fit`; empty means not given.
struct FitOptions {
  std::string input = "-";
  std::string output;
  std::string time, sequence;
  std::vector<std::string> keys, values;
  std::string windows, metrics;
  std::optional<std::int64_t> offset;
  std::string spec;
  std::string lookback;
  std::string from, to;
  bool interleaved = false;
  int threads = 0;  ///< 0: the cores this process may use
};

/// The command line, the specification and the header of the input brought together.
struct FitSetup {
  TableLayout layout;
  fit::Plan plan;
  SeriesTracker::Options tracking;
};

/// What can be said before any input is read. Throws UsageError.
void check_options(const FitOptions& options);

/// `first_row`: the first record after the header, from which the kind of an unnamed first column is told;
/// empty when the input has no rows. Throws UsageError.
[[nodiscard]] FitSetup set_up_fit(const FitOptions& options, const std::optional<spec::FeatureSet>& feature_set,
                                  const std::string& file, const std::vector<Field>& header,
                                  const std::vector<Field>& first_row);

/// The header line of the output, with its line end. Throws UsageError when two columns would have the same
/// name.
[[nodiscard]] std::string output_header(const FitSetup& setup, const std::vector<Field>& header);

}  // namespace regfeatd::cli
