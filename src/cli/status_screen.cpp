#include "status_screen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "regfeatd/base/quantity.hpp"
#include "status_text.hpp"
#include "terminal_text.hpp"

namespace regfeatd::cli {
namespace {

using Lines = std::vector<std::string>;

constexpr const char* kReset = "\033[0m";

class Painter {
 public:
  explicit Painter(const ScreenOptions& options) : options_(options) {}

  [[nodiscard]] std::string in(const char* colour, const std::string& text) const {
    return options_.colour ? colour + text + kReset : text;
  }
  [[nodiscard]] std::string head(const std::string& text) const { return in("\033[1m", text); }

  void feature_set(Lines& out, const queue::FeatureSetStatus& s) const {
    const std::string name = printable(s.name);
    const int width = std::clamp(options_.columns - display_width(name) - 40, 8, 40);
    const int full = std::clamp(static_cast<int>(std::floor(s.percent / 100 * width)), 0, width);
    std::string bar;
    for (int i = 0; i < width; ++i) bar += i < full ? "█" : "░";
    Lines counts{fmt::format("{:.1f} %", s.percent),
                 fmt::format("{}/{} partitions", format_count(s.done + s.empty), format_count(s.partitions))};
    out.push_back(head(name) + ' ' + in(s.failed > 0 ? "\033[33m" : "\033[32m", bar) + "  " + counts[0] + "  " +
                  counts[1]);
    Lines parts;
    if (s.running > 0) parts.push_back(fmt::format("{} running", s.running));
    if (s.pending > 0) parts.push_back(fmt::format("{} pending", format_count(s.pending)));
    if (s.failed > 0) parts.push_back(in("\033[31m", fmt::format("{} failed", s.failed)));
    if (s.empty > 0) parts.push_back(fmt::format("{} empty", format_count(s.empty)));
    if (s.cancelled > 0) parts.push_back(fmt::format("{} cancelled", format_count(s.cancelled)));
    if (s.blocked > 0) parts.push_back(fmt::format("{} blocked", format_count(s.blocked)));
    if (s.slow_partitions > 0) parts.push_back(in("\033[33m", fmt::format("{} slow", s.slow_partitions)));
    if (s.pending + s.running > 0) {
      if (s.rows_per_second) parts.push_back(format_count(std::llround(*s.rows_per_second)) + " rows/s" + now_text(s));
      parts.push_back(in("\033[1m", eta_text(s)));
      parts.push_back(fmt::format("{} of {} workers", s.workers, s.workers_configured));
      if (!s.limited_by.empty()) parts.push_back("limited by " + printable(s.limited_by));
    }
    wrap(out, parts);
    if (!s.stalled.empty()) out.push_back(in("\033[31;1m", "  stalled: " + printable(s.stalled)));
    if (!s.paused_reason.empty()) out.push_back(in("\033[33m", "  paused: " + printable(s.paused_reason)));
    if (s.blocked > 0) out.push_back("  the first that is blocked " + printable(s.blocked_reason));
  }

  void workers(Lines& out, const queue::Snapshot& snapshot) const {
    if (snapshot.workers.empty()) return;
    out.emplace_back();
    int name = 0;
    for (const auto& w : snapshot.workers) name = std::max(name, display_width(worker_name(w, kNameColumns)));
    for (const auto& w : snapshot.workers) {
      std::string line = fmt::format("{}  {} {:>9}", padded(worker_name(w, name), name), padded(printable(w.step), 8),
                                     format_seconds(w.step_seconds));
      if (!w.series.empty()) {
        const int tenths =
            w.rows_total > 0 ? static_cast<int>(std::clamp<std::int64_t>(10 * w.rows_done / w.rows_total, 0, 10)) : 0;
        std::string bar;
        for (int i = 0; i < 10; ++i) bar += i < tenths ? "█" : "░";
        line += "  " + in("\033[36m", bar) +
                fmt::format("  {} {}  {}/{} rows", printable(w.series), short_position(w.from),
                            format_count(w.rows_done), format_count(w.rows_total));
        if (snapshot.feature_sets.size() > 1) line += "  " + printable(w.feature_set);
      }
      out.push_back(line);
    }
  }

  void failures(Lines& out, const queue::Snapshot& snapshot) const {
    if (snapshot.failures.empty()) return;
    out.emplace_back();
    out.push_back(head("last attempts that did not succeed"));
    for (const auto& f : snapshot.failures) {
      out.push_back(fmt::format("{} {} {} {}: {}", printable(f.at), printable(f.series), short_position(f.from),
                                in("\033[31m", printable(f.outcome)), printable(f.message)));
    }
  }

  void slow(Lines& out, const queue::Snapshot& snapshot) const {
    if (snapshot.slow_partitions.empty()) return;
    out.emplace_back();
    out.push_back(head("slow partitions"));
    for (const auto& s : snapshot.slow_partitions) {
      out.push_back(fmt::format("{} {}  {} ({:.1f} times the usual per row), in {}", printable(s.series),
                                short_position(s.from), format_seconds(s.seconds), s.times_median, s.phase));
    }
  }

