#!/usr/bin/env bash
# scripts/load-bars: real bars where they are at hand (REGFEATD_DATA_DIR, or ../shared/data beside the sources),
# generated ones otherwise; derived columns against an independent computation; both formats; what it must refuse.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
: "${REGFEATD_TEST_CLUSTER:?set by ctest}"

pg() { "$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$REGFEATD_TEST_CLUSTER" "$@"; }
work=$(mktemp -d)
database=load_bars_e2e_$$
cleanup() {
  pg psql -XqAt -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" >/dev/null 2>&1
  rm -rf -- "$work"
}
trap cleanup EXIT
pg psql -Xq -c "CREATE DATABASE $database"
conninfo="$(pg conninfo) dbname=$database"
load=("$REGFEATD_SOURCE_DIR/scripts/load-bars" --conninfo "$conninfo")
sql() { psql -XqAt -v ON_ERROR_STOP=1 -d "$conninfo" -c "$1"; }
# All bars and derived values of a pair, as one checksum.
checksum() { # schema pair
  sql "SELECT md5(string_agg(m::text || b::text, '' ORDER BY time)) FROM $1.m1_$2 m JOIN $1.bqx_$2 b ON ts_utc = time AT TIME ZONE 'UTC'"
}

# -- input ----------------------------------------------------------------------------------------------------------

data=${REGFEATD_DATA_DIR:-$REGFEATD_SOURCE_DIR/../shared/data}/fx_m1
pairs=(eurusd gbpusd usdjpy)
if [[ -d $data ]]; then
  echo "real bars: $data"
  months=(201810 201811 201812)
  expected=281218
