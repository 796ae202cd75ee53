#pragma once

#include <cstdint>
#include <optional>

namespace regfeatd {

/// The shortest decimal that reads back as a double and is nearest to it: digits × 10^exponent. `digits` may
/// end in zeros.
struct ShortestDecimal {
  std::uint64_t digits;
  int exponent;
};

/// Magnitudes from about 1e-39 up to 2^53, where powers of ten are exact in 128 bits; nullopt for all others,
/// zero included.
[[nodiscard]] std::optional<ShortestDecimal> shortest_decimal(double magnitude) noexcept;

}  // namespace regfeatd
