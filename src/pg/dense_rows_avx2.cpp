// Four rows and four columns at a time: bytes reversed, transposed, spread with the length words between.
#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "dense_rows.hpp"

namespace regfeatd::pg {
namespace {

struct Spread {
  __m256i first;   // L a a L b b L c, as 32-bit words: a, b, c, d are a row's four values
  __m128i second;  // c L d d
};

Spread spread(__m256i row) {
  const __m256i length = _mm256_set1_epi32(0x08000000);
  const __m256i first = _mm256_permutevar8x32_epi32(row, _mm256_setr_epi32(0, 0, 1, 0, 2, 3, 0, 4));
  const __m128i second = _mm_shuffle_epi32(_mm256_extracti128_si256(row, 1), _MM_SHUFFLE(3, 2, 0, 1));
  return {_mm256_blend_epi32(first, length, 0b01001001),
          _mm_blend_epi32(second, _mm256_castsi256_si128(length), 0b0010)};
}

void store(std::byte* to, __m256i row) {
  const Spread s = spread(row);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), s.first);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 32), s.second);
}

__m256i load_reversed(const double* values) {
  const __m256i reverse = _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
                                           15, 14, 13, 12, 11, 10, 9, 8);
  return _mm256_shuffle_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)), reverse);
}

void encode_float8(std::byte* const* to, std::span<const double* const> columns, std::size_t first_row) {
  std::size_t c = 0;
  for (; c + 4 <= columns.size(); c += 4) {
    for (std::size_t k = 0; k < DenseRows::kRows; k += 4) {
      const __m256i a = load_reversed(columns[c] + first_row + k), b = load_reversed(columns[c + 1] + first_row + k);
      const __m256i d = load_reversed(columns[c + 2] + first_row + k),
                    e = load_reversed(columns[c + 3] + first_row + k);
      const __m256i ab_even = _mm256_unpacklo_epi64(a, b), ab_odd = _mm256_unpackhi_epi64(a, b);
      const __m256i de_even = _mm256_unpacklo_epi64(d, e), de_odd = _mm256_unpackhi_epi64(d, e);
      store(to[k] + 12 * c, _mm256_permute2x128_si256(ab_even, de_even, 0x20));
      store(to[k + 1] + 12 * c, _mm256_permute2x128_si256(ab_odd, de_odd, 0x20));
      store(to[k + 2] + 12 * c, _mm256_permute2x128_si256(ab_even, de_even, 0x31));
      store(to[k + 3] + 12 * c, _mm256_permute2x128_si256(ab_odd, de_odd, 0x31));
    }
  }
  for (; c < columns.size(); ++c) {
    for (std::size_t k = 0; k < DenseRows::kRows; ++k) {
      std::uint64_t value = 0;
      std::memcpy(&value, columns[c] + first_row + k, 8);
      value = __builtin_bswap64(value);
      const std::uint32_t length = 0x08000000;
      std::memcpy(to[k] + 12 * c, &length, 4);
      std::memcpy(to[k] + 12 * c + 4, &value, 8);
    }
  }
}

__m128i load_narrow_reversed(const double* values) {
  const __m128i reverse = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
  return _mm_shuffle_epi8(_mm_castps_si128(_mm256_cvtpd_ps(_mm256_loadu_pd(values))), reverse);
}

/// L a L b L c L d
void store_narrow(std::byte* to, __m128i row) {
  const __m128i length = _mm_set1_epi32(0x04000000);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi32(length, row));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), _mm_unpackhi_epi32(length, row));
}

void encode_float4(std::byte* const* to, std::span<const double* const> columns, std::size_t first_row) {
  std::size_t c = 0;
  for (; c + 4 <= columns.size(); c += 4) {
    for (std::size_t k = 0; k < DenseRows::kRows; k += 4) {
      const __m128i a = load_narrow_reversed(columns[c] + first_row + k);
      const __m128i b = load_narrow_reversed(columns[c + 1] + first_row + k);
      const __m128i d = load_narrow_reversed(columns[c + 2] + first_row + k);
      const __m128i e = load_narrow_reversed(columns[c + 3] + first_row + k);
      const __m128i ab_first = _mm_unpacklo_epi32(a, b), ab_last = _mm_unpackhi_epi32(a, b);
      const __m128i de_first = _mm_unpacklo_epi32(d, e), de_last = _mm_unpackhi_epi32(d, e);
      store_narrow(to[k] + 8 * c, _mm_unpacklo_epi64(ab_first, de_first));
      store_narrow(to[k + 1] + 8 * c, _mm_unpackhi_epi64(ab_first, de_first));
      store_narrow(to[k + 2] + 8 * c, _mm_unpacklo_epi64(ab_last, de_last));
      store_narrow(to[k + 3] + 8 * c, _mm_unpackhi_epi64(ab_last, de_last));
    }
  }
  for (; c < columns.size(); ++c) {
    for (std::size_t k = 0; k < DenseRows::kRows; ++k) {
      const std::uint32_t length = 0x04000000;
      const std::uint32_t value =
          __builtin_bswap32(std::bit_cast<std::uint32_t>(static_cast<float>(columns[c][first_row + k])));
      std::memcpy(to[k] + 8 * c, &length, 4);
      std::memcpy(to[k] + 8 * c + 4, &value, 4);
    }
  }
}

std::int64_t count_not_below(std::span<const double> values, double limit) {
  const __m256d magnitude = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7fffffffffffffff)), bound = _mm256_set1_pd(limit);
  __m256i minus = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + 4 <= values.size(); i += 4) {
    const __m256d v = _mm256_and_pd(_mm256_loadu_pd(values.data() + i), magnitude);
    minus = _mm256_add_epi64(minus, _mm256_castpd_si256(_mm256_cmp_pd(v, bound, _CMP_NLT_UQ)));
  }
  alignas(32) std::int64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), minus);
  std::int64_t count = -(lanes[0] + lanes[1] + lanes[2] + lanes[3]);
  for (; i < values.size(); ++i) count += std::fabs(values[i]) < limit ? 0 : 1;
  return count;
}

}  // namespace

const DenseRows kAvx2Rows{encode_float8, encode_float4, count_not_below};

}  // namespace regfeatd::pg
