#include "regfeatd/fit/fitter.hpp"

#include <cassert>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "regfeatd/fit/oracle.hpp"

namespace regfeatd::fit {
namespace {

[[noreturn]] void reject(const Window& w, const std::string& why) {
  throw std::invalid_argument("window " + w.label + ": " + why);
}

void check_window(const Window& w) {
  if (w.kind == Window::Kind::rows && (w.rows < kMinWindowRows || w.rows > kMaxWindowRows))
    reject(w, "rows must lie between 3 and 100000");
  if (w.kind == Window::Kind::range && w.range <= 0) reject(w, "range must be positive");
  if (w.kind == Window::Kind::range && w.min_rows < kMinWindowRows) reject(w, "min_rows must be at least 3");
  if (w.offset && (*w.offset < 0 || *w.offset > kMaxWindowRows)) reject(w, "offset must lie between 0 and 100000");
  if (w.x == XAxis::time && !(std::isfinite(w.x_unit) && w.x_unit > 0)) reject(w, "x_unit must be positive and finite");
}

void check_plan(const Plan& plan) {
  if (plan.windows.empty()) throw std::invalid_argument("a plan needs at least one window");
  if (plan.metrics.empty()) throw std::invalid_argument("a plan needs at least one metric");
  for (const Window& w : plan.windows) check_window(w);
  for (const Metric m : plan.metrics)
    if (static_cast<std::size_t>(m) >= catalogue().size()) throw std::invalid_argument("no such metric");
}

}  // namespace

struct Fitter::Impl {
  Plan plan;
  std::size_t max_rows;
  std::vector<double> row;
};

Fitter::Fitter(Plan plan, std::size_t max_rows) {
  check_plan(plan);
  if (max_rows == 0) throw std::invalid_argument("max_rows must be positive");
  const std::size_t columns = plan.column_count();
  impl_ = std::make_unique<Impl>(Impl{std::move(plan), max_rows, std::vector<double>(columns)});
}
Fitter::~Fitter() = default;
Fitter::Fitter(Fitter&&) noexcept = default;
Fitter& Fitter::operator=(Fitter&&) noexcept = default;

const Plan& Fitter::plan() const noexcept { return impl_->plan; }

void Fitter::fit(const Series& series, std::size_t first, std::size_t count, ColumnBlock& out, std::size_t out_row) {
  assert(series.order.size() == series.values.size() && first + count <= series.values.size());
  assert(count <= impl_->max_rows && out_row + count <= out.max_rows() && out.columns() == plan().column_count());
  for (std::size_t r = 0; r < count; ++r) {
    oracle_row(plan(), series, first + r, impl_->row);
    for (std::size_t c = 0; c < impl_->row.size(); ++c) out.column(c)[out_row + r] = impl_->row[c];
  }
}

std::string_view kernel_name() { return "baseline"; }

}  // namespace regfeatd::fit
