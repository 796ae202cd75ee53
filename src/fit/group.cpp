#include "fit/group.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <string>

namespace regfeatd::fit {
namespace {

[[noreturn]] void reject(const Window& w, const std::string& why) {
  throw std::invalid_argument("window " + w.label + ": " + why);
}

void check_window(const Window& w) {
  if (w.kind == Window::Kind::rows && (w.rows < kMinWindowRows || w.rows > kMaxWindowRows))
    reject(w, "rows must lie between 3 and 100000");
  if (w.kind == Window::Kind::range && w.range <= 0) reject(w, "range must be positive");
  if (w.kind == Window::Kind::range && w.min_rows < 1) reject(w, "min_rows must be at least 1");
  if (w.offset && (*w.offset < 0 || *w.offset > kMaxWindowRows)) reject(w, "offset must lie between 0 and 100000");
  if (w.x == XAxis::time && !(std::isfinite(w.x_unit) && w.x_unit > 0)) reject(w, "x_unit must be positive and finite");
}

std::size_t position_in_family(Metric m) {
  const auto members = metrics_of(info(m).family);
  return static_cast<std::size_t>(std::find(members.begin(), members.end(), m) - members.begin());
}

Group& group_for(std::vector<Group>& groups, std::size_t window, std::int64_t offset) {
  for (Group& g : groups)
    if (g.window == window && g.offset == offset) return g;
  Group added;
  added.window = window;
  added.offset = offset;
  return groups.emplace_back(std::move(added));
}

Group::FamilyColumns& family_in(Group& group, Family family) {
  for (auto& f : group.families)
    if (f.family == family) return f;
  auto& added = group.families.emplace_back();
  added.family = family;
  added.columns.fill(kNoColumn);
  return added;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void note_needs(Group& group, Metric m, std::size_t column) {
  const std::string_view name = info(m).name;
  if (info(m).family == Family::coefficients) {
    group.wants.sum_e |= is_one_of(
        name, {"residual_mean", "residual_std", "pred_interval_lower", "pred_interval_upper", "extrapolation_error"});
  } else if (info(m).family == Family::inference) {
    const bool is_p = is_one_of(name, {"p_coef2", "p_coef1"});
    if (is_p) group.p_columns.push_back(column);
    group.needs_student |= is_p || is_one_of(name, {"pi_lower", "pi_upper", "forecast_lower", "forecast_upper"});
    group.wants.sum_de2 |= name == "durbin_watson";
  } else if (info(m).family == Family::stored) {
    const bool is_p = is_one_of(name, {"p_coef2", "p_coef1"});
    if (is_p) group.p_columns.push_back(column);
    group.needs_student |= is_p || name == "t_quantile";
    group.wants.sum_de2 |= name == "step_squares";
  }
}

}  // namespace

void check_plan(const Plan& plan) {
  if (plan.windows.empty()) throw std::invalid_argument("a plan needs at least one window");
  if (plan.metrics.empty()) throw std::invalid_argument("a plan needs at least one metric");
  for (const Window& w : plan.windows) check_window(w);
  for (const Metric m : plan.metrics)
    if (!exists(m)) throw std::invalid_argument("no such metric");
  if (std::set<Metric>(plan.metrics.begin(), plan.metrics.end()).size() != plan.metrics.size())
    throw std::invalid_argument("a metric is named twice in a plan");
}

std::vector<Group> make_groups(const Plan& plan) {
  std::vector<Group> groups;
  for (std::size_t c = 0; c < plan.column_count(); ++c) {
    const Column column = plan.column(c);
    Group& group = group_for(groups, column.window, plan.offset(column));
    family_in(group, info(column.metric).family).columns[position_in_family(column.metric)] = c;
    group.all_columns.push_back(c);
    if (plan.windows[column.window].kind == Window::Kind::range && counts_rows(column.metric))
      group.count_columns.push_back(c);
    note_needs(group, column.metric, c);
  }
  return groups;
}

}  // namespace regfeatd::fit
