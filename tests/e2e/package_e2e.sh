#!/usr/bin/env bash
# The Debian package in a clean root under a real systemd: install, set up as the documentation says, run the demo job as a
# service, reload, upgrade with the service running, stop, a configuration that cannot work, purge.
#
# Takes root, mmdebstrap, systemd-nspawn and the distribution's packages; without them it is skipped and says why.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

skip() { echo "skipped: $*"; exit 77; }
[[ $(id -u) == 0 ]] || skip "a clean root takes root"
for tool in mmdebstrap systemd-nspawn dpkg-deb nsenter cpack; do
  command -v "$tool" >/dev/null || skip "$tool is not installed"
done
[[ -x $REGFEATD_BUILD_DIR/generate-bars ]] || skip "generate-bars is not built"
ldd "$REGFEATD_BUILD_DIR/regfeatd" | grep -qE 'lib(asan|tsan|ubsan)' && skip "a build with sanitizers is not packaged"
# shellcheck disable=SC1091
[[ $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]] || skip "packages built here are not for Debian 12"

work=$(mktemp -d /var/tmp/regfeatd-package.XXXXXX)
root=$work/root
nspawn_pid=
cleanup() {
  status=$?
  if [[ -n $nspawn_pid ]]; then
    [[ $status == 0 || -z ${init:-} ]] || inside journalctl --no-pager -n 60 -u regfeatd 2>/dev/null || true
    kill -TERM "$nspawn_pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$nspawn_pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$nspawn_pid" 2>/dev/null || true
    wait "$nspawn_pid" 2>/dev/null || true
  fi
  rm -rf --one-file-system -- "$work"
}
trap cleanup EXIT

# eventually WHAT COMMAND...: the command succeeds within two minutes
eventually() {
  local what=$1
  shift
  for _ in $(seq 600); do
    if "$@" >/dev/null 2>&1; then ok "$what"; return; fi
    sleep 0.2
  done
  fail "$what" "not within two minutes: $*"
}

# -- two packages of this build: an older version and its successor -------------------------------------------------

package() { # version
  (cd "$work" && cpack --config "$REGFEATD_BUILD_DIR/CPackConfig.cmake" -D "CPACK_PACKAGE_VERSION=$1" -B "$work/cpack-$1" >"$work/cpack.log" 2>&1) ||
    { cat "$work/cpack.log"; fail "cpack $1"; }
  mv "$work/cpack-$1"/regfeatd_"$1"_*.deb "$work/regfeatd_$1.deb"
}
package 0.0.9
package 0.1.0
ok "cpack builds the package"
if command -v lintian >/dev/null; then
  errors=$(lintian --tag-display-limit 0 --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog --fail-on none "$work/regfeatd_0.1.0.deb" 2>/dev/null | grep '^E:' || true)
  check_equal "lintian finds no error" "" "$errors"
fi

# -- a clean root ---------------------------------------------------------------------------------------------------

depends=$(dpkg-deb -f "$work/regfeatd_0.1.0.deb" Depends | tr ',' '\n' | awk '{ print $1 }' | paste -sd,)
if ! mmdebstrap --quiet --variant=minbase --include="systemd,systemd-sysv,dbus,postgresql,$depends" bookworm "$root" >"$work/root.log" 2>&1; then
  tail -n 5 "$work/root.log"
  skip "no root could be made of the distribution's packages"
