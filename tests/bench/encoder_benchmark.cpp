// Rows a second and core by type of the features, and bytes written beside what memory takes. Run:
//   build/release/encoder_benchmark --benchmark_repetitions=5 --benchmark_report_aggregates_only=true
// Instructions per row, on any machine, however busy (docs/performance.md):
//   scripts/bench-instructions
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "pg/dense_rows.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"

namespace {

using namespace regfeatd;

constexpr std::size_t kRows = 1024;  // as populate encodes them
constexpr std::size_t kColumns = 90;

struct Block {
  std::vector<OrderValue> order = std::vector<OrderValue>(kRows);
  std::vector<std::vector<double>> values = std::vector<std::vector<double>>(kColumns, std::vector<double>(kRows));
  std::vector<const double*> columns;
  explicit Block(bool nulls) {
    for (std::size_t c = 0; c < kColumns; ++c) {
      for (std::size_t r = 0; r < kRows; ++r)
        values[c][r] = nulls && r < 14 ? std::nan("")
                                       : std::sin(static_cast<double>(r * kColumns + c)) *
                                             std::pow(10, static_cast<double>(c % 9) - 4);
      columns.push_back(values[c].data());
    }
    for (std::size_t r = 0; r < kRows; ++r) order[r] = static_cast<OrderValue>(r) * 60'000'000;
  }
};

void encode(benchmark::State& state, pg::FeatureType type, bool nulls) {
  const Block block(nulls);
  pg::TupleEncoder encoder({pg::OrderType::int8, 0, std::vector(kColumns, type)}, kRows);
  std::size_t bytes = 0;
  for (auto _ : state) {
    const auto tuples = encoder.encode(block.order, {}, block.columns);
    benchmark::DoNotOptimize(tuples.data());
    bytes += tuples.size();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

void copy_memory(benchmark::State& state) {
  const std::vector<std::byte> from(kRows * kColumns * 12, std::byte{1});
  std::vector<std::byte> to(from.size());
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(from.size()));
}

void dense(benchmark::State& state, const pg::DenseRows& rows) {
  const Block block(false);
  std::vector<std::byte> out(kRows * kColumns * 12);
  for (auto _ : state) {
    for (std::size_t r = 0; r < kRows; r += pg::DenseRows::kRows) {
      std::byte* to[pg::DenseRows::kRows];
      for (std::size_t k = 0; k < pg::DenseRows::kRows; ++k) to[k] = out.data() + (r + k) * kColumns * 12;
      rows.float8(to, block.columns, r);
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(out.size()));
}

BENCHMARK_CAPTURE(encode, double_precision, pg::FeatureType::float8, false);
BENCHMARK_CAPTURE(encode, double_precision_some_null, pg::FeatureType::float8, true);
BENCHMARK_CAPTURE(encode, real, pg::FeatureType::float4, false);
BENCHMARK_CAPTURE(encode, numeric, pg::FeatureType::numeric, false);
BENCHMARK_CAPTURE(dense, baseline, pg::kBaselineRows);
#if defined(__x86_64__)
BENCHMARK_CAPTURE(dense, avx2, pg::kAvx2Rows);
#endif
BENCHMARK(copy_memory);

}  // namespace
