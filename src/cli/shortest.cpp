// Schubfach: R. Giulietti, "The Schubfach way to render doubles", 2020; names as in that paper. Only the
// exponents are taken whose powers of ten have no more than 128 bits, so that the table is small and exact;
// std::to_chars does the rest.

#include "shortest.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

namespace regfeatd::cli {
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

/// The eight digits of x < 10^8 in eight bytes, the first digit in the lowest byte.
std::uint64_t eight_digits(std::uint64_t x) noexcept {
  const std::uint64_t fours = x / 10'000 | (x % 10'000) << 32;
  const std::uint64_t hundreds = ((fours * 10'486) >> 20) & 0x7F'0000'007F;  // each half / 100
  const std::uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
  const std::uint64_t tens = ((twos * 103) >> 10) & 0x000F'000F'000F'000F;  // each quarter / 10
  return tens | (twos - tens * 10) << 8;
}

/// The significant digits of a decimal. They stay in registers: digits written to memory and read back at
/// another offset would stall on every number.
struct DigitText {
  char first = '0';
  Wide rest = 0;  ///< sixteen characters after the first, the next one in the lowest byte; zeros at the end
  int count = 0;  ///< of significant digits
  int exponent = 0;  ///< of the last one

  explicit DigitText(ShortestDecimal d) noexcept;
};

DigitText::DigitText(ShortestDecimal d) noexcept {
  constexpr std::uint64_t kEight = 100'000'000;
  constexpr std::uint64_t kSixteen = kEight * kEight;
  constexpr Wide kZeros = static_cast<Wide>(0x3030'3030'3030'3030) << 64 | 0x3030'3030'3030'3030;
  // Seventeen digits: most numbers have them or lack one, and which it is cannot be predicted either.
  while (d.digits < kSixteen / 10) [[unlikely]] d = {d.digits * 10, d.exponent - 1};
  const bool lacks_one = d.digits < kSixteen;
  d = {lacks_one ? d.digits * 10 : d.digits, d.exponent - (lacks_one ? 1 : 0)};

  const std::uint64_t upper = d.digits / kEight;
  const std::uint64_t middle = eight_digits(upper % kEight);
  const std::uint64_t last = eight_digits(d.digits % kEight);
  // Digits that are zero are zero bytes: those at the end are counted as bits.
  const int zeros = last != 0     ? std::countl_zero(last) / 8
                    : middle != 0 ? 8 + std::countl_zero(middle) / 8
                                  : 16;
  first = static_cast<char>('0' + upper / kEight);
  rest = (static_cast<Wide>(last) << 64 | middle) | kZeros;
  count = 17 - zeros;
  exponent = d.exponent + zeros;
}

/// Sixteen characters.
void store(char* to, Wide text) noexcept {
  auto low = static_cast<std::uint64_t>(text);
  auto high = static_cast<std::uint64_t>(text >> 64);
  if constexpr (std::endian::native == std::endian::big) {
    low = __builtin_bswap64(low);
    high = __builtin_bswap64(high);
  }
  std::memcpy(to, &low, sizeof low);
  std::memcpy(to + 8, &high, sizeof high);
}

char* write_scientific(char* to, const DigitText& digits) noexcept {
  const int exponent = digits.exponent + digits.count - 1;
  to[0] = digits.first;
  to[1] = '.';
  store(to + 2, digits.rest);
  to += digits.count > 1 ? digits.count + 1 : 1;
  to[0] = 'e';
  to[1] = exponent < 0 ? '-' : '+';
  to[2] = static_cast<char>('0' + std::abs(exponent) / 10);
  to[3] = static_cast<char>('0' + std::abs(exponent) % 10);
  return to + 4;
}

/// Six zeros at most stand before or after the digits: with more the scientific form is shorter.
char* write_fixed(char* to, const DigitText& digits) noexcept {
  const int whole = digits.count + digits.exponent;  // digits before the point
  if (whole <= 0) {
    std::memcpy(to, "0.000000", 8);
    to[2 - whole] = digits.first;
    store(to + 3 - whole, digits.rest);
    return to + 2 - digits.exponent;
  }
  to[0] = digits.first;
  store(to + 1, digits.rest);
  if (digits.exponent >= 0) {
    std::memcpy(to + digits.count, "00000000", 8);
    return to + whole;
  }
  to[whole] = '.';
  store(to + whole + 1, digits.rest >> (8 * (whole - 1)));
  return to + digits.count + 1;
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

char* write_shortest(char* to, double value) noexcept {
  const auto decimal = shortest_decimal(std::abs(value));
  if (!decimal) return std::to_chars(to, to + kMaxNumberChars, value).ptr;
  if (std::signbit(value)) *to++ = '-';
  const DigitText digits(*decimal);
  const int scientific_length = digits.count + (digits.count > 1 ? 5 : 4);
  const int fixed_length = digits.exponent >= 0              ? digits.count + digits.exponent
                           : digits.exponent > -digits.count ? digits.count + 1
                                                             : 2 - digits.exponent;
  return fixed_length <= scientific_length ? write_fixed(to, digits) : write_scientific(to, digits);
}

}  // namespace regfeatd::cli
