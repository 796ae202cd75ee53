#!/usr/bin/env bash
# The units: checked by systemd-analyze, and run under a real systemd. That runs in a container whose root is this machine
# seen through an overlay in memory, so that nothing has to be installed and nothing stays.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
# shellcheck source-path=SCRIPTDIR source=own_cgroup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/own_cgroup.sh"
skip() { echo "SKIPPED: $*"; exit 77; }
command -v systemd-analyze >/dev/null || skip "there is no systemd-analyze"
systemd=$REGFEATD_SOURCE_DIR/systemd
work=$(mktemp -d)
daemon_binary=$REGFEATD_BUILD_DIR/regfeatd
pg=("$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$work/pg")
container=
cleanup() {
  local status=$?
  if [[ -n $container ]]; then
    [[ $status == 0 ]] || inside journalctl --no-pager -n 40 -u 'regfeatd*' 2>/dev/null || true
    kill -TERM "$container" 2>/dev/null || true
    for _ in {1..100}; do kill -0 "$container" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$container" 2>/dev/null || true
    wait "$container" 2>/dev/null || true
    remove_own_cgroup "regfeatd-test-$$"
  fi
  "${pg[@]}" destroy >/dev/null 2>&1 || true
  mountpoint -q "$work/overlay/root" && umount "$work/overlay/root"
  mountpoint -q "$work/overlay" && umount "$work/overlay"
  rm -rf --one-file-system -- "$work"
}
trap cleanup EXIT
chmod 755 "$work"

# -- the files ---------------------------------------------------------------------------------------------------------
mkdir "$work/units"
for unit in regfeatd.service regfeatd@.service; do
  check "exposure of $unit is at most 2.0" systemd-analyze security --offline=true --threshold=20 "$systemd/$unit"
  sed "s#/usr/bin/regfeatd#$daemon_binary#" "$systemd/$unit" >"$work/units/$unit"
done
check_equal "systemd-analyze verify has nothing to say" "" \
  "$(systemd-analyze verify --man=no "$work/units/regfeatd.service" "$work/units/regfeatd@one.service" 2>&1 || echo "status $?")"
plain() { grep -v '^#' "$1" | sed -e 's#--config /etc/regfeatd/%i.yaml##' -e 's# (%i)##' -e 's#regfeatd\.%i\.#regfeatd.#g' -e 's# *$##'; }
check_equal "the template is the same unit" "$(plain "$systemd/regfeatd.service")" "$(plain "$systemd/regfeatd@.service")"
grace=$(sed -n 's/^shutdown_grace: \([0-9]*\)s.*/\1/p' "$REGFEATD_SOURCE_DIR/config/regfeatd.yaml")
stop=$(sed -n 's/^TimeoutStopSec=\([0-9]*\)s/\1/p' "$systemd/regfeatd.service")
check "TimeoutStopSec ($stop s) is above shutdown_grace ($grace s)" test "$stop" -gt "$grace"

