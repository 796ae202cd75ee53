#!/usr/bin/env bash
# The Debian package in a clean root under a real systemd: install, set up as the documentation says, run the demo job as a
# service, reload, upgrade with the service running, stop, a configuration that cannot work, purge.
#
# Takes root, mmdebstrap, systemd-nspawn and the distribution's packages; without them it is skipped and says why.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

# shellcheck source-path=SCRIPTDIR source=clean_root.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/clean_root.sh"
clean_root_requirements
trap 'clean_root_cleanup $?' EXIT

# -- two packages of this build: an older version and its successor -------------------------------------------------

package 0.0.9
package 0.1.0
ok "cpack builds the package"
check_equal "anybody can enter its folders, whoever built it" "" "$(dpkg-deb -c "$work/regfeatd_0.1.0.deb" | grep '^d' | grep -v '^drwxr-xr-x' || true)"
if command -v lintian >/dev/null; then
  errors=$(lintian --tag-display-limit 0 --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog --fail-on none "$work/regfeatd_0.1.0.deb" 2>/dev/null | grep '^E:' || true)
  check_equal "lintian finds no error" "" "$errors"
fi

# -- a clean root ---------------------------------------------------------------------------------------------------

make_root "$work/regfeatd_0.1.0.deb"
ok "a root with systemd and PostgreSQL"
boot_root
ok "systemd runs in it"
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
check_equal "and it waits for no other try" "failed failed 0" "$(property ActiveState) $(property SubState) $(property NRestarts)"
check "the journal names the key" inside bash -c "journalctl -u regfeatd | grep -F 'did you mean \"workers\"'"

# -- purge ----------------------------------------------------------------------------------------------------------

inside sed -i 's|^wokers: .*|workers: 2|' /etc/regfeatd/regfeatd.yaml
inside systemctl reset-failed regfeatd
check "it starts once more" inside systemctl start regfeatd
check "an instance is enabled" inside systemctl enable regfeatd@two
check "purge with the service running" inside dpkg --purge regfeatd
check_equal "no process is left" "" "$(inside pgrep -x regfeatd || true)"
check_equal "no user, no configuration, no program" "" \
  "$(inside bash -c 'getent passwd regfeatd; ls -d /etc/regfeatd /usr/bin/regfeatd /usr/share/regfeatd /usr/share/doc/regfeatd 2>/dev/null' || true)"
check_equal "nothing is left enabled" "" "$(inside find /etc/systemd/system -name 'regfeatd*')"
check_equal "the database is as it was" 24 "$(sql "SELECT count(*) FROM regfeat.partition")"
