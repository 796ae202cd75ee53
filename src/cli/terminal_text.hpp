#pragma once

#include <string>
#include <string_view>

namespace regfeatd::cli {

// Text as a terminal lays it out. It is taken as UTF-8 whatever the locale; bytes that are none count as one column each.
// Thread-safe.

/// Columns that a text takes: two for wide characters (Chinese, Japanese, Korean, emoji), none for combining ones and for
/// escape sequences.
[[nodiscard]] int display_width(std::string_view text);
/// The first `columns` columns of it, escape sequences kept. A wide character that would be cut in two is left out.
[[nodiscard]] std::string clipped(std::string_view text, int columns);
/// With spaces behind it, `columns` columns wide; longer ones as they are.
[[nodiscard]] std::string padded(std::string text, int columns);
/// Control characters become spaces: what comes from the database must not steer the terminal.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace regfeatd::cli
