// Fits a second and core by window, family and instruction set; bytes written beside what the machine can
// write; the naive oracle. One benchmark "row" is one fit of one window with all columns of one family. Run:
//   build/release/fit_benchmark --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "fit/kernel.hpp"
#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/fit/oracle.hpp"

namespace {

using namespace regfeatd;
using namespace regfeatd::fit;

constexpr std::size_t kSeriesRows = 30'700;  // a month of minute bars
constexpr std::size_t kBlockRows = 4096;     // as populate asks for them
constexpr int kAllWindows = 0;               // the six of the daemon's first feature set

struct Prices {
  std::vector<OrderValue> order;
  std::vector<double> values;

  Prices() : order(kSeriesRows), values(kSeriesRows) {
    std::mt19937_64 random(1);
    std::normal_distribution<double> step(0, 1e-4);
    double price = 1.15;
    for (std::size_t i = 0; i < kSeriesRows; ++i) {
      price += step(random);
      values[i] = std::round(price * 1e5) / 1e5;
      order[i] = static_cast<OrderValue>(i) * 60'000'000;
    }
  }
  [[nodiscard]] Series series() const { return {order, values, 0}; }
};

const Prices& prices() {
  static const Prices result;
  return result;
}

Plan make_plan(Family family, int window) {
  Plan plan;
  for (const int rows : window == kAllWindows ? std::vector<int>{15, 30, 45, 60, 75, 90} : std::vector<int>{window}) {
    Window w;
    w.label = "w" + std::to_string(rows);
    w.rows = rows;
    plan.windows.push_back(w);
  }
  plan.metrics = metrics_of(family);
  return plan;
}

void count_work(benchmark::State& state, std::size_t fits_per_iteration, std::size_t columns_per_fit) {
  const auto fits = static_cast<double>(state.iterations()) * static_cast<double>(fits_per_iteration);
  state.counters["fits/s"] = benchmark::Counter(fits, benchmark::Counter::kIsRate);
  state.counters["written B/s"] =
      benchmark::Counter(fits * static_cast<double>(columns_per_fit * sizeof(double)), benchmark::Counter::kIsRate);
}

void fit_benchmark(benchmark::State& state, const Kernel* kernel, Family family) {
  const Plan plan = make_plan(family, static_cast<int>(state.range(0)));
  force_kernel(kernel);
  Fitter fitter(plan, kBlockRows);
  force_kernel(nullptr);
  ColumnBlock out(plan.column_count(), kBlockRows);
  const Series series = prices().series();
  for (auto _ : state) {
    for (std::size_t first = 0; first < kSeriesRows; first += kBlockRows) {
      fitter.fit(series, first, std::min(kBlockRows, kSeriesRows - first), out);
      benchmark::ClobberMemory();
    }
  }
  count_work(state, kSeriesRows * plan.windows.size(), plan.metrics.size());
}

/// As the fits of one call leave their outputs, without the fits: every column of the block stored once, to
/// the same reused buffer.
void write_block_benchmark(benchmark::State& state, Family family) {
  const Plan plan = make_plan(family, kAllWindows);
  ColumnBlock out(plan.column_count(), kBlockRows);
  double value = 0;
  for (auto _ : state) {
    for (std::size_t first = 0; first < kSeriesRows; first += kBlockRows) {
      const std::size_t rows = std::min(kBlockRows, kSeriesRows - first);
      for (std::size_t c = 0; c < plan.column_count(); ++c) std::fill_n(out.column(c).data(), rows, value);
      value += 1;
      benchmark::ClobberMemory();
    }
  }
  count_work(state, kSeriesRows * plan.windows.size(), plan.metrics.size());
}

/// The fits of a whole month into a buffer that holds them all (10 MB a family and more), as `regfeatd fit`
/// uses it, and the same writes alone: main memory or the last-level cache takes part.
void fit_month_benchmark(benchmark::State& state, const Kernel* kernel, Family family) {
  const Plan plan = make_plan(family, kAllWindows);
  force_kernel(kernel);
  Fitter fitter(plan, kBlockRows);
  force_kernel(nullptr);
  ColumnBlock out(plan.column_count(), kSeriesRows);
  const Series series = prices().series();
  for (auto _ : state) {
    for (std::size_t first = 0; first < kSeriesRows; first += kBlockRows)
      fitter.fit(series, first, std::min(kBlockRows, kSeriesRows - first), out, first);
    benchmark::ClobberMemory();
  }
  count_work(state, kSeriesRows * plan.windows.size(), plan.metrics.size());
}

void write_month_benchmark(benchmark::State& state, Family family) {
  const Plan plan = make_plan(family, kAllWindows);
  ColumnBlock out(plan.column_count(), kSeriesRows);
  double value = 0;
  for (auto _ : state) {
    for (std::size_t c = 0; c < plan.column_count(); ++c) std::fill_n(out.column(c).data(), kSeriesRows, value);
    value += 1;
    benchmark::ClobberMemory();
  }
  count_work(state, kSeriesRows * plan.windows.size(), plan.metrics.size());
}

/// The machine's own: a buffer far beyond the last-level cache, written with plain stores.
void memory_write_benchmark(benchmark::State& state) {
  std::vector<double> buffer((std::size_t{512} << 20) / sizeof(double));
  double value = 0;
  for (auto _ : state) {
    std::fill(buffer.begin(), buffer.end(), value);
    value += 1;
    benchmark::ClobberMemory();
  }
  const double bytes = static_cast<double>(state.iterations()) * static_cast<double>(buffer.size() * sizeof(double));
  state.counters["written B/s"] = benchmark::Counter(bytes, benchmark::Counter::kIsRate);
}

void oracle_benchmark(benchmark::State& state) {
  const Plan plan = make_plan(Family::terms, static_cast<int>(state.range(0)));
  const Series series = prices().series();
  std::vector<double> row(plan.column_count());
  std::size_t r = 1000;
  for (auto _ : state) {
    oracle_row(plan, series, r, row);
    benchmark::DoNotOptimize(row.data());
    r = r + 1 < kSeriesRows ? r + 1 : 1000;
  }
  count_work(state, plan.windows.size(), plan.metrics.size());
}

void register_family(const Kernel* kernel, Family family) {
  const std::string suffix = std::string(to_string(family)) + "/" + kernel->name;
  auto* fits = benchmark::RegisterBenchmark(
      ("fit/" + suffix).c_str(), [kernel, family](benchmark::State& state) { fit_benchmark(state, kernel, family); });
  fits->ArgName("window")->Unit(benchmark::kMicrosecond)->Arg(kAllWindows);
  if (family == Family::terms)
    for (const int window : {3, 15, 30, 45, 60, 75, 90, 128, 192, 255, 256, 512, 630, 1000, 10'000, 100'000})
      fits->Arg(window);
  benchmark::RegisterBenchmark(("fit_month/" + suffix).c_str(), [kernel, family](benchmark::State& state) {
    fit_month_benchmark(state, kernel, family);
  })->Unit(benchmark::kMicrosecond);
}

[[maybe_unused]] const bool registered = [] {
  constexpr Family kFamilies[]{Family::terms, Family::coefficients, Family::legacy_terms, Family::inference};
  for (const char* name : {"avx512", "avx2", "baseline"})
    if (const Kernel* kernel = find_kernel(name))
      for (const Family family : kFamilies) register_family(kernel, family);
  for (const Family family : kFamilies) {
    benchmark::RegisterBenchmark(("write_block/" + std::string(to_string(family))).c_str(),
                                 [family](benchmark::State& state) { write_block_benchmark(state, family); })
        ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(("write_month/" + std::string(to_string(family))).c_str(),
                                 [family](benchmark::State& state) { write_month_benchmark(state, family); })
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RegisterBenchmark("memory_write", memory_write_benchmark)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("oracle/terms", oracle_benchmark)
      ->ArgName("window")
      ->Arg(15)
      ->Arg(90)
      ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
