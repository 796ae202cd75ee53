#include "support.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <stdexcept>

namespace regfeatd::fit::test {
namespace {

constexpr OrderValue kMinute = 60 * kMicrosPerSecond;

std::filesystem::path data_directory() {
  if (const char* given = std::getenv("REGFEATD_DATA_DIR")) return given;
  return std::filesystem::path(SOURCE_DIR) / ".." / "shared" / "data";
}

double fourth_field(const char* line) {
  for (int commas = 0; commas < 4; ++line)
    if (*line == ',') ++commas;
  return std::strtod(line, nullptr);
}

}  // namespace

OwnedSeries minutes(std::vector<double> values) {
  OwnedSeries s;
  s.order.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) s.order[i] = static_cast<OrderValue>(i) * kMinute;
  s.values = std::move(values);
  return s;
}

OwnedSeries irregular(std::vector<double> values, Random& random) {
  OwnedSeries s;
  OrderValue t = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    t += static_cast<OrderValue>(1 + random() % 20) * kMinute + static_cast<OrderValue>(random() % 1000);
    s.order.push_back(t);
  }
  s.values = std::move(values);
  return s;
}

std::vector<double> walk(std::size_t rows, double start, double step, int decimals, Random& random) {
  std::normal_distribution<double> normal(0, step);
  const double unit = std::pow(10.0, decimals);
  std::vector<double> result(rows);
  double level = 0;
  for (double& v : result) {
    level += normal(random);
    v = std::round((start + level) * unit) / unit;
  }
  return result;
}

std::vector<double> real_closes(const std::string& name) {
  const auto file = data_directory() / (name + ".csv.gz");
  if (!std::filesystem::exists(file)) return {};
  const std::string command = "gzip -dc '" + file.string() + "'";
  const auto close = [](std::FILE* f) { ::pclose(f); };
  const std::unique_ptr<std::FILE, decltype(close)> pipe(::popen(command.c_str(), "r"), close);
  if (!pipe) throw std::runtime_error("cannot run gzip");
  std::vector<double> result;
  char line[256];
  bool header = true;
  while (std::fgets(line, sizeof line, pipe.get()) != nullptr) {
    if (!header) result.push_back(fourth_field(line));
    header = false;
  }
  return result;
}

Window row_window(std::int64_t rows) {
  Window w;
  w.label = "w" + std::to_string(rows);
  w.rows = rows;
  return w;
}

Window range_window(OrderValue range, std::int64_t min_rows) {
  Window w;
  w.label = "r" + std::to_string(range / kMinute);
  w.kind = Window::Kind::range;
  w.range = range;
  w.min_rows = min_rows;
  return w;
}

std::vector<Metric> every_metric() {
  std::vector<Metric> result;
  for (std::size_t i = 0; i < catalogue().size(); ++i) result.push_back(static_cast<Metric>(i));
  return result;
}

Plan plan_of(std::vector<Window> windows) {
  Plan plan;
  plan.windows = std::move(windows);
  plan.metrics = every_metric();
  return plan;
}

std::size_t column_of(const Plan& plan, std::size_t w, const std::string& qualified_name) {
  const auto metric = find_metric(qualified_name).metric;
  for (std::size_t m = 0; metric && m < plan.metrics.size(); ++m)
    if (plan.metrics[m] == *metric) return w * plan.metrics.size() + m;
  throw std::invalid_argument(qualified_name + " is not in the plan");
}

ColumnBlock fit_all(const Plan& plan, const OwnedSeries& series) {
  Fitter fitter(plan, series.size());
  ColumnBlock out(plan.column_count(), series.size());
  fitter.fit(series.view(), 0, series.size(), out);
  return out;
}

std::optional<std::string> first_difference(const Plan& plan, const ColumnBlock& a, const ColumnBlock& b,
                                            std::size_t rows) {
  for (std::size_t c = 0; c < plan.column_count(); ++c) {
    const double *x = a.column(c).data(), *y = b.column(c).data();
    if (std::memcmp(x, y, rows * sizeof(double)) == 0) continue;
    std::size_t r = 0;
    while (std::memcmp(x + r, y + r, sizeof(double)) == 0) ++r;
    const Column column = plan.column(c);
    char text[200];
    std::snprintf(text, sizeof text, "row %zu, %s of %s: %a and %a", r, std::string(info(column.metric).name).c_str(),
                  plan.windows[column.window].label.c_str(), x[r], y[r]);
    return text;
  }
  return std::nullopt;
}

std::vector<const Kernel*> available_kernels() {
  std::vector<const Kernel*> result;
  for (const char* name : {"baseline", "avx2", "avx512"})
    if (const Kernel* kernel = find_kernel(name)) result.push_back(kernel);
  return result;
}

}  // namespace regfeatd::fit::test
