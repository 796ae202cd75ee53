#!/usr/bin/env bash
# `regfeatd fit` as a user runs it: real files, every shape of input, errors with their messages and exit statuses.
# REGFEATD_DATA_DIR names the directory of real series; without it generated ones are used.
set -euo pipefail

source_dir=${REGFEATD_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
build_dir=${REGFEATD_BUILD_DIR:-$source_dir/build/release}
data_dir=${REGFEATD_DATA_DIR:-$source_dir/../shared/data}
regfeatd=$build_dir/regfeatd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect STATUS MESSAGE COMMAND...: exit status and standard error as they must be ('' as message: nothing)
expect() {
  local status=$1 message=$2 got=0
  shift 2
  "$@" >stdout 2>stderr || got=$?
  [[ $got == "$status" ]] || fail "$*: status $got, not $status; $(cat stderr)"
  [[ $(cat stderr) == "$message" ]] || fail "$*: says '$(cat stderr)', not '$message'"
}

same() {
  cmp "$1" "$2" || fail "$1 and $2 differ: $3"
}

# -- series to work on

generate_bars() {
  awk 'BEGIN {
    print "ts_utc,open,high,low,close,volume"; seed = 7; price = 1.15
    for (i = 0; i < 30000; ++i) {
      seed = (seed * 16807) % 2147483647; price += (seed / 2147483647 - 0.5) * 1e-4
      printf "%s,%.5f,%.5f,%.5f,%.5f,0\n", strftime("%Y-%m-%dT%H:%M:%SZ", 1538352000 + 60 * i, 1), price, price, price, price
    }
  }'
}

generate_games() {
  awk 'BEGIN {
    print "kickoff_utc,season,player_id,player,minutes,total_points"
    for (day = 0; day < 80; ++day) for (p = 1; p <= 200; ++p) if ((day * p) % 7 < 5)
      printf "%s,2020-21,%d,\"Player, %d\",%d,%d\n", strftime("%Y-%m-%dT%H:%M:%SZ", 1600000000 + 86400 * 3 * day, 1), p, p, (day * p) % 91, (day + p) % 13
  }'
}

generate_probes() {
  awk 'BEGIN { print "slice,src,dst,rtt"; for (s = 1; s <= 300; ++s) for (p = 1; p <= 60; ++p) printf "%d,%d,%d,%.2f\n", s, p, p + 1, ((s * 7 + p * 13) % 50) / 10 }'
}

take() {
  local file=$data_dir/$1
  shift
  if [[ -r $file ]]; then
    gzip -dc "$file"
  else
    echo "no $file: using generated data" >&2
    "$@"
  fi
}

take fx_m1/eurusd_201810.csv.gz generate_bars >bars.csv
take player_games/player_games_2020_21.csv.gz generate_games >games.csv
take net_latency/seattle_src01_20.csv.gz generate_probes | awk 'NR <= 300001' >probes.csv  # not head: it would close the pipe

windows=15,30,45,60,75,90

# -- one series: threads, truncation, look-back

"$regfeatd" fit --windows "$windows" --values open,close --threads 1 bars.csv >one.csv
"$regfeatd" fit --windows "$windows" --values open,close --threads 4 <bars.csv >four.csv
same one.csv four.csv "1 and 4 threads"
[[ $(wc -l <one.csv) == $(wc -l <bars.csv) ]] || fail "a row is missing"
[[ $(head -1 one.csv | tr ',' '\n' | wc -l) == 85 ]] || fail "1 + 2 inputs x 6 windows x 7 metrics columns expected"
[[ $(head -1 one.csv | cut -d, -f1-3) == ts_utc,quadratic_term_open_w15,linear_term_open_w15 ]] || fail "header: $(head -1 one.csv)"
diff <(cut -d, -f1 bars.csv) <(cut -d, -f1 one.csv) >/dev/null || fail "times are not passed through"
[[ -z $(sed -n 15p one.csv | cut -d, -f2) ]] || fail "row 14 has no window of 15 rows"
[[ -n $(sed -n 16p one.csv | cut -d, -f2) ]] || fail "row 15 has a window of 15 rows"
# No NaN, no infinity, no number in another form.
tail -n +2 one.csv | cut -d, -f2- | tr ',' '\n' | sort -u | grep -vE '^(-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?)?$' && fail "not a number"

