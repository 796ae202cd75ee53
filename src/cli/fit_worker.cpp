#include "fit_worker.hpp"

#include <cassert>
#include <cstring>

namespace regfeatd::cli {

FitWorker::FitWorker(const TableLayout& layout, const fit::Plan& plan, std::size_t max_rows)
    : layout_(layout), fitter_(plan, max_rows) {
  for (std::size_t i = 0; i < layout.value_columns.size(); ++i) results_.emplace_back(plan.column_count(), max_rows);
}

void FitWorker::run(const TableRows& rows, const FitJob& job, TextBuffer& out) {
  fit(job);
  out.clear();
  for (std::size_t r = 0; r < job.out_row.size(); ++r) {
    if (job.out_row[r] != FitJob::kNotWritten) write_row(rows, r, job.out_row[r], out);
  }
}

void FitWorker::fit(const FitJob& job) {
  for (const SeriesPiece& piece : job.pieces) {
    const std::size_t size = piece.lookback + piece.count;
    for (std::size_t i = 0; i < results_.size(); ++i) {
      assert(piece.out_row + piece.count <= results_[i].max_rows());
      const fit::Series series{.order = std::span(job.order).subspan(piece.begin, size),
                               .values = std::span(job.values[i]).subspan(piece.begin, size),
                               .first_row_number = piece.first_row_number};
      fitter_.fit(series, piece.lookback, piece.count, results_[i], piece.out_row);
    }
  }
}

void FitWorker::write_row(const TableRows& rows, std::size_t row, std::size_t out_row, TextBuffer& out) const {
  const std::size_t passed = layout_.passed_columns();
  const std::size_t numbers = results_.size() * fitter_.plan().column_count();
  std::size_t needed = numbers * kMaxNumberChars + passed + 1;
  for (std::size_t c = 0; c < passed; ++c) needed += rows.passed[row * passed + c].size();

  char* to = out.reserve(needed);
  for (std::size_t c = 0; c < passed; ++c) {
    const std::string_view text = rows.passed[row * passed + c];
    if (c > 0) *to++ = ',';
    std::memcpy(to, text.data(), text.size());
    to += text.size();
  }
  for (const fit::ColumnBlock& result : results_) {
    const double* value = result.column(0).data() + out_row;
    for (std::size_t c = 0; c < result.columns(); ++c, value += result.stride()) {
      *to++ = ',';
      to = write_number(to, *value);
    }
  }
  *to++ = '\n';
  out.commit(to);
}

}  // namespace regfeatd::cli
