#include "regfeatd/pg/numeric.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::pg {
namespace {

double there_and_back(double value) {
  std::array<std::byte, 28> bytes{};
  const std::byte* end = encode_numeric(bytes.data(), value);
  return decode_numeric(std::span<const std::byte>(bytes.data(), end));
}

std::vector<std::byte> numeric(std::initializer_list<int> words) {
  std::vector<std::byte> bytes;
  for (const int w : words) {
    bytes.push_back(static_cast<std::byte>((w >> 8) & 0xff));
    bytes.push_back(static_cast<std::byte>(w & 0xff));
  }
  return bytes;
}

/// The same by way of text: digits of std::to_chars, cut into groups of four around the point.
std::vector<std::byte> by_text(double value) {
  std::array<char, 1200> text{};
  const char* const end =
      std::to_chars(text.data(), text.data() + text.size(), std::fabs(value), std::chars_format::fixed).ptr;
  std::string whole(static_cast<const char*>(text.data()), end), part;
  if (const auto point = whole.find('.'); point != std::string::npos) {
    part = whole.substr(point + 1);
    whole.resize(point);
  }
  const int scale = static_cast<int>(part.size());
  whole.insert(0, (4 - whole.size() % 4) % 4, '0');
  part.append((4 - part.size() % 4) % 4, '0');
  const std::string all = whole + part;
  std::vector<int> groups;
  for (std::size_t i = 0; i < all.size(); i += 4) groups.push_back(std::stoi(all.substr(i, 4)));
  int weight = static_cast<int>(whole.size() / 4) - 1;
  while (!groups.empty() && groups.front() == 0) {
    groups.erase(groups.begin());
    --weight;
  }
  while (!groups.empty() && groups.back() == 0) groups.pop_back();
  std::vector<std::byte> bytes;
  const auto put = [&](int w) {
    bytes.push_back(static_cast<std::byte>((w >> 8) & 0xff));
    bytes.push_back(static_cast<std::byte>(w & 0xff));
  };
  for (const int w : {static_cast<int>(groups.size()), groups.empty() ? 0 : weight, value < 0 ? 0x4000 : 0, scale})
    put(w);
  for (const int g : groups) put(g);
  return bytes;
}

TEST(Numeric, IsWrittenAsTheShortestDigitsSay) {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> exponent(-45, 15.9), sign(-1, 1);
  for (int i = 0; i < 100'000; ++i) {
    double value = std::copysign(std::pow(10, exponent(random)), sign(random));
    if (i % 3 == 0) value = std::round(value * 1000) / 1000;
    if (i % 7 == 0) value = static_cast<double>(static_cast<float>(value));
    std::array<std::byte, 28> bytes{};
    const std::byte* end = encode_numeric(bytes.data(), value);
    ASSERT_EQ(std::vector<std::byte>(static_cast<const std::byte*>(bytes.data()), end), by_text(value)) << value;
  }
}

TEST(Numeric, EveryDoubleComesBackWithItsBits) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200'000; ++i) {
    const auto value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    ASSERT_EQ(std::bit_cast<std::uint64_t>(there_and_back(value)), std::bit_cast<std::uint64_t>(value)) << value;
  }
  // Prices and rates: few digits, the short way through the decoder.
  std::uniform_int_distribution<int> digits(0, 1'000'000'000), places(0, 12);
  for (int i = 0; i < 200'000; ++i) {
    const double value = digits(random) / std::pow(10, places(random));
    ASSERT_EQ(there_and_back(-value), value == 0 ? 0 : -value);
  }
}

TEST(Numeric, EndsOfTheRange) {
  for (const double v : {0.0, 1.0, -1.0, 1e22, 1e23, 1e-22, 9007199254740993.0, std::numeric_limits<double>::max(),
                         std::numeric_limits<double>::denorm_min()}) {
    EXPECT_EQ(there_and_back(v), v);
  }
  EXPECT_TRUE(std::isnan(decode_numeric(numeric({0, 0, 0xc000, 0}))));
  EXPECT_EQ(decode_numeric(numeric({0, 0, 0xd000, 0})), std::numeric_limits<double>::infinity());
  EXPECT_EQ(decode_numeric(numeric({0, 0, 0xf000, 0})), -std::numeric_limits<double>::infinity());
  EXPECT_THROW((void)decode_numeric(numeric({1, 100, 0, 0, 1})), Fault) << "1e400";
  EXPECT_THROW((void)decode_numeric(numeric({1, -100, 0, 0, 1})), Fault) << "1e-400";
}

TEST(Numeric, MalformedBytesAreRefused) {
  EXPECT_THROW((void)decode_numeric({}), Fault);
  EXPECT_THROW((void)decode_numeric(numeric({2, 0, 0, 0, 1})), Fault);
  EXPECT_THROW((void)decode_numeric(numeric({0, 0, 0x1234, 0})), Fault);
}

}  // namespace
}  // namespace regfeatd::pg
