#include "validate_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "input_series.hpp"
#include "regfeatd/fit/oracle.hpp"
#include "regfeatd/pg/copy.hpp"
#include "source_sql.hpp"

namespace regfeatd::populate {
namespace {

constexpr std::size_t kBlockRows = 1024;
constexpr int kShown = 5;  // of one kind and column; the rest is counted

/// Passes on the first few findings of a kind, and the number of all at the end.
class Few {
 public:
  Few(const Report& report, std::string what, std::string column)
      : report_(report), what_(std::move(what)), column_(std::move(column)) {}
  ~Few() = default;
  void add(const std::string& position, const std::string& message) {
    if (++count_ <= kShown) report_(what_, column_, position, message);
  }
  void end() {
    if (count_ > kShown) report_(what_, column_, "", fmt::format("{} more like this", count_ - kShown));
  }

 private:
  const Report& report_;
  std::string what_, column_;
  std::int64_t count_ = 0;
};

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

std::string text_of(double v) { return std::isnan(v) ? "NULL" : fmt::format("{}", v); }

/// The scale of `numeric(p,s)`; -1 for everything else.
int scale_of(const std::string& type_name) {
  const auto comma = type_name.find(',');
  if (type_name.rfind("numeric(", 0) != 0) return -1;
  return comma == std::string::npos ? 0 : std::stoi(type_name.substr(comma + 1));
}

}  // namespace

std::string row_name(OrderValue order, std::span<const std::byte> key) {
  std::string name(sizeof order + key.size(), '\0');
  std::memcpy(name.data(), &order, sizeof order);
  std::memcpy(name.data() + sizeof order, key.data(), key.size());
  return name;
}

TargetRows read_target(pg::Session& session, const spec::FeatureSet& fs, const ResolvedTarget& target,
                       OrderRange range) {
  TargetRows out;
  out.columns = target.features.size();
  out.not_finite.assign(out.columns, 0);
  std::string select = "SELECT " + target.order_column + (target.order_type == pg::ColumnType::int4 ? "::bigint" : "");
  for (const std::string& k : fs.key) {  // as source_sql.cpp sends them
    const pg::ColumnInfo* column = target.table.column(k);
    const bool numeric = column != nullptr && column->type == pg::ColumnType::numeric;
    select += ", " + (numeric ? "trim_scale(" + pg::quote_identifier(k) + ')' : pg::quote_identifier(k));
  }
  for (const std::string& f : target.features) select += ", " + pg::quote_identifier(f) + "::double precision";
  select += fmt::format(" FROM {} WHERE {} >= {} AND {} < {}", target.table.name.quoted(), target.order_column,
                        order_literal(target.order_type, range.lower), target.order_column,
                        order_literal(target.order_type, range.upper));
  const int keys = static_cast<int>(fs.key.size());
  pg::CopyOut copy(session, select, 1 + keys + static_cast<int>(out.columns));
  while (copy.next()) {
    const OrderValue order = copy.int64(0);
    std::string key;
    for (int k = 1; k <= keys; ++k) {
      const auto field = copy.field(k);
      const auto length = static_cast<std::uint32_t>(field ? field->size() : 0xffffffffu);
      for (const int shift : {24, 16, 8, 0}) key += static_cast<char>(length >> shift & 0xff);
      if (field) key.append(reinterpret_cast<const char*>(field->data()), field->size());
    }
    for (std::size_t c = 0; c < out.columns; ++c) {
      const int i = 1 + keys + static_cast<int>(c);
      const double v = copy.float64(i);
      if (copy.field(i) && !std::isfinite(v)) ++out.not_finite[c];
      out.values.push_back(v);
    }
    if (!out.index.emplace(row_name(order, std::as_bytes(std::span(key))), out.order.size()).second)
      out.doubled.push_back(out.order.size());
    out.order.push_back(order);
    out.keys.push_back(std::move(key));
  }
  return out;
}

TargetCheck::TargetCheck(const spec::FeatureSet& fs, const spec::Target& target, const ResolvedTarget& resolved,
                         const ResolvedSource& source, const InputRows& input)
    : fs_(fs), target_(resolved), source_(source), input_(input), plan_(spec::written_plan(fs, target)) {
  for (const std::string& name : target.inputs) inputs_.push_back(input_index(fs, name));
  for (const std::string& name : resolved.features) scale_.push_back(scale_of(resolved.table.column(name)->type_name));
  for (std::size_t s = 0; s < input.segments.size(); ++s) {
    for (std::size_t r = input.segments[s].output; r < input.segments[s].end; ++r) places_.push_back({s, r});
  }
  matched_.assign(places_.size(), kMissing);
}

bool TargetCheck::exact() const noexcept {
  return std::all_of(scale_.begin(), scale_.end(), [](int s) { return s < 0; });
}

std::string TargetCheck::describe(std::size_t r) const {
  const std::string at = format_order(fs_.order, input_.order[r]);
  return fs_.key.empty() ? at : at + ", " + describe_key(fs_, source_, input_.key(r));
}

/// The value as the column's type keeps it.
double TargetCheck::stored(std::size_t column, double computed) const {
  if (target_.layout.features[column] != pg::FeatureType::float4) return computed;
  const auto rounded = static_cast<double>(static_cast<float>(computed));
  return std::isfinite(rounded) ? rounded : std::nan("");
}

void TargetCheck::check_rows(const TargetRows& actual, const Report& report) {
  Few missing(report, "row_missing", ""), doubled(report, "row_doubled", ""), extra(report, "row_extra", "");
  std::vector<bool> known(actual.order.size(), false);
  for (std::size_t p = 0; p < places_.size(); ++p) {
    const std::size_t r = places_[p].row;
    const auto found = actual.index.find(row_name(input_.order[r], input_.key(r)));
    if (found == actual.index.end()) {
      missing.add(describe(r), "the source has this row, the table does not");
    } else {
      matched_[p] = found->second;
      known[found->second] = true;
    }
  }
  for (const std::size_t r : actual.doubled) {
    known[r] = true;
    doubled.add(format_order(fs_.order, actual.order[r]), "this row is in the table more than once");
  }
  for (std::size_t r = 0; r < known.size(); ++r) {
    if (!known[r]) extra.add(format_order(fs_.order, actual.order[r]), "the table has this row, the source does not");
  }
  missing.end();
  doubled.end();
  extra.end();
}

std::int64_t TargetCheck::check_values(const TargetRows& actual, const Report& report) const {
  fit::Fitter fitter(plan_, kBlockRows);
  fit::ColumnBlock block(plan_.column_count(), kBlockRows);
  std::vector<Few> few;
  for (const std::string& name : target_.features) few.emplace_back(report, "value", name);
  std::int64_t compared = 0;
  std::size_t place = 0;
  for (const Segment& s : input_.segments) {
    for (std::size_t first = s.output; first < s.end; first += kBlockRows) {
      const std::size_t count = std::min(kBlockRows, s.end - first);
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        fitter.fit(series_of(input_, s, inputs_[i]), first - s.begin, count, block);
        for (std::size_t r = 0; r < count; ++r) {
          if (matched_[place + r] == kMissing) continue;
          const double* const row = actual.row(matched_[place + r]);
          for (std::size_t k = 0; k < plan_.column_count(); ++k) {
            const std::size_t c = i * plan_.column_count() + k;
            const double expected = stored(c, block.column(k)[r]);
            ++compared;
            const bool equal = scale_[c] < 0 ? same(expected, row[c])
                                             : std::isnan(expected) == std::isnan(row[c]) &&
                                                   !(std::fabs(expected - row[c]) > std::pow(10.0, -scale_[c]));
            if (!equal)
              few[c].add(describe(first + r),
                         fmt::format("the table has {}, computed anew it is {}", text_of(row[c]), text_of(expected)));
          }
        }
      }
      place += count;
    }
  }
  for (Few& f : few) f.end();
  return compared;
}

