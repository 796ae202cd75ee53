#include "dense_rows.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace regfeatd::pg {
namespace {

std::uint32_t big_endian(std::uint32_t v) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap32(v) : v;
}
std::uint64_t big_endian(std::uint64_t v) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap64(v) : v;
}

template <class Value, class Bits>
void encode(std::byte* const* to, std::span<const double* const> columns, std::size_t first_row) {
  constexpr std::size_t kField = 4 + sizeof(Value);
  const std::uint32_t length = big_endian(std::uint32_t{sizeof(Value)});
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const double* const values = columns[c] + first_row;
    for (std::size_t k = 0; k < DenseRows::kRows; ++k) {
      const Bits value = big_endian(std::bit_cast<Bits>(static_cast<Value>(values[k])));
      std::memcpy(to[k] + kField * c, &length, 4);
      std::memcpy(to[k] + kField * c + 4, &value, sizeof value);
    }
  }
}

std::int64_t count_not_below(std::span<const double> values, double limit) {
  std::int64_t count = 0;
  for (const double v : values) count += std::fabs(v) < limit ? 0 : 1;
  return count;
}

}  // namespace

const DenseRows kBaselineRows{encode<double, std::uint64_t>, encode<float, std::uint32_t>, count_not_below};

const DenseRows& dense_rows() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return kAvx2Rows;
#endif
  return kBaselineRows;
}

}  // namespace regfeatd::pg
