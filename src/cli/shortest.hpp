#pragma once

#include <cstddef>

#include "regfeatd/base/shortest_decimal.hpp"

namespace regfeatd::cli {

/// Room that `write_shortest` needs: no double takes more than 24 characters, but digits are stored sixteen
/// at a time.
inline constexpr std::size_t kMaxNumberChars = 48;

/// Writes what std::to_chars writes, about one and a half times as fast. Any finite value; returns the end.
[[nodiscard]] char* write_shortest(char* to, double value) noexcept;

}  // namespace regfeatd::cli
