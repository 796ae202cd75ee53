#pragma once

#include <cstddef>
#include <span>

namespace regfeatd::pg {

/// The double nearest to a numeric in PostgreSQL's binary send format, the same bits as the server's own cast
/// gives, for a fifth of its cost. NaN and infinities are themselves. Throws Fault: partition for a number
/// that no double is near (the server's cast raises an error for it too), fatal for bytes that are not a
/// numeric.
[[nodiscard]] double decode_numeric(std::span<const std::byte> field);

/// The numeric send format of the shortest decimal that gives `value` back, which must be finite, at `to`;
/// returns the end. At most 28 bytes. (PostgreSQL, numeric_recv: ndigits, weight, sign, dscale, base-10000
/// digits.)
std::byte* encode_numeric(std::byte* to, double value) noexcept;

}  // namespace regfeatd::pg