for cut in 17 100 5000 20011; do
  head "-$cut" bars.csv | "$regfeatd" fit --windows "$windows" --values open,close >cut.csv
  head "-$cut" one.csv >expected.csv
  same cut.csv expected.csv "what follows row $cut must not matter"
done

from=$(sed -n 20000p bars.csv | cut -d, -f1)
to=$(sed -n 25000p bars.csv | cut -d, -f1)
"$regfeatd" fit --windows "$windows" --values open,close --from "$from" --to "$to" bars.csv >part.csv
{ head -1 one.csv; sed -n 20000,24999p one.csv; } >expected.csv
same part.csv expected.csv "rows before --from are look-back"
{ head -1 bars.csv; sed -n '20000,$p' bars.csv; } | "$regfeatd" fit --windows "$windows" --values open,close --to "$to" >expected.csv
"$regfeatd" fit --windows "$windows" --values open,close --from "$from" --to "$to" --lookback none bars.csv >part.csv
same part.csv expected.csv "--lookback none starts cold"

# A long window goes through the block method, which counts rows from the start of the series.
"$regfeatd" fit --windows 5000 --values close --metrics terms.r2,legacy_terms.a_coef --threads 1 bars.csv >one.csv
"$regfeatd" fit --windows 5000 --values close --metrics terms.r2,legacy_terms.a_coef --threads 4 bars.csv >four.csv
same one.csv four.csv "long windows, 1 and 4 threads"

# -- CRLF, byte-order mark, quotes

"$regfeatd" fit --windows 15 --values close bars.csv >plain.csv
{ printf '\xef\xbb\xbf'; sed 's/$/\r/' bars.csv; } | "$regfeatd" fit --windows 15 --values close >crlf.csv
same plain.csv crlf.csv "CRLF and a byte-order mark"
sed 's/^/"/; s/,/","/g; s/$/"/' bars.csv | "$regfeatd" fit --windows 15 --values close | sed 's/"//g' >quoted.csv
same plain.csv quoted.csv "quoted fields"
printf 'n,id,x\n1,"a, ""b""",1\n2,"a, ""b""",2\n3,"a, ""b""",4\n' | "$regfeatd" fit --windows 3 --keys id --metrics legacy_terms.a_coef --offset 0 >out.csv
[[ $(tail -1 out.csv) == '3,"a, ""b""",0.5' ]] || fail "quoted key: $(cat out.csv)"

# -- NULL

printf 'n,x\n1,1\n2,2\n3,4\n4,\n5,1\n6,NULL\n7,2\n8,NaN\n9,3\n10,1\n11,5\n12,inf\n13,1\n' |
  "$regfeatd" fit --windows 3 --metrics terms.constant_term >out.csv
[[ $(cut -d, -f2 out.csv | tail -n +2 | tr '\n' ' ') == "  1        3   " ]] || fail "NULL: $(cat out.csv)"

# -- keys: rows alternate, or stand together

player_windows=g5=5,l30d=30d:min_rows=3:x=time:unit=1d
expect 1 "regfeatd: games.csv:$(awk -F, 'NR > 1 { k = $2 "," $3; if (k in seen && k != last) { print NR; exit } seen[k]; last = k }' games.csv): rows of key $(
  awk -F, 'NR > 1 { k = $2 "," $3; if (k in seen && k != last) { printf "season=\"%s\", player_id=\"%s\"", $2, $3; exit } seen[k]; last = k }' games.csv
) come again after rows of another key: sort by key then time, or give --interleaved" \
  "$regfeatd" fit --windows "$player_windows" --keys season,player_id --values minutes games.csv
keyed=(--windows "$player_windows" --metrics "n_obs,terms.prediction" --keys "season,player_id" --values "minutes,total_points")
"$regfeatd" fit "${keyed[@]}" --interleaved --threads 1 games.csv >one.csv
"$regfeatd" fit "${keyed[@]}" --interleaved --threads 4 games.csv >four.csv
same one.csv four.csv "interleaved keys, 1 and 4 threads"
diff <(cut -d, -f1-3 games.csv) <(cut -d, -f1-3 one.csv) >/dev/null || fail "rows are not in input order"
by_key() { head -1 "$1" && tail -n +2 "$1" | LC_ALL=C sort -s -t, -k2,2 -k3,3; }
by_key games.csv >sorted.csv
"$regfeatd" fit "${keyed[@]}" sorted.csv >together.csv
by_key one.csv >expected.csv
same together.csv expected.csv "keys together and interleaved"
player=$(sed -n 2p sorted.csv | cut -d, -f2,3)
{ head -1 games.csv; grep ",$player," games.csv; } | "$regfeatd" fit "${keyed[@]}" >alone.csv
{ head -1 one.csv; grep ",$player," one.csv; } >expected.csv
same alone.csv expected.csv "windows must not cross keys"

