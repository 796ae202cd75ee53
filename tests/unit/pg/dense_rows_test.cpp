#include "pg/dense_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "regfeatd/pg/tuple_encoder.hpp"

namespace regfeatd::pg {
namespace {

std::vector<const DenseRows*> all_rows() {
  std::vector<const DenseRows*> all{&kBaselineRows};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) all.push_back(&kAvx2Rows);
#endif
  return all;
}

template <class Value, class Bits>
void expect_fields(DenseRows::Encode DenseRows::*encode, const std::function<double()>& next) {
  constexpr std::size_t kField = 4 + sizeof(Value);
  for (const std::size_t columns : {1u, 3u, 4u, 5u, 30u, 90u}) {
    std::vector<std::vector<double>> values(columns, std::vector<double>(24));
    std::vector<const double*> pointers;
    for (auto& v : values) {
      std::generate(v.begin(), v.end(), next);
      pointers.push_back(v.data());
    }
    for (const DenseRows* rows : all_rows()) {
      for (const std::size_t first : {0u, 8u, 16u, 5u}) {
        std::vector<std::byte> out(DenseRows::kRows * columns * kField + 32, std::byte{0xee});
        std::array<std::byte*, DenseRows::kRows> to{};
        // From the last row to the first: what is written behind a row's end is seen.
        for (std::size_t k = 0; k < to.size(); ++k) to[k] = out.data() + (to.size() - 1 - k) * columns * kField;
        (rows->*encode)(to.data(), pointers, first);
        for (std::size_t k = 0; k < to.size(); ++k) {
          for (std::size_t c = 0; c < columns; ++c) {
            const std::byte* field = to[k] + kField * c;
            std::uint32_t length = 0;
            Bits value = 0;
            std::memcpy(&length, field, 4);
            std::memcpy(&value, field + 4, sizeof value);
            ASSERT_EQ(__builtin_bswap32(length), sizeof(Value));
            if constexpr (sizeof(Bits) == 8) value = __builtin_bswap64(value);
            if constexpr (sizeof(Bits) == 4) value = __builtin_bswap32(value);
            ASSERT_EQ(value, std::bit_cast<Bits>(static_cast<Value>(values[c][first + k])))
                << columns << ' ' << c << ' ' << k;
          }
        }
        for (std::size_t i = DenseRows::kRows * columns * kField; i < out.size(); ++i)
          ASSERT_EQ(out[i], std::byte{0xee}) << "written behind the end";
      }
    }
  }
}

TEST(DenseRows, EveryInstructionSetWritesTheFieldsOfCopy) {
  std::mt19937_64 random(3);
  expect_fields<double, std::uint64_t>(&DenseRows::float8, [&] { return std::bit_cast<double>(random()); });
  // Magnitudes that real has, denormal ones, halves between two of them, and what becomes zero.
  expect_fields<float, std::uint32_t>(&DenseRows::float4, [&] {
    const double v =
        std::ldexp(1 + static_cast<double>(random() >> 11) * 0x1p-53, static_cast<int>(random() % 300) - 173);
    return random() % 4 == 0 ? static_cast<double>(static_cast<float>(v)) * (1 + 0x1p-24) : -v;
  });
}

TEST(DenseRows, EveryInstructionSetCountsTheSame) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> pool{0,
                                 -0.0,
                                 1,
                                 -1,
                                 inf,
                                 -inf,
                                 nan,
                                 -nan,
                                 1e308,
                                 0x1.ffffffp127,
                                 0x1.fffffep127,
                                 std::numeric_limits<double>::denorm_min()};
  std::mt19937 random(5);
  for (std::size_t n = 0; n < 40; ++n) {
    std::vector<double> values(n);
    for (double& v : values) v = pool[random() % pool.size()];
    for (const double limit : {inf, 0x1.ffffffp127}) {
      std::int64_t expected = 0;
      for (const double v : values) expected += v == v && v < limit && v > -limit ? 0 : 1;
      for (const DenseRows* rows : all_rows()) EXPECT_EQ(rows->count_not_below(values, limit), expected) << n;
    }
  }
}

}  // namespace
}  // namespace regfeatd::pg
