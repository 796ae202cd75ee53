#include "regfeatd/fit/fitter.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "fit/aligned_buffer.hpp"
#include "fit/block_window.hpp"
#include "fit/geometry.hpp"
#include "fit/group.hpp"
#include "fit/kernel.hpp"
#include "fit/student.hpp"
#include "fit/time_fit.hpp"

namespace regfeatd::fit {
namespace {

constexpr double kNull = std::numeric_limits<double>::quiet_NaN();

/// Fits are handed from the kernel's first half (sums) to its second (metrics) in chunks that stay in the
/// first-level cache.
constexpr std::size_t kChunkRows = 256;
constexpr std::size_t kFitArrayCount = 7;

/// Geometries kept of windows by range, which have another number of rows at every row. Bounds memory, not
/// correctness.
constexpr std::size_t kMaxKeptGeometries = 4096;

/// The constants of a number of rows.
struct RowConstants {
  std::optional<StudentT> student;
  Geometry geometry;

  RowConstants(std::int64_t rows, bool with_student) {
    if (with_student && rows > 3) student.emplace(static_cast<int>(rows - 3));
    geometry = row_geometry(rows, student ? &*student : nullptr);
  }
};

/// The basis tables of a number of rows.
struct PairTables {
  std::int64_t rows = 0;
  std::vector<double> p1, p2;

  void set(std::int64_t n) {
    if (n == rows) return;
    rows = n;
    p1.resize(static_cast<std::size_t>(n / 2));
    p2.resize(p1.size());
    fill_pair_basis(n, p1, p2);
  }
  [[nodiscard]] PairBasis basis() const noexcept { return {static_cast<std::size_t>(rows), p1.data(), p2.data()}; }
};

/// What a window that is fitted as "n rows, x = 0 ... n-1" at every row needs.
struct RowWindow {
  RowConstants constants;
  PairTables tables;

  RowWindow(std::int64_t rows, bool with_student) : constants(rows, with_student) { tables.set(rows); }
};

bool is_row_window(const Window& w) { return w.kind == Window::Kind::rows && w.x == XAxis::row; }

}  // namespace

struct Fitter::Impl {
  Impl(Plan p, std::size_t rows);

  void fit(const Series& series, std::size_t first, std::size_t count, ColumnBlock& out, std::size_t out_row);

 private:
  void load(const Series& series, std::size_t first, std::size_t count);
  void fit_direct(const Group& group, const RowWindow& window, std::size_t count, ColumnBlock& out,
                  std::size_t out_row);
  void fit_blocks(const Group& group, const RowWindow& window, std::int64_t first_row_number, std::size_t count,
                  ColumnBlock& out, std::size_t out_row);
  void find_windows(const Group& group, const Series& series, std::size_t first, std::size_t count);
  void fit_irregular(const Group& group, const Series& series, std::size_t first, std::size_t count, ColumnBlock& out,
                     std::size_t out_row);
  std::size_t fit_run(const Group& group, const Series& series, std::size_t r, std::size_t count, ColumnBlock& out,
                      std::size_t out_row);
  void fit_time(const Group& group, const Series& series, std::size_t r, ColumnBlock& out, std::size_t out_row);
  void derive(const Group& group, const Geometry& geometry, const StudentT* student, const double* run,
              std::size_t rows, ColumnBlock& out, std::size_t out_row);
  const RowConstants& constants_of(std::int64_t rows, bool with_student);
  double* pair_scratch(std::int64_t rows);

  /// A window of a series: its first row and the number of its rows, 0 where there is no fit.
  struct Rows {
    std::size_t first;
    std::size_t count;
    double counted;  ///< rows of a window by range, fitted or not; NULL where one holds a bad value
  };

 public:
  Plan plan;
  std::size_t max_rows;

