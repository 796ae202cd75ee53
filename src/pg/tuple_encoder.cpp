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
constexpr double kFloat4Limit = 0x1.ffffffp127;  // what is not below rounds to infinity

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

/// What is not below this in magnitude, and NaN, becomes NULL.
constexpr double null_limit(FeatureType type) noexcept {
  return type == FeatureType::float4 ? kFloat4Limit : std::numeric_limits<double>::infinity();
}

bool is_null(FeatureType type, double value) noexcept { return !(std::fabs(value) < null_limit(type)); }

std::byte* put_feature(std::byte* to, FeatureType type, double value) noexcept {
  if (is_null(type, value)) return put_null(to);
  switch (type) {
    case FeatureType::float8:
      to = put<std::int32_t>(to, 8);
      return put(to, std::bit_cast<std::uint64_t>(value));
    case FeatureType::float4:
      to = put<std::int32_t>(to, 4);
      return put(to, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
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

constexpr std::size_t head_bytes(OrderType order) noexcept {
  return 2 + kLengthBytes + (order == OrderType::int8 ? 8u : 4u);
}

}  // namespace

TupleEncoder::TupleEncoder(TupleLayout layout, std::size_t max_rows)
    : layout_(std::move(layout)),
      fixed_lengths_(std::find(layout_.features.begin(), layout_.features.end(), FeatureType::numeric) ==
                     layout_.features.end()),
      max_rows_(max_rows),
      max_row_bytes_(head_bytes(layout_.order)),
      null_counts_(layout_.features.size(), 0) {
  for (const FeatureType t : layout_.features) max_row_bytes_ += max_field_bytes(t);
  runs_.reserve(layout_.features.size());
  reserve(max_rows, {});
}

void TupleEncoder::reset_null_counts() noexcept { std::fill(null_counts_.begin(), null_counts_.end(), 0); }

std::size_t TupleEncoder::tuple_bytes(const TupleLayout& layout) noexcept {
  std::size_t bytes = head_bytes(layout.order);
  for (const FeatureType t : layout.features)
    bytes += t == FeatureType::numeric ? kLengthBytes + 18 : max_field_bytes(t);
  return bytes;
}

void TupleEncoder::reserve(std::size_t rows, std::span<const std::span<const std::byte>> keys) {
  std::size_t bytes = rows * max_row_bytes_;
  for (const auto& key : keys) bytes += key.size();
  if (bytes > buffer_.size()) buffer_.resize(bytes);
}

std::span<const std::byte> TupleEncoder::encode(std::span<const OrderValue> order,
                                                std::span<const std::span<const std::byte>> keys,
                                                std::span<const double* const> columns) {
  assert(order.size() <= max_rows_ && columns.size() == layout_.features.size());
  assert(keys.size() == (layout_.key_fields == 0 ? 0 : order.size()));
  if (!keys.empty()) reserve(order.size(), keys);
  find_runs(order.size(), columns);
  if (fixed_lengths_) {
    encode_in_runs(order, keys, columns);
  } else {
    encode_by_value(order, keys, columns);
  }
  return {buffer_.data(), used_bytes_};
}

/// Counts by feature what will be NULL, and parts the features into runs accordingly.
void TupleEncoder::find_runs(std::size_t rows, std::span<const double* const> columns) {
  runs_.clear();
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const FeatureType type = layout_.features[c];
    const std::int64_t nulls = dense_rows().count_not_below({columns[c], rows}, null_limit(type));
    null_counts_[c] += nulls;
    if (!runs_.empty() && runs_.back().type == type && runs_.back().dense == (nulls == 0)) {
      ++runs_.back().count;
    } else {
      runs_.push_back({c, 1, type, nulls == 0});
    }
  }
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

/// By how much the features of a row are shorter for its NULLs.
std::size_t TupleEncoder::null_savings(std::span<const double* const> columns, std::size_t row) const {
  std::size_t bytes = 0;
  for (const Run& run : runs_) {
    if (run.dense) continue;
    std::size_t nulls = 0;
    for (std::size_t c = run.first; c < run.first + run.count; ++c) nulls += is_null(run.type, columns[c][row]) ? 1 : 0;
    bytes += nulls * (max_field_bytes(run.type) - kLengthBytes);
  }
  return bytes;
}

/// Where every row's length is known beforehand, a cache line of a column (eight rows) is spread over eight tuples at
/// once; only columns that have NULLs in these rows are looked at value by value.
void TupleEncoder::encode_in_runs(std::span<const OrderValue> order, std::span<const std::span<const std::byte>> keys,
                                  std::span<const double* const> columns) {
  std::byte* at = buffer_.data();
  const std::size_t full = max_row_bytes_ - head_bytes(layout_.order);
  const bool dense = std::all_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.dense; });
  for (std::size_t r = 0; r < order.size(); r += kRowsAtOnce) {
    const std::size_t rows = std::min(kRowsAtOnce, order.size() - r);
    std::array<std::byte*, kRowsAtOnce> to{};
    for (std::size_t k = 0; k < rows; ++k) {
      to[k] = encode_head(at, order[r + k], keys.empty() ? std::span<const std::byte>{} : keys[r + k]);
      at = to[k] + full - (dense ? 0 : null_savings(columns, r + k));
    }
    for (const Run& run : runs_) {
      const auto of_run = columns.subspan(run.first, run.count);
      if (run.dense && rows == kRowsAtOnce) {
        (run.type == FeatureType::float8 ? dense_rows().float8 : dense_rows().float4)(to.data(), of_run, r);
        for (std::byte*& t : to) t += run.count * max_field_bytes(run.type);
      } else {
        for (std::size_t k = 0; k < rows; ++k) {
          for (const double* const column : of_run) to[k] = put_feature(to[k], run.type, column[r + k]);
        }
      }
    }
  }
  used_bytes_ = static_cast<std::size_t>(at - buffer_.data());
}

void TupleEncoder::encode_by_value(std::span<const OrderValue> order, std::span<const std::span<const std::byte>> keys,
                                   std::span<const double* const> columns) {
  std::byte* at = buffer_.data();
  for (std::size_t r = 0; r < order.size(); ++r) {
    at = encode_head(at, order[r], keys.empty() ? std::span<const std::byte>{} : keys[r]);
    for (std::size_t c = 0; c < columns.size(); ++c) at = put_feature(at, layout_.features[c], columns[c][r]);
  }
  used_bytes_ = static_cast<std::size_t>(at - buffer_.data());
}

}  // namespace regfeatd::pg
