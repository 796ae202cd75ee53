#include "regfeatd/populate/compact_view.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "regfeatd/fit/compact.hpp"
#include "regfeatd/pg/catalog.hpp"
#include "regfeatd/pg/names.hpp"

namespace regfeatd::populate {
namespace {

using fit::Part;

/// What the derivations are written with: columns, and constants of the window, which are numbers for windows
/// by rows and expressions in n for windows by range.
struct Terms {
  std::string a2, a1, b, rss, tss, residual, step_squares, p_coef2, p_coef1;
  std::string n, m, s, z_end, z_next, x_end, df, fitted1, fitted2, se0, se1, se2, press, end_halfwidth, next_halfwidth;
  std::string one;        ///< 1 where the window is whole, NULL elsewhere
  bool four_rows = true;  ///< the window has at least 4 rows; by range: asked row by row
};

std::string number(double v) { return fmt::format("'{}'::float8", v); }

Terms column_terms(const std::vector<std::string>& columns) {
  const auto at = [&](Part p) {
    const std::string& name = columns.at(static_cast<std::size_t>(p));
    return name.empty() ? std::string() : pg::quote_identifier(name) + "::float8";
  };
  Terms t;
  t.a2 = at(Part::a2);
  t.a1 = at(Part::a1);
  t.b = at(Part::b);
  t.rss = at(Part::rss);
  t.tss = at(Part::tss);
  t.residual = at(Part::residual);
  t.step_squares = at(Part::step_squares);
  t.p_coef2 = at(Part::p_coef2);
  t.p_coef1 = at(Part::p_coef1);
  return t;
}

void add_row_constants(Terms& t, std::int64_t rows) {
  const fit::WindowConstants c = fit::window_constants(rows);
  t.n = number(c.n);
  t.m = number(c.m);
  t.s = number(c.s);
  t.z_end = number(c.z_end);
  t.z_next = number(c.z_next);
  t.x_end = number(c.x_end);
  t.df = number(c.n - 3);
  t.fitted1 = number(c.fitted1);
  t.fitted2 = number(c.fitted2);
  t.se0 = number(c.se0);
  t.se1 = number(c.se1);
  t.se2 = number(c.se2);
  t.press = number(c.press);
  t.end_halfwidth = number(c.end_halfwidth);
  t.next_halfwidth = number(c.next_halfwidth);
  t.one = t.rss.empty() ? "" : fmt::format("({} * 0 + 1)", t.rss);
  t.four_rows = rows > 3;
}

/// The closed forms of docs/metrics.md, in the stored number of rows.
void add_range_constants(Terms& t, const std::string& n_column, const std::string& quantile_column) {
  const std::string n = pg::quote_identifier(n_column) + "::float8";
  t.n = n;
  t.m = fmt::format("(({} - 1) / 2)", n);
  t.s = fmt::format("(sqrt(({0} * {0} - 1) / 12) + 1e-10)", n);
  t.z_end = fmt::format("({} / {})", t.m, t.s);
  t.z_next = fmt::format("(({} + 1) / {})", t.m, t.s);
  t.x_end = fmt::format("({} - 1)", n);
  t.df = fmt::format("nullif({} - 3, 0)", n);
  t.fitted1 = fmt::format("({0} * ({0} * {0} - 1) / (12 * {1} ^ 2))", n, t.s);
  t.fitted2 = fmt::format("({0} * ({0} * {0} - 1) * ({0} * {0} - 4) / (180 * {1} ^ 4))", n, t.s);
  const std::string h_end = fmt::format("(3 * (3 * {0} * {0} - 3 * {0} + 2) / ({0} * ({0} + 1) * ({0} + 2)))", n);
  const std::string h_next = fmt::format("(3 * (3 * {0} * {0} + 3 * {0} + 2) / ({0} * ({0} - 1) * ({0} - 2)))", n);
  t.se0 = fmt::format("sqrt({})", h_end);
  t.se1 = fmt::format(
      "sqrt(12 / ({0} * ({0} * {0} - 1)) + 180 * ({0} - 1) ^ 2 / ({0} * ({0} * {0} - 1) * ({0} * {0} - 4)))", n);
  t.se2 = fmt::format("sqrt(180 / ({0} * ({0} * {0} - 1) * ({0} * {0} - 4)))", n);
  t.press = fmt::format("(1 / (1 - {}))", h_end);
  if (!quantile_column.empty()) {
    const std::string q = pg::quote_identifier(quantile_column) + "::float8";
    t.end_halfwidth = fmt::format("({} * sqrt(1 + {}))", q, h_end);
    t.next_halfwidth = fmt::format("({} * sqrt(1 + {}))", q, h_next);
  }
}

std::string c2(const Terms& t) { return fmt::format("({} / ({} * {}))", t.a2, t.s, t.s); }
std::string c1(const Terms& t) { return fmt::format("({} / {} - 2 * {} * {})", t.a1, t.s, c2(t), t.m); }
std::string c0(const Terms& t) {
  return fmt::format("({} - {} / {} * {} + {} * {} * {})", t.b, t.a1, t.s, t.m, c2(t), t.m, t.m);
}
std::string fitted(const Terms& t, const std::string& z) {
  return fmt::format("({} + ({} + {} * {}) * {})", t.b, t.a1, t.a2, z, z);
}
std::string sigma(const Terms& t) { return fmt::format("sqrt({} / {})", t.rss, t.df); }
std::string spread(const Terms& t) { return fmt::format("sqrt({} / {})", t.rss, t.n); }
std::string r2(const Terms& t) { return fmt::format("(1 - {} / ({} + 1e-10))", t.rss, t.tss); }

std::string coefficients(std::string_view name, const Terms& t) {
  const auto vertex = [&] { return fmt::format("(-{} / nullif(2 * {} + 1e-10, 0))", t.a1, t.a2); };
  const auto end = [&] { return fitted(t, t.z_end); };
  if (name == "a2") return t.a2;
  if (name == "a1") return t.a1;
  if (name == "b") return t.b;
  if (name == "r2") return r2(t);
  if (name == "rmse" || name == "residual_std") return spread(t);
  if (name == "residual_mean") return fmt::format("({} * 0)", t.rss);
  if (name == "prediction") return end();
  if (name == "pred_interval_lower") return fmt::format("({} - 1.96 * {})", end(), spread(t));
  if (name == "pred_interval_upper") return fmt::format("({} + 1.96 * {})", end(), spread(t));
  if (name == "vertex_x") return vertex();
  if (name == "vertex_y") return fmt::format("(({0} * {1} + {2}) * {1} + {3})", t.a2, vertex(), t.a1, t.b);
  if (name == "curvature") return fmt::format("abs({})", t.a2);
  // least and greatest pass over NULL.
  if (name == "fit_quality")
    return fmt::format("CASE WHEN {} IS NOT NULL THEN greatest(0, least(1, {})) END", t.rss, r2(t));
  return fmt::format("({} / (abs({}) + 1e-10))", spread(t), end());  // extrapolation_error
}

std::string terms(std::string_view name, const Terms& t) {
  if (name == "quadratic_term") return fmt::format("({} * {} * {})", c2(t), t.x_end, t.x_end);
  if (name == "linear_term") return fmt::format("({} * {})", c1(t), t.x_end);
  if (name == "constant_term") return c0(t);
  if (name == "prediction") return fitted(t, t.z_end);
  if (name == "residual") return t.residual;
  if (name == "r2") return r2(t);
  return spread(t);  // rmse
}

std::string legacy_terms(std::string_view name, const Terms& t) {
  if (name == "a_coef") return c2(t);
  if (name == "b_coef") return c1(t);
  if (name == "c_coef") return c0(t);
  if (name == "a_term") return fmt::format("({} * {} * {})", c2(t), t.x_end, t.x_end);
  if (name == "b_term") return fmt::format("({} * {})", c1(t), t.x_end);
  if (name == "r2") return fmt::format("CASE WHEN {0} = 0 THEN 0 ELSE 1 - {1} / nullif({0}, 0) END", t.tss, t.rss);
  if (name == "rmse") return spread(t);
  if (name == "yhat_end") return fitted(t, t.z_end);
  return t.residual;  // resid_end
}

/// Those that do not divide by n - 3.
std::string inference_of_three(std::string_view name, const Terms& t) {
  if (name == "coef2") return c2(t);
  if (name == "coef1") return c1(t);
  if (name == "coef0") return c0(t);
  if (name == "slope_end") return fmt::format("(({} + 2 * {} * {}) / {})", t.a1, t.a2, t.z_end, t.s);
  if (name == "forecast") return fitted(t, t.z_next);
  if (name == "durbin_watson") return fmt::format("({} / nullif({}, 0))", t.step_squares, t.rss);
  return fmt::format("({} * {})", t.one, t.n);  // n_obs
}

std::string inference_of_four(std::string_view name, const Terms& t) {
  const auto interval = [&](const std::string& z, char sign, const std::string& halfwidth) {
    return fmt::format("({} {} {} * {})", fitted(t, z), sign, halfwidth, sigma(t));
  };
  if (name == "se_coef2") return fmt::format("({} * {})", sigma(t), t.se2);
  if (name == "se_coef1") return fmt::format("({} * {})", sigma(t), t.se1);
  if (name == "se_coef0") return fmt::format("({} * {})", sigma(t), t.se0);
  if (name == "t_coef2") return fmt::format("({} / nullif({} * {}, 0))", c2(t), sigma(t), t.se2);
  if (name == "t_coef1") return fmt::format("({} / nullif({} * {}, 0))", c1(t), sigma(t), t.se1);
  if (name == "p_coef2") return t.p_coef2;
  if (name == "p_coef1") return t.p_coef1;
  if (name == "sigma") return sigma(t);
  if (name == "r2_adj") return fmt::format("(1 - ({} / {}) * ({} - 1) / nullif({}, 0))", t.rss, t.df, t.n, t.tss);
  if (name == "f_stat") {
    return fmt::format("(({0} * {1} * {1} + {2} * {3} * {3}) / 2 / nullif({4} / {5}, 0))", t.fitted1, t.a1, t.fitted2,
                       t.a2, t.rss, t.df);
  }
  if (name == "pi_lower") return interval(t.z_end, '-', t.end_halfwidth);
  if (name == "pi_upper") return interval(t.z_end, '+', t.end_halfwidth);
  if (name == "forecast_lower") return interval(t.z_next, '-', t.next_halfwidth);
  if (name == "forecast_upper") return interval(t.z_next, '+', t.next_halfwidth);
  return fmt::format("({} * {})", t.residual, t.press);  // forecast_error
}

std::string derivation(fit::Metric metric, const Terms& t) {
  const fit::MetricInfo& info = fit::info(metric);
  switch (info.family) {
    case fit::Family::coefficients:
      return coefficients(info.name, t);
    case fit::Family::terms:
      return terms(info.name, t);
    case fit::Family::legacy_terms:
      return legacy_terms(info.name, t);
    default:
      break;
  }
  if (info.min_rows == 3) return inference_of_three(info.name, t);
  return t.four_rows ? inference_of_four(info.name, t) : "NULL::float8";
}

/// The names of a window's stored columns by part; empty where the plan does not keep it.
std::vector<std::string> columns_of_window(const fit::Plan& stored, const std::vector<std::string>& names,
                                           std::size_t input, std::size_t window) {
  std::vector<std::string> out(fit::metrics_of(fit::Family::stored).size());
  const auto first = static_cast<std::size_t>(fit::metric_of(Part::a2));
  for (std::size_t m = 0; m < stored.metrics.size(); ++m) {
    out[static_cast<std::size_t>(stored.metrics[m]) - first] =
        names[input * stored.column_count() + window * stored.metrics.size() + m];
  }
  return out;
}

/// Marks a view as ours, with a fingerprint of its definition.
std::string comment_of(const spec::FeatureSet& fs, const std::string& select) {
  std::uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const char c : select) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return fmt::format("Features of feature set {}, derived from the numbers that regfeatd keeps. Definition {:016x}.",
                     fs.name, hash);
}

}  // namespace

