# shellcheck shell=bash
# Loads CSV files into one table with a primary key: what load-player-games and load-latency share. Sourced, never run.

# Reads the header of a CSV from standard input, checks it against the table's columns and prints it as an SQL column list.
# $1 table columns, $2 required ones (both as words), $3 the file's name.
csv_columns() {
  local header column list= table=" $1 " missing=
  IFS= read -r header || die "$3: empty"
  header=${header%$'\r'}
  header=${header#$'\xef\xbb\xbf'}
  local seen=" ${header//,/ } "
  for column in $2; do [[ $seen == *" $column "* ]] || missing+=" $column"; done
  [[ -z $missing ]] || die "$3: the header lacks:$missing"
  for column in ${header//,/ }; do
    [[ $table == *" $column "* ]] || die "$3: column '$column' of the header is unknown; known are:${table% }"
    list+=${list:+, }$column
  done
  say "$list"
}

# One file into pg_temp.stage, as psql commands with the data inline.
stage_file() { # file, table columns, required columns
  local name=$1 columns
  [[ $name != - ]] || name="standard input"
  {
    # gzip -dcf passes through what is not compressed.
    if [[ $1 == - ]]; then gzip -dcf; else gzip -dcf -- "$1"; fi
  } | {
    columns=$(csv_columns "$2" "$3" "$name") || exit 1
    say "COPY pg_temp.stage ($columns) FROM STDIN (FORMAT csv);"
    sed 's/\r$//' # a last line without a line feed must not swallow the end mark
    printf '\n\\.\n'
  } | sed -e '/^$/d'
}

# load_csv SCHEMA TABLE KEY ORDER REQUIRED COMMENT OPTIONS_AND_FILES...: the whole program. Expects help() and
# $table_columns, the column definitions of the table.
load_csv() {
  local schema=$1 table=$2 key=$3 order=$4 required=$5 comment=$6 conninfo=
  shift 6
  while (($# > 0)); do
    case $1 in
      --conninfo) need_value "$@"; conninfo=$2; shift 2 ;;
      --conninfo=*) conninfo=${1#*=}; shift ;;
      --schema) need_value "$@"; schema=$2; shift 2 ;;
      --schema=*) schema=${1#*=}; shift ;;
      -h | --help) help; exit 0 ;;
      --) shift; break ;;
      -?*) usage_error "unknown option '$1'" ;;
      *) break ;;
    esac
  done
  (($# >= 1)) || usage_error "needs at least one file"
  [[ -n $schema ]] || usage_error "--schema must not be empty"
  local file
  for file in "$@"; do
    [[ $file == - || -e $file ]] || die "$file: no such file"
    [[ $file == - || (-r $file && ! -d $file) ]] || die "$file: cannot be read"
  done
  local columns
  columns=$(tr -d '\n' <<<"$table_columns" | sed -E 's/ *([a-z_]+) [^,]*(, *|$)/\1 /g; s/ *$//')
  run_load "$@"
}

run_load() {
  local file work started elapsed_ms statuses=(0 0) out
  local database=()
  [[ -z $conninfo ]] || database=(--dbname "$conninfo")
  work=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf -- '$work'" EXIT
  started=${EPOCHREALTIME/[.,]/}
  {
    load_prologue
    for file in "$@"; do stage_file "$file" "$columns" "$required" || exit 1; done
    load_epilogue
  } 2>"$work/input" |
    psql --no-psqlrc --quiet "${database[@]}" -v ON_ERROR_STOP=1 -v schema="$schema" -v tbl="$table" -v comment="$comment" \
      >"$work/out" 2>"$work/psql" || statuses=("${PIPESTATUS[@]}")
  if ((statuses[1] == 2)); then
    cat -- "$work/psql" >&2
    exit 69
  elif ((statuses[0] != 0 || statuses[1] != 0)); then
    grep -v -i 'broken pipe' "$work/input" >&2 || sed "s/^psql:[^ ]* \(ERROR:  \)\{0,1\}/$script_name: /; s/^ERROR:  /$script_name: /" "$work/psql" >&2
    note "nothing was loaded"
    exit 1
  fi
  out=$(tail -n 1 "$work/out")
  elapsed_ms=$(((${EPOCHREALTIME/[.,]/} - started) / 1000))
  say "$schema.$table: ${out%%|*} rows loaded, ${out##*|} in the table, in $((elapsed_ms / 1000)).$((elapsed_ms % 1000 / 100)) s"
}

load_prologue() {
  cat <<SQL
\\set SHOW_CONTEXT errors
\\pset format unaligned
\\pset tuples_only on
SET client_min_messages = warning;
SET timezone = 'UTC';
BEGIN;
SELECT pg_advisory_xact_lock(hashtextextended('regfeatd load ' || :'schema' || '.' || :'tbl', 0)) \\g /dev/null
CREATE SCHEMA IF NOT EXISTS :"schema";
SELECT to_regclass(format('%I.%I', :'schema', :'tbl')) IS NULL AS missing \\gset
\\if :missing
CREATE TABLE :"schema".:"tbl" ($table_columns, PRIMARY KEY (${key// /, }));
CREATE INDEX ON :"schema".:"tbl" ($order);
COMMENT ON TABLE :"schema".:"tbl" IS :'comment';
\\endif
CREATE TEMPORARY TABLE stage (LIKE :"schema".:"tbl") ON COMMIT DROP;
SQL
}

# Ends with the only COMMIT: a pipe that broke before it loads nothing.
load_epilogue() {
  local column assignments=
  for column in $columns; do
    [[ " $key " == *" $column "* ]] || assignments+="${assignments:+, }$column = excluded.$column"
  done
  cat <<SQL
CREATE UNIQUE INDEX given_once ON pg_temp.stage (${key// /, });
INSERT INTO :"schema".:"tbl" AS t (${columns// /, }) SELECT ${columns// /, } FROM pg_temp.stage
  ON CONFLICT (${key// /, }) DO UPDATE SET $assignments;
ANALYZE :"schema".:"tbl";
SELECT (SELECT count(*) FROM pg_temp.stage), (SELECT count(*) FROM :"schema".:"tbl");
COMMIT;
SQL
}
