#!/usr/bin/env bash
# shellcheck disable=SC2016
# docs/operating.md, section "Operating from psql": every command of it is run, by roles that own nothing, and what they
# print must be what stands there. With --update it is written there instead; then REGFEATD_BUILD_DIR says which build.
set -euo pipefail
: "${REGFEATD_SOURCE_DIR:=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)}" "${REGFEATD_BUILD_DIR:=$REGFEATD_SOURCE_DIR/build/release}"
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

document=$REGFEATD_SOURCE_DIR/docs/operating.md
regfeatd=$REGFEATD_BUILD_DIR/regfeatd
work=$(mktemp -d)
daemon_pid=
cleanup() {
  if [[ -n $daemon_pid ]]; then
    kill -9 "$daemon_pid" || true
    wait "$daemon_pid" || true
  fi 2>/dev/null
  "$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$work/pg" destroy >/dev/null 2>&1
  rm -rf -- "$work"
}
trap cleanup EXIT
chmod 755 "$work"
# A server of its own, because roles belong to a whole server.
"$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$work/pg" start --fast-unsafe >/dev/null
conninfo=$("$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$work/pg" conninfo)
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$conninfo" -c "$1"; }
wait_until() { # SQL that becomes true
  for _ in {1..600}; do
    [[ $(sql "SELECT $1") == t ]] && return
    sleep 0.1
  done
  fail "waited in vain for: $1"
}

# -- the transcript -------------------------------------------------------------------------------------------------

transcript=$work/transcript
text() { printf '\n%s\n' "$*" >>"$transcript"; }
begin() { printf '\n```\n' >>"$transcript"; }
end() { printf '```\n' >>"$transcript"; }
# run ROLE STATEMENT: as a person at psql's prompt sees it
run() {
  printf 'bqx %s=> %s\n' "$1" "$2" >>"$transcript"
  psql -X -P null=∅ -v SHOW_CONTEXT=never "$conninfo user=$1" -c "$2" 2>&1 | sed -E 's/[[:space:]]+$//' >>"$transcript" || true
}

"$regfeatd" migrate --conninfo "$conninfo" >/dev/null
sql "CREATE ROLE duty LOGIN; GRANT regfeat_operator TO duty; CREATE ROLE dashboard LOGIN; GRANT regfeat_reader TO dashboard;
     CREATE SCHEMA bqx;"
for pair in eurusd gbpusd; do
  sql "CREATE TABLE bqx.m1_$pair (time timestamp, rate_index double precision);
       INSERT INTO bqx.m1_$pair SELECT timestamp '2024-07-01' + i * interval '1 minute', 100 + sin(i / 50.0) FROM generate_series(0, 4 * 1440 - 1) i;
       CREATE INDEX ON bqx.m1_$pair (time); ANALYZE bqx.m1_$pair"
done
cat >"$work/spec.yaml" <<'YAML'
feature_set: bqx_regression
series: [eurusd, gbpusd]
partition: { by: day, from: 2024-07-01, to: 2024-07-05 }
source: { tables: [ { table: "bqx.m1_{series}", time: time } ] }
inputs: { idx: { column: rate_index } }
windows: { w15: 15, agg: 90 }
metrics: coefficients
targets: [ { input: idx, table: "bqx.reg_rate_{series}", time: ts_utc, column: "{metric}_idx_{window}" } ]
YAML
cat >"$work/regfeatd.yaml" <<'YAML'
daemon_name: loader-1
progress: 100ms
heartbeat: 200ms
poll: 100ms
retry: { attempts: 1 }
YAML
"$regfeatd" apply --conninfo "$conninfo" "$work/spec.yaml" >/dev/null
"$regfeatd" run --once --workers 2 --config "$work/regfeatd.yaml" --conninfo "$conninfo" >"$work/first" 2>&1 || fail "the job" "$(cat "$work/first")"

text 'The two roles of this transcript own nothing: `duty` is a member of `regfeat_operator`, `dashboard` of `regfeat_reader`. The job is done:'
begin
run duty "SELECT feature_set, partitions, pending, running, done, failed, percent FROM regfeat.status;"
end
text '**Late bars for 2 July.** What would be computed, the partitions that look back into the range included; nothing is changed:'
begin
run duty "SELECT * FROM regfeat.requeue_preview('bqx_regression', 'eurusd', '2024-07-02', '2024-07-03', widen => true);"
end
text 'The daemon is not running yet. Done, with a reason, and ahead of everything else:'
begin
run duty "SELECT series, \"from\", state, message FROM regfeat.requeue('bqx_regression', 'eurusd', '2024-07-02', '2024-07-03', 'late bars', widen => true);"
run duty "SELECT series, \"from\", state, priority FROM regfeat.set_priority('bqx_regression', 10, 'eurusd');"
end

# Two workers that stay at their read, for as long as the lock lasts.
mkfifo "$work/hold"
psql -XqAt "$conninfo" <"$work/hold" >/dev/null &
exec 9>"$work/hold"
echo "BEGIN; LOCK TABLE bqx.m1_eurusd IN ACCESS EXCLUSIVE MODE;" >&9
wait_until "EXISTS (SELECT FROM pg_locks WHERE relation = 'bqx.m1_eurusd'::regclass AND mode = 'AccessExclusiveLock' AND granted)"
"$regfeatd" run --workers 2 --config "$work/regfeatd.yaml" --conninfo "$conninfo" >"$work/daemon" 2>&1 &
daemon_pid=$!
wait_until "count(*) = 2 FROM regfeat.partition_status WHERE state = 'running' AND step = 'read'"

