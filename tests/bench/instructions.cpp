// Does one piece of the client's work over and over, to be counted from outside: scripts/bench-instructions
// runs it under callgrind with two numbers of repetitions and divides the difference by the rows.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"

namespace {

using namespace regfeatd;

constexpr std::size_t kRows = 1024;

/// `null_every`: of so many rows one has a NULL, in one of the columns; 0: none has.
void encode(pg::FeatureType type, std::size_t null_every, int repetitions) {
  constexpr std::size_t kColumns = 90;
  std::vector<std::vector<double>> values(kColumns, std::vector<double>(kRows));
  std::vector<const double*> columns;
  std::vector<OrderValue> order(kRows);
  for (std::size_t r = 0; r < kRows; ++r) order[r] = static_cast<OrderValue>(r) * 60'000'000;
  for (std::size_t c = 0; c < kColumns; ++c) {
    for (std::size_t r = 0; r < kRows; ++r)
      values[c][r] = std::sin(static_cast<double>(r * kColumns + c)) * std::pow(10, static_cast<double>(c % 9) - 4);
    columns.push_back(values[c].data());
  }
  if (null_every > 0) {
    for (std::size_t r = 0; r < kRows; r += null_every)
      values[r / null_every % kColumns][r] = std::numeric_limits<double>::quiet_NaN();
  }
  pg::TupleEncoder encoder({pg::OrderType::int8, 0, std::vector(kColumns, type)}, kRows);
  std::size_t bytes = 0;
  for (int i = 0; i < repetitions; ++i) bytes += encoder.encode(order, {}, columns).size();
  std::printf("%zu bytes\n", bytes);
}

/// One input of the main job: six windows of fifteen metrics.
void fit_rows(int repetitions) {
  fit::Plan plan{{}, fit::metrics_of(fit::Family::coefficients)};
  for (const int rows : {15, 30, 45, 60, 75, 90}) {
    fit::Window& w = plan.windows.emplace_back();
    w.label = "w" + std::to_string(rows);
    w.rows = rows;
  }
  std::vector<OrderValue> order(kRows + 90);
  std::vector<double> values(kRows + 90);
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<OrderValue>(i) * 60'000'000;
    values[i] = 100 + std::sin(static_cast<double>(i) / 300) + 0.01 * std::sin(static_cast<double>(i * i % 977));
  }
  fit::Fitter fitter(plan, kRows);
  fit::ColumnBlock block(plan.column_count(), kRows);
  for (int i = 0; i < repetitions; ++i) fitter.fit({order, values, -90}, 90, kRows, block, 0);
  std::printf("%g\n", block.column(0)[7]);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 0;
  if (what == "encode-double") {
    encode(pg::FeatureType::float8, 0, repetitions);
  } else if (what == "encode-double-nulls") {
    encode(pg::FeatureType::float8, 128, repetitions);
  } else if (what == "encode-real") {
    encode(pg::FeatureType::float4, 0, repetitions);
  } else if (what == "encode-numeric") {
    encode(pg::FeatureType::numeric, 0, repetitions);
  } else if (what == "fit") {
    fit_rows(repetitions);
  } else {
    std::fprintf(stderr,
                 "usage: instructions encode-double|encode-double-nulls|encode-real|encode-numeric|fit REPETITIONS\n");
    return 64;
  }
  return 0;
}
