#include "terminal_text.hpp"

#include <clocale>
#include <cwchar>

#include <algorithm>

namespace regfeatd::cli {
namespace {

constexpr const char* kReset = "\033[0m";

/// glibc knows how wide each character is, in a UTF-8 locale; C.UTF-8 is part of it. For the calling thread, in this scope.
class Utf8Locale {
 public:
  Utf8Locale() : before_(uselocale(utf8())) {}
  ~Utf8Locale() { uselocale(before_); }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  /// Null where there is none: the locale stays as it is.
  static locale_t utf8() {
    static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;
  }
  locale_t before_;
};

/// The end of the escape sequence that begins at `at`, or `at` itself. Only CSI sequences are ours.
std::size_t escape_end(std::string_view text, std::size_t at) {
  if (text[at] != '\033' || at + 1 >= text.size() || text[at + 1] != '[') return at;
  std::size_t end = at + 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
  return std::min(end + 1, text.size());
}

struct Character {
  std::size_t bytes;
  int columns;  ///< -1: a control character
};

Character character_at(std::string_view text, std::size_t at) {
  std::mbstate_t state{};
  wchar_t wide = 0;
  const std::size_t bytes = std::mbrtowc(&wide, text.data() + at, text.size() - at, &state);
  if (bytes == 0) return {1, -1};
  if (bytes > text.size() - at) return {1, 1};  // (size_t)-1, -2: not UTF-8
  return {bytes, wcwidth(wide)};
}

}  // namespace

int display_width(std::string_view text) {
  const Utf8Locale locale;
  int width = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = escape_end(text, i);
    if (end > i) {
      i = end;
      continue;
    }
    const Character c = character_at(text, i);
    width += std::max(0, c.columns);
    i += c.bytes;
  }
  return width;
}

std::string clipped(std::string_view text, int columns) {
  const Utf8Locale locale;
  std::string out;
  int width = 0;
  bool coloured = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = escape_end(text, i);
    if (end > i) {
      out += text.substr(i, end - i);
      coloured = true;
      i = end;
      continue;
    }
    const Character c = character_at(text, i);
    width += std::max(0, c.columns);
    if (width > columns) return coloured ? out + kReset : out;
    out += text.substr(i, c.bytes);
    i += c.bytes;
  }
  return out;
}

std::string padded(std::string text, int columns) {
  const int missing = columns - display_width(text);
  if (missing > 0) text.append(static_cast<std::size_t>(missing), ' ');
  return text;
}

std::string printable(std::string_view text) {
  const Utf8Locale locale;
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (c.columns < 0) {
      out += ' ';
    } else {
      out += text.substr(i, c.bytes);
    }
    i += c.bytes;
  }
  return out;
}

}  // namespace regfeatd::cli
