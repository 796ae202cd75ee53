// Reads the keys `cadence` and `calendar` of a feature set.

#include <algorithm>
#include <array>

#include "spec/draft.hpp"

namespace regfeatd::spec {
namespace {

/// The shortest partition of a unit: a cadence that is longer would expect rows where there are none.
OrderValue shortest(const Partitioning& p) {
  switch (p.by) {
    case PartitionUnit::hour:
      return 3600 * kMicrosPerSecond;
    case PartitionUnit::day:
      return kMicrosPerDay;
    case PartitionUnit::week:
      return 7 * kMicrosPerDay;
    case PartitionUnit::month:
      return 28 * kMicrosPerDay;
    case PartitionUnit::year:
      return 365 * kMicrosPerDay;
    case PartitionUnit::step:
      return p.step;
  }
  return 0;
}

/// What all partitions of a unit are multiples of: a cadence that does not divide it has cells whose rows are in two
/// partitions.
OrderValue common_length(const Partitioning& p) {
  const bool varies = p.by == PartitionUnit::month || p.by == PartitionUnit::year;
  return varies ? kMicrosPerDay : shortest(p);
}

constexpr std::array<const char*, 7> kDays{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/// `fri 17:00` as the minute of the week.
std::optional<int> read_week_minute(const Field& field, Findings& findings) {
  const auto text = read_text(field, findings);
  if (!text) return std::nullopt;
  const auto digit = [&](std::size_t i) { return (*text)[i] >= '0' && (*text)[i] <= '9' ? (*text)[i] - '0' : -1000; };
  const auto day = std::find(kDays.begin(), kDays.end(), text->substr(0, 3));
  if (day != kDays.end() && text->size() == 9 && (*text)[3] == ' ' && (*text)[6] == ':') {
    const int hour = 10 * digit(4) + digit(5), minute = 10 * digit(7) + digit(8);
    const bool valid = hour >= 0 && minute >= 0 && minute < 60 && hour * 60 + minute <= 24 * 60;
    if (valid) return static_cast<int>(day - kDays.begin()) * 24 * 60 + hour * 60 + minute;
  }
  findings.add(field.line(),
               at(field.path, "expected a day of the week and a time, such as fri 17:00, not \"" + *text + '"'));
  return std::nullopt;
}

/// A time on the wall of the calendar's zone, so without an offset.
std::optional<OrderValue> read_local_time(const Field& field, Findings& findings) {
  const auto text = read_text(field, findings);
  if (!text) return std::nullopt;
  const bool has_offset = text->find_first_of("+Zz") != std::string::npos || text->find('-', 8) != std::string::npos;
  const auto time = has_offset ? std::nullopt : parse_time(*text);
  if (!time)
    findings.add(
        field.line(),
        at(field.path, "expected a local time without an offset, such as 2018-12-24 17:00, not \"" + *text + '"'));
  return time;
}

void read_closure(const Field& field, Calendar& calendar, Findings& findings) {
  const MapReader map(field, {"weekly", "from", "until"}, findings);
  if (!map.is_mapping()) return;
  const auto until = map.require("until");
  if (map.has("weekly") == map.has("from")) {
    map.report("needs weekly: DAY HH:MM or from: TIME, and until");
    return;
  }
  if (!until) return;
  if (const auto f = map.find("weekly")) {
    const auto from = read_week_minute(*f, findings), to = read_week_minute(*until, findings);
    if (!from || !to) return;
    if (*from == *to) map.report("is empty: weekly and until are the same");
    calendar.weekly.push_back({*from, *to});
  } else if (const auto g = map.find("from")) {
    const auto from = read_local_time(*g, findings), to = read_local_time(*until, findings);
    if (!from || !to) return;
    if (*to <= *from) map.report("is empty: until is not after from");
    calendar.closed.push_back({*from, *to});
  }
}

}  // namespace

void read_cadence(const Field& field, Draft& draft, Findings& findings) {
  Calendar& calendar = draft.fs.calendar;
  if (draft.fs.order == OrderKind::time) {
    const auto every = read_duration(field, {std::chrono::microseconds{1}, std::chrono::days{366}}, findings);
    if (every) calendar.cadence = every->count();
  } else {
    calendar.cadence = read_integer(field, {1, 1'000'000'000'000'000'000}, findings).value_or(0);
  }
  const Partitioning& p = draft.fs.partitioning;
  if (p.range.upper > p.range.lower && calendar.cadence > shortest(p)) {
    findings.add(field.line(), at(field.path, "is longer than a partition; take larger partitions, or leave it out"));
  } else if (p.range.upper > p.range.lower && calendar.cadence > 0 && common_length(p) % calendar.cadence != 0) {
    const bool of_days = common_length(p) != shortest(p);
    findings.add(
        field.line(),
        at(field.path, std::string("does not divide ") + (of_days ? "a day, of which partitions" : "a partition") +
                           (of_days ? " by month and year have varying numbers" : "") +
                           ": cells would begin in one partition and end in the next; take partitions that are "
                           "multiples of it, such as by: week for a weekly source, or leave it out"));
  }
}

void read_calendar(const Field& field, Draft& draft, Findings& findings) {
  if (draft.fs.order != OrderKind::time) {
    findings.add(field.line(), at(field.path, "a sequence has no calendar; give cadence alone"));
    return;
  }
  const MapReader map(field, {"zone", "closed"}, findings);
  if (!map.is_mapping()) return;
  if (const auto f = map.find("zone")) draft.fs.calendar.zone = read_text(*f, findings).value_or("UTC");
  if (const auto f = map.require("closed")) {
    for (const Field& item : read_list(*f, findings)) read_closure(item, draft.fs.calendar, findings);
  }
}

}  // namespace regfeatd::spec