# -- an integer sequence; keys of two columns; a feature-set specification

"$regfeatd" fit --windows 5,100:range --keys src,dst --interleaved --metrics n_obs,sigma --threads 4 probes.csv >one.csv
"$regfeatd" fit --windows 5,100:range --keys src,dst --interleaved --metrics n_obs,sigma --sequence slice --values rtt --threads 1 probes.csv >four.csv
same one.csv four.csv "a first column of integers is a sequence"
[[ $(head -1 one.csv) == slice,src,dst,n_obs_rtt_w5,sigma_rtt_w5,n_obs_rtt_l100,sigma_rtt_l100 ]] || fail "header: $(head -1 one.csv)"

"$regfeatd" fit --spec "$source_dir/config/feature_sets/player_form.yaml" --interleaved games.csv >spec.csv
[[ $(head -1 spec.csv | cut -d, -f1-4) == kickoff_utc,season,player_id,n_obs_points_l5d ]] || fail "header: $(head -1 spec.csv)"
"$regfeatd" fit --spec "$source_dir/config/feature_sets/player_form.yaml" --interleaved --windows "$player_windows" \
  --metrics n_obs,terms.prediction --values minutes,total_points games.csv >spec.csv
"$regfeatd" fit "${keyed[@]}" --interleaved games.csv >one.csv
same spec.csv one.csv "flags override the specification"

# -- usage

expect 64 'regfeatd fit: --windows (such as 15,30,60) or --spec must be given' "$regfeatd" fit bars.csv
expect 64 'regfeatd fit: cannot open absent.csv: No such file or directory' "$regfeatd" fit --windows 15 absent.csv
expect 64 'regfeatd fit: --values: bars.csv has no column "price"; it has ts_utc, open, high, low, close, volume' \
  "$regfeatd" fit --windows 15 --values price bars.csv
expect 64 'regfeatd fit: --windows "2": the number of rows must be from 3 to 100,000, not "2"' "$regfeatd" fit --windows 2 bars.csv
expect 64 'regfeatd fit: --metrics: several families have a metric "r2"; say which: coefficients.r2, terms.r2, legacy_terms.r2' \
  "$regfeatd" fit --windows 15 --metrics r2 bars.csv
expect 64 'regfeatd fit: two output columns would be called "r2_close_w15": coefficients.r2 of close in window w15 and terms.r2 of close in window w15' \
  "$regfeatd" fit --windows 15 --metrics coefficients.r2,terms.r2 --values close bars.csv
expect 64 'regfeatd fit: cannot write absent/out.csv.part: No such file or directory' "$regfeatd" fit --windows 15 --values close -o absent/out.csv bars.csv

# -- a bad specification

printf 'feature_set: x\nwindow: { w15: 15 }\n' >bad.yaml
status=0
"$regfeatd" fit --spec bad.yaml bars.csv >stdout 2>stderr || status=$?
[[ $status == 78 ]] || fail "bad specification: status $status"
grep -q '^bad.yaml:2: ' stderr || fail "bad specification: $(cat stderr)"
[[ ! -s stdout ]] || fail "output although the specification is bad"

# -- bad data

{ head -101 bars.csv; sed -n 102p bars.csv | sed 's/,[^,]*$/,12x/'; tail -n +103 bars.csv; } >bad.csv
expect 1 'regfeatd: bad.csv:102: column "volume": "12x" is not a number' "$regfeatd" fit --windows 15 --values close,volume bad.csv
[[ $(wc -l <stdout) == 101 ]] || fail "the rows before the bad one are written"
"$regfeatd" fit --windows 15 --values close bad.csv >/dev/null || fail "columns that are not used need not be numbers"
expect 1 'regfeatd: stdin:2: column "player": "x" is not a number (--values names the columns to fit)' \
  "$regfeatd" fit --windows 3 <<<$'n,player\n1,x'
{ head -50 bars.csv; echo 2018-10-01T00:49:00Z,1; } >bad.csv
expect 1 'regfeatd: bad.csv:51: 2 fields where the header has 6' "$regfeatd" fit --windows 15 bad.csv
expect 1 'regfeatd: stdin:4: column "n": 2 stands on two rows' "$regfeatd" fit --windows 3 <<<$'n,x\n1,1\n2,1\n2,1'
expect 1 'regfeatd: stdin:4: column "t": 2024-07-01 00:00:00+00 comes after 2024-07-02 00:00:00+00: the rows of a series must ascend' \
  "$regfeatd" fit --windows 3 <<<$'t,x\n2024-06-01,1\n2024-07-02,1\n2024-07-01,1'
