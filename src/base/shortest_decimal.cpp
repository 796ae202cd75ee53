// Schubfach: R. Giulietti, "The Schubfach way to render doubles", 2020; names as in that paper. Only the
// exponents are taken whose powers of ten have no more than 128 bits, so that the table is small and exact.

#include "regfeatd/base/shortest_decimal.hpp"

#include <array>
#include <bit>

namespace regfeatd {
namespace {

using Wide = unsigned __int128;

constexpr int kSignificandBits = 52;
constexpr int kExponentBias = 1075;   // value = c 2^(exponent bits - bias), c with the hidden bit
constexpr std::size_t kPowers = 56;   // 5^55 < 2^128
constexpr int kLeastExponent = -182;  // floor(-182 log10 2) = -55

/// 10^k for k = 0 ... 55, shifted so that the highest of 128 bits is set. All exact.
constexpr std::array<Wide, kPowers> make_powers() {
  std::array<Wide, kPowers> powers{};
  Wide power = 1;
  for (std::size_t k = 0; k < kPowers; ++k) {
    Wide shifted = power;
    while ((shifted >> 127) == 0) shifted <<= 1;
    powers[k] = shifted;
    if (k + 1 < kPowers) power *= 5;
  }
  return powers;
}
constexpr auto kPowersOfTen = make_powers();

/// floor(g c / 2^128), its lowest bit set where anything was cut off.
std::uint64_t round_to_odd(Wide g, std::uint64_t c) noexcept {
  const Wide low = static_cast<Wide>(static_cast<std::uint64_t>(g)) * c;
  const Wide sum = static_cast<Wide>(static_cast<std::uint64_t>(g >> 64)) * c + (low >> 64);
  return static_cast<std::uint64_t>(sum >> 64) | (static_cast<std::uint64_t>(sum) > 1 ? 1U : 0U);
}

ShortestDecimal schubfach(std::uint64_t c, int q, bool lower_is_closer) noexcept {
  const std::uint64_t odd = c & 1;
  const int k = (q * 1'262'611 - (lower_is_closer ? 524'031 : 0)) >> 22;  // floor(log10(2^q)), or of 3/4 2^q
  const int h = q + ((-k * 1'741'647) >> 19) + 1;                         // + floor(log2(10^-k))
  const Wide g = kPowersOfTen[static_cast<std::size_t>(-k)];
  const std::uint64_t cb = 4 * c;
  const std::uint64_t lower = round_to_odd(g, (cb - (lower_is_closer ? 1 : 2)) << h) + odd;
  const std::uint64_t vb = round_to_odd(g, cb << h);
  const std::uint64_t upper = round_to_odd(g, (cb + 2) << h) - odd;

  // With one digit less, if exactly one of the neighbours reads back; else the nearer one. Chosen without
  // branches: which it is cannot be predicted. (s >= 10 for every normal number.)
  const std::uint64_t s = vb / 4;
  const std::uint64_t tens = s / 10;
  const bool tens_below = lower <= 40 * tens;
  const bool tens_above = 40 * tens + 40 <= upper;
  const bool below = lower <= 4 * s;
  const bool above = 4 * s + 4 <= upper;
  const std::uint64_t middle = 4 * s + 2;
  const bool nearer_above = (vb > middle) | ((vb == middle) & ((s & 1) != 0));
  const bool up = below != above ? above : nearer_above;
  const bool shorter = tens_below != tens_above;
  return {shorter ? tens + (tens_above ? 1 : 0) : s + (up ? 1 : 0), k + (shorter ? 1 : 0)};
}

}  // namespace

std::optional<ShortestDecimal> shortest_decimal(double magnitude) noexcept {
  const auto bits = std::bit_cast<std::uint64_t>(magnitude);
  const std::uint64_t fraction = bits & ((std::uint64_t{1} << kSignificandBits) - 1);
  const int q = static_cast<int>(bits >> kSignificandBits) - kExponentBias;
  if (q > 0 || q < kLeastExponent) return std::nullopt;
  const std::uint64_t c = fraction | (std::uint64_t{1} << kSignificandBits);
  if (-q <= kSignificandBits && std::countr_zero(c) >= -q) return ShortestDecimal{c >> -q, 0};  // an integer
  return schubfach(c, q, fraction == 0);
}

}  // namespace regfeatd
