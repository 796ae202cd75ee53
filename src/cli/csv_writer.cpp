#include "csv_writer.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace regfeatd::cli {

char* write_number(char* to, double value) noexcept {
  if (std::isnan(value)) return to;
  return std::to_chars(to, to + kMaxNumberChars, value).ptr;
}

void append_field(std::string& to, std::string_view value) {
  if (value.find_first_of(",\"\r\n") == std::string_view::npos) {
    to += value;
    return;
  }
  to += '"';
  for (const char c : value) {
    if (c == '"') to += '"';
    to += c;
  }
  to += '"';
}

void TextBuffer::grow(std::size_t count) {
  const std::size_t capacity = std::max(capacity_ * 2, size_ + count);
  auto data = std::make_unique_for_overwrite<char[]>(capacity);
  if (size_ > 0) std::memcpy(data.get(), data_.get(), size_);
  data_ = std::move(data);
  capacity_ = capacity;
}

}  // namespace regfeatd::cli
