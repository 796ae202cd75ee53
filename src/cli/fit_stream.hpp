#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "csv_reader.hpp"
#include "fit_series.hpp"
#include "fit_table.hpp"
#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::cli {

/// How `fit_stream` cuts the input and spreads the work. None of it changes the output.
struct StreamOptions {
  int threads = 1;             ///< including the calling one
  BlockReader::Limits limits{.max_rows = 4096, .max_bytes = std::size_t{4} << 20};
};

/// Takes finished lines, in input order. False: nobody wants more, stop quietly.
using TextSink = std::function<bool(std::string_view text, std::uint64_t rows)>;

/// Reads blocks, fits them on all threads and hands the lines on in input order. Memory is bounded by
/// 2 * threads + 2 blocks with their look-back. A bad row ends it with a Fault that names file and line, after the lines
/// of all rows before it have been handed on, whatever the number of threads. `first`: a block read already.
void fit_stream(CsvBlock first, BlockReader& reader, const TableLayout& layout, const fit::Plan& plan,
                const SeriesTracker::Options& tracking, const StreamOptions& options, const TextSink& sink);

/// Block limits for a plan: blocks of a few MiB of output, longer where the look-back would otherwise dominate.
[[nodiscard]] BlockReader::Limits block_limits(const fit::Plan& plan, std::size_t inputs, bool interleaved);

}  // namespace regfeatd::cli
