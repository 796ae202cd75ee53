#!/usr/bin/env bash
# How the program connects: TLS against a CA of the test's own, several hosts, a password command; and that no password
# or token ever stands in a log, an error or an argument list.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
command -v openssl >/dev/null || { echo "SKIPPED: there is no openssl to make a CA with"; exit 77; }

regfeatd=$REGFEATD_BUILD_DIR/regfeatd
work=$(mktemp -d)
pg=("$REGFEATD_SOURCE_DIR/scripts/pg" --dir "$work/pg")
daemon=
cleanup() {
  [[ -z $daemon ]] || kill -9 "$daemon" 2>/dev/null || true
  "${pg[@]}" destroy >/dev/null 2>&1 || true
  rm -rf -- "$work"
}
trap cleanup EXIT
chmod 755 "$work"
"${pg[@]}" start --fast-unsafe >/dev/null
sql() { "${pg[@]}" psql -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
eventually() { # WHAT COMMAND...: within half a minute
  local what=$1
  shift
  for _ in {1..300}; do "$@" >/dev/null 2>&1 && { ok "$what"; return; }; sleep 0.1; done
  fail "$what" "never: $*" "$(tail -20 "$work/log" 2>/dev/null)"
}
socket=$("${pg[@]}" conninfo)
port=$(sed 's/.*port=\([0-9]*\).*/\1/' <<<"$socket")
unset "${!PG@}" NOTIFY_SOCKET

# -- a CA, certificates, a server that uses them -------------------------------------------------------------------------
ca() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.pem" 2>/dev/null; }
certificate() { # NAME HOST [openssl x509 options]
  local name=$1 host=$2
  shift 2
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$host" -keyout "$work/$name.key" -out "$work/$name.csr" 2>/dev/null
  openssl x509 -req -in "$work/$name.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial \
    -extfile <(echo "subjectAltName=DNS:$host") "$@" -out "$work/$name.crt" 2>/dev/null
}
ca ca
ca other-ca
certificate good db.test -days 2
certificate expired db.test -days -1
check_status "the expired certificate is one" 1 "will expire" openssl x509 -in "$work/expired.crt" -checkend 0
data=$work/pg/cluster/data
serve() { # the server's certificate from now on
  install -m 600 -o "$(stat -c %u "$data/")" -g "$(stat -c %g "$data/")" "$work/$1.key" "$work/$1.crt" "$data/"
  sql "ALTER SYSTEM SET ssl_cert_file = '$1.crt'"
  sql "ALTER SYSTEM SET ssl_key_file = '$1.key'"
  sql "ALTER SYSTEM SET ssl = on"
  sql "SELECT pg_reload_conf()" >/dev/null
  sleep 0.3
}

sql "CREATE ROLE loader LOGIN PASSWORD 'pw-hunter2-secret'; GRANT CREATE ON DATABASE regfeatd TO loader; GRANT CREATE ON SCHEMA public TO loader;"
(umask 077; echo "*:*:regfeatd:loader:pw-hunter2-secret" >"$work/pgpass")
export PGPASSFILE=$work/pgpass
tls() { echo "host=${1:-db.test} hostaddr=127.0.0.1 port=$port dbname=regfeatd user=loader sslmode=verify-full sslrootcert=${2:-$work/ca.pem}"; }

check_status "a server without TLS is refused, with advice" 78 "the server does not speak TLS" "$regfeatd" status --conninfo "$(tls)"
serve good
"${pg[@]}" psql -XAtq -c "CREATE SCHEMA IF NOT EXISTS bqx AUTHORIZATION loader" >/dev/null
check "verify-full against the CA's bundle" "$regfeatd" migrate --conninfo "$(tls)"
check_status "a wrong host name is refused, with advice" 78 "set host= to a name that the certificate holds" "$regfeatd" status --conninfo "$(tls other.test)"
check_status "an unknown CA is refused, with advice" 78 "lacks the CA that signed it" "$regfeatd" status --conninfo "$(tls db.test "$work/other-ca.pem")"
check_status "a missing bundle is refused, with advice" 78 "name the bundle" "$regfeatd" status --conninfo "$(tls db.test "$work/none.pem")"
serve expired
check_status "an expired certificate is refused, with advice" 78 "has expired" "$regfeatd" status --conninfo "$(tls)"
check_status "so the daemon ends with 78 at its start" 78 "has expired" "$regfeatd" run --conninfo "$(tls)"
serve good

# -- several hosts, writers and readers ----------------------------------------------------------------------------------
several="host=127.0.0.1,127.0.0.1 port=1,$port dbname=regfeatd user=loader"
check "the second host is tried when the first does not answer" "$regfeatd" status --conninfo "$several"
check_status "no host answers: may pass, exit 69" 69 "cannot connect" "$regfeatd" status --conninfo "host=127.0.0.1 port=1 dbname=regfeatd user=loader"
sql "ALTER ROLE loader SET default_transaction_read_only = on"
check_status "a server that only reads is passed over" 69 "connect to the writer" "$regfeatd" status --conninfo "$several"
check "unless a reader is asked for" "$regfeatd" status --conninfo "$several target_session_attrs=any"
service() { printf '[s]\nhost=127.0.0.1\nport=%s\ndbname=regfeatd\nuser=loader\n%s\n' "$port" "$1" >"$work/service"; }
export PGSERVICEFILE=$work/service
service ""
check_status "a service file that is silent wants a writer too" 69 "connect to the writer" "$regfeatd" status --conninfo service=s
service target_session_attrs=any
check "unless it asks for a reader" "$regfeatd" status --conninfo service=s
check "also when PGSERVICE names it" env PGSERVICE=s "$regfeatd" status
sql "ALTER ROLE loader RESET default_transaction_read_only"
service target_session_attrs=read-only
check_status "and when it wants readers alone, a writer is passed over" 69 "session is not read-only" "$regfeatd" status --conninfo service=s

# -- passwords -----------------------------------------------------------------------------------------------------------
check_status "a password among the arguments is refused" 78 "--conninfo holds a password" "$regfeatd" status --conninfo "$several password=pw-hunter2-secret"
check_status "and in a URI" 78 "--conninfo holds a password" "$regfeatd" status --conninfo "postgresql://loader:pw-hunter2-secret@127.0.0.1:$port/regfeatd"
check_status "a wrong password says where to look" 78 "check ~/.pgpass" \
  env PGPASSFILE=<(echo) PGPASSWORD=pw-wrong-secret "$regfeatd" status --conninfo "$several"

# A token for each connection: the command sets a new one, prints it, and counts.
cat >"$work/token" <<TOKEN
#!/usr/bin/env bash
set -eu
exec 9>"$work/token.lock"; flock 9
echo x >>"$work/tokens"
tr '\0' ' ' <"/proc/\$PPID/cmdline" >>"$work/cmdline"
echo "chatter that is nobody's business tok-\$(wc -l <"$work/tokens")-secret" >&2
echo "tok-secret-for-all"
TOKEN
chmod +x "$work/token"
unset PGPASSFILE
sql "ALTER ROLE loader PASSWORD 'tok-secret-for-all'"
cat >"$work/regfeatd.yaml" <<YAML
database:
  conninfo: "$(tls)"
  password_command: [$work/token, --region, eu-central-1]
workers: 2
poll: 100ms
progress: 100ms
daemon_name: tls-test
log: { level: debug }
YAML
"$regfeatd" run --config "$work/regfeatd.yaml" >"$work/log" 2>&1 &
daemon=$!
names() { [[ $(sql "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_activity WHERE application_name LIKE 'regfeatd/%'") == "regfeatd/tls-test/0 regfeatd/tls-test/1 regfeatd/tls-test/reporter" ]]; }
eventually "every connection says who it is" names
check_equal "all of them over TLS" 3 "$(sql "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl AND a.application_name LIKE 'regfeatd/%'")"
check "a token for each connection: start, reporter, two workers" test "$(wc -l <"$work/tokens")" -ge 4
sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'regfeatd/tls-test/%'" >/dev/null
eventually "lost connections come back" names
check "each with a token of its own" test "$(wc -l <"$work/tokens")" -ge 7
tr '\0' ' ' <"/proc/$daemon/cmdline" >>"$work/cmdline"
# A role whose token is no longer right: the daemon says so and goes on trying.
sql "ALTER ROLE loader PASSWORD 'another-secret'" && sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'regfeatd/tls-test/%'" >/dev/null
eventually "a refused token is in the log, with advice" grep -q "what database.password_command prints" "$work/log"
sql "ALTER ROLE loader PASSWORD 'tok-secret-for-all'"
eventually "and when tokens are right again it goes on" names
kill "$daemon"
status=0
wait "$daemon" || status=$?
daemon=
check_equal "it stops in order" 0 "$status"

with_command() { sed "s#^  password_command:.*#  password_command: $1#" "$work/regfeatd.yaml" >"$work/other.yaml"; "$regfeatd" status --config "$work/other.yaml"; }
cat >"$work/broken" <<'TOKEN'
#!/bin/sh
echo tok-secret-for-all
echo "Unable to locate credentials (debug: tok-secret-for-all)" >&2
exit 255
TOKEN
cat >"$work/hanging" <<'TOKEN'
#!/bin/sh
echo tok-secret-for-all
sleep 1000
TOKEN
chmod +x "$work/broken" "$work/hanging"
check_status "a failing command is named, with its complaint" 69 'failed with status 255: Unable to locate credentials (debug: ***)' with_command "$work/broken"
check_status "of what it printed nothing is in the complaint, whichever line it stands in" 69 'failed with status 3: oops, it was *** and ***' \
  with_command '[/bin/sh, -c, "echo; echo tok-secret-2; echo export TOKEN tok-secret-3; echo first >\&2; echo oops, it was tok-secret-2 and tok-secret-3 >\&2; exit 3"]'
check_status "a command that is not there" 78 "cannot run \"$work/nothing\"" with_command "$work/nothing"
check_status "a silent command" 69 "printed nothing" with_command "/bin/true"
sed "s#^  password_command:.*#  password_command: $work/hanging\n  password_command_timeout: 300ms#" "$work/regfeatd.yaml" >"$work/hanging.yaml"
check_status "a hanging command is ended after its time" 69 "did not end within 300 ms" "$regfeatd" status --config "$work/hanging.yaml"
check_status "a command line is not taken apart" 78 "must be a list" with_command "/usr/bin/aws rds"

# -- nothing of it is to be read anywhere --------------------------------------------------------------------------------
{ with_command "$work/broken"; "$regfeatd" run --config "$work/hanging.yaml"; "$regfeatd" status --conninfo "$several"; } >>"$work/log" 2>&1 || true
for secret in hunter2 tok-secret another-secret wrong-secret chatter; do
  for file in log cmdline; do
    [[ -s $work/$file ]] || fail "$file has something in it"
    ! grep -q -- "$secret" "$work/$file" || fail "no secret in $file" "$(grep -- "$secret" "$work/$file" | head -3)"
  done
done
ok "no password and no token in a log line, an error or an argument list"
