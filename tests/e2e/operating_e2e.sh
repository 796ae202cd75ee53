#!/usr/bin/env bash
# A newcomer's walk through docs/operating.md: every command block, in order, in a clean Debian under a real systemd with a
# PostgreSQL whose certificate is verified, as root of that machine and as the database roles that the page makes.
#
# What a block is, is said by its fence and by a comment above it, which readers of the page do not see:
#
#   ```sh    a shell of root                      ```sql   psql as the operator: psql service=oncall
#   ```yaml  a file; the comment names it         ```text  what the block before it prints: each line has to be found in its
#                                                          output; … stands for anything in a line
#   <!-- test: exit N -->            it ends with status N (without: 0)
#   <!-- test: eventually -->        again until it succeeds and prints what it should, for two minutes
#   <!-- test: file PATH -->         the file is written there
#   <!-- test: stand-in NAME -->     stand_in_NAME below does it instead, and says what it stands for
#   <!-- test: not run: REASON -->   not run, and the reason printed
#
# All is done as if in one shell: folder and umask are those that the block before left.
#
# From "Operating from psql" on the page is generated from a run of its own, and not walked here.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
# shellcheck source-path=SCRIPTDIR source=clean_root.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/clean_root.sh"

guide=$REGFEATD_SOURCE_DIR/docs/operating.md
clean_root_requirements
command -v openssl >/dev/null || skip "there is no openssl to make a CA with"
trap 'clean_root_cleanup $?' EXIT

# -- the page, cut into blocks -----------------------------------------------------------------------------------------

# $work/blocks/N is the text of block N; a line of $work/index is: N, the fence's language, the line of the page, the comment.
mkdir "$work/blocks"
awk -v dir="$work/blocks" '
  /^## Operating from psql/ && !inside { exit }
  !inside && /^<!-- test: .* -->$/ { comment = substr($0, 12, length($0) - 15); next }
  !inside && /^    [^ ]/ { print "unfenced\t-\t" NR "\t-"; next }
  /^```/ && !inside { inside = 1; n++; language = substr($0, 4); line = NR; file = dir "/" n; printf "" >file; next }
  /^```/ { inside = 0; close(file); printf "%d\t%s\t%d\t%s\n", n, language == "" ? "none" : language, line, comment == "" ? "-" : comment; comment = ""; next }
  inside { print >file; next }
  NF && comment != "" { print "stray\t-\t" NR "\t" comment; comment = "" }' "$guide" >"$work/index"
check_equal "every block of the page has a fence, every comment a block" "" "$(grep -E '^(unfenced|stray)' "$work/index" || true)"
check_equal "every fence says what it is" "" "$(awk -F '\t' '$2 !~ /^(sh|sql|yaml|text)$/ { print "line " $3 ": " $2 }' "$work/index")"

# -- the machine ---------------------------------------------------------------------------------------------------------

package 0.1.0
package 0.2.0
make_root "$work/regfeatd_0.1.0.deb"
architecture=$(dpkg-deb -f "$work/regfeatd_0.1.0.deb" Architecture)
for version in 0.1.0 0.2.0; do mv "$root/root/regfeatd_$version.deb" "$root/root/regfeatd_${version}_$architecture.deb"; done
# The name that the page uses for the database server leads to the PostgreSQL of this machine.
echo "127.0.0.1 localhost db.example.com" >"$root/etc/hosts"
boot_root
ok "a clean Debian with systemd and PostgreSQL"
eventually "PostgreSQL is up" as postgres psql -Xqc "SELECT 1"

# A server certificate from a CA of the test's own.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=test CA" -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=db.example.com" -keyout "$work/server.key" -out "$work/server.csr" 2>/dev/null
openssl x509 -req -in "$work/server.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
  -extfile <(echo "subjectAltName=DNS:db.example.com") -out "$work/server.crt" 2>/dev/null
data=$(as postgres psql -XAtqc "SHOW data_directory")
for file in server.key server.crt; do
  inside install -m 600 -o postgres -g postgres /dev/null "$data/$file"
  inside tee "$data/$file" <"$work/$file" >/dev/null
done
# Amazon's master user is no superuser; neither is this.
as postgres psql -Xq -v ON_ERROR_STOP=1 <<'SQL'
ALTER SYSTEM SET ssl_cert_file = 'server.crt';
ALTER SYSTEM SET ssl_key_file = 'server.key';
ALTER SYSTEM SET ssl = on;
SELECT pg_reload_conf() \g /dev/null
CREATE ROLE dba LOGIN CREATEDB CREATEROLE PASSWORD 'the-master-password';
SQL
inside bash -c 'umask 077; echo "db.example.com:5432:*:dba:the-master-password" >~/.pgpass'