std::int64_t TargetCheck::check_nulls(const TargetRows& actual, const Report& report) const {
  std::int64_t all = 0;
  for (std::size_t c = 0; c < target_.features.size(); ++c) {
    std::int64_t nulls = 0, predicted = 0;
    for (std::size_t r = 0; r < actual.order.size(); ++r) nulls += std::isnan(actual.row(r)[c]) ? 1 : 0;
    if (actual.not_finite[c] > 0) {
      report("not_finite", target_.features[c], "",
             fmt::format("{} values are NaN or infinite; NULL is what stands for those", actual.not_finite[c]));
    }
    for (const Segment& s : input_.segments) {
      predicted += fit::predict_nulls(plan_, series_of(input_, s, input_of(c)), s.output - s.begin,
                                      s.end - s.output)[plan_column(c)];
    }
    const bool exact_rule = fit::info(plan_.column(plan_column(c)).metric).null_rule != fit::NullRule::value_dependent;
    if (nulls < predicted || (exact_rule && nulls != predicted)) {
      report("null_count", target_.features[c], "",
             fmt::format("{} NULLs, where row counts and input NULLs give {}{}", nulls, exact_rule ? "" : "at least ",
                         predicted));
    }
    all += nulls;
  }
  return all;
}

namespace {

/// The oracle's answer, and how much it moves when the inputs move in their last digits: what no computation
/// can beat.
struct Judged {
  std::vector<double> value, moved;
  double level = 0;  ///< of the input in the rows that count
};

Judged judge(const fit::Plan& plan, const fit::Series& series, std::size_t row, std::mt19937_64& random) {
  Judged out{std::vector<double>(plan.column_count()), std::vector<double>(plan.column_count())};
  fit::oracle_row(plan, series, row, out.value);
  std::vector<double> shaken(series.values.begin(), series.values.begin() + static_cast<std::ptrdiff_t>(row) + 1);
  for (double& v : shaken) v *= 1 + (random() % 2 == 0 ? 1e-13 : -1e-13);
  fit::oracle_row(plan, {series.order.first(row + 1), shaken, series.first_row_number}, row, out.moved);
  const auto back =
      static_cast<std::size_t>(plan.lookback_range() > 0 ? static_cast<std::int64_t>(row) : plan.lookback_rows());
  for (std::size_t r = row - std::min(row, back); r <= row; ++r) {
    if (std::isfinite(series.values[r])) out.level = std::max(out.level, std::fabs(series.values[r]));
  }
  return out;
}

}  // namespace

