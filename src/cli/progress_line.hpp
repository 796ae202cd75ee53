#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace regfeatd::cli {

/// One line on standard error that is rewritten in place, a few times a second, while standard error is a terminal;
/// nothing otherwise. It is gone when the object is.
class ProgressLine {
 public:
  explicit ProgressLine(std::optional<std::uint64_t> total_bytes);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(std::uint64_t rows, std::uint64_t bytes_read);

 private:
  using Clock = std::chrono::steady_clock;

  const bool enabled_;
  const std::optional<std::uint64_t> total_bytes_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
  bool shown_ = false;
};

}  // namespace regfeatd::cli