# -- a systemd ---------------------------------------------------------------------------------------------------------
done_without() { echo "skipped: the run under a real systemd: $*"; exit 0; }
[[ $(id -u) == 0 ]] || done_without "it takes root"
for tool in systemd-nspawn nsenter useradd; do command -v "$tool" >/dev/null || done_without "$tool is not installed"; done
[[ -x /lib/systemd/systemd ]] || done_without "systemd is not installed"
ldd "$daemon_binary" | grep -qE 'lib(asan|tsan|ubsan)' && done_without "sanitizers cannot live with MemoryDenyWriteExecute"
mkdir "$work/overlay"
root=$work/overlay/root
{ mount -t tmpfs -o mode=755 tmpfs "$work/overlay" && mkdir "$work/overlay/upper" "$work/overlay/work" "$root" &&
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/overlay/upper,workdir=$work/overlay/work" "$root"; } 2>"$work/mount.log" ||
  done_without "an overlay cannot be mounted: $(cat "$work/mount.log")"

"${pg[@]}" start --fast-unsafe >/dev/null
sql() { "${pg[@]}" psql -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
sql "CREATE ROLE loader LOGIN PASSWORD 'in-the-credstore'; GRANT CREATE ON DATABASE regfeatd TO loader;
     CREATE SCHEMA bqx AUTHORIZATION loader"
port=$("${pg[@]}" conninfo | sed 's/.*port=\([0-9]*\).*/\1/')
check "migrate" "$daemon_binary" migrate --conninfo "$("${pg[@]}" conninfo)"
sql "GRANT regfeat_daemon TO loader"
# One partition a day; a job of some seconds for one worker.
sql "SET ROLE loader;
     CREATE TABLE bqx.m1_eurusd (time timestamptz PRIMARY KEY, rate double precision);
     INSERT INTO bqx.m1_eurusd SELECT t, 1 + (extract(epoch FROM t)::bigint % 977) / 9770.0
       FROM generate_series(timestamptz '2024-01-01Z', timestamptz '2024-06-29 23:59Z', '1 minute') t;"
cat >"$work/spec.yaml" <<'YAML'
feature_set: bars
series: [eurusd]
partition: { by: day, from: 2024-01-01, to: 2024-06-30 }
source: { tables: [ { table: "bqx.m1_{series}", time: time } ] }
inputs: { idx: { column: rate } }
windows: { w15: 15, w60: 60 }
metrics: terms
targets:
  - { input: idx, table: "bqx.reg_{series}", time: time, column: "{metric}_{window}", partition: "{table}_{start:%Y_%m_%d}" }
YAML
(umask 077; echo "*:*:*:*:in-the-credstore" >"$work/pgpass")

rm -f "$root"/etc/systemd/system/*.wants/*  # nothing that this machine runs
useradd --root "$root" --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin regfeatd 2>/dev/null || true
install -D -m 755 "$daemon_binary" "$root/usr/bin/regfeatd"
install -D -m 644 -t "$root/etc/systemd/system" "$systemd"/*.service
install -D -m 600 "$work/pgpass" "$root/etc/credstore/regfeatd.pgpass"
install -D -m 600 "$work/pgpass" "$root/etc/credstore/regfeatd.two.pgpass"
mkdir -p "$root/etc/regfeatd"
conninfo="host=127.0.0.1 port=$port dbname=regfeatd user=loader"
configure() { # FILE: key: value lines
  printf 'database: { conninfo: "%s" }\nheartbeat: 500ms\npoll: 200ms\nprogress: 200ms\nshutdown_grace: 10s\n%s\n' "$conninfo" "$2" >"$root/etc/regfeatd/$1"
}
configure regfeatd.yaml $'workers: 1\nthrottle: { rows_per_second: 40000 }'  # so that it can be watched
configure two.yaml "daemon_name: two"
for unit in regfeatd.service regfeatd@.service; do  # the test's patience is shorter than an operator's
  mkdir "$root/etc/systemd/system/$unit.d"
  printf '[Service]\nRestartSec=100ms\nWatchdogSec=4s\n' >"$root/etc/systemd/system/$unit.d/test.conf"
done
(
  enter_own_cgroup "regfeatd-test-$$"
  exec systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --link-journal=no --console=pipe --machine="regfeatd-$$" \
    systemd.unit=basic.target </dev/null >"$work/boot.log" 2>&1
) &
container=$!
init=
inside() { nsenter -t "$init" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
for _ in {1..300}; do
  kill -0 "$container" 2>/dev/null || break
  init=$(pgrep -P "$container" || true)
  [[ -n $init ]] && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' && break
  sleep 0.1
done
[[ -n $init ]] && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' ||
  done_without "systemd does not start in a container here: $(tail -3 "$work/boot.log")"
ok "a systemd of its own: $(inside systemctl --version | head -1)"

eventually() {
  local what=$1
  shift
  for _ in {1..300}; do "$@" >/dev/null 2>&1 && { ok "$what"; return; }; sleep 0.1; done
  fail "$what" "never: $*"
}
show() { inside systemctl show --value -p "$1" "${2:-regfeatd}"; }
shows() { [[ $(show "$1" "${3:-regfeatd}") == "$2" ]]; }
sql_is() { [[ $(sql "$1") == "$2" ]]; }
logged() { grep -q -- "$1" <<<"$(inside journalctl --no-pager -u regfeatd)"; }
says() { [[ $(show StatusText) == *"$1"* ]]; }

check "systemctl start returns when it is ready" inside systemctl start regfeatd
check_equal "it runs" active "$(show ActiveState)"
check_equal "with the password from the credential store" loader "$(sql "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'regfeatd/%/0'")"
check_equal "as its own user" regfeatd "$(inside ps -o user= -C regfeatd | sort -u)"
eventually "its status says that there is nothing to do" says "idle: nothing to do"

check "apply" "$daemon_binary" apply "$work/spec.yaml" --conninfo "$("${pg[@]}" conninfo) options='-c role=loader'"
says_how_far() { [[ $(show StatusText) =~ ^bars\ [0-9]+\.[0-9]\ %,\ ETA\ [0-9]+ ]]; }
eventually "its status says how far it is, and when it will be done" says_how_far
configure regfeatd.yaml "workers: 3"
check "systemctl reload" inside systemctl reload regfeatd
eventually "changes the number of workers" sql_is "SELECT workers_configured FROM regfeat.daemons WHERE alive" 3
configure regfeatd.yaml "workers: many"
check "a reload with a mistake" inside systemctl reload regfeatd
eventually "leaves it running and says why" logged "the old ones stay"
check_equal "with the settings it had" "3 active" "$(sql "SELECT workers_configured FROM regfeat.daemons WHERE alive") $(show ActiveState)"
configure regfeatd.yaml "workers: 2"

inside systemctl kill --signal=KILL regfeatd
eventually "killed, it is started again" shows NRestarts 1
eventually "and runs" shows SubState running
inside systemctl kill --signal=STOP regfeatd
eventually "frozen, the watchdog has it started again" shows NRestarts 2
eventually "and it runs" shows SubState running
# One worker only, stopped as by a debugger (PTRACE_SEIZE, PTRACE_INTERRUPT; waited for, so that it may die), while all
# other threads go on.
case $(uname -m) in x86_64) ptrace=101 ;; aarch64) ptrace=117 ;; *) ptrace= ;; esac
if [[ -n $ptrace ]]; then
  threads() { inside bash -c "grep -lx 'worker 1' /proc/$(show MainPID)/task/*/comm | cut -d/ -f5"; }
  has_threads() { [[ -n $(threads) ]]; }
  eventually "it has its workers" has_threads
  # shellcheck disable=SC2016
  inside perl -e '($call, $thread) = @ARGV; $_ += 0 for $call, $thread;
    syscall($call, 0x4206, $thread, 0, 0) == 0 && syscall($call, 0x4207, $thread, 0, 0) == 0 or die "ptrace: $!\n"; 1 while waitpid($thread, 0x40000000) > 0' \
    "$ptrace" "$(threads)" >"$work/ptrace.log" 2>&1 &
  tracer=$!
  eventually "with one worker frozen the watchdog has it started again" shows NRestarts 3
  check "it says which thread hung" logged 'thread="worker 1"'
  eventually "and runs again" shows SubState running
  kill "$tracer" 2>/dev/null || true
  wait "$tracer" 2>/dev/null || true
fi
check "a second instance of the template" inside systemctl start regfeatd@two
eventually "two daemons" sql_is "SELECT count(*) FROM regfeat.daemons WHERE alive" 2
eventually "the job is done" sql_is "SELECT count(*) FROM regfeat.partition WHERE state <> 'done'" 0
check_equal "every row once" "$(sql "SELECT count(*) FROM bqx.m1_eurusd")" "$(sql "SELECT count(*) FROM bqx.reg_eurusd")"

sql "SELECT count(*) FROM regfeat.requeue('bars')" >/dev/null
sql "NOTIFY regfeat_work"
check "systemctl stop in mid job" inside systemctl stop regfeatd regfeatd@two
check_equal "ends in order" "success success" "$(show Result) $(show Result regfeatd@two)"
check_equal "and leaves nothing in hand" 0 "$(sql "SELECT count(*) FROM regfeat.partition WHERE state = 'running'")"

configure regfeatd.yaml "workers: many"
inside systemctl reset-failed regfeatd 2>/dev/null || true
if inside systemctl start regfeatd 2>/dev/null; then fail "a configuration that cannot work does not start"; fi
check_equal "exit status 78" 78 "$(show ExecMainStatus)"
check_equal "is not tried again" "failed failed 0" "$(show ActiveState) $(show SubState) $(show NRestarts)"

# -- secrets and the journal ---------------------------------------------------------------------------------------------
cat >"$root/etc/regfeatd/regfeatd.yaml" <<YAML
database:
  conninfo: "$conninfo"
  password_command: [/bin/sh, -c, "echo tok-in-a-unit; echo refused, it was tok-in-a-unit >&2; exit 3"]
YAML
inside systemctl reset-failed regfeatd
inside systemctl start --no-block regfeatd
eventually "the journal has the complaint of a command" logged 'refused, it was \*\*\*'
inside systemctl stop regfeatd
sql "ALTER ROLE loader PASSWORD 'another-one'"
configure regfeatd.yaml "workers: 1"
inside systemctl reset-failed regfeatd 2>/dev/null || true
inside systemctl start --no-block regfeatd
eventually "and that a password is not accepted" logged 'check ~/.pgpass'
inside systemctl stop regfeatd
check_equal "no password and no token stands in the journal" "" "$(inside journalctl --no-pager | grep -E 'tok-in-a-unit|in-the-credstore|another-one' || true)"