else
  echo "no real bars in $data: generated ones take their place"
  data=$work/data
  mkdir "$data"
  months=(202409 202410 202411)
  for pair in "${pairs[@]}"; do
    "$REGFEATD_BUILD_DIR/generate-bars" --pair "$pair" --from 2024-09-01 --months 3 >"$work/bars"
    for month in "${months[@]}"; do
      { head -n 1 "$work/bars"; grep "^${month:0:4}-${month:4}-" "$work/bars"; } | gzip >"$data/${pair}_$month.csv.gz"
    done
  done
  expected=$(zcat "$data"/*.gz | grep -vc ts_utc)
fi

for pair in "${pairs[@]}"; do "${load[@]}" "$pair" "$data/$pair"_*.csv.gz & done
wait
check_equal "all bars of three pairs, loaded at the same time" "$expected" \
  "$(sql "SELECT (SELECT count(*) FROM bqx.m1_eurusd) + (SELECT count(*) FROM bqx.m1_gbpusd) + (SELECT count(*) FROM bqx.m1_usdjpy)")"
check_equal "as many derived rows" "$expected" \
  "$(sql "SELECT (SELECT count(*) FROM bqx.bqx_eurusd) + (SELECT count(*) FROM bqx.bqx_gbpusd) + (SELECT count(*) FROM bqx.bqx_usdjpy)")"
check_equal "types and keys" "time:timestamp without time zone rate_index:numeric ts_utc:timestamp with time zone w15_bqx_return:double precision" \
  "$(sql "SELECT string_agg(attname || ':' || format_type(atttypid, atttypmod), ' ' ORDER BY attrelid::regclass::text DESC, attnum)
          FROM pg_attribute WHERE attrelid IN ('bqx.m1_eurusd'::regclass, 'bqx.bqx_eurusd'::regclass)
          AND attname IN ('time', 'rate_index', 'ts_utc', 'w15_bqx_return')")"
check_equal "primary keys" "time ts_utc" \
  "$(sql "SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
          WHERE indisprimary AND indrelid IN ('bqx.m1_eurusd'::regclass, 'bqx.bqx_eurusd'::regclass)")"
check_equal "statistics are there" "$(sql "SELECT count(*) FROM bqx.m1_eurusd")" \
  "$(sql "SELECT reltuples::bigint FROM pg_class WHERE oid = 'bqx.bqx_eurusd'::regclass")"

# -- derived columns, from the definition, in double precision ---------------------------------------------------------

sql "COPY (SELECT to_char(time, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), rate_index, coalesce(w15_bqx_return::text, 'NULL'), coalesce(w75_bqx_return::text, 'NULL')
     FROM bqx.m1_eurusd JOIN bqx.bqx_eurusd ON ts_utc = time AT TIME ZONE 'UTC' ORDER BY time) TO STDOUT (FORMAT csv)" >"$work/derived"
zcat "$data"/eurusd_*.csv.gz | grep -v ts_utc | paste -d, - "$work/derived" >"$work/both"
awk -F, '
  function difference(a, b) { return a > b ? a - b : b - a }
  function sum(w, i, s) {
    s = 0
    for (i = 1; i <= w && i < n; i++) s += (value[n - i] - value[n]) / value[n]
    return s
  }
  function compare(what, expected, actual, tolerance) {
    if (expected == "NULL" || actual == "NULL" ? expected != actual : difference(expected, actual) > tolerance) {
      print NR ": " what " should be " expected ": " $0
      exit 1
    }
  }
  {
    if ($1 != $7) { print NR ": time: " $0; exit 1 }
    n = NR
    if (n == 1) base = $5
    value[n] = 100 * $5 / base
    delete value[n - 76]
    compare("rate_index", value[n], $8, 1e-12)
    compare("w15_bqx_return", sum(15), $9, 1e-13)
    compare("w75_bqx_return", sum(75), $10, 1e-12)
  }' "$work/both" >"$work/report" || fail "derived columns" "$(cat "$work/report")"
ok "rate_index, w15_bqx_return and w75_bqx_return of $(wc -l <"$work/both") bars"

# -- ways to load the same bars -----------------------------------------------------------------------------------------

reference=$(checksum bqx eurusd)
before=$(sql "SELECT sum(xmin::text::bigint) FROM bqx.m1_eurusd")
"${load[@]}" eurusd "$data/eurusd_${months[1]}.csv.gz" >/dev/null
check_equal "loading again changes nothing" "$reference" "$(checksum bqx eurusd)"
check_equal "and writes no row" "$before" "$(sql "SELECT sum(xmin::text::bigint) FROM bqx.m1_eurusd")"

for i in 2 0 1; do "${load[@]}" --schema parts eurusd "$data/eurusd_${months[$i]}.csv.gz" >/dev/null; done
check_equal "month by month, in any order" "$reference" "$(checksum parts eurusd)"

for month in "${months[@]}"; do zcat "$data/eurusd_$month.csv.gz" >"$work/eurusd_$month.csv"; done
"${load[@]}" --schema plain eurusd "$work"/eurusd_*.csv >/dev/null
check_equal "not compressed" "$reference" "$(checksum plain eurusd)"
{ head -n 1 "$work/eurusd_${months[0]}.csv"; cat "$work"/eurusd_*.csv | grep -v ts_utc; } | sed 's/$/\r/' |
  "${load[@]}" --schema "Odd name" eurusd - >/dev/null
check_equal "from standard input, lines ending in CR LF, a schema that needs quotes" "$reference" "$(checksum '"Odd name"' eurusd)"

# HistData's labels, in both of the zones in which they are found.
for zone in America/New_York Etc/GMT+5; do
  sql "COPY (SELECT concat_ws(';', to_char(time AT TIME ZONE 'UTC' AT TIME ZONE '$zone', 'YYYYMMDD HH24MISS'), open, high, low, close, volume)
       FROM bqx.m1_eurusd ORDER BY time) TO STDOUT" >"$work/histdata"
  "${load[@]}" --schema "hist ${zone//[^A-Za-z]/}" eurusd "$work/histdata" >"$work/out"
  check_equal "HistData format, zone told from the bars: $(grep -o 'taken as: .*' "$work/out")" "$reference" \
    "$(checksum "\"hist ${zone//[^A-Za-z]/}\"" eurusd)"
done
sed -n '2000,2500p' "$work/histdata" >"$work/short"
check_status "HistData: too little to tell the zone" 1 "say --histdata-zone" "${load[@]}" --schema hz eurusd "$work/short"
check_status "HistData: the zone is said" 0 "501 bars" "${load[@]}" --schema hz --histdata-zone est eurusd "$work/short"
check_equal "and used" "$(sql "SELECT min(time) FROM (SELECT time FROM bqx.m1_eurusd ORDER BY time OFFSET 1999) x")" \
  "$(sql "SELECT min(time) FROM hz.m1_eurusd")"

# -- base and corrections ---------------------------------------------------------------------------------------------

base="${months[1]:0:4}-${months[1]:4}-15 12:00"
"${load[@]}" --schema plain --base "$base" eurusd "$work/eurusd_${months[0]}.csv" >/dev/null
check_equal "--base" "100.00000000" "$(sql "SELECT round(rate_index, 8) FROM plain.m1_eurusd WHERE time <= '$base' ORDER BY time DESC LIMIT 1")"
check_equal "the base does not move the returns" "$(sql "SELECT md5(string_agg(b::text, '' ORDER BY ts_utc)) FROM bqx.bqx_eurusd b")" \
  "$(sql "SELECT md5(string_agg(b::text, '' ORDER BY ts_utc)) FROM plain.bqx_eurusd b")"
check_status "a base before the first bar" 1 "no bar at or before" "${load[@]}" --base 1999-01-01 eurusd "$work/eurusd_${months[0]}.csv"

awk -F, -v OFS=, 'NR == 5000 { $5 = $3 = $3 + 0.5 } { print }' "$work/eurusd_${months[1]}.csv" >"$work/corrected"
"${load[@]}" --schema parts eurusd "$work/corrected" >/dev/null
"${load[@]}" --schema fresh eurusd "$work/eurusd_${months[0]}.csv" "$work/corrected" "$work/eurusd_${months[2]}.csv" >/dev/null
check_equal "a corrected bar is followed by everything derived from it" "$(checksum fresh eurusd)" "$(checksum parts eurusd)"
[[ $(checksum fresh eurusd) != "$reference" ]] || fail "the correction changes something"

# -- what it refuses -----------------------------------------------------------------------------------------------------

header=ts_utc,open,high,low,close,volume
refused() { # WHAT, MESSAGE, line...
  local what=$1 message=$2
  shift 2
  printf '%s\n' "$@" >"$work/bad.csv"
  check_status "refused: $what" 1 "bad.csv:$message" "${load[@]}" eurusd "$work/eurusd_${months[0]}.csv" "$work/bad.csv"
}
good=2030-01-01T00:00:00Z,1.1,1.2,1.0,1.1,5
refused "no header" "1: neither the header" "$good"
refused "5 fields" "3: 6 fields expected, 5 found" "$header" "$good" 2030-01-01T00:01:00Z,1.1,1.2,1.0,1.1
refused "7 fields" "3: 6 fields expected, 7 found" "$header" "$good" "$good,6"
refused "an empty line" "3: 6 fields expected" "$header" "$good" ""
refused "a price of 0" "2: close is not a positive number" "$header" 2030-01-01T00:00:00Z,1.1,1.2,1.0,0,5
refused "NaN" '2: open is not a positive number: "NaN"' "$header" 2030-01-01T00:00:00Z,NaN,1.2,1.0,1.1,5
refused "no number" "2: high is not a positive number" "$header" 2030-01-01T00:00:00Z,1.1,1.2x,1.0,1.1,5
refused "SQL" "2: volume is not a number" "$header" "2030-01-01T00:00:00Z,1.1,1.2,1.0,1.1,1);DROP TABLE x"
refused "another zone" "2: not in UTC" "$header" 2030-01-01T00:00:00+02:00,1.1,1.2,1.0,1.1,5
refused "seconds" "2: not a whole minute" "$header" 2030-01-01T00:00:30Z,1.1,1.2,1.0,1.1,5
refused "no such day" "2: no such date" "$header" 2030-02-29T00:00:00Z,1.1,1.2,1.0,1.1,5
refused "a minute twice in a file" "4: the minute 2030-01-01 00:00 UTC was given before, in $work/bad.csv:2" "$header" "$good" 2030-01-01T00:01:00Z,1,1,1,1,1 "$good"
refused "HistData line in a bad shape" "2: not a time" "20300101 000000;1;1;1;1;0" "2030-01-01 00:01;1;1;1;1;0"
check_status "refused: a minute twice in two files" 1 "eurusd_${months[0]}.csv:2: the minute" \
  "${load[@]}" eurusd "$data/eurusd_${months[0]}.csv.gz" "$work/eurusd_${months[0]}.csv"
printf '%s\n' "$header" >"$work/empty.csv"
check_status "refused: no bars" 1 "empty.csv: no bars" "${load[@]}" eurusd "$work/empty.csv"
head -c 20000 "$data/eurusd_${months[0]}.csv.gz" >"$work/torn.gz"
check_status "refused: a torn archive" 1 "unexpected end of file" "${load[@]}" eurusd "$work/torn.gz"
check_status "refused: no such file" 1 "no such file" "${load[@]}" eurusd "$work/absent"
check_status "refused: a pair that is no name" 64 "a pair is made of" "${load[@]}" 'x; DROP' "$work/empty.csv"
check_status "refused: no file" 64 "at least one file" "${load[@]}" eurusd
check_status "no database" 69 "failed" "$REGFEATD_SOURCE_DIR/scripts/load-bars" --conninfo "host=$work port=1" eurusd "$work/eurusd_${months[0]}.csv"
check_equal "what was refused left no trace" "$reference" "$(checksum bqx eurusd)"
check_status "a refused pair leaves no table" 1 "6 fields" "${load[@]}" newpair "$work/eurusd_${months[0]}.csv" <(printf '%s\n' "$header" "$good,7")
check_equal "none at all" "" "$(sql "SELECT to_regclass('bqx.m1_newpair')")"
