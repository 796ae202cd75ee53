#include "regfeatd/fit/compact.hpp"

#include <algorithm>
#include <cassert>
#include <set>

#include "fit/geometry.hpp"
#include "fit/student.hpp"

namespace regfeatd::fit {
namespace {

using enum Part;

struct Need {
  std::vector<std::string_view> names;
  std::vector<Part> parts;
};

// By the definitions in docs/metrics.md, with c2 = a2/s^2, c1 = a1/s - 2 c2 m, c0 = b - c1 m - c2 m^2.
const std::vector<Need> kCoefficients{
    {{"a2", "curvature"}, {a2}},
    {{"a1"}, {a1}},
    {{"b"}, {b}},
    {{"r2", "fit_quality"}, {rss, tss}},
    {{"rmse", "residual_mean", "residual_std"}, {rss}},
    {{"prediction"}, {a2, a1, b}},
    {{"pred_interval_lower", "pred_interval_upper", "extrapolation_error"}, {a2, a1, b, rss}},
    {{"vertex_x"}, {a2, a1}},
    {{"vertex_y"}, {a2, a1, b}},
};
const std::vector<Need> kTerms{
    {{"quadratic_term"}, {a2}}, {{"linear_term"}, {a2, a1}}, {{"constant_term", "prediction"}, {a2, a1, b}},
    {{"residual"}, {residual}}, {{"r2"}, {rss, tss}},        {{"rmse"}, {rss}},
};
const std::vector<Need> kLegacyTerms{
    {{"a_coef", "a_term"}, {a2}},
    {{"b_coef", "b_term"}, {a2, a1}},
    {{"c_coef", "yhat_end"}, {a2, a1, b}},
    {{"r2"}, {rss, tss}},
    {{"rmse"}, {rss}},
    {{"resid_end"}, {residual}},
};
const std::vector<Need> kInference{
    {{"coef2"}, {a2}},
    {{"coef1", "slope_end"}, {a2, a1}},
    {{"coef0", "forecast"}, {a2, a1, b}},
    {{"se_coef2", "se_coef1", "se_coef0", "sigma"}, {rss}},
    {{"t_coef2"}, {a2, rss}},
    {{"t_coef1"}, {a2, a1, rss}},
    {{"p_coef2"}, {p_coef2}},
    {{"p_coef1"}, {p_coef1}},
    {{"r2_adj"}, {rss, tss}},
    {{"f_stat"}, {a2, a1, rss}},
    {{"pi_lower", "pi_upper", "forecast_lower", "forecast_upper"}, {a2, a1, b, rss, t_quantile}},
    {{"forecast_error"}, {residual}},
    {{"durbin_watson"}, {step_squares, rss}},
    {{"n_obs"}, {n_obs}},
};

std::vector<Part> find(const std::vector<Need>& needs, std::string_view name) {
  for (const Need& need : needs) {
    if (std::find(need.names.begin(), need.names.end(), name) != need.names.end()) return need.parts;
  }
  assert(false && "every metric has its needs");
  return {};
}

std::vector<Part> needs_of(Metric metric) {
  const MetricInfo& m = info(metric);
  switch (m.family) {
    case Family::coefficients:
      return find(kCoefficients, m.name);
    case Family::terms:
      return find(kTerms, m.name);
    case Family::legacy_terms:
      return find(kLegacyTerms, m.name);
    case Family::inference:
      return find(kInference, m.name);
    case Family::stored:
      break;
  }
  assert(false && "not a metric of the catalogue");
  return {};
}

std::optional<std::int64_t> common_offset(const Plan& plan, std::size_t window) {
  const std::int64_t first = plan.offset({window, plan.metrics.front()});
  for (const Metric m : plan.metrics) {
    if (plan.offset({window, m}) != first) return std::nullopt;
  }
  return first;
}

}  // namespace

Metric metric_of(Part part) { return metrics_of(Family::stored)[static_cast<std::size_t>(part)]; }

std::vector<Part> parts_of(const Window& window, Metric metric) {
  std::vector<Part> parts = needs_of(metric);
  if (window.kind == Window::Kind::range) {
    // Everything but the stored numbers themselves may depend on n.
    if (std::find(parts.begin(), parts.end(), n_obs) == parts.end()) parts.push_back(n_obs);
  } else {
    std::erase_if(parts, [](Part p) { return p == n_obs || p == t_quantile; });
    if (parts.empty()) parts.push_back(rss);  // n_obs: NULL where the window is incomplete, as everything is
  }
  return parts;
}

std::optional<std::string> compact_obstacle(const Plan& plan) {
  for (std::size_t w = 0; w < plan.windows.size(); ++w) {
    if (plan.windows[w].x == XAxis::time) {
      return "window " + plan.windows[w].label +
             " has x: time, whose metrics depend on the time of every row; store its metrics with storage: "
             "double or real";
    }
    if (!plan.metrics.empty() && !common_offset(plan, w)) {
      return "the metrics of legacy_terms end a row earlier than those of the other families; give window " +
             plan.windows[w].label + " an offset, or keep them in feature sets of their own";
    }
  }
  return std::nullopt;
}

Plan compact_plan(const Plan& plan) {
  Plan out;
  std::set<Part> parts;
  for (std::size_t w = 0; w < plan.windows.size(); ++w) {
    Window window = plan.windows[w];
    window.offset = common_offset(plan, w);
    out.windows.push_back(std::move(window));
    for (const Metric m : plan.metrics) {
      for (const Part p : parts_of(plan.windows[w], m)) parts.insert(p);
    }
  }
  for (const Part p : parts) out.metrics.push_back(metric_of(p));
  return out;
}

WindowConstants window_constants(std::int64_t rows) {
  std::optional<StudentT> student;
  if (rows > 3) student.emplace(static_cast<int>(rows - 3));
  const Geometry g = row_geometry(rows, student ? &*student : nullptr);
  WindowConstants c;
  c.n = g.n;
  c.m = (g.n - 1) / 2;
  c.s = g.s;
  c.z_end = c.m / g.s;
  c.z_next = (c.m + 1) / g.s;
  c.x_end = g.x_end;
  c.fitted1 = g.n1 / (g.lead1 * g.lead1 * g.s_squared);
  c.fitted2 = g.n2 / (g.lead2 * g.lead2 * g.s_squared * g.s_squared);
  c.se0 = g.se0;
  c.se1 = g.se1;
  c.se2 = g.se2;
  c.press = g.inv_press;
  c.end_halfwidth = g.end_halfwidth;
  c.next_halfwidth = g.next_halfwidth;
  return c;
}

}  // namespace regfeatd::fit
