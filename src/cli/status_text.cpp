#include "status_text.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cmath>

#include "regfeatd/base/quantity.hpp"
#include "terminal_text.hpp"

namespace regfeatd::cli {
namespace {

std::string bar(double percent, int width) {
  const int full = std::clamp(static_cast<int>(std::floor(percent / 100 * width)), 0, width);
  std::string out;
  for (int i = 0; i < width; ++i) out += i < full ? "█" : "░";
  return out;
}

}  // namespace

int terminal_columns(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string eta_text(const queue::FeatureSetStatus& s) {
  if (s.pending + s.running == 0) return s.failed > 0 ? "nothing left but failed ones" : "done";
  if (s.running == 0 && s.pending == s.blocked) return "nothing left but blocked ones";
  if (!s.eta_s) return s.stalled.empty() ? "ETA unknown yet" : "ETA unknown while stalled";
  std::string out = "ETA " + format_seconds(*s.eta_s);
  if (s.eta_low_s && s.eta_high_s)
    out += fmt::format(" ({} to {})", format_seconds(*s.eta_low_s), format_seconds(*s.eta_high_s));
  return out;
}

std::string status_line(const queue::FeatureSetStatus& s, int columns) {
  const int bar_width = columns >= 120 ? 24 : columns >= 90 ? 12 : 8;
  // What goes to the right is dropped first when the terminal is narrow.
  std::vector<std::string> parts{fmt::format("{:5.1f} %", s.percent),
                                 fmt::format("{}/{}", s.done + s.empty, s.partitions)};
  if (s.failed > 0) parts.push_back(fmt::format("{} failed", s.failed));
  if (s.blocked > 0) parts.push_back(fmt::format("{} blocked", s.blocked));
  if (s.running > 0) parts.push_back(fmt::format("{} running", s.running));
  if (s.rows_per_second) parts.push_back(fmt::format("{} rows/s", format_count(std::llround(*s.rows_per_second))));
  parts.push_back(s.paused_reason.empty() ? eta_text(s) : "paused: " + printable(s.paused_reason));
  const std::string name = clipped(printable(s.name), 20);
  std::string out = fmt::format("{} {}", name, bar(s.percent, bar_width));
  int used = display_width(name) + 1 + bar_width;
  for (const std::string& p : parts) {
    if (used + 2 + display_width(p) >= columns) break;
    out += "  " + p;
    used += 2 + display_width(p);
  }
  return out;
}

}  // namespace regfeatd::cli
