#include "status_screen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "regfeatd/base/quantity.hpp"
#include "status_text.hpp"
#include "terminal_text.hpp"

namespace regfeatd::cli {
namespace {

using Lines = std::vector<std::string>;

constexpr const char* kReset = "\033[0m";
constexpr const char* kBad = "\033[31;1m";

/// A part of the screen of which fewer lines can be shown.
struct Section {
  std::string what;  ///< of many: "workers"
  Lines head;
  std::size_t total = 0;
  std::function<std::string(std::size_t)> line;
  std::vector<std::size_t> order;  ///< of the lines, what matters most first

  /// Lines that it takes when so many are shown; the last says how many more there are.
  [[nodiscard]] std::size_t height(std::size_t shown) const { return head.size() + shown + (shown < total ? 1 : 0); }

  void put(Lines& out, std::size_t shown) const {
    out.insert(out.end(), head.begin(), head.end());
    std::vector<std::size_t> lines(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown));
    std::sort(lines.begin(), lines.end());
    for (const std::size_t i : lines) out.push_back(line(i));
    if (shown < total) out.push_back(fmt::format("… and {} more {}", total - shown, what));
  }
};

/// 0 to n - 1, those first for which `first` holds.
template <class First>
std::vector<std::size_t> ordered(std::size_t n, const First& first) {
  std::vector<std::size_t> out(n);
  std::iota(out.begin(), out.end(), std::size_t{0});
  std::stable_partition(out.begin(), out.end(), first);
  return out;
}

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
      // Those of a daemon that is not alive may still be counted.
      if (s.workers_configured > 0) parts.push_back(fmt::format("{} of {} workers", s.workers, s.workers_configured));
      if (!s.limited_by.empty()) parts.push_back("limited by " + printable(s.limited_by));
    }
    wrap(out, parts);
    if (!s.stalled.empty()) out.push_back(in(kBad, "  stalled: " + printable(s.stalled)));
    if (!s.paused_reason.empty()) out.push_back(in("\033[33m", "  paused: " + printable(s.paused_reason)));
    if (s.blocked > 0) out.push_back("  the first that is blocked " + printable(s.blocked_reason));
  }

  /// What has to be known before anything else: daemons that are not there.
  void daemons(Lines& out, const queue::Snapshot& snapshot) const {
    const auto& all = snapshot.daemons;
    const bool any = std::any_of(all.begin(), all.end(), [](const auto& d) { return d.alive; });
    const bool left = std::any_of(snapshot.feature_sets.begin(), snapshot.feature_sets.end(),
                                  [](const auto& s) { return s.pending + s.running > 0; });
    if (!any)
      out.push_back(left ? in(kBad, "no daemon is alive: nothing is computed") : std::string("no daemon is alive"));
    std::set<std::string> names;  // those alive come first, then the newest of each name
    std::size_t dead = 0;
    for (const auto& d : all) {
      if (!names.insert(d.name).second || d.alive || d.state == "stopped" || ++dead > kDead) continue;
      out.push_back(in(kBad, fmt::format("daemon {} is not alive: no heartbeat for {}", printable(d.name),
                                         format_seconds(d.heartbeat_age_s))));
    }
    if (dead > kDead) out.push_back(in(kBad, fmt::format("… and {} more daemons are not alive", dead - kDead)));
  }

  /// Each with the lines that it takes; where they do not all fit, those that are at work first.
  void feature_sets(Lines& out, const std::vector<queue::FeatureSetStatus>& sets, std::size_t room) const {
    std::vector<Lines> blocks(sets.size());
    std::size_t height = 0;
    for (std::size_t i = 0; i < sets.size(); ++i) {
      feature_set(blocks[i], sets[i]);
      height += blocks[i].size();
    }
    std::vector<std::size_t> shown =
        ordered(sets.size(), [&](std::size_t i) { return sets[i].pending + sets[i].running > 0; });
    while (height + (shown.size() < sets.size() ? 1 : 0) > room && shown.size() > 1) {
      height -= blocks[shown.back()].size();
      shown.pop_back();
    }
    std::sort(shown.begin(), shown.end());
    for (const std::size_t i : shown) out.insert(out.end(), blocks[i].begin(), blocks[i].end());
    if (shown.size() < sets.size())
      out.push_back(fmt::format("… and {} more feature sets", sets.size() - shown.size()));
  }

  [[nodiscard]] Section workers(const queue::Snapshot& snapshot) const {
    int name = 0;
    for (const auto& w : snapshot.workers) name = std::max(name, display_width(worker_name(w, kNameColumns)));
    return {"workers",
            {},
            snapshot.workers.size(),
            [this, &snapshot, name](std::size_t i) {
              return worker(snapshot.workers[i], name, snapshot.feature_sets.size() > 1);
            },
            ordered(snapshot.workers.size(), [&](std::size_t i) { return !snapshot.workers[i].series.empty(); })};
  }

  [[nodiscard]] Section failures(const queue::Snapshot& snapshot) const {
    return {"failures",
            {head("last attempts that did not succeed")},
            snapshot.failures.size(),
            [this, &snapshot](std::size_t i) {
              const auto& f = snapshot.failures[i];
              return fmt::format("{} {} {} {}: {}", printable(f.at), printable(f.series), short_position(f.from),
                                 in("\033[31m", printable(f.outcome)), printable(f.message));
            },
            ordered(snapshot.failures.size(), [](std::size_t) { return true; })};
  }

  [[nodiscard]] Section slow(const queue::Snapshot& snapshot) const {
    return {"slow partitions",
            {head("slow partitions")},
            snapshot.slow_partitions.size(),
            [&snapshot](std::size_t i) {
              const auto& s = snapshot.slow_partitions[i];
              return fmt::format("{} {}  {} ({:.1f} times the usual per row), in {}", printable(s.series),
                                 short_position(s.from), format_seconds(s.seconds), s.times_median, s.phase);
            },
            ordered(snapshot.slow_partitions.size(), [](std::size_t) { return true; })};
  }

  /// A row per series, as many cells as there are columns: where there are more ranges, a cell stands for several and shows the
  /// one that matters most. Series with failed partitions matter most.
  [[nodiscard]] Section heat_map(const queue::HeatMap& map) const {
    int label = 0;
    for (const std::string& s : map.series) label = std::max(label, display_width(printable(s)));
    label = std::min(label, 16);
    const auto cells = static_cast<std::size_t>(std::max(1, options_.columns - label - 1));
    const std::size_t per_cell = (map.from.size() + cells - 1) / cells;
    return {"series",
            {head(printable(map.feature_set)) +
                 fmt::format("  {} to {}{}", short_position(map.from.front()), short_position(map.to.back()),
                             per_cell > 1 ? fmt::format(", {} partitions a cell", per_cell) : ""),
             legend()},
            map.series.size(),
            [this, &map, label, per_cell](std::size_t i) {
              std::string line = padded(clipped(printable(map.series[i]), label), label) + ' ';
              for (std::size_t c = 0; c < map.from.size(); c += per_cell)
                line += cell(worst(std::string_view(map.rows[i]).substr(c, per_cell)));
              return line;
            },
            ordered(map.series.size(), [&](std::size_t i) { return map.rows[i].find('F') != std::string::npos; })};
  }

  [[nodiscard]] static std::string short_position(const std::string& position) {
    const std::string p = printable(position);
    const auto midnight = p.find(" 00:00:00+00");
    return midnight == std::string::npos ? p : p.substr(0, midnight);
  }

 private:
  static constexpr int kNameColumns = 24;  ///< of a worker, at most
  static constexpr std::size_t kDead = 3;  ///< daemons that are named

  [[nodiscard]] std::string worker(const queue::WorkerStatus& w, int name, bool with_set) const {
    std::string line = fmt::format("{}  {} {:>9}", padded(worker_name(w, name), name), padded(printable(w.step), 8),
                                   format_seconds(w.step_seconds));
    if (w.series.empty()) return line;
    const int tenths =
        w.rows_total > 0 ? static_cast<int>(std::clamp<std::int64_t>(10 * w.rows_done / w.rows_total, 0, 10)) : 0;
    std::string bar;
    for (int i = 0; i < 10; ++i) bar += i < tenths ? "█" : "░";
    line += "  " + in("\033[36m", bar) +
            fmt::format("  {} {}  {}/{} rows", printable(w.series), short_position(w.from), format_count(w.rows_done),
                        format_count(w.rows_total));
    if (with_set) line += "  " + printable(w.feature_set);
    return line;
  }

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

