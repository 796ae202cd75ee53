#include "regfeatd/pg/numeric.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/base/shortest_decimal.hpp"

namespace regfeatd::pg {
namespace {

constexpr std::uint16_t kPositive = 0x0000, kNegative = 0x4000, kNan = 0xc000, kInfinity = 0xd000,
                        kMinusInfinity = 0xf000;

std::byte* put(std::byte* to, std::uint16_t value) noexcept {
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap16(value);
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

std::uint16_t get(const std::byte* from) noexcept {
  std::uint16_t value = 0;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::little ? __builtin_bswap16(value) : value;
}

// Powers of ten that doubles hold exactly.
constexpr std::array<double, 23> kExactPowers{1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/// Any number of digits, through text, as the server does it.
double decode_long(std::span<const std::byte> digits, int exponent) {
  std::string text;
  for (std::size_t g = 0; g < digits.size(); g += 2) {
    const unsigned group = get(digits.data() + g);
    for (const unsigned unit : {1000u, 100u, 10u, 1u}) text += static_cast<char>('0' + group / unit % 10);
  }
  text += 'e' + std::to_string(exponent);
  double value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc{}) {
    throw Fault(FaultClass::partition, "an input of type numeric is out of the range of double precision", "22003");
  }
  return value;
}

/// Any finite value but zero: the shortest digits by way of text, at most 17 of them.
std::byte* encode_by_text(std::byte* to, double value) noexcept {
  // Shortest digits as d.ddd...e±xx: at most 17 digits.
  std::array<char, 32> text{};
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), std::fabs(value), std::chars_format::scientific);
  assert(error == std::errc{});
  const char* const e = std::find(text.data(), end, 'e');
  int exponent = 0;  // of the first digit
  std::from_chars(e[1] == '+' ? e + 2 : e + 1, end, exponent);
  std::array<char, 24> digits{};
  int count = 0;
  for (const char* p = text.data(); p != e; ++p) {
    if (*p != '.') digits[static_cast<std::size_t>(count++)] = static_cast<char>(*p - '0');
  }
  // Base-10000 groups are aligned to the decimal point: the first one holds (exponent mod 4) + 1 digits.
  const int weight = exponent >= 0 ? exponent / 4 : -((-exponent + 3) / 4);
  int lead = exponent - weight * 4 + 1;
  std::array<std::uint16_t, 8> groups{};
  std::size_t used = 0;
  for (int i = 0; i < count; lead = 4) {
    unsigned group = 0;
    for (int k = 0; k < lead; ++k, ++i)
      group = group * 10 + (i < count ? static_cast<unsigned>(digits[static_cast<std::size_t>(i)]) : 0u);
    groups[used++] = static_cast<std::uint16_t>(group);
  }
  while (used > 0 && groups[used - 1] == 0) --used;
  to = put(to, static_cast<std::uint16_t>(used));
  to = put(to, static_cast<std::uint16_t>(weight));
  to = put(to, value < 0 ? kNegative : kPositive);
  to = put(to, static_cast<std::uint16_t>(std::max(0, count - 1 - exponent)));
  for (std::size_t g = 0; g < used; ++g) to = put(to, groups[g]);
  return to;
}

/// The same for digits × 10^exponent: five groups of four digits at the most.
std::byte* encode_decimal(std::byte* to, ShortestDecimal d, bool negative) noexcept {
  while (d.exponent < 0 && d.digits % 10 == 0) d = {d.digits / 10, d.exponent + 1};
  const auto shift = static_cast<unsigned>(d.exponent) % 4;  // modulo 4 of the two's complement: never negative
  static constexpr std::array<std::uint64_t, 4> kScale{1, 10, 100, 1000};
  static constexpr std::array<std::uint64_t, 4> kRest{10000, 1000, 100, 10};
  const std::uint64_t upper = d.digits / kRest[shift];
  const std::uint64_t high = upper / 100'000'000, low = upper % 100'000'000;
  const std::array<std::uint16_t, 5> groups{
      static_cast<std::uint16_t>(high / 10000), static_cast<std::uint16_t>(high % 10000),
      static_cast<std::uint16_t>(low / 10000), static_cast<std::uint16_t>(low % 10000),
      static_cast<std::uint16_t>(d.digits % kRest[shift] * kScale[shift])};
  std::size_t first = 0, end = groups.size();
  while (groups[first] == 0) ++first;
  while (groups[end - 1] == 0) --end;
  const int weight = (d.exponent - static_cast<int>(shift)) / 4 + 4 - static_cast<int>(first);
  to = put(to, static_cast<std::uint16_t>(end - first));
  to = put(to, static_cast<std::uint16_t>(weight));
  to = put(to, negative ? kNegative : kPositive);
  to = put(to, static_cast<std::uint16_t>(d.exponent < 0 ? -d.exponent : 0));
  for (; first < end; ++first) to = put(to, groups[first]);
  return to;
}

}  // namespace

double decode_numeric(std::span<const std::byte> field) {
  const auto malformed = [] { return Fault(FaultClass::fatal, "binary COPY: malformed numeric"); };
  if (field.size() < 8) throw malformed();
  const std::size_t groups = get(field.data());
  const int weight = static_cast<std::int16_t>(get(field.data() + 2));
  const std::uint16_t sign = get(field.data() + 4);
  if (field.size() != 8 + 2 * groups) throw malformed();
  switch (sign) {
    case kPositive:
    case kNegative:
      break;
    case kNan:
      return std::numeric_limits<double>::quiet_NaN();
    case kInfinity:
      return std::numeric_limits<double>::infinity();
    case kMinusInfinity:
      return -std::numeric_limits<double>::infinity();
    default:
      throw malformed();
  }
  const auto digits = field.subspan(8);
  const int exponent = 4 * (weight + 1 - static_cast<int>(groups));  // of the last group's last digit
  double value = 0;
  bool exact = groups <= 4 && exponent >= -22 && exponent <= 22;
  if (exact) {
    std::uint64_t whole = 0;
    for (std::size_t g = 0; g < digits.size(); g += 2) whole = whole * 10000 + get(digits.data() + g);
    exact = whole <= (std::uint64_t{1} << 53);
    // Both operands are exact, so the one rounding of the quotient or product is the right one (Clinger
    // 1990).
    const double power = kExactPowers[static_cast<std::size_t>(std::abs(exponent))];
    value = exponent < 0 ? static_cast<double>(whole) / power : static_cast<double>(whole) * power;
  }
  if (!exact) value = decode_long(digits, exponent);
  return sign == kNegative && value != 0 ? -value : value;
}

std::byte* encode_numeric(std::byte* to, double value) noexcept {
  if (value == 0) {
    for (int i = 0; i < 4; ++i) to = put(to, std::uint16_t{0});
    return to;
  }
  const auto decimal = shortest_decimal(std::fabs(value));
  return decimal ? encode_decimal(to, *decimal, value < 0) : encode_by_text(to, value);
}

}  // namespace regfeatd::pg
