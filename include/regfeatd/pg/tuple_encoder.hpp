#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "regfeatd/base/order.hpp"

namespace regfeatd::pg {

/// The type of a feature column in a target.
enum class FeatureType : std::uint8_t {
  float8,   ///< double precision
  float4,   ///< real: rounded to nearest; what overflows becomes NULL
  numeric,  ///< the shortest decimal that gives the double back
};

/// The type of the order column in a target.
enum class OrderType : std::uint8_t {
  int8,  ///< timestamp, timestamptz (microseconds since 2000-01-01) and bigint: eight bytes
  int4,  ///< integer
};

struct TupleLayout {
  OrderType order = OrderType::int8;
  std::size_t key_fields = 0;
  std::vector<FeatureType> features;
  friend bool operator==(const TupleLayout&, const TupleLayout&) = default;
};

/// Turns column buffers into binary COPY tuples: order, key fields, features. NaN in a feature is NULL; any other
/// value that is not finite is NULL as well. The buffer is allocated at construction and reused. Not thread-safe.
class TupleEncoder {
 public:
  /// `max_rows`: the most rows one call of `encode` may pass.
  TupleEncoder(TupleLayout layout, std::size_t max_rows);

  /// `order[r]`: the row's position. `keys[r]`: its key fields, each with its length word in front, as COPY wants them
  /// (empty span when the layout has none). `columns[c][r]`: feature c.
  /// The result is valid until the next call. Throws Fault (partition) for a position that the type cannot hold.
  [[nodiscard]] std::span<const std::byte> encode(std::span<const OrderValue> order,
                                                  std::span<const std::span<const std::byte>> keys,
                                                  std::span<const double* const> columns);

  [[nodiscard]] const TupleLayout& layout() const noexcept { return layout_; }

  /// NULLs written so far, by feature; set back by `reset_null_counts`.
  [[nodiscard]] std::span<const std::int64_t> null_counts() const noexcept { return null_counts_; }
  void reset_null_counts() noexcept;

  /// Bytes of one tuple without NULLs and keys, for estimates: exact for float8 and float4, typical for numeric.
  [[nodiscard]] static std::size_t tuple_bytes(const TupleLayout& layout) noexcept;

 private:
  /// Neighbouring features of one type that are encoded alike in the rows at hand.
  struct Run {
    std::size_t first, count;
    FeatureType type;
    bool dense;  ///< none of them is NULL
  };

  std::byte* encode_head(std::byte* to, OrderValue position, std::span<const std::byte> key) const;
  void find_runs(std::size_t rows, std::span<const double* const> columns);
  [[nodiscard]] std::size_t null_savings(std::span<const double* const> columns, std::size_t row) const;
  void encode_in_runs(std::span<const OrderValue> order, std::span<const std::span<const std::byte>> keys,
                      std::span<const double* const> columns);
  void encode_by_value(std::span<const OrderValue> order, std::span<const std::span<const std::byte>> keys,
                       std::span<const double* const> columns);
  void reserve(std::size_t rows, std::span<const std::span<const std::byte>> keys);

  TupleLayout layout_;
  bool fixed_lengths_;  ///< no numeric: a field that is not NULL has the length of its type
  std::size_t max_rows_;
  std::size_t max_row_bytes_;  ///< without keys
  std::vector<std::int64_t> null_counts_;
  std::vector<Run> runs_;
  std::vector<std::byte> buffer_;
  std::size_t used_bytes_ = 0;
};

}  // namespace regfeatd::pg
