#!/usr/bin/env bash
# The tours of docs/tours.md, block by block as they stand, for each shipped specification with its loader. On real players and
# probes where they are at hand (REGFEATD_DATA_DIR, or ../shared/data beside the sources), on made-up ones otherwise.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
: "${REGFEATD_TEST_CLUSTER:?set by ctest}"

pg() { "$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$REGFEATD_TEST_CLUSTER" "$@"; }
work=$(mktemp -d)
database=tours_e2e_$$
cleanup() {
  PGDATABASE=postgres pg psql -XqAt -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" >/dev/null 2>&1
  rm -rf -- "$work"
}
trap cleanup EXIT
pg psql -Xq -c "CREATE DATABASE $database"
for setting in $(pg conninfo); do
  case $setting in
    host=*) export PGHOST=${setting#*=} ;;
    port=*) export PGPORT=${setting#*=} ;;
    user=*) export PGUSER=${setting#*=} ;;
  esac
done
export PGDATABASE=$database PAGER=cat PATH="$REGFEATD_BUILD_DIR:$PATH"
cd -- "$REGFEATD_SOURCE_DIR"
sql() { psql -XqAt -v ON_ERROR_STOP=1 -c "$1"; }

# -- data -------------------------------------------------------------------------------------------------------------

real=${REGFEATD_DATA_DIR:-$REGFEATD_SOURCE_DIR/../shared/data}
export DATA=$work/data
mkdir "$DATA"
if [[ -d $real/player_games && -d $real/net_latency ]]; then
  echo "real players, and the probes of the first two sources: $real"
  ln -s "$(readlink -f "$real")"/player_games/*.csv.gz "$DATA"
  gzip -dc "$real"/net_latency/seattle_src01_20.csv.gz | awk -F, 'NR == 1 || $2 <= 2' | gzip >"$DATA/seattle_src01_20.csv.gz"
else
  echo "no real data in $real: made-up players and probes take their place"
  for season in 2020-21 2021-22; do
    for id in {230..250}; do
      for match in {0..29}; do
        printf '%s,%s,%d,%d,%d\n' "$(date -u -d "20${season#*-}-01-02 15:00 UTC +$((match * 4 + id % 3)) days" +%FT%TZ)" "$season" "$id" \
          $((match * id % 91)) $((match * match * id % 13))
      done
    done | { echo kickoff_utc,season,player_id,minutes,total_points; cat; } | gzip >"$DATA/player_games_${season/-/_}.csv.gz"
  done
  awk 'BEGIN { print "slice,src,dst,rtt"; for (s = 1; s <= 688; s++) for (d = 1; d <= 99; d++) print s ",1," d "," (s * d % 17) / 20 }' |
    gzip >"$DATA/seattle_src01_20.csv.gz"
fi

# -- the tours --------------------------------------------------------------------------------------------------------

# blocks SECTION: its sh blocks, each ended by a NUL
blocks() {
  awk -v section="## $1" '
    /^## / { inside = $0 == section }
    inside && /^```$/ && block { block = 0; printf "%c", 0; next }
    block { print }
    inside && /^```sh$/ { block = 1 }' docs/tours.md
}

tour() {
  local n=0 block
  while IFS= read -r -d '' block; do
    n=$((n + 1))
    if ! bash -euo pipefail -c "$block" >"$work/output" 2>&1; then fail "$1: block $n of docs/tours.md" "$block" "$(cat "$work/output")"; fi
    if grep -q '^(0 rows)' "$work/output"; then fail "$1: block $n of docs/tours.md shows no rows" "$(cat "$work/output")"; fi
    ok "$1: block $n of docs/tours.md"
  done < <(blocks "$1")
  ((n > 0)) || fail "$1: docs/tours.md has no tour of it"
}

regfeatd migrate >/dev/null
for file in config/feature_sets/*.yaml; do
  name=$(basename "$file" .yaml)
  check "docs/feature-sets.md names $name" grep -q "\`$name\`" docs/feature-sets.md
  [[ $name != bqx_legacy_terms ]] || continue # after bqx_terms, whose result it is compared with
  tour "$name"
done
tour bqx_legacy_terms

check_equal "everything is computed" "0" "$(sql "SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')")"
check_equal "all rows of the bars" "t t t t" \
  "$(sql "SELECT concat_ws(' ', (SELECT count(*) FROM bqx.reg_rate_usdjpy) = (SELECT count(*) FROM bqx.m1_usdjpy),
     (SELECT count(*) FROM bqx.reg_bqx_eurusd) = m.n, (SELECT count(*) FROM bqx.reg_terms_eurusd) = m.n,
     (SELECT count(*) FROM bqx.reg_legacy_eurusd) = m.n) FROM (SELECT count(*) AS n FROM bqx.m1_eurusd) m")"
check_equal "89 rows without the longest window, in the first month alone" "89 89" \
  "$(sql "SELECT count(*) || ' ' || count(*) FILTER (WHERE ts_utc < '2024-08-01') FROM bqx.reg_rate_usdjpy WHERE a2_idx_agg IS NULL")"
check_equal "the second generation is the third, one row later" "0" \
  "$(sql "SELECT count(*) FROM (SELECT l.yhat_end_idx_w630 AS legacy, lag(t.prediction_idx_w630) OVER (ORDER BY ts_utc) AS terms
     FROM bqx.reg_legacy_eurusd l JOIN bqx.reg_terms_eurusd t USING (ts_utc)) x WHERE legacy IS DISTINCT FROM terms AND abs(legacy - terms) > 1e-9")"
check_equal "all rows of the players" "t" "$(sql "SELECT (SELECT count(*) FROM players.player_form) = (SELECT count(*) FROM players.player_games)")"
check_equal "the corrected match concerned some dates, and not all" "t" \
  "$(sql "SELECT count(*) FILTER (WHERE outcome = 'unchanged') > 0 AND count(*) FILTER (WHERE outcome = 'done') > (SELECT count(*) FROM regfeat.partition p WHERE p.feature_set_id = f.feature_set_id AND state = 'done')
     FROM regfeat.attempt a JOIN regfeat.feature_set f USING (feature_set_id) WHERE f.name = 'player_form' GROUP BY f.feature_set_id")"
check_equal "every probe is complete" "complete" "$(sql "SELECT string_agg(DISTINCT state, ' ') FROM regfeat.completeness WHERE feature_set = 'probe_latency'")"

tour "The end of a tour"
check_equal "what remove takes" "bqx_legacy_terms bqx_regression bqx_terms" "$(sql "SELECT string_agg(name, ' ' ORDER BY name) FROM regfeat.feature_set")"
check_equal "what it keeps" "t t" "$(sql "SELECT concat_ws(' ', to_regclass('net.latency_trend') IS NULL, to_regclass('players.player_form') IS NOT NULL)")"

# -- mistakes -----------------------------------------------------------------------------------------------------------

cat >"$work/mistakes.yaml" <<'YAML'
feature_set: mistakes
series: [eurusd]
partition: { by: month, from: 2024-07-02, to: 2024-09-01 }
source:
  tables:
    - { table: "bqx.m1_{serie}", time: time }
inputs:
  idx: { column: rate_index, colour: red }
windows: { w2: 2, w60: 60 }
metrics: [terms, sigmma]
targets:
  - { input: idx, table: "bqx.x_{series}", time: ts_utc, column: "{metric}_{window}" }
YAML
for command in plan apply; do
  status=0
  regfeatd "$command" "$work/mistakes.yaml" >"$work/output" 2>&1 || status=$?
  check_equal "$command of five mistakes: status" 78 "$status"
  check_equal "$command of five mistakes: as many findings" 5 "$(wc -l <"$work/output")"
  line=0
  while read -r line text; do
    check "$command of five mistakes: line $line, $text" grep -q "mistakes.yaml:$line: .*$text" "$work/output"
  done <<'EXPECTED'
3 must be the start of a month
6 unknown placeholder "{serie}"
8 colour
9 3
10 sigmma
EXPECTED
done
check_equal "five mistakes leave nothing behind" "" "$(sql "SELECT name FROM regfeat.feature_set WHERE name = 'mistakes'")"

# Findings against the database, all of them at once too.
sed -e 's/from: 2024-07-02/from: 2024-07-01/; s/{serie}/{series}_missing/; s/, colour: red//; s/w2: 2, //; s/, sigmma//; s/eurusd\]/eurusd, usdjpy]/' \
  -e 's/bqx.x_{series}/nowhere.x_{series}/' "$work/mistakes.yaml" >"$work/findings.yaml"
status=0
regfeatd plan "$work/findings.yaml" >"$work/output" 2>&1 || status=$?
check_equal "findings of the catalogue: status" 78 "$status"
for text in bqx.m1_eurusd_missing bqx.m1_usdjpy_missing nowhere.x_eurusd nowhere.x_usdjpy; do
  check "findings of the catalogue: $text" grep -q "$text" "$work/output"
done
