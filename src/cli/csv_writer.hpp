#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace regfeatd::cli {

/// Characters of the longest double in shortest form, with room for a sign and a separator.
inline constexpr std::size_t kMaxNumberChars = 32;

/// Writes the shortest text that reads back as the same double; nothing for NaN, which stands for NULL. Needs
/// kMaxNumberChars; returns the end.
[[nodiscard]] char* write_number(char* to, double value) noexcept;

/// Appends a field, in quotes where RFC 4180 wants them.
void append_field(std::string& to, std::string_view value);

/// Text that grows and keeps its memory from one use to the next; not initialised, unlike std::string.
class TextBuffer {
 public:
  void clear() noexcept { size_ = 0; }
  [[nodiscard]] std::string_view text() const noexcept { return {data_.get(), size_}; }

  /// Room for `count` more characters, to be followed by `commit` of where writing ended.
  [[nodiscard]] char* reserve(std::size_t count) {
    if (capacity_ - size_ < count) grow(count);
    return data_.get() + size_;
  }
  void commit(const char* end) noexcept { size_ = static_cast<std::size_t>(end - data_.get()); }

 private:
  void grow(std::size_t count);

  std::unique_ptr<char[]> data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace regfeatd::cli