std::string compact_expression(const fit::Window& window, fit::Metric metric,
                               const std::vector<std::string>& column_of_part) {
  Terms t = column_terms(column_of_part);
  if (window.kind == fit::Window::Kind::rows) {
    add_row_constants(t, window.rows);
    return derivation(metric, t);
  }
  add_range_constants(t, column_of_part.at(static_cast<std::size_t>(Part::n_obs)),
                      column_of_part.at(static_cast<std::size_t>(Part::t_quantile)));
  if (fit::counts_rows(metric)) return t.n;
  // With fewer rows there is no fit, and the constants would divide by 0.
  return fmt::format("CASE WHEN {} >= {} THEN {} END", t.n, std::max(window.min_rows, fit::info(metric).min_rows),
                     derivation(metric, t));
}

std::string compact_select(const spec::FeatureSet& fs, const spec::Target& target, const std::string& series) {
  const fit::Plan plan = fs.plan();
  const fit::Plan stored = fit::compact_plan(plan);
  const auto stored_names = spec::written_columns(fs, target);
  const auto names = spec::target_columns(fs, target);
  std::string out = "SELECT " + pg::quote_identifier(target.order_column);
  for (const std::string& key : fs.key) out += ", " + pg::quote_identifier(key);
  for (std::size_t i = 0; i < target.inputs.size(); ++i) {
    for (std::size_t c = 0; c < plan.column_count(); ++c) {
      const fit::Column column = plan.column(c);
      const auto parts = columns_of_window(stored, stored_names, i, column.window);
      out += fmt::format(",\n       {} AS {}", compact_expression(plan.windows[column.window], column.metric, parts),
                         pg::quote_identifier(names[i * plan.column_count() + c]));
    }
  }
  return out + "\n  FROM " + pg::TableName::parse(spec::written_table(fs, target, series)).quoted();
}

