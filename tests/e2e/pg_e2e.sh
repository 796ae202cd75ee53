#!/usr/bin/env bash
# scripts/pg: the whole life of a private cluster, as the calling user and (when root) as an unprivileged one.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

work=$(mktemp -d)
cleanup() {
  local dir
  for dir in "$work"/*/cluster "$work"/*/*/cluster; do
    [[ -e $dir ]] && "$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$(dirname -- "$dir")" destroy >/dev/null 2>&1
  done
  rm -rf -- "$work"
}
trap cleanup EXIT
chmod 755 "$work"
# A copy, because an unprivileged user may not be able to enter the checkout.
mkdir "$work/checkout"
cp -r "$REGFEATD_SOURCE_DIR/scripts" "$work/checkout/scripts"
pg=$work/checkout/scripts/pg

# True while the process exists and has not ended (a zombie has).
alive() { [[ -e /proc/$1/stat ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }
pid_of() { head -n 1 "$1/cluster/data/postmaster.pid"; }

# -- one life, as the user given by the remaining words (empty: oneself) --------------------------------------------
life() { # name, folder, then the words that change the user
  local name=$1 dir=$2 pid port conninfo socket data
  shift 2
  local run=("$@" "$pg" --dir "$dir")

  check_status "$name: status before start" 3 "there is no cluster" "${run[@]}" status
  check "$name: destroy before start" "${run[@]}" destroy
  check_status "$name: start says how to connect" 0 "conninfo  host=" "${run[@]}" start --fast-unsafe --set work_mem=7MB
  pid=$(pid_of "$dir")
  data=$(readlink -f "$dir/cluster")
  conninfo=$("${run[@]}" conninfo)
  socket=${conninfo#host=}
  socket=${socket%% *}
  check_equal "$name: psql" regfeatd "$("${run[@]}" psql -XAtc 'SELECT current_database()')"
  check_equal "$name: psql -d" postgres "$("${run[@]}" psql -d postgres -XAtc 'SELECT current_database()')"
  check_equal "$name: conninfo" regfeatd "$("$@" psql "$conninfo" -XAtc 'SELECT current_user')"
  check_equal "$name: conninfo --tcp" 127.0.0.1/32 \
    "$("$@" psql "$("${run[@]}" conninfo --tcp)" -XAtc 'SELECT inet_server_addr()::cidr')"
  # shellcheck disable=SC2016
  check_equal "$name: env" regfeatd "$("$@" bash -c 'eval "$("$1" --dir "$2" env)"; psql -XAtc "SELECT current_user"' sh "$pg" "$dir")"
  check_status "$name: TCP asks for the password" 2 "password" \
    "$@" env PGPASSFILE=/dev/null psql -w "$("${run[@]}" conninfo --tcp | sed 's/ passfile=.*//')" -c 'SELECT 1'
  [[ $("${run[@]}" conninfo) != *password* ]] || fail "$name: no password in the conninfo"
  check_equal "$name: --set" 7MB "$("${run[@]}" psql -XAtc 'SHOW work_mem')"
  check_equal "$name: minimal WAL" minimal "$("${run[@]}" psql -XAtc 'SHOW wal_level')"

  check "$name: start again changes nothing" "${run[@]}" start
  check_equal "$name: the same server" "$pid" "$(pid_of "$dir")"
  "${run[@]}" psql -Xqc 'CREATE TABLE kept AS SELECT 1 AS x'
  check "$name: restart" "${run[@]}" restart -m immediate
  check_equal "$name: the table survives a crash" 1 "$("${run[@]}" psql -XAtc 'SELECT x FROM kept')"
  check_equal "$name: --set survives" 7MB "$("${run[@]}" psql -XAtc 'SHOW work_mem')"
  check_equal "$name: the same connection" "$conninfo" "$("${run[@]}" conninfo)"

  check "$name: stop" "${run[@]}" stop
  check_status "$name: conninfo when stopped" 3 "not running" "${run[@]}" conninfo
  # Somebody listens on its port when it comes back: it takes another one.
  port=${conninfo#*port=}
  port=${port%% *}
  "$pg" --dir "$work/squatter" start --fast-unsafe --set port="$port" >/dev/null
  check "$name: start with its port taken" "${run[@]}" start
  [[ $("${run[@]}" conninfo) != *"port=$port "* ]] || fail "$name: it should have taken another port"
  "$pg" --dir "$work/squatter" destroy >/dev/null

  check_status "$name: a setting that does not exist" 1 "does not accept" "${run[@]}" restart --set no_such_setting=1
  "${run[@]}" start >/dev/null
  pid=$(pid_of "$dir")
  check "$name: destroy" "${run[@]}" destroy
  ! alive "$pid" || fail "$name: process $pid is still there"
  [[ ! -e $dir && ! -e $data && ! -e $socket ]] || fail "$name: left behind: $(ls -d "$dir" "$data" "$socket" 2>/dev/null)"
  ok "$name: destroy leaves nothing behind"
}

mkdir "$work/own"
life "own user" "$work/own/cluster dir"
long=$work/own/$(printf 'x%.0s' {1..100})
life "long path" "$long"

if [[ $(id -u) == 0 ]]; then
  mkdir -m 700 "$work/closed"
  life "folder closed to the server's user" "$work/closed/pg"

  mkdir "$work/other"
  chown nobody: "$work/other"
  life "unprivileged user" "$work/other/pg" setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups env HOME=/nonexistent
fi

# -- it keeps away from what is not its own -------------------------------------------------------------------------

mkdir "$work/full"
touch "$work/full/file"
check_status "a folder with other files is refused" 1 "is not empty" "$pg" --dir "$work/full" start
check "destroy does not touch it" "$pg" --dir "$work/full" destroy
check "its file is still there" test -e "$work/full/file"

# A pid file left by a crash that names a process of somebody else by now.
"$pg" --dir "$work/stale" start --fast-unsafe >/dev/null
"$pg" --dir "$work/innocent" start --fast-unsafe >/dev/null
innocent=$(pid_of "$work/innocent")
kill -9 "$(pid_of "$work/stale")"
for _ in {1..50}; do alive "$(pid_of "$work/stale")" || break; sleep 0.1; done
sed -i "1s/.*/$innocent/" "$work/stale/cluster/data/postmaster.pid"
check_status "a stale pid file is not a running server" 3 "stopped" "$pg" --dir "$work/stale" status
check "stop of it" "$pg" --dir "$work/stale" stop
check "start after the crash" "$pg" --dir "$work/stale" start
check "destroy of it" "$pg" --dir "$work/stale" destroy
check "the other server lives on" alive "$innocent"
check_equal "and answers" 1 "$("$pg" --dir "$work/innocent" psql -XAtc 'SELECT 1')"
"$pg" --dir "$work/innocent" destroy >/dev/null

# Several at once, in different folders.
for i in 1 2 3 4; do "$pg" --dir "$work/many$i" start --fast-unsafe >/dev/null & done
wait
for i in 1 2 3 4; do check_equal "parallel start $i" "$i" "$("$pg" --dir "$work/many$i" psql -XAtc "SELECT $i")"; done
for i in 1 2 3 4; do "$pg" --dir "$work/many$i" destroy >/dev/null; done

# Two starts in the same folder make one server.
"$pg" --dir "$work/same" start --fast-unsafe >/dev/null &
"$pg" --dir "$work/same" start --fast-unsafe >/dev/null
wait
check_equal "two starts in one folder" 1 "$("$pg" --dir "$work/same" psql -XAtc 'SELECT 1')"
"$pg" --dir "$work/same" destroy >/dev/null

check_status "usage" 64 "unknown argument" "$pg" frobnicate
check_status "usage: no command" 64 "no command" "$pg"
check_status "help" 0 "private PostgreSQL cluster" "$pg" help