expect 1 'regfeatd: stdin: no header line: the input is empty' "$regfeatd" fit --windows 3 </dev/null
expect 1 'regfeatd: stdin:3: a quoted field is not closed' "$regfeatd" fit --windows 3 <<<$'n,x\n1,1\n2,"1\n3,1'
expect 0 '' "$regfeatd" fit --windows 3 --metrics terms.r2 <<<'n,x'
[[ $(cat stdout) == n,r2_x_w3 ]] || fail "a header alone gives a header: $(cat stdout)"

# -- the output file is whole or absent; a full disk is an error; a closed pipe is not

"$regfeatd" fit --windows 15 --values close -o out15.csv bars.csv
same out15.csv plain.csv "-o and standard output"
[[ ! -e out15.csv.part ]] || fail "out15.csv.part is left"
expect 1 'regfeatd: stdin:4: column "n": 2 stands on two rows' "$regfeatd" fit --windows 3 -o absent.csv <<<$'n,x\n1,1\n2,1\n2,1'
[[ ! -e absent.csv && ! -e absent.csv.part ]] || fail "a failed run leaves a file"
expect 1 'regfeatd: cannot write stdout: No space left on device' bash -c "$regfeatd fit --windows 15 bars.csv >/dev/full"
{ "$regfeatd" fit --windows "$windows" bars.csv || echo "status $?" >status; } | head -3 >/dev/null
[[ ! -e status ]] || fail "a closed pipe: $(cat status)"

# -- rows come out as they come in, without waiting for more

mkfifo lines
"$regfeatd" fit --windows 3 --metrics terms.constant_term <lines >live.csv &
exec 7>lines
printf 'n,x\n1,1\n2,2\n3,4\n' >&7
for _ in $(seq 100); do
  [[ $(wc -l <live.csv) == 4 ]] && break
  sleep 0.1
done
[[ $(tail -1 live.csv) == 3,1 ]] || fail "a slow input: $(cat live.csv)"
exec 7>&-
wait

# -- memory does not grow with the input

if [[ -x /usr/bin/time ]]; then
  export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1  # freed memory that AddressSanitizer holds back is not ours
  grow() { awk -v rows="$1" 'BEGIN { print "n,k,x"; for (i = 0; i < rows; ++i) printf "%d,%d,%d.%d\n", i, int(i / 5000), i % 100, i % 7 }'; }
  peak() { grow "$1" | /usr/bin/time -f %M -o peak "${@:2}" >/dev/null && cat peak; }
  for options in "--values x" "--values x --keys k"; do
    # shellcheck disable=SC2086
    small=$(peak 100000 "$regfeatd" fit --windows 15,500 --metrics terms --threads 2 $options)
    # shellcheck disable=SC2086
    large=$(peak 2000000 "$regfeatd" fit --windows 15,500 --metrics terms --threads 2 $options)
    echo "peak memory ($options): $small KiB for 100,000 rows, $large KiB for 2,000,000"
    ((large < small * 3 / 2)) || fail "memory grows with the input: $small KiB, then $large KiB"
  done
else
  echo "no /usr/bin/time: peak memory not compared"
fi

# -- the catalogue

"$regfeatd" metrics --family terms | grep -q '^terms  *quadratic_term ' || fail "metrics: $("$regfeatd" metrics --family terms)"
diff <("$regfeatd" metrics --markdown) "$source_dir/docs/metrics.md" || fail "docs/metrics.md is not what the program prints"
expect 64 'regfeatd metrics: --family: there is no family "cubic"; `regfeatd metrics` lists them' "$regfeatd" metrics --family cubic

echo "fit_e2e: fine"
