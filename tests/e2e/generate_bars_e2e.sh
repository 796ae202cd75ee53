#!/usr/bin/env bash
# generate-bars: the properties that its bars are made for, and the very bytes, which must not differ between machines.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=check.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/check.sh"

generate=$REGFEATD_BUILD_DIR/generate-bars
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

"$generate" --pair eurusd --from 2024-07-01 --months 3 >"$work/three"
"$generate" --pair eurusd --from 2024-07-01 --months 1 >"$work/one"
"$generate" --pair eurusd --from 2024-07-01 --months 12 >"$work/year"

check_equal "the same bytes on every machine" 1ad268da04e7eadb "$(sha256sum "$work/year" | cut -c 1-16)"
check "fewer months are the beginning of more" cmp <(head -n "$(wc -l <"$work/one")" "$work/three") "$work/one"
check_equal "header" ts_utc,open,high,low,close,volume "$(head -n 1 "$work/year")"
[[ $("$generate" --pair eurusd --from 2024-07-01 --seed 2 | sha256sum) != $(sha256sum <"$work/one") ]] || fail "the seed matters"
[[ $("$generate" --pair gbpusd --from 2024-07-01 | cut -d, -f 1 | sha256sum) != $(cut -d, -f 1 "$work/one" | sha256sum) ]] ||
  fail "each pair misses minutes of its own"
ok "seed and pair matter"

# One pass over the year. The day of the week by Sakamoto's method: 0 is Sunday.
awk -F, '
  function dow(y, m, d) {
    split("0 3 2 5 0 3 5 1 4 6 2 4", t, " ")
    if (m < 3) y--
    return (y + int(y / 4) - int(y / 100) + int(y / 400) + t[m] + d) % 7
  }
  function bad(what) { print NR ": " what ": " $0; broken++ }
  NR == 1 { next }
  {
    if ($1 !~ /^20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:00Z$/) bad("time")
    if ($1 <= previous) bad("not ascending")
    previous = $1
    for (i = 2; i <= 5; i++) if ($i !~ /^[0-9]\.[0-9][0-9][0-9][0-9][0-9]$/) bad("decimals")
    if ($3 < $2 || $3 < $5 || $4 > $2 || $4 > $5 || $4 <= 0) bad("high and low")
    y = substr($1, 1, 4) + 0; m = substr($1, 6, 2) + 0; d = substr($1, 9, 2) + 0; h = substr($1, 12, 2) + 0; min = substr($1, 15, 2) + 0
    # Daylight saving in New York until 3 November 2024 and from 9 March 2025: the trading day ends at 21:00, else 22:00 UTC.
    change = ($1 < "2024-11-03" || $1 >= "2025-03-09") ? 21 : 22
    w = dow(y, m, d)
    if (w == 6 || (w == 0 && h < change) || (w == 5 && h >= change)) bad("weekend")
    if (($1 >= "2024-12-24T22" && $1 < "2024-12-25T22") || ($1 >= "2024-12-31T22" && $1 < "2025-01-01T22")) bad("holiday")
    if (w == 0 && h == change && min < 10) opened[y m d] = 1
    day_number = (y * 372 + m * 31 + d)
    minute = day_number * 1440 + h * 60 + min
    step = minute - last_minute
    if (last_minute && step > 1 && step < 600) { gaps++; absent += step - 1; if (step == 2) single++ }
    last_minute = minute
    month[y "-" m]++
    bars++
    run = ($2 == $3 && $3 == $4 && $4 == $5 && $5 == close_before) ? run + 1 : 0
    if (run == 5) stretches++
    move = close_before ? ($5 - close_before) / close_before : 0
    if (move > 0.0009 || move < -0.0009) jumps++
    hour_moves[h] += move * move
    hour_bars[h]++
    close_before = $5
  }
  END {
    for (key in opened) weeks++
    for (key in month) if (month[key] < 27500 || month[key] > 33500) { print "bars in " key ": " month[key]; broken++ }
    lively = sqrt(hour_moves[14] / hour_bars[14]); quiet = sqrt(hour_moves[4] / hour_bars[4])
    printf "bars %d, weeks %d, absent %.2f %%, single gaps %d, flat stretches %d, jumps %d, lively/quiet %.2f\n", bars, weeks, 100 * absent / (bars + absent), single, stretches, jumps, lively / quiet
    if (bars < 355000 || bars > 375000) { print "bars"; broken++ }
    if (weeks < 50) { print "weeks"; broken++ }
    if (absent / bars < 0.01 || absent / bars > 0.025) { print "absent"; broken++ }
    if (single < 2000 || gaps - single < 30) { print "gaps"; broken++ }
    if (stretches < 40 || jumps < 40) { print "stretches or jumps"; broken++ }
    if (lively < 1.5 * quiet) { print "hours"; broken++ }
    exit broken > 0
  }' "$work/year" >"$work/report" || fail "properties of a year" "$(head -n 20 "$work/report")"
ok "properties of a year: $(tail -n 1 "$work/report")"

check_equal "the yen has three decimals" 1 \
  "$("$generate" --pair usdjpy --from 2024-07-01 | awk -F, 'NR > 1 && $5 !~ /^[0-9]+\.[0-9][0-9][0-9]$/ { bad = 1 } END { print !bad }')"
check_equal "28 pairs" 28 "$("$generate" --list-pairs | sort -u | wc -l)"
check_status "no pair" 64 "--pair" "$generate" --from 2024-07-01
check_status "no such date" 64 "not '2024-02-30'" "$generate" --pair eurusd --from 2024-02-30
check_status "months past the end of a month" 64 "is no date" "$generate" --pair eurusd --from 2024-01-31
check_status "help" 0 "minute bars" "$generate" --help
# shellcheck disable=SC2016
[[ ! -e /dev/full ]] || check_status "a full disk" 1 "No space left" bash -c '"$1" --pair eurusd --from 2024-07-01 >/dev/full' sh "$generate"
