# shellcheck shell=bash
# What the end-to-end tests of the scripts share. Sourced, never run. Every check prints a line; the first that fails ends
# the test with status 1.

: "${REGFEATD_SOURCE_DIR:?set by ctest}" "${REGFEATD_BUILD_DIR:?set by ctest}"

ok() { printf 'ok    %s\n' "$1"; }
fail() {
  printf 'FAIL  %s\n' "$1"
  shift
  (($# == 0)) || printf '      %s\n' "$@"
  exit 1
}

# check_equal WHAT EXPECTED ACTUAL
check_equal() { if [[ $2 == "$3" ]]; then ok "$1"; else fail "$1" "expected: $2" "actual:   $3"; fi; }

# check WHAT COMMAND...: the command succeeds; what it prints is only shown when it does not
check() {
  local what=$1 output
  shift
  if output=$("$@" 2>&1); then ok "$what"; else fail "$what" "failed: $*" "$output"; fi
}

# check_status WHAT STATUS TEXT COMMAND...: the command exits with STATUS and says TEXT
check_status() {
  local what=$1 expected=$2 text=$3 output status=0
  shift 3
  output=$("$@" 2>&1) || status=$?
  [[ $status == "$expected" ]] || fail "$what" "expected status $expected, got $status" "$output"
  [[ $output == *"$text"* ]] || fail "$what" "expected to read: $text" "$output"
  ok "$what"
}
