// Rows that are there against rows that are expected (regfeat.completeness).

#include "regfeatd/populate/completeness.hpp"

#include <algorithm>

#include "regfeatd/pg/catalog.hpp"

namespace regfeatd::populate {

std::int64_t ExpectedCells::cells(OrderValue from, OrderValue to) const noexcept {
  from = std::max(from, range.lower);
  to = std::min(to, until);
  if (from >= to) return 0;
  const auto begun = [&](OrderValue v) {
    return (v - range.lower + cadence - 1) / cadence;
  };  // cells that begin before v
  return begun(to) - begun(from);
}

std::int64_t ExpectedCells::closed_cells() const noexcept {
  std::int64_t n = 0;
  for (const OrderRange& c : closed) n += cells(c.lower, c.upper);
  return n;
}

std::int64_t ExpectedCells::expected_cells() const noexcept { return cells(range.lower, until) - closed_cells(); }

CellCount count_cells(const ExpectedCells& expected, std::span<const OrderValue> positions) {
  CellCount count;
  auto closure = expected.closed.begin();
  std::int64_t last = -1;
  for (const OrderValue position : positions) {
    const std::int64_t cell = (position - expected.range.lower) / expected.cadence;
    const OrderValue begin = expected.range.lower + cell * expected.cadence;
    while (closure != expected.closed.end() && closure->upper <= begin) ++closure;
    if (closure != expected.closed.end() && closure->lower <= begin) {
      ++count.unexpected;
    } else if (cell != last && begin < expected.until) {
      ++count.present;
      last = cell;
    }
  }
  return count;
}

std::vector<OrderRange> merged(std::vector<OrderRange> closures) {
  std::sort(closures.begin(), closures.end(),
            [](const OrderRange& a, const OrderRange& b) { return a.lower < b.lower; });
  std::vector<OrderRange> out;
  for (const OrderRange& c : closures) {
    if (!out.empty() && c.lower <= out.back().upper) {
      out.back().upper = std::max(out.back().upper, c.upper);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

ExpectedCells expected_cells(pqxx::transaction_base& tx, const spec::FeatureSet& fs, OrderRange range) {
  ExpectedCells out{range, fs.calendar.cadence, range.upper, {}};
  if (fs.order != OrderKind::time) return out;
  std::vector<std::string> week_from, week_until, from, until;
  for (const auto& w : fs.calendar.weekly) {
    week_from.push_back(std::to_string(w.from_minute));
    week_until.push_back(std::to_string(w.until_minute + (w.until_minute < w.from_minute ? 7 * 24 * 60 : 0)));
  }
  for (const OrderRange& c : fs.calendar.closed) {
    from.push_back(std::to_string(c.lower));
    until.push_back(std::to_string(c.upper));
  }
  std::vector<OrderRange> closures;
  for (
      const auto& row : tx.exec_params(
          "WITH bounds AS (SELECT timestamptz '2000-01-01 00:00+00' + $1 * interval '1 us' AS low, timestamptz '2000-01-01 00:00+00' + $2 * interval '1 us' AS high), "
          "closures AS ("
          "  SELECT (w.monday + c.f * interval '1 minute') AT TIME ZONE $3 AS f, (w.monday + c.u * interval '1 minute') AT TIME ZONE $3 AS u "
          "    FROM bounds b, unnest($4::int[], $5::int[]) c(f, u), "
          "         generate_series(date_trunc('week', b.low AT TIME ZONE $3) - interval '14 days', b.high AT TIME ZONE $3, interval '7 days') w(monday) "
          "  UNION ALL "
          "  SELECT (timestamp '2000-01-01' + c.f * interval '1 us') AT TIME ZONE $3, (timestamp '2000-01-01' + c.u * interval '1 us') AT TIME ZONE $3 "
          "    FROM unnest($6::bigint[], $7::bigint[]) c(f, u)) "
          "SELECT (extract(epoch FROM f - timestamptz '2000-01-01 00:00+00') * 1000000)::bigint, "
          "       (extract(epoch FROM u - timestamptz '2000-01-01 00:00+00') * 1000000)::bigint "
          "  FROM closures, bounds WHERE u > low AND f < high",
          range.lower, range.upper, fs.calendar.zone, pg::array_literal(week_from), pg::array_literal(week_until),
          pg::array_literal(from), pg::array_literal(until))) {
    closures.push_back({row[0].as<OrderValue>(), row[1].as<OrderValue>()});
  }
  out.closed = merged(std::move(closures));
  out.until =
      std::min(range.upper,
               tx.exec1("SELECT (extract(epoch FROM now() - timestamptz '2000-01-01 00:00+00') * 1000000)::bigint")[0]
                   .as<OrderValue>());
  return out;
}

std::vector<std::string> check_calendar(pqxx::transaction_base& tx, const spec::FeatureSet& fs) {
  if (fs.calendar.cadence == 0) return {};
  try {
    pqxx::subtransaction trial(static_cast<pqxx::dbtransaction&>(tx), "zone");
    // Not by exec_params: libpqxx 6 opens a subtransaction at its first exec, and an error outside of it aborts everything.
    trial.exec("SELECT now() AT TIME ZONE " + pg::quote_literal(fs.calendar.zone));
    trial.commit();
  } catch (const pqxx::sql_error&) {
    return {"calendar.zone: the server knows no time zone \"" + fs.calendar.zone + "\": pg_timezone_names lists them"};
  }
  return {};
}

}  // namespace regfeatd::populate