std::vector<std::string> compact_view_ddl(pqxx::transaction_base& tx, const spec::FeatureSet& fs,
                                          const spec::Target& target, const std::string& series,
                                          std::vector<std::string>& findings) {
  const pg::TableName name = pg::TableName::parse(spec::target_table(target, series));
  const std::string select = compact_select(fs, target, series);
  const std::string comment = comment_of(fs, select);
  std::vector<std::string> ddl{fmt::format("CREATE VIEW {} AS\n{}", name.quoted(), select),
                               fmt::format("COMMENT ON VIEW {} IS {}", name.quoted(), pg::quote_literal(comment))};
  const auto existing = pg::find_table(tx, name);
  if (!existing) return ddl;
  if (existing->kind != 'v') {
    findings.push_back(
        fmt::format("target {}: it is a table, and storage: compact makes a view of that name: rename or "
                    "drop the table (its rows can be computed again), "
                    "or give the target another name",
                    name.text()));
    return {};
  }
  if (tx.exec_params("SELECT FROM regfeat.target WHERE target = $1::bigint::oid AND created AND feature_set = $2",
                     existing->oid, fs.name)
          .empty()) {
    findings.push_back(
        fmt::format("target {}: it is a view that was not made for this feature set: rename or drop it, or "
                    "give the target another name",
                    name.text()));
    return {};
  }
  const pqxx::row now =
      tx.exec_params1("SELECT coalesce(obj_description($1::bigint::oid, 'pg_class'), '')", existing->oid);
  if (now[0].as<std::string>() == comment) return {};
  // A view can be replaced as long as its columns stay and new ones come last; otherwise it is made anew,
  // without its grants.
  std::vector<std::string> wanted{target.order_column};
  wanted.insert(wanted.end(), fs.key.begin(), fs.key.end());
  const auto features = spec::target_columns(fs, target);
  wanted.insert(wanted.end(), features.begin(), features.end());
  const bool stays = existing->columns.size() <= wanted.size() &&
                     std::equal(existing->columns.begin(), existing->columns.end(), wanted.begin(),
                                [](const pg::ColumnInfo& c, const std::string& w) { return c.name == w; });
  if (stays) {
    ddl[0] = fmt::format("CREATE OR REPLACE VIEW {} AS\n{}", name.quoted(), select);
  } else {
    ddl.insert(ddl.begin(),
               {fmt::format("DELETE FROM regfeat.target WHERE target = {}::regclass", pg::quote_literal(name.quoted())),
                "DROP VIEW " + name.quoted()});
  }
  return ddl;
}

}  // namespace regfeatd::populate