  /// A row per series, as many cells as there are columns: where there are more ranges, a cell stands for several and shows the
  /// one that matters most.
  void heat_map(Lines& out, const queue::HeatMap& map, int rows) const {
    if (map.series.empty() || map.from.empty() || rows < 4) return;
    int label = 0;
    for (const std::string& s : map.series) label = std::max(label, display_width(printable(s)));
    label = std::min(label, 16);
    const int cells = std::max(1, options_.columns - label - 1);
    const auto per_cell = (map.from.size() + static_cast<std::size_t>(cells) - 1) / static_cast<std::size_t>(cells);
    out.emplace_back();
    out.push_back(head(printable(map.feature_set)) +
                  fmt::format("  {} to {}{}", short_position(map.from.front()), short_position(map.to.back()),
                              per_cell > 1 ? fmt::format(", {} partitions a cell", per_cell) : ""));
    out.push_back(legend());
    const std::size_t shown =
        std::min(map.series.size(),
                 static_cast<std::size_t>(rows) - (map.series.size() > static_cast<std::size_t>(rows) - 3 ? 4 : 3));
    for (std::size_t s = 0; s < shown; ++s) {
      std::string line = padded(clipped(printable(map.series[s]), label), label) + ' ';
      for (std::size_t c = 0; c < map.from.size(); c += per_cell)
        line += cell(worst(std::string_view(map.rows[s]).substr(c, per_cell)));
      out.push_back(line);
    }
    if (shown < map.series.size()) out.push_back(fmt::format("… and {} more series", map.series.size() - shown));
  }

  [[nodiscard]] static std::string short_position(const std::string& position) {
    const std::string p = printable(position);
    const auto midnight = p.find(" 00:00:00+00");
    return midnight == std::string::npos ? p : p.substr(0, midnight);
  }

 private:
  static constexpr int kNameColumns = 24;  ///< of a worker, at most

  [[nodiscard]] static std::string worker_name(const queue::WorkerStatus& w, int columns) {
    const std::string number = '/' + std::to_string(w.worker);
    return clipped(printable(w.daemon), columns - static_cast<int>(number.size())) + number;
  }
  [[nodiscard]] static std::string now_text(const queue::FeatureSetStatus& s) {
    return s.rows_per_second_now ? " (now " + format_count(std::llround(*s.rows_per_second_now)) + ')' : "";
  }

  /// As many to a line as fit, two columns in.
  void wrap(Lines& out, const Lines& parts) const {
    std::string line = "  ";
    for (const std::string& p : parts) {
      if (display_width(line) > 2 && display_width(line) + 3 + display_width(p) > options_.columns) {
        out.push_back(line);
        line = "  ";
      }
      line += (display_width(line) > 2 ? "   " : "") + p;
    }
    if (display_width(line) > 2) out.push_back(line);
  }

  [[nodiscard]] static char worst(std::string_view letters) {
    for (const char c : std::string_view("Frs.ceD")) {
      if (letters.find(c) != std::string_view::npos) return c;
    }
    return ' ';
  }

  [[nodiscard]] std::string cell(char c) const {
    const std::string text(1, c);
    switch (c) {
      case 'D':
        return in("\033[32m", text);
      case 's':
        return in("\033[33;1m", text);
      case 'r':
        return in("\033[36;1m", text);
      case 'F':
        return in("\033[37;41m", text);
      case 'e':
      case 'c':
      case '.':
        return in("\033[2m", text);
      default:
        return text;
    }
  }

  [[nodiscard]] std::string legend() const {
    return fmt::format("{} done {} slow {} running {} pending {} failed {} empty {} cancelled", cell('D'), cell('s'),
                       cell('r'), cell('.'), cell('F'), cell('e'), cell('c'));
  }

  const ScreenOptions& options_;
};

}  // namespace

std::vector<std::string> status_screen(const queue::Snapshot& snapshot, const ScreenOptions& options) {
  const Painter painter(options);
  Lines out;
  if (snapshot.feature_sets.empty()) out.emplace_back("no feature sets: register one with `regfeatd apply SPEC.yaml`");
  for (const auto& s : snapshot.feature_sets) painter.feature_set(out, s);
  painter.workers(out, snapshot);
  Lines notes;
  painter.failures(notes, snapshot);
  painter.slow(notes, snapshot);
  const auto room = [&] { return options.rows <= 0 ? 1'000'000 : options.rows - static_cast<int>(out.size()); };
  if (room() > static_cast<int>(notes.size())) out.insert(out.end(), notes.begin(), notes.end());
  for (const auto& map : snapshot.heat_maps) painter.heat_map(out, map, room());
  if (options.rows > 0 && out.size() > static_cast<std::size_t>(options.rows))
    out.resize(static_cast<std::size_t>(options.rows));
  for (std::string& line : out) line = clipped(line, options.columns);
  return out;
}

}  // namespace regfeatd::cli
