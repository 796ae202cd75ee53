#include "progress_line.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "regfeatd/base/quantity.hpp"

namespace regfeatd::cli {

ProgressLine::ProgressLine(std::optional<std::uint64_t> total_bytes)
    : enabled_(::isatty(STDERR_FILENO) == 1), total_bytes_(total_bytes) {}

ProgressLine::~ProgressLine() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

void ProgressLine::update(std::uint64_t rows, std::uint64_t bytes_read) {
  const Clock::time_point now = Clock::now();
  if (!enabled_ || now < next_) return;
  next_ = now + std::chrono::milliseconds{200};
  const double seconds = std::max(std::chrono::duration<double>(now - start_).count(), 1e-3);
  std::string text = format_count(static_cast<std::int64_t>(rows)) + " rows, " +
                     format_count(static_cast<std::int64_t>(static_cast<double>(rows) / seconds)) + " rows/s";
  if (total_bytes_ && *total_bytes_ > 0) {
    const double share = static_cast<double>(bytes_read) / static_cast<double>(*total_bytes_);
    text += ", " + std::to_string(static_cast<int>(100 * std::min(share, 1.0))) + " % read";
  }
  std::fprintf(stderr, "\r\033[K%s", text.c_str());
  (void)std::fflush(stderr);
  shown_ = true;
}

}  // namespace regfeatd::cli