namespace {

/// How many lines of each section there is room for; `sections` begin with the one that matters most. First each gets as little
/// as says something, then each one line more, in turns. 0: not even that little.
std::vector<std::size_t> fitted(const std::vector<Section>& sections, std::size_t room) {
  std::vector<std::size_t> shown(sections.size(), 0);
  for (std::size_t i = 0; i < sections.size(); ++i) {
    if (sections[i].height(1) > room) continue;
    shown[i] = 1;
    room -= sections[i].height(1);
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (std::size_t i = 0; i < sections.size(); ++i) {
      const Section& s = sections[i];
      if (shown[i] == 0 || shown[i] == s.total || s.height(shown[i] + 1) > s.height(shown[i]) + room) continue;
      room -= s.height(shown[i] + 1) - s.height(shown[i]);
      ++shown[i];
      grown = true;
    }
  }
  return shown;
}

/// "not shown: 6 workers, 2 failures"; "" when every section is.
std::string left_out(const std::vector<Section>& sections, const std::vector<std::size_t>& shown) {
  std::string out;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    if (shown[i] == 0)
      out += fmt::format("{}{} {}", out.empty() ? "not shown: " : ", ", sections[i].total, sections[i].what);
  }
  return out;
}

}  // namespace

std::vector<std::string> status_screen(const queue::Snapshot& snapshot, const ScreenOptions& options) {
  const Painter painter(options);
  const std::size_t rows = options.rows > 0 ? static_cast<std::size_t>(options.rows) : std::numeric_limits<int>::max();
  Lines out;
  painter.daemons(out, snapshot);
  if (snapshot.feature_sets.empty()) out.emplace_back("no feature sets: register one with `regfeatd apply SPEC.yaml`");
  painter.feature_sets(out, snapshot.feature_sets, rows / 3 * 2);  // the rest is for what they do

  // What matters most first; the screen shows workers above failures.
  std::vector<Section> sections{painter.failures(snapshot), painter.workers(snapshot)};
  for (const auto& map : snapshot.heat_maps) {
    if (!map.series.empty() && !map.from.empty()) sections.push_back(painter.heat_map(map));
  }
  sections.push_back(painter.slow(snapshot));
  std::erase_if(sections, [](const Section& s) { return s.total == 0; });

  const std::size_t room = rows > out.size() ? rows - out.size() : 0;
  std::size_t wanted = 0;
  for (const Section& s : sections) wanted += 1 + s.height(s.total);
  const bool gaps = wanted <= room;
  std::vector<std::size_t> shown = fitted(sections, room);
  std::string missing = left_out(sections, shown);
  if (!missing.empty() && room > 0) missing = left_out(sections, shown = fitted(sections, room - 1));

  for (const char* what : {"workers", "failures", "slow partitions", "series"}) {
    for (std::size_t i = 0; i < sections.size(); ++i) {
      if (sections[i].what != what || shown[i] == 0) continue;
      if (gaps) out.emplace_back();
      sections[i].put(out, shown[i]);
    }
  }
  if (!missing.empty()) out.push_back(missing);
  if (out.size() > rows) out.resize(rows);
  for (std::string& line : out) line = clipped(line, options.columns);
  return out;
}

}  // namespace regfeatd::cli