 private:
  const Kernel& kernel_;
  std::vector<Group> groups_;
  std::vector<std::optional<RowWindow>> row_windows_;  ///< by window of the plan
  std::size_t lookback_ = 0;                           ///< of the windows that read `y_`
  AlignedBuffer y_;    ///< rows first - lookback_ ... of the series; 0 where there is no good value
  AlignedBuffer run_;  ///< for each of them, the number of good rows in a row that end with it
  AlignedBuffer fits_, pairs_;
  FitArrays arrays_{};
  BlockMoments moments_;
  std::vector<Rows> windows_;
  std::vector<double> always_;  ///< a `run_` for windows known to be whole
  std::unordered_map<std::int64_t, RowConstants> kept_;
  PairTables range_tables_;
  TimeFitter time_fitter_;
};

Fitter::Impl::Impl(Plan p, std::size_t rows)
    : plan(std::move(p)),
      max_rows(rows),
      kernel_(active_kernel()),
      groups_(make_groups(plan)),
      row_windows_(plan.windows.size()) {
  bool needs_blocks = false;
  for (const Group& g : groups_) {
    const Window& w = plan.windows[g.window];
    if (!is_row_window(w)) continue;
    lookback_ = std::max(lookback_, static_cast<std::size_t>(w.rows - 1 + g.offset));
    needs_blocks |= w.rows >= kBlockMethodRows;
    if (!row_windows_[g.window] || g.needs_student) row_windows_[g.window].emplace(w.rows, g.needs_student);
    pair_scratch(w.rows < kBlockMethodRows ? w.rows : kMinWindowRows);
  }
  y_.reserve(lookback_ + max_rows);
  run_.reserve(lookback_ + max_rows);
  if (needs_blocks) moments_.reserve(max_rows);
  fits_.reserve(kFitArrayCount * kChunkRows);
  double* at = fits_.data();
  for (double** array :
       {&arrays_.anchor, &arrays_.g0, &arrays_.g1, &arrays_.g2, &arrays_.rss, &arrays_.sum_e, &arrays_.sum_de2}) {
    *array = at;
    at += kChunkRows;
  }
  always_.assign(kChunkRows, std::numeric_limits<double>::max());
}

double* Fitter::Impl::pair_scratch(std::int64_t rows) {
  pairs_.reserve(2 * static_cast<std::size_t>(rows / 2) * kernel_.scratch_lanes);
  return pairs_.data();
}

void Fitter::Impl::load(const Series& series, std::size_t first, std::size_t count) {
  const std::size_t missing = lookback_ > first ? lookback_ - first : 0;  // rows that the series does not have
  std::fill_n(y_.data(), missing, 0.0);
  std::fill_n(run_.data(), missing, 0.0);
  const double* values = series.values.data() + (first + missing - lookback_);
  double run = 0;
  for (std::size_t i = missing; i < lookback_ + count; ++i) {
    const double v = values[i - missing];
    const bool good = std::isfinite(v);
    run = good ? run + 1 : 0;
    y_.data()[i] = good ? v : 0.0;
    run_.data()[i] = run;
  }
}

void Fitter::Impl::fit(const Series& series, std::size_t first, std::size_t count, ColumnBlock& out,
                       std::size_t out_row) {
  assert(series.order.size() == series.values.size() && first + count <= series.values.size());
  assert(count <= max_rows && out_row + count <= out.max_rows() && out.columns() == plan.column_count());
  load(series, first, count);
  for (const Group& group : groups_) {
    const auto& window = row_windows_[group.window];
    if (!window) {
      fit_irregular(group, series, first, count, out, out_row);
    } else if (plan.windows[group.window].rows >= kBlockMethodRows) {
      fit_blocks(group, *window, series.first_row_number + static_cast<std::int64_t>(first), count, out, out_row);
    } else {
      fit_direct(group, *window, count, out, out_row);
    }
  }
}

void Fitter::Impl::derive(const Group& group, const Geometry& geometry, const StudentT* student, const double* run,
                          std::size_t rows, ColumnBlock& out, std::size_t out_row) {
  for (const auto& family : group.families) {
    double* columns[kMaxFamilySize];
    for (std::size_t k = 0; k < kMaxFamilySize; ++k)
      columns[k] = family.columns[k] == kNoColumn ? nullptr : out.column(family.columns[k]).data() + out_row;
    kernel_.derive[static_cast<std::size_t>(family.family)](geometry, arrays_, run, rows, columns);
  }
  for (const std::size_t c : group.p_columns) {
    double* p = out.column(c).data() + out_row;
    for (std::size_t r = 0; r < rows; ++r)
      if (!std::isnan(p[r])) p[r] = student->two_sided_p(p[r]);
  }
}

void Fitter::Impl::fit_direct(const Group& group, const RowWindow& window, std::size_t count, ColumnBlock& out,
                              std::size_t out_row) {
  const auto n = static_cast<std::size_t>(window.tables.rows);
  const std::size_t end =
      lookback_ - static_cast<std::size_t>(group.offset);  // where in y_ the first row's window ends
  const StudentT* student = window.constants.student ? &*window.constants.student : nullptr;
  for (std::size_t r = 0; r < count; r += kChunkRows) {
    const std::size_t rows = std::min(kChunkRows, count - r);
    kernel_.direct(window.tables.basis(), window.constants.geometry, y_.data() + (end + r - (n - 1)), rows, group.wants,
                   pairs_.data(), arrays_);
    derive(group, window.constants.geometry, student, run_.data() + end + r, rows, out, out_row + r);
  }
}

void Fitter::Impl::fit_blocks(const Group& group, const RowWindow& window, std::int64_t first_row_number,
                              std::size_t count, ColumnBlock& out, std::size_t out_row) {
  const std::int64_t n = window.tables.rows;
  const std::size_t end = lookback_ - static_cast<std::size_t>(group.offset);
  const StudentT* student = window.constants.student ? &*window.constants.student : nullptr;
  for (std::size_t r = 0; r < count;) {
    const std::int64_t row_number = first_row_number - group.offset + static_cast<std::int64_t>(r);
    const BlockSegment segment(row_number, n, count - r);
    moments_.compute(kernel_, y_.data() + end + r, segment);
    for (std::size_t done = 0; done < segment.rows; done += kChunkRows) {
      const std::size_t rows = std::min(kChunkRows, segment.rows - done);
      kernel_.block(moments_.fit(window.tables.basis(), y_.data() + end + r, segment, done, rows),
                    window.constants.geometry, group.wants, arrays_);
      derive(group, window.constants.geometry, student, run_.data() + end + r + done, rows, out, out_row + r + done);
    }
    r += segment.rows;
  }
}

/// Finds the rows of each row's window, for windows by range and for x: time.
void Fitter::Impl::find_windows(const Group& group, const Series& series, std::size_t first, std::size_t count) {
  const Window& w = plan.windows[group.window];
  windows_.assign(count, {0, 0, 0});
  std::size_t start = 0;         // first row of the window; only ever moves forward
  std::size_t first_unread = 0;  // rows before it were looked at for bad values
  std::size_t after_bad = 0;     // one past the last bad row among them
  const auto in_range = [&](std::size_t row, std::size_t last) {
    return static_cast<std::uint64_t>(series.order[last]) - static_cast<std::uint64_t>(series.order[row]) <
           static_cast<std::uint64_t>(w.range);
  };
  bool positioned = false;
  for (std::size_t r = 0; r < count; ++r) {
    if (first + r < static_cast<std::size_t>(group.offset)) continue;
    const std::size_t last = first + r - static_cast<std::size_t>(group.offset);
    if (w.kind == Window::Kind::rows) {
      if (last + 1 < static_cast<std::size_t>(w.rows)) continue;
      start = last + 1 - static_cast<std::size_t>(w.rows);
    } else {
      if (!positioned) {  // by bisection, so that a short call in a long series stays short
        const auto begin = series.order.begin();
        start = static_cast<std::size_t>(
            std::partition_point(
                begin, begin + static_cast<std::ptrdiff_t>(last),
                [&](const OrderValue& t) { return !in_range(static_cast<std::size_t>(&t - &*begin), last); }) -
            begin);
      }
      while (!in_range(start, last)) ++start;
    }
    if (!positioned) first_unread = after_bad = start;
    positioned = true;
    for (; first_unread <= last; ++first_unread)
      if (!std::isfinite(series.values[first_unread])) after_bad = first_unread + 1;
    const std::size_t rows = last - start + 1;
    const bool good = after_bad <= start;
    const bool enough =
        w.kind == Window::Kind::rows || rows >= static_cast<std::size_t>(std::max(w.min_rows, kMinWindowRows));
    windows_[r] = {start, good && enough ? rows : 0, good ? static_cast<double>(rows) : kNull};
  }
}

void Fitter::Impl::fit_irregular(const Group& group, const Series& series, std::size_t first, std::size_t count,
                                 ColumnBlock& out, std::size_t out_row) {
  find_windows(group, series, first, count);
  const bool by_time = plan.windows[group.window].x == XAxis::time;
  for (std::size_t r = 0; r < count;) {
    if (windows_[r].count == 0) {
      for (const std::size_t c : group.all_columns) out.column(c)[out_row + r] = kNull;
      ++r;
    } else if (by_time) {
      fit_time(group, series, r, out, out_row);
      ++r;
    } else {
      r += fit_run(group, series, r, count, out, out_row);
    }
  }
  for (const std::size_t c : group.count_columns)
    for (std::size_t r = 0; r < count; ++r) out.column(c)[out_row + r] = windows_[r].counted;
}

/// Fits row r and those after it whose windows have as many rows, all at once; returns how many these were.
std::size_t Fitter::Impl::fit_run(const Group& group, const Series& series, std::size_t r, std::size_t count,
                                  ColumnBlock& out, std::size_t out_row) {
  const Rows window = windows_[r];
  std::size_t rows = 1;
  while (rows < kChunkRows && r + rows < count && windows_[r + rows].count == window.count &&
         windows_[r + rows].first == window.first + rows)
    ++rows;
  const auto n = static_cast<std::int64_t>(window.count);
  const RowConstants& constants = constants_of(n, group.needs_student);
  range_tables_.set(n);
  kernel_.direct(range_tables_.basis(), constants.geometry, series.values.data() + window.first, rows, group.wants,
                 pair_scratch(n), arrays_);
  derive(group, constants.geometry, constants.student ? &*constants.student : nullptr, always_.data(), rows, out,
         out_row + r);
  return rows;
}

void Fitter::Impl::fit_time(const Group& group, const Series& series, std::size_t r, ColumnBlock& out,
                            std::size_t out_row) {
  const Rows window = windows_[r];
  Geometry geometry;
  const SingleFit f =
      time_fitter_.fit(series.order.subspan(window.first, window.count),
                       series.values.subspan(window.first, window.count), plan.windows[group.window].x_unit, geometry);
  const StudentT* student = nullptr;
  if (group.needs_student) {
    const RowConstants& constants = constants_of(static_cast<std::int64_t>(window.count), true);
    if (constants.student) student = &*constants.student;
  }
  complete_geometry(geometry, student);
  *arrays_.anchor = f.anchor;
  *arrays_.g0 = f.g0;
  *arrays_.g1 = f.g1;
  *arrays_.g2 = f.g2;
  *arrays_.rss = f.rss;
  *arrays_.sum_e = f.sum_e;
  *arrays_.sum_de2 = f.sum_de2;
  derive(group, geometry, student, always_.data(), 1, out, out_row + r);
}

const RowConstants& Fitter::Impl::constants_of(std::int64_t rows, bool with_student) {
  const std::int64_t key = 2 * rows + (with_student ? 1 : 0);
  if (const auto found = kept_.find(key); found != kept_.end()) return found->second;
  if (kept_.size() >= kMaxKeptGeometries) kept_.clear();
  return kept_.try_emplace(key, rows, with_student).first->second;
}

Fitter::Fitter(Plan plan, std::size_t max_rows) {
  check_plan(plan);
  if (max_rows == 0) throw std::invalid_argument("max_rows must be positive");
  impl_ = std::make_unique<Impl>(std::move(plan), max_rows);
}
Fitter::~Fitter() = default;
Fitter::Fitter(Fitter&&) noexcept = default;
Fitter& Fitter::operator=(Fitter&&) noexcept = default;

const Plan& Fitter::plan() const noexcept { return impl_->plan; }

void Fitter::fit(const Series& series, std::size_t first, std::size_t count, ColumnBlock& out, std::size_t out_row) {
  impl_->fit(series, first, count, out, out_row);
}

}  // namespace regfeatd::fit