std::int64_t TargetCheck::check_oracle(const TargetRows& actual, std::size_t rows, std::mt19937_64& random,
                                       const Report& report) const {
  if (places_.empty()) return 0;
  std::set<std::size_t> drawn;
  for (std::size_t i = 0; i < rows; ++i) drawn.insert(random() % places_.size());
  Few few(report, "oracle", "");
  std::int64_t compared = 0;
  for (const std::size_t p : drawn) {
    if (matched_[p] == kMissing) continue;
    const Segment& s = input_.segments[places_[p].segment];
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const Judged judged = judge(plan_, series_of(input_, s, inputs_[i]), places_[p].row - s.begin, random);
      for (std::size_t k = 0; k < plan_.column_count(); ++k) {
        const std::size_t c = i * plan_.column_count() + k;
        const double is = actual.row(matched_[p])[c], expected = stored(c, judged.value[k]);
        if (std::isnan(judged.value[k]) != std::isnan(judged.moved[k])) continue;  // on the edge of being defined
        ++compared;
        double tolerance = 1e-9 * std::fabs(expected) + 1000 * std::fabs(judged.value[k] - judged.moved[k]) + 1e-300;
        if (target_.layout.features[c] == pg::FeatureType::float4) tolerance += 1e-6 * std::fabs(expected);
        // A mean of residuals is 0 but for rounding, which is that of the input's level.
        if (fit::info(plan_.column(k).metric).unit == "input") tolerance += 1e-13 * judged.level;
        if (scale_[c] >= 0) tolerance += std::pow(10.0, -scale_[c]);
        if (std::isnan(is) == std::isnan(expected) && !(std::fabs(is - expected) > tolerance)) continue;
        few.add(describe(places_[p].row), fmt::format("{}: the table has {}, the oracle {} (± {})", target_.features[c],
                                                      text_of(is), text_of(expected), tolerance));
      }
    }
  }
  few.end();
  return compared;
}