text '**Pause while two partitions run.** They go on; nothing more is claimed until `resume`, across restarts:'
begin
run duty "SELECT feature_set, running, paused_reason FROM regfeat.pause('bqx_regression', 'source is being repaired');"
run duty "SELECT series, \"from\", state, daemon, step FROM regfeat.partition_status WHERE state = 'running' ORDER BY \"from\";"
end
text '**Requeue of one that runs, cancel of the other.** Both are fenced at once: whatever their workers still do, it is not committed.'
begin
run duty "SELECT series, \"from\", state, message FROM regfeat.requeue('bqx_regression', 'eurusd', '2024-07-02', '2024-07-03', 'more late bars');"
run duty "SELECT series, \"from\", state, message FROM regfeat.cancel('bqx_regression', 'eurusd', '2024-07-03', '2024-07-04', 'not needed');"
run duty "SELECT series, \"from\", outcome, message FROM regfeat.failures ORDER BY \"from\";"
end
echo "COMMIT;" >&9
exec 9>&-
text '**Resume.** The cancelled one stays out until it is requeued:'
begin
run duty "SELECT feature_set, pending, cancelled, paused_reason FROM regfeat.resume('bqx_regression');"
wait_until "NOT EXISTS (SELECT FROM regfeat.partition WHERE state IN ('pending', 'running'))"
run duty "SELECT series, \"from\", state, message FROM regfeat.partition_status WHERE series = 'eurusd' ORDER BY \"from\";"
run duty "SELECT series, \"from\", state, message FROM regfeat.requeue('bqx_regression', 'eurusd', '2024-07-03', '2024-07-04');"
end
wait_until "NOT EXISTS (SELECT FROM regfeat.partition WHERE state IN ('pending', 'running'))"

sql "INSERT INTO bqx.m1_gbpusd VALUES ('2024-07-03 10:00', 100)"
sql "SELECT count(*) FROM regfeat.requeue('bqx_regression', 'gbpusd', '2024-07-03', '2024-07-04')" >/dev/null
wait_until "EXISTS (SELECT FROM regfeat.partition WHERE state = 'failed')"
sql "DELETE FROM bqx.m1_gbpusd WHERE time = '2024-07-03 10:00' AND rate_index = 100"
text '**A partition has failed:** a bar was loaded twice. Once that is mended, the failed ones, and only they, get a new set of attempts:'
begin
run duty "SELECT series, \"from\", outcome, fault_class, step, message FROM regfeat.failures WHERE state = 'failed';"
run duty "SELECT series, \"from\", state, attempts, message FROM regfeat.requeue_failed('bqx_regression', 'bar removed');"
wait_until "NOT EXISTS (SELECT FROM regfeat.partition WHERE state NOT IN ('done', 'empty'))"
run duty "SELECT feature_set, done, failed, percent FROM regfeat.status;"
end
text '**More workers,** without touching what runs. What was asked for and what the daemon runs are two things; equal generations mean that it has obeyed:'
begin
run duty "SELECT name, workers_desired, desired_generation FROM regfeat.set_workers('loader-1', 4);"
wait_until "EXISTS (SELECT FROM regfeat.daemons WHERE alive AND applied_generation = desired_generation AND workers_configured = 4)"
run duty "SELECT name, state, workers_desired, workers_configured, desired_generation, applied_generation FROM regfeat.daemons WHERE alive;"
end
text '**A reader looks, and changes nothing:**'
begin
run dashboard "SELECT feature_set, done, percent FROM regfeat.status;"
run dashboard "SELECT partitions, rows FROM regfeat.requeue_preview('bqx_regression', 'gbpusd');"
for call in "requeue('bqx_regression')" "requeue_failed('bqx_regression')" "cancel('bqx_regression')" "pause('bqx_regression')" \
  "resume('bqx_regression')" "set_priority('bqx_regression', 1)" "set_workers('loader-1', 1)"; do
  run dashboard "SELECT regfeat.$call;"
done
run dashboard "UPDATE regfeat.partition SET state = 'done';"
end
text '**Mistakes are answered with what would be right** (with `\set SHOW_CONTEXT never`):'
begin
run duty "SELECT regfeat.pause('bqx_regresion');"
run duty "SELECT regfeat.requeue('bqx_regression', 'eurusd', '2024-07-32');"
run duty "SELECT regfeat.set_workers('loader-2', 4);"
end

# -- held against the document --------------------------------------------------------------------------------------

begin_mark='<!-- written by tests/e2e/operators_e2e.sh --update -->'
end_mark='<!-- end of what is written by tests/e2e/operators_e2e.sh -->'
printf '\n' >>"$transcript"
if [[ ${1-} == --update ]]; then
  awk -v begin="$begin_mark" -v end="$end_mark" -v file="$transcript" '
    $0 == begin { print; while ((getline line < file) > 0) print line; skip = 1 }
    $0 == end { skip = 0 }
    !skip && $0 != begin { print }' "$document" >"$work/document"
  cp "$work/document" "$document"
  exit
fi
awk -v begin="$begin_mark" -v end="$end_mark" '$0 == end { on = 0 } on { print } $0 == begin { on = 1 }' "$document" >"$work/stands"
check "docs/operating.md shows what these commands print" diff -u "$work/stands" "$transcript"
kill -TERM "$daemon_pid"
wait "$daemon_pid" || fail "the daemon" "$(cat "$work/daemon")"
daemon_pid=
ok "the daemon ends in order"
