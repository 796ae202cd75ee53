#include "regfeatd/pg/tuple_encoder.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "dense_rows.hpp"
#include "regfeatd/base/fault.hpp"
#include "regfeatd/pg/numeric.hpp"

namespace regfeatd::pg {
namespace {

constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kMaxNumericBytes = 28;
constexpr std::size_t kRowsAtOnce = DenseRows::kRows;

template <class T>
std::byte* put(std::byte* to, T value) noexcept {
  if constexpr (std::endian::native == std::endian::little) {
    if constexpr (sizeof(T) == 2) value = static_cast<T>(__builtin_bswap16(static_cast<std::uint16_t>(value)));
    if constexpr (sizeof(T) == 4) value = static_cast<T>(__builtin_bswap32(static_cast<std::uint32_t>(value)));
    if constexpr (sizeof(T) == 8) value = static_cast<T>(__builtin_bswap64(static_cast<std::uint64_t>(value)));
  }
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

std::byte* put_null(std::byte* to) noexcept { return put<std::int32_t>(to, -1); }

std::byte* put_float8(std::byte* to, double value) noexcept {
  to = put<std::int32_t>(to, 8);
  return put(to, std::bit_cast<std::uint64_t>(value));
}

std::byte* put_feature(std::byte* to, FeatureType type, double value) noexcept {
  if (!std::isfinite(value)) return put_null(to);
  switch (type) {
    case FeatureType::float8:
      return put_float8(to, value);
    case FeatureType::float4: {
      const auto narrow = static_cast<float>(value);
      if (!std::isfinite(narrow)) return put_null(to);
      to = put<std::int32_t>(to, 4);
      return put(to, std::bit_cast<std::uint32_t>(narrow));
    }
    case FeatureType::numeric: {
      std::byte* const end = encode_numeric(to + kLengthBytes, value);
      put<std::int32_t>(to, static_cast<std::int32_t>(end - to) - static_cast<std::int32_t>(kLengthBytes));
      return end;
    }
  }
  return put_null(to);
}

constexpr std::size_t max_field_bytes(FeatureType type) noexcept {
  switch (type) {
    case FeatureType::float8:
      return kLengthBytes + 8;
    case FeatureType::float4:
      return kLengthBytes + 4;
    case FeatureType::numeric:
      return kLengthBytes + kMaxNumericBytes;
  }
  return 0;
}

std::size_t head_bytes(const TupleLayout& layout) noexcept {
  return 2 + kLengthBytes + (layout.order == OrderType::int8 ? 8u : 4u);
}

}  // namespace

TupleEncoder::TupleEncoder(TupleLayout layout, std::size_t max_rows)
    : layout_(std::move(layout)),
      all_float8_(std::all_of(layout_.features.begin(), layout_.features.end(),
                              [](FeatureType t) { return t == FeatureType::float8; })),
      max_rows_(max_rows),
      null_counts_(layout_.features.size(), 0) {
  reserve(max_rows, {});
}

void TupleEncoder::reset_null_counts() noexcept { std::fill(null_counts_.begin(), null_counts_.end(), 0); }

std::size_t TupleEncoder::tuple_bytes(const TupleLayout& layout) noexcept {
  std::size_t bytes = head_bytes(layout);
  for (const FeatureType t : layout.features)
    bytes += t == FeatureType::numeric ? kLengthBytes + 18 : max_field_bytes(t);
  return bytes;
}

void TupleEncoder::reserve(std::size_t rows, std::span<const std::span<const std::byte>> keys) {
  std::size_t row_bytes = head_bytes(layout_);
  for (const FeatureType t : layout_.features) row_bytes += max_field_bytes(t);
  std::size_t bytes = rows * row_bytes;
  for (const auto& key : keys) bytes += key.size();
  if (bytes > buffer_.size()) buffer_.resize(bytes);
}

std::span<const std::byte> TupleEncoder::encode(std::span<const OrderValue> order,
                                                std::span<const std::span<const std::byte>> keys,
                                                std::span<const double* const> columns) {
  assert(order.size() <= max_rows_ && columns.size() == layout_.features.size());
  assert(keys.size() == (layout_.key_fields == 0 ? 0 : order.size()));
  if (!keys.empty()) reserve(order.size(), keys);
  const bool dense = count_nulls(order.size(), columns);
  if (dense && all_float8_) {
    encode_dense(order, keys, columns);
  } else {
    encode_general(order, keys, columns);
  }
  return {buffer_.data(), used_bytes_};
}

/// Counts by feature what will be NULL; true when nothing is.
bool TupleEncoder::count_nulls(std::size_t rows, std::span<const double* const> columns) {
  std::int64_t total = 0;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const double* const values = columns[c];
    const double limit =
        layout_.features[c] == FeatureType::float4 ? 0x1.ffffffp127 : std::numeric_limits<double>::infinity();
    const std::int64_t nulls = dense_rows().count_not_below({values, rows}, limit);
    null_counts_[c] += nulls;
    total += nulls;
  }
  return total == 0;
}

std::byte* TupleEncoder::encode_head(std::byte* to, OrderValue position, std::span<const std::byte> key) const {
  to = put(to, static_cast<std::int16_t>(1 + layout_.key_fields + layout_.features.size()));
  if (layout_.order == OrderType::int8) {
    to = put<std::int32_t>(to, 8);
    to = put(to, position);
  } else {
    if (position < std::numeric_limits<std::int32_t>::min() || position > std::numeric_limits<std::int32_t>::max()) {
      throw Fault(FaultClass::partition,
                  "position " + std::to_string(position) + " does not fit the target's integer order column");
    }
    to = put<std::int32_t>(to, 4);
    to = put(to, static_cast<std::int32_t>(position));
  }
  if (!key.empty()) std::memcpy(to, key.data(), key.size());
  return to + key.size();
}

/// All features double precision, none NULL: every tuple's features have the same length, so that a cache line of a
/// column (eight rows) can be spread over eight tuples at once.
void TupleEncoder::encode_dense(std::span<const OrderValue> order, std::span<const std::span<const std::byte>> keys,
                                std::span<const double* const> columns) {
  std::byte* at = buffer_.data();
  const std::size_t feature_bytes = columns.size() * (kLengthBytes + 8);
  for (std::size_t r = 0; r < order.size(); r += kRowsAtOnce) {
    const std::size_t rows = std::min(kRowsAtOnce, order.size() - r);
    std::array<std::byte*, kRowsAtOnce> to{};
    for (std::size_t k = 0; k < rows; ++k) {
      to[k] = encode_head(at, order[r + k], keys.empty() ? std::span<const std::byte>{} : keys[r + k]);
      at = to[k] + feature_bytes;
    }
    if (rows == kRowsAtOnce) {
      dense_rows().encode(to.data(), columns, r);
    } else {
      for (std::size_t k = 0; k < rows; ++k) {
        for (const double* const column : columns) to[k] = put_float8(to[k], column[r + k]);
      }
    }
  }
  used_bytes_ = static_cast<std::size_t>(at - buffer_.data());
}

void TupleEncoder::encode_general(std::span<const OrderValue> order, std::span<const std::span<const std::byte>> keys,
                                  std::span<const double* const> columns) {
  std::byte* at = buffer_.data();
  for (std::size_t r = 0; r < order.size(); ++r) {
    at = encode_head(at, order[r], keys.empty() ? std::span<const std::byte>{} : keys[r]);
    for (std::size_t c = 0; c < columns.size(); ++c) at = put_feature(at, layout_.features[c], columns[c][r]);
  }
  used_bytes_ = static_cast<std::size_t>(at - buffer_.data());
}

}  // namespace regfeatd::pg
