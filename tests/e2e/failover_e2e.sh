#!/usr/bin/env bash
# A primary with an asynchronous standby. In the middle of a job the standby stops receiving, the primary commits more, is
# killed (or freezes: it accepts connections and answers nothing), and the standby is promoted without those commits. The
# daemon, with both hosts in its connection string, finishes by itself, and the tables are those of an undisturbed run.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

if (($# == 0)); then
  for accident in kill freeze; do "$0" "$accident" | sed -u "s/^\(ok \|FAIL\)  /&$accident: /"; done
  exit 0
fi
accident=$1
regfeatd=$REGFEATD_BUILD_DIR/regfeatd
work=$(mktemp -d)
chmod 755 "$work"
pg=("$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$work/primary")
daemon=
postmaster=
processes=()
standby=$work/standby
cleanup() {
  [[ -z $daemon ]] || kill -9 "$daemon" 2>/dev/null || true
  [[ ! -e $standby/postmaster.pid ]] || as_server "$bin/pg_ctl" -D "$standby" -m immediate -w stop >/dev/null 2>&1 || true
  [[ ${#processes[@]} == 0 ]] || kill -9 "$postmaster" "${processes[@]}" 2>/dev/null || true
  "${pg[@]}" destroy >/dev/null 2>&1 || true
  rm -rf -- "$work"
}
trap cleanup EXIT
eventually() { # WHAT COMMAND...: within a minute
  local what=$1
  shift
  for _ in {1..1200}; do "$@" >/dev/null 2>&1 && { ok "$what"; return; }; sleep 0.05; done
  fail "$what" "never: $*" "$(tail -30 "$work/log" 2>/dev/null)"
}

# -- the pair ----------------------------------------------------------------------------------------------------------
"${pg[@]}" start --fast-unsafe --set wal_level=replica --set max_wal_senders=4 --set synchronous_commit=local >/dev/null
data=$(readlink -f "$work/primary/cluster")/data
owner=$(stat -c %U "$data/")
as_server() { if [[ $(id -un) == "$owner" ]]; then "$@"; else runuser -u "$owner" -- "$@"; fi; }
bin=$(dirname "$(readlink -f "/proc/$(head -1 "$data/postmaster.pid")/exe")")
conninfo=$("${pg[@]}" conninfo)
[[ $conninfo =~ host=([^ ]*)\ port=([0-9]*) ]]
socket=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}
standby_port=$((port == 65535 ? port - 1 : port + 1))
primary_sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "$conninfo" -c "$1"; }
mkdir "$standby"
chown "$owner" "$standby"
chmod 700 "$standby"
standby_conninfo="host=$work/socket port=$standby_port dbname=regfeatd user=regfeatd"
standby_sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "$standby_conninfo" -c "$1"; }

# -- the job, once undisturbed in a schema of its own ----------------------------------------------------------------------
days=160
make_source() { # SCHEMA
  primary_sql "CREATE SCHEMA $1; CREATE TABLE $1.m1_eurusd (time timestamptz PRIMARY KEY, rate double precision);
    INSERT INTO $1.m1_eurusd SELECT t, 1 + (extract(epoch FROM t)::bigint % 977) / 9770.0
      FROM generate_series(timestamptz '2024-01-01Z', timestamptz '2024-01-01Z' + interval '$days days' - interval '1 minute', '1 minute') t"
}
specification() { # SCHEMA
  cat <<YAML
feature_set: $1
series: [eurusd]
partition: { by: day, from: 2024-01-01, to: $(date -u -d "2024-01-01 + $days days" +%F) }
source: { tables: [ { table: "$1.m1_{series}", time: time } ] }
inputs: { idx: { column: rate } }
windows: { w15: 15, w60: 60, w90: 90 }
metrics: coefficients
targets:
  - { input: idx, table: "$1.reg_{series}", time: time, column: "{metric}_{window}", partition: "{table}_{start:%Y_%m_%d}" }
YAML
}
content() { "$1" "SELECT sum(hash_record_extended(t, 0)::numeric) || ' ' || count(*) FROM $2.reg_eurusd t"; }
for schema in undisturbed bars; do
  make_source "$schema"
  specification "$schema" >"$work/$schema.yaml"
done
check "migrate" "$regfeatd" migrate --conninfo "$conninfo"
check "apply" "$regfeatd" apply "$work/undisturbed.yaml" --conninfo "$conninfo"
check "the undisturbed run" "$regfeatd" run --once --workers 2 --conninfo "$conninfo"
expected=$(content primary_sql undisturbed)
check "apply for the disturbed run" "$regfeatd" apply "$work/bars.yaml" --conninfo "$conninfo"

as_server "$bin/pg_basebackup" -d "host=$socket port=$port user=regfeatd dbname=replication" -D "$standby" -R -X stream -c fast >"$work/backup.log" 2>&1 ||
  fail "a standby" "$(cat "$work/backup.log")"
mkdir "$work/socket"
chown "$owner" "$work/socket"
as_server sed -i "s#^port = .*#port = $standby_port#; s#^unix_socket_directories = .*#unix_socket_directories = '$work/socket'#" "$standby/regfeatd.conf"
as_server "$bin/pg_ctl" -D "$standby" -w -l "$standby/server.log" start >/dev/null || fail "the standby starts" "$(tail -5 "$standby/server.log")"
streaming() { [[ $(primary_sql "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == 1 ]]; }
eventually "the standby follows" streaming
check_status "the standby takes no daemon" 69 "connect to the writer" "$regfeatd" status --conninfo "$standby_conninfo"

# -- the accident ------------------------------------------------------------------------------------------------------
cat >"$work/regfeatd.yaml" <<YAML
database:
  conninfo: "host=$work/socket,$socket port=$standby_port,$port dbname=regfeatd user=regfeatd"
workers: 2
daemon_name: survivor
lease: $([[ $accident == kill ]] && echo 20s || echo 2s)
heartbeat: 500ms
poll: 200ms
progress: 200ms
retry: { base: 50ms, cap: 200ms }
YAML
done_at() { "$1" "SELECT count(*) FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id) WHERE f.name = 'bars' AND p.state = 'done'"; }
reached() { (($(done_at "$1") >= $2)); }
primary_sql "SELECT count(*) FROM regfeat.requeue('undisturbed', NULL, '2024-01-01', '2024-01-02')" >/dev/null  # something else is done again meanwhile
"$regfeatd" run --config "$work/regfeatd.yaml" >"$work/log" 2>&1 &
daemon=$!
eventually "the job is under way" reached primary_sql 10
# The server takes no more writes while sessions are open and partitions in hand, as one does that became a reader.
primary_sql "ALTER SYSTEM SET default_transaction_read_only = on"
primary_sql "SELECT pg_reload_conf()" >/dev/null
eventually "open sessions meet a server that only reads" grep -q "in a read-only transaction" "$work/log"
eventually "and new ones are refused, which the log says" grep -q "cannot connect, trying again.*connect to the writer" "$work/log"
primary_sql "ALTER SYSTEM RESET default_transaction_read_only"
primary_sql "SELECT pg_reload_conf()" >/dev/null
at_reader=$(done_at primary_sql)
eventually "it goes on when there is a writer again" reached primary_sql $((at_reader + 5))
# A finished partition whose table does not survive: only looking at its rows tells.
primary_sql "ALTER TABLE bars.reg_eurusd_2024_01_02 SET UNLOGGED"
# Another one with as many rows as were written, of which one is not as it was written: only the checksum tells.
primary_sql "UPDATE bars.reg_eurusd_2024_01_03 SET prediction_w60 = prediction_w60 + 1e-9 WHERE time = '2024-01-03 12:00Z'"
primary_sql "SELECT pg_current_wal_lsn()" >"$work/lsn"
caught_up() { [[ $(standby_sql "SELECT pg_last_wal_replay_lsn() >= '$(<"$work/lsn")'") == t ]]; }
eventually "the standby has followed" caught_up
standby_sql "ALTER SYSTEM SET primary_conninfo = ''"
standby_sql "SELECT pg_reload_conf()" >/dev/null
receiver_gone() { [[ $(standby_sql "SELECT count(*) FROM pg_stat_wal_receiver") == 0 ]]; }
eventually "the standby receives no more" receiver_gone
at_standby=$(done_at standby_sql)
eventually "the primary goes on committing" reached primary_sql $((at_standby + 5))
postmaster=$(head -1 "$data/postmaster.pid")
mapfile -t processes < <(ps -o pid= --ppid "$postmaster")
case $accident in
  kill) kill -9 "$postmaster" "${processes[@]}" 2>/dev/null || true ;;
  freeze) kill -STOP "$postmaster" "${processes[@]}" 2>/dev/null || true ;;
esac
# The last acknowledged commits are in the log of the dead primary, and nowhere else.
check "the job is not done on the standby" test "$(done_at standby_sql)" -lt $((at_standby + 5))
as_server "$bin/pg_ctl" -D "$standby" -w promote >/dev/null
kill -0 "$daemon" || fail "the daemon survives the primary"
eventually "the daemon goes on with the promoted standby" reached standby_sql $((at_standby + 5))
eventually "and finishes" reached standby_sql "$days"

# -- what became of it --------------------------------------------------------------------------------------------------
verified() { [[ -n $(standby_sql 'SELECT verified_at FROM regfeat.writer ORDER BY writer_id DESC LIMIT 1') ]]; }
eventually "it has verified what was finished before" verified
complete() { [[ $(standby_sql "SELECT count(*) FROM regfeat.partition WHERE state <> 'done'") == 0 ]]; }
eventually "nothing is left" complete
check_equal "the tables are those of the undisturbed run" "$expected" "$(content standby_sql bars)"
check_equal "and the other job's too" "$expected" "$(content standby_sql undisturbed)"
check "it says that the writer moved" grep -q "another server has become the writer" "$work/log"
check "it says which acknowledged commits were lost" grep -q "a commit that was acknowledged is missing on the new writer" "$work/log"
check "it found the table that did not survive" grep -q "a finished partition is not what was recorded.*bars.reg_eurusd.* has 0 rows" "$work/log"
check "and the rows that are not what was written" grep -Eq "a finished partition is not what was recorded.*its rows have the checksum [0-9a-f]+, [0-9a-f]+ was written" "$work/log"
check_equal "a role without privileges tells writers apart too" "$(standby_sql 'SELECT identity FROM regfeat.writer ORDER BY writer_id DESC LIMIT 1')" \
  "$(standby_sql "CREATE ROLE plain IN ROLE regfeat_daemon; SET ROLE plain; SELECT identity FROM regfeat.note_writer()")"
check_equal "two writers are on record" 2 "$(standby_sql 'SELECT count(*) FROM regfeat.writer')"
check_equal "nobody was charged" 0 "$(standby_sql "SELECT count(*) FROM regfeat.attempt WHERE outcome = 'failed'")"
kill "$daemon"
status=0
wait "$daemon" || status=$?
daemon=
check_equal "it stops in order" 0 "$status"
