#include "regfeatd/pg/tuple_encoder.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "regfeatd/pg/numeric.hpp"

namespace regfeatd::pg {
namespace {

using Bytes = std::vector<std::byte>;

template <class T>
void append(Bytes& to, T value) {
  for (int shift = 8 * static_cast<int>(sizeof value) - 8; shift >= 0; shift -= 8)
    to.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> shift));
}

/// A field as the documentation of COPY has it, one byte after the other.
void append_field(Bytes& to, FeatureType type, double value) {
  if (!std::isfinite(value) || (type == FeatureType::float4 && !std::isfinite(static_cast<float>(value)))) {
    append<std::int32_t>(to, -1);
  } else if (type == FeatureType::float8) {
    append<std::int32_t>(to, 8);
    append(to, std::bit_cast<std::uint64_t>(value));
  } else if (type == FeatureType::float4) {
    append<std::int32_t>(to, 4);
    append(to, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  } else {
    std::byte digits[64];
    const std::byte* const end = encode_numeric(digits, value);
    append(to, static_cast<std::int32_t>(end - digits));
    to.insert(to.end(), static_cast<const std::byte*>(digits), end);
  }
}

struct Case {
  TupleLayout layout;
  std::vector<OrderValue> order;
  std::vector<Bytes> keys;
  std::vector<std::vector<double>> columns;
};

Case random_case(std::mt19937_64& random, bool with_numeric) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> odd{nan, inf, -inf, 1e300, -1e300, 0x1.fffffep127, 0x1.ffffffp127, 5e-324, -0.0};
  Case c;
  c.layout.order = random() % 2 == 0 ? OrderType::int8 : OrderType::int4;
  c.layout.key_fields = random() % 3;
  const std::size_t features = 1 + random() % 40, rows = 1 + random() % 40;
  while (c.layout.features.size() < features) {
    const auto type = static_cast<FeatureType>(random() % (with_numeric ? 3 : 2));
    for (std::size_t run = 1 + random() % 12; run > 0; --run) c.layout.features.push_back(type);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    c.order.push_back(static_cast<std::int32_t>(random()));
    Bytes key;
    for (std::size_t k = 0; k < c.layout.key_fields; ++k) {
      const std::size_t length = random() % 5;
      append(key, static_cast<std::int32_t>(length));
      key.insert(key.end(), length, std::byte{0x41});
    }
    if (c.layout.key_fields > 0) c.keys.push_back(key);
  }
  for (std::size_t f = 0; f < c.layout.features.size(); ++f) {
    const std::uint64_t holes = random() % 4;  // none in half of the columns, a few, all
    auto& column = c.columns.emplace_back();
    for (std::size_t r = 0; r < rows; ++r) {
      const bool hole = holes == 3 || (holes == 2 && random() % 10 == 0);
      column.push_back(hole ? odd[random() % odd.size()] : std::sin(static_cast<double>(random() % 1000)) * 1e3);
    }
  }
  return c;
}

void expect_bytes(const Case& c) {
  Bytes expected;
  std::vector<std::int64_t> nulls(c.columns.size());
  for (std::size_t r = 0; r < c.order.size(); ++r) {
    append(expected, static_cast<std::int16_t>(1 + c.layout.key_fields + c.columns.size()));
    append<std::int32_t>(expected, c.layout.order == OrderType::int8 ? 8 : 4);
    if (c.layout.order == OrderType::int8) {
      append(expected, c.order[r]);
    } else {
      append(expected, static_cast<std::int32_t>(c.order[r]));
    }
    if (!c.keys.empty()) expected.insert(expected.end(), c.keys[r].begin(), c.keys[r].end());
    for (std::size_t f = 0; f < c.columns.size(); ++f) {
      const std::size_t before = expected.size();
      append_field(expected, c.layout.features[f], c.columns[f][r]);
      if (expected.size() == before + 4) ++nulls[f];
    }
  }
  std::vector<const double*> columns;
  for (const auto& column : c.columns) columns.push_back(column.data());
  const std::vector<std::span<const std::byte>> keys(c.keys.begin(), c.keys.end());
  TupleEncoder encoder(c.layout, c.order.size());
  for (int again = 1; again <= 2; ++again) {
    const auto out = encoder.encode(c.order, keys, columns);
    ASSERT_EQ(Bytes(out.begin(), out.end()), expected);
    for (std::size_t f = 0; f < nulls.size(); ++f) ASSERT_EQ(encoder.null_counts()[f], again * nulls[f]);
  }
}

TEST(TupleEncoder, BytesAreThoseOfTheFormatWhateverIsNull) {
  std::mt19937_64 random(17);
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    expect_bytes(random_case(random, i % 4 == 0));
    if (HasFatalFailure()) return;
  }
}

TEST(TupleEncoder, APositionThatTheTypeCannotHoldIsRefused) {
  TupleEncoder encoder({OrderType::int4, 0, {FeatureType::float8}}, 8);
  const double value = 1;
  const double* const columns[] = {&value};
  const OrderValue too_large[] = {OrderValue{1} << 31};
  EXPECT_ANY_THROW((void)encoder.encode(too_large, {}, columns));
}

}  // namespace
}  // namespace regfeatd::pg
