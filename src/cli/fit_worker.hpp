#pragma once

#include <cstddef>
#include <vector>

#include "csv_writer.hpp"
#include "fit_series.hpp"
#include "fit_table.hpp"
#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::cli {

/// Turns a job into lines of CSV. One per thread: it owns the scratch memory of the fits.
class FitWorker {
 public:
  /// `max_rows`: the most rows of one block. `layout` must outlive the worker.
  FitWorker(const TableLayout& layout, const fit::Plan& plan, std::size_t max_rows);

  /// Replaces `out` with one line for each row of the block that is written; `rows` are those the job was made from.
  void run(const TableRows& rows, const FitJob& job, TextBuffer& out);

 private:
  void fit(const FitJob& job);
  void write_row(const TableRows& rows, std::size_t row, std::size_t out_row, TextBuffer& out) const;

  const TableLayout& layout_;
  fit::Fitter fitter_;
  std::vector<fit::ColumnBlock> results_;  ///< by input
};

}  // namespace regfeatd::cli
