#!/usr/bin/env bash
# The manual and the completions: every command and option is in them, pages are well-formed, completion completes.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"
pages=$REGFEATD_BUILD_DIR/manual.d
regfeatd=$REGFEATD_BUILD_DIR/regfeatd

page=$(zcat "$pages/regfeatd.1.gz")
mapfile -t commands < <("$regfeatd" --help | awk '/^Subcommands:/ { on = 1; next } /^[^ ]/ { on = 0 } on && /^  [a-z]/ { print $1 }')
((${#commands[@]} >= 7)) || fail "commands in --help" "${commands[*]}"
for command in "${commands[@]}"; do
  grep -qxF ".SS \"regfeatd $command\"" <<<"$page" || fail "regfeatd(1) has $command"
  while read -r option; do
    grep -qF -- "${option//-/\\-}" <<<"$page" || fail "regfeatd(1) has $option of $command"
  done < <("$regfeatd" "$command" --help | grep -oE '^  (-[a-z],)?--[a-z-]+' | grep -oE -- '--[a-z-]+' | grep -vx -- --help)
done
ok "regfeatd(1) has ${#commands[@]} commands with all their options"

if [[ -f $pages/regfeatd.yaml.5.gz ]]; then
  yaml=$(zcat "$pages/regfeatd.yaml.5.gz")
  while read -r key; do
    grep -qF -- "$key" <<<"$yaml" || fail "regfeatd.yaml(5) has $key"
  done < <(awk '/^## Feature sets/ { exit } /^\| `/ { gsub(/`|,/, ""); print $2 }' "$REGFEATD_SOURCE_DIR/docs/configuration.md")
  ok "regfeatd.yaml(5) has every key"
  zgrep -q 'depends_on' "$pages/regfeatd-featureset.5.gz" || fail "regfeatd-featureset(5) has depends_on"
  ok "regfeatd-featureset(5) is there"
else
  echo "skipped: section 5 needs lowdown"
fi

if command -v groff >/dev/null; then
  for file in "$pages"/regfeatd*.gz; do
    warnings=$(zcat "$file" | groff -man -Tutf8 -t -ww 2>&1 >/dev/null | grep -v "can't break line\|cannot adjust line\|cannot break line" || true)
    check_equal "troff has nothing to say about ${file##*/}" "" "$warnings"
  done
fi

# complete LINE...: what bash would offer for the last word
complete_words() {
  # shellcheck disable=SC1091
  (source "$pages/regfeatd.bash" && COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) && _regfeatd && printf '%s ' "${COMPREPLY[@]}")
}
check_equal "completion of a command" "migrate " "$(complete_words regfeatd mi)"
check_equal "completion of an option" "--conninfo " "$(complete_words regfeatd run --conn)"
check_equal "a file where a value stands" " " "$(complete_words regfeatd plan prices)"