stand_in_download() { echo "the package built here stands for the one in a bucket"; }
stand_in_ca() {
  inside mkdir -p /etc/regfeatd
  inside tee /etc/regfeatd/rds-ca.pem <"$work/ca.pem" >/dev/null
  echo "a CA of the test's own stands for Amazon's"
}
# Prints the password that the page gave the role, to the daemon's user only.
stand_in_awscli() {
  inside bash -c "install -m 600 -o regfeatd <(sed -n 's/.*:regfeatd://p' ~/.pgpass) /etc/token
    install -m 755 /dev/stdin /usr/local/bin/aws" <<'END'
#!/bin/sh
[ "$1 $2" = "rds generate-db-auth-token" ] && exec cat /etc/token
exit 2
END
  echo "a program that prints the role's password stands for the AWS CLI and IAM"
}
stand_in_restart() {
  inside systemctl restart postgresql
  echo "a restart of the PostgreSQL of this machine stands for that of a database instance"
}

# -- the walk ------------------------------------------------------------------------------------------------------------

# says OUTPUT-FILE TEXT-FILE: each line of the text is in the output, blanks aside
says() {
  local expected pattern
  while IFS= read -r expected; do
    [[ -n ${expected// /} ]] || continue
    pattern=$(sed 's/[][\\*?]/\\&/g; s/…/*/g; s/  */ /g; s/^ //; s/ $//' <<<"$expected")
    # shellcheck disable=SC2053
    while IFS= read -r line; do [[ $line == *$pattern* ]] && continue 2; done < <(sed 's/[[:space:]][[:space:]]*/ /g' "$1")
    echo "$expected"
    return 1
  done <"$2"
}

# in_the_shell COMMANDS: in the folder and with the umask that the commands before it left
in_the_shell() {
  inside bash -c 'source ~/shell-state; trap '\''echo "umask $(umask); cd ${PWD@Q}" >~/shell-state'\'' EXIT; set -euo pipefail; eval "$1"' bash "$1"
}
inside bash -c 'echo "umask 022; cd" >~/shell-state'

# run_block N LANGUAGE: its status; what it prints goes to $work/output
run_block() {
  local status=0
  cp "$work/blocks/$1" "$root/root/block"
  case $2 in
    sh) in_the_shell 'source ~/block </dev/null' >"$work/output" 2>&1 || status=$? ;;
    sql) in_the_shell 'psql -X -P pager=off -v ON_ERROR_STOP=1 -f ~/block service=oncall </dev/null' >"$work/output" 2>&1 || status=$? ;;
  esac
  return "$status"
}

mapfile -t index <"$work/index"
run=0 skipped=0
for ((i = 0; i < ${#index[@]}; i++)); do
  IFS=$'\t' read -r block language line comment <<<"${index[i]}"
  [[ $language != text ]] || continue
  what="line $line: $(grep -m 1 -v '^#' "$work/blocks/$block" | cut -c -90)"
  expected_status=0 expected_text=
  IFS=$'\t' read -r next next_language _ _ <<<"${index[i + 1]:-}"
  [[ $next_language != text ]] || expected_text=$work/blocks/$next
  case $comment in
    "not run: "*) echo "not run, ${comment#not run: }: $what"; skipped=$((skipped + 1)); continue ;;
    "stand-in "*) echo "stand-in: $("stand_in_${comment#stand-in }"): $what"; skipped=$((skipped + 1)); continue ;;
    "file "*) in_the_shell "cat >${comment#file }" <"$work/blocks/$block"; ok "$what"; run=$((run + 1)); continue ;;
    "exit "*) expected_status=${comment#exit } ;;
    eventually | -) ;;
    *) fail "$what" "unknown comment: $comment" ;;
  esac
  [[ $language != yaml ]] || fail "$what" "a comment has to name the file"
  tries=1
  [[ $comment != eventually ]] || tries=240
  for ((try = 1; try <= tries; try++)); do
    status=0 missing=
    run_block "$block" "$language" || status=$?
    [[ -z $expected_text ]] || missing=$(says "$work/output" "$expected_text") || true
    [[ $status != "$expected_status" || -n $missing ]] || break
    ((try == tries)) || sleep 0.5
  done
  [[ -z ${REGFEATD_SHOW_OUTPUT:-} ]] || sed 's/^/      /' "$work/output"
  [[ $status == "$expected_status" ]] || fail "$what" "status $status, not $expected_status" "$(tail -n 40 "$work/output")"
  [[ -z $missing ]] || fail "$what" "does not print: $missing" "$(tail -n 40 "$work/output")"
  ok "$what"
  run=$((run + 1))
done
echo "$run blocks run, $skipped by stand-ins or not at all"
# An empty page would pass everything above.
((run >= 20)) || fail "the page has command blocks" "only $run were run"