fi
cp "$work"/*.deb "$root/root/"
ok "a root with systemd and PostgreSQL"

systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --console=pipe --machine="regfeatd-$$" \
  </dev/null >"$work/boot.log" 2>&1 &
nspawn_pid=$!
init=
for _ in $(seq 300); do
  kill -0 "$nspawn_pid" 2>/dev/null || break
  init=$(pgrep -P "$nspawn_pid" || true)
  [[ -n $init ]] && nsenter -t "$init" -a systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' && break
  sleep 0.2
done
inside() { nsenter -t "$init" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
if [[ -z $init ]] || ! inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; then
  tail -n 5 "$work/boot.log"
  skip "systemd does not start in a container here"
fi
ok "systemd runs in it"
as() { local user=$1; shift; inside runuser -u "$user" -- "$@"; }
sql() { as postgres psql -XqAt -v ON_ERROR_STOP=1 -d bqx -c "$1"; }
sql_is() { [[ $(sql "$2") == "$1" ]]; }
property() { inside systemctl show -P "$1" regfeatd; }

# -- install --------------------------------------------------------------------------------------------------------

check "the package installs" inside dpkg -i /root/regfeatd_0.0.9.deb
check "the user regfeatd exists" inside getent passwd regfeatd
check_equal "the service is not enabled" disabled "$(inside systemctl is-enabled regfeatd || true)"
check_equal "the service is not started" inactive "$(inside systemctl is-active regfeatd || true)"
check "regfeatd runs" inside regfeatd --version
inside test -s /usr/share/man/man5/regfeatd.yaml.5.gz || echo "note: built without lowdown, no pages of section 5"

# -- the demo job as a service --------------------------------------------------------------------------------------

eventually "PostgreSQL is up" as postgres psql -Xqc "SELECT 1"
as postgres createuser --createrole regfeatd
as postgres createdb --owner regfeatd bqx
inside sed -i 's|^  conninfo: .*|  conninfo: "host=/var/run/postgresql dbname=bqx user=regfeatd"|; s|^workers: .*|workers: 1|; s|^heartbeat: .*|heartbeat: 1s|' /etc/regfeatd/regfeatd.yaml
check_equal "installing has migrated nothing" f "$(sql "SELECT to_regnamespace('regfeat') IS NOT NULL")"
check "migrate as the service's user" as regfeatd regfeatd migrate
for pair in eurusd gbpusd; do
  check "bars of $pair" as regfeatd bash -c "set -o pipefail; /usr/libexec/regfeatd/generate-bars --pair $pair --from 2024-07-01 --months 12 |
    /usr/share/regfeatd/scripts/load-bars --conninfo 'host=/var/run/postgresql dbname=bqx user=regfeatd' $pair -"
done
check "the service starts and says READY" inside systemctl start regfeatd
check_equal "it is active" active "$(property ActiveState)"
check "apply" as regfeatd regfeatd apply /usr/share/regfeatd/feature_sets/bqx_regression.yaml --series eurusd,gbpusd
eventually "it works on the job" sql_is t "SELECT count(*) > 2 FROM regfeat.partition_status WHERE state = 'done'"

# -- upgrade while it works -----------------------------------------------------------------------------------------

before=$(property MainPID)
edited=$(inside sha256sum /etc/regfeatd/regfeatd.yaml)
remaining=$(sql "SELECT count(*) FROM regfeat.partition_status WHERE state IN ('pending', 'running')")
check "upgrade to 0.1.0 with the service running" inside dpkg -i /root/regfeatd_0.1.0.deb
echo "      $remaining of 24 partitions were left when the upgrade began"
check_equal "it is active again" active "$(property ActiveState)"
[[ $(property MainPID) != "$before" ]] || fail "another process runs after the upgrade"
ok "another process runs after the upgrade"
check_equal "the edited configuration is kept" "$edited" "$(inside sha256sum /etc/regfeatd/regfeatd.yaml)"
check_equal "it is still not enabled" disabled "$(inside systemctl is-enabled regfeatd || true)"
eventually "the job ends" sql_is t "SELECT count(*) = 24 FROM regfeat.partition_status WHERE state IN ('done', 'empty')"
check_equal "as many rows as the work table says" t \
  "$(sql "SELECT (SELECT count(*) FROM bqx.reg_rate_eurusd) + (SELECT count(*) FROM bqx.reg_rate_gbpusd) = sum(rows_out) FROM regfeat.partition_status")"
check_equal "and as many as there are bars" t \
  "$(sql "SELECT (SELECT count(*) FROM bqx.m1_eurusd) + (SELECT count(*) FROM bqx.m1_gbpusd) = sum(rows_out) FROM regfeat.partition_status")"

# -- reload, stop, a configuration that cannot work -----------------------------------------------------------------

inside sed -i 's|^workers: .*|workers: 3|' /etc/regfeatd/regfeatd.yaml
running=$(property MainPID)
check "systemctl reload" inside systemctl reload regfeatd
eventually "three workers after the reload" sql_is 3 "SELECT workers_configured FROM regfeat.daemons ORDER BY started_at DESC LIMIT 1"
check_equal "the same process" "$running" "$(property MainPID)"
check "systemctl stop" inside systemctl stop regfeatd
check_equal "it stopped by itself" success "$(property Result)"
inside sed -i 's|^workers: .*|wokers: 3|' /etc/regfeatd/regfeatd.yaml
check_status "a wrong key: the start fails" 1 "" inside systemctl start regfeatd
check_equal "with status 78" 78 "$(property ExecMainStatus)"
sleep 1
check_equal "and is not tried again" 0 "$(property NRestarts)"
check "the journal names the key" inside bash -c "journalctl -u regfeatd | grep -F 'did you mean \"workers\"'"

# -- purge ----------------------------------------------------------------------------------------------------------

inside sed -i 's|^wokers: .*|workers: 2|' /etc/regfeatd/regfeatd.yaml
inside systemctl reset-failed regfeatd
check "it starts once more" inside systemctl start regfeatd
check "purge with the service running" inside dpkg --purge regfeatd
check_equal "no process is left" "" "$(inside pgrep -x regfeatd || true)"
check_equal "no user, no configuration, no program" "" \
  "$(inside bash -c 'getent passwd regfeatd; ls -d /etc/regfeatd /usr/bin/regfeatd /usr/share/regfeatd /usr/share/doc/regfeatd 2>/dev/null' || true)"
check_equal "the database is as it was" 24 "$(sql "SELECT count(*) FROM regfeat.partition")"
