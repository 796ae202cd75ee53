// Digits become text; src/base/shortest_decimal.cpp finds them, or std::to_chars where that does not.

#include "shortest.hpp"

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

namespace regfeatd::cli {
namespace {

using Wide = unsigned __int128;

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
  Wide rest = 0;     ///< sixteen characters after the first, the next one in the lowest byte; zeros at the end
  int count = 0;     ///< of significant digits
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
  const int zeros = last != 0 ? std::countl_zero(last) / 8 : middle != 0 ? 8 + std::countl_zero(middle) / 8 : 16;
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