namespace {

/// One relation between columns of the same window and input.
struct Identity {
  std::vector<const char*> metrics;
  const char* text;
  bool (*holds)(const double* v, double precision);
};

bool near(double a, double b, double scale, double precision) {
  return !(std::fabs(a - b) > 64 * precision * (std::fabs(scale) + std::fabs(a) + std::fabs(b)) + 1e-300);
}

const Identity kIdentities[] = {
    {{"quadratic_term", "linear_term", "constant_term", "prediction"},
     "quadratic_term + linear_term + constant_term = prediction",
     [](const double* v, double p) {
       return near(v[0] + v[1] + v[2], v[3], std::fabs(v[0]) + std::fabs(v[1]) + std::fabs(v[2]), p);
     }},
    {{"r2"}, "0 <= r2 <= 1", [](const double* v, double p) { return v[0] <= 1 + 64 * p && v[0] >= -1e-6; }},
    {{"rmse"}, "rmse >= 0", [](const double* v, double) { return v[0] >= 0; }},
    {{"r2", "fit_quality"},
     "fit_quality = r2 clamped to [0, 1]",
     [](const double* v, double p) { return near(std::clamp(v[0], 0.0, 1.0), v[1], 0, p); }},
    {{"a2", "curvature"},
     "curvature = abs(a2)",
     [](const double* v, double p) { return near(std::fabs(v[0]), v[1], 0, p); }},
    {{"prediction", "residual_std", "pred_interval_lower"},
     "pred_interval_lower = prediction - 1.96 residual_std",
     [](const double* v, double p) { return near(v[0] - 1.96 * v[1], v[2], std::fabs(v[0]) + std::fabs(v[1]), p); }},
    {{"prediction", "residual_std", "pred_interval_upper"},
     "pred_interval_upper = prediction + 1.96 residual_std",
     [](const double* v, double p) { return near(v[0] + 1.96 * v[1], v[2], std::fabs(v[0]) + std::fabs(v[1]), p); }},
};

}  // namespace

void TargetCheck::check_identities(const TargetRows& actual, const Report& report) const {
  const std::size_t per_window = plan_.metrics.size();
  for (const Identity& identity : kIdentities) {
    std::vector<std::size_t> at;  // metric positions inside a window
    for (const char* name : identity.metrics) {
      for (std::size_t m = 0; m < per_window; ++m) {
        const auto& info = fit::info(plan_.metrics[m]);
        if (info.name == name && info.family != fit::Family::legacy_terms) {
          at.push_back(m);
          break;
        }
      }
    }
    if (at.size() != identity.metrics.size()) continue;
    for (std::size_t base = 0; base + per_window <= target_.features.size(); base += per_window) {
      double precision = 1e-12;
      for (const std::size_t m : at) {
        if (target_.layout.features[base + m] == pg::FeatureType::float4) precision = 1e-7;
        if (scale_[base + m] >= 0) precision = NAN;  // what was rounded away cannot be told
      }
      if (std::isnan(precision)) continue;
      Few few(report, "identity", target_.features[base + at.front()]);
      for (std::size_t r = 0; r < actual.order.size(); ++r) {
        double v[8] = {};
        bool whole = true;
        for (std::size_t i = 0; i < at.size(); ++i) {
          v[i] = actual.row(r)[base + at[i]];
          whole = whole && !std::isnan(v[i]);
        }
        if (whole && !identity.holds(v, precision))
          few.add(format_order(fs_.order, actual.order[r]), fmt::format("{} does not hold", identity.text));
      }
      few.end();
    }
  }
}

void TargetCheck::hash_tuples(const TargetRows& actual,
                              const std::function<void(std::span<const std::byte>)>& update) const {
  pg::TupleEncoder encoder(target_.layout, kBlockRows);
  std::vector<std::vector<double>> columns(target_.features.size(), std::vector<double>(kBlockRows));
  std::vector<const double*> pointers;
  for (const auto& c : columns) pointers.push_back(c.data());
  std::vector<OrderValue> order;
  std::vector<std::span<const std::byte>> keys;
  for (std::size_t p = 0; p < places_.size(); ++p) {
    const std::size_t at = order.size();
    for (std::size_t c = 0; c < columns.size(); ++c) columns[c][at] = actual.row(matched_[p])[c];
    order.push_back(actual.order[matched_[p]]);
    keys.push_back(std::as_bytes(std::span(actual.keys[matched_[p]])));
    if (order.size() < kBlockRows && p + 1 < places_.size()) continue;
    update(encoder.encode(order, fs_.key.empty() ? std::span<const std::span<const std::byte>>{} : keys, pointers));
    order.clear();
    keys.clear();
  }
}

}  // namespace regfeatd::populate
