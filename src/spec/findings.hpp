#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::spec {

/// Collects everything that is wrong with one document. Not thread-safe.
class Findings {
 public:
  explicit Findings(std::string file) : file_(std::move(file)) {}

  /// `line` from 1; 0 where the document has no line for it.
  void add(int line, std::string message);
  [[nodiscard]] bool empty() const noexcept { return found_.empty(); }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] Mark mark(int line) const { return {file_, line}; }

  /// Throws a SpecError with all findings in the order of their lines, if there are any.
  void throw_if_any() const;

 private:
  struct Finding {
    int line;
    std::string message;
  };
  std::string file_;
  std::vector<Finding> found_;
};

/// `"text"` for a message: control characters and overlong text made harmless.
[[nodiscard]] std::string quote(std::string_view text);

/// `a, b and c`, each quoted; the longer lists end in `and 17 more`.
[[nodiscard]] std::string quoted_list(std::span<const std::string> names, std::size_t at_most = 12);

/// `; did you mean "lease"?`, or nothing when no candidate is near.
[[nodiscard]] std::string did_you_mean(std::string_view text, std::span<const std::string> candidates);

}  // namespace regfeatd::spec
