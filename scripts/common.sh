# shellcheck shell=bash
# What the scripts in this folder share. Sourced, never run.

# The name under which the script was called, for its messages.
readonly script_name=${0##*/}

readonly exit_usage=64
export exit_usage

say() { printf '%s\n' "$*"; }
note() { printf '%s: %s\n' "$script_name" "$*" >&2; }
die() { note "$@"; exit 1; }
usage_error() {
  note "$@"
  printf 'Try: %s --help\n' "$0" >&2
  exit "$exit_usage"
}

# The value of an option: option_value OPTION "$@" fails when nothing follows the option.
need_value() { (($# >= 2)) || usage_error "$1 needs a value"; }

# Absolute path without requiring that it exists; symbolic links are resolved as far as it does.
absolute() { readlink -m -- "$1"; }

# Cores this process may use: the affinity mask, and the CPU quota of the control group if there is one.
cores() {
  local n quota period
  n=$(nproc)
  if [[ -r /sys/fs/cgroup/cpu.max ]] && read -r quota period </sys/fs/cgroup/cpu.max && [[ $quota != max ]]; then
    quota=$(((quota + period - 1) / period))
    ((quota < n)) && n=$quota
  fi
  say "$((n > 0 ? n : 1))"
}

# Memory of the machine or of the control group, whichever is less, in MiB.
memory_mb() {
  local mb limit file
  mb=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    if [[ -r $file ]] && read -r limit <"$file" && [[ $limit =~ ^[0-9]{1,18}$ ]]; then
      limit=$((limit / 1048576))
      ((limit > 0 && limit < mb)) && mb=$limit
    fi
  done
  say "$mb"
}

# Memory that could be had right now, in MiB: what the control group leaves, and what the machine has available.
available_mb() {
  local mb limit used
  mb=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
  if [[ -r /sys/fs/cgroup/memory.max && -r /sys/fs/cgroup/memory.current ]]; then
    read -r limit </sys/fs/cgroup/memory.max
    read -r used </sys/fs/cgroup/memory.current
    if [[ $limit =~ ^[0-9]+$ ]]; then
      limit=$(((limit - used) / 1048576))
      ((limit < mb)) && mb=$limit
    fi
  fi
  say "$((mb > 0 ? mb : 1))"
}

# One compiler for each core, but no more than memory allows: the largest sources take about 1 GiB each.
build_jobs() {
  local n by_memory
  n=$(cores)
  by_memory=$(($(available_mb) / 1200))
  ((by_memory < n)) && n=$by_memory
  say "$((n > 0 ? n : 1))"
}

# Elapsed time since the script began, as 1:05.
elapsed() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

step_number=0
# A numbered heading with the time elapsed so far.
heading() {
  step_number=$((step_number + 1))
  printf '\n== %d. %s   [%s]\n' "$step_number" "$*" "$(elapsed)"
}

# 1234567 as 1,234,567.
grouped() { sed -E ':a; s/^([0-9]+)([0-9]{3})/\1,\2/; ta' <<<"$1"; }

# A word quoted for a libpq connection string.
conninfo_value() {
  if [[ $1 =~ ^[A-Za-z0-9_./:+,@%-]+$ ]]; then
    printf '%s' "$1"
  else
    local value=${1//\\/\\\\}
    printf "'%s'" "${value//\'/\\\'}"
  fi
}

# Configures a build tree; from scratch when it was made for another folder (a checkout that was copied or moved).
configure() { # preset; the working directory is the checkout
  local cache=build/$1/CMakeCache.txt fresh=() output
  if [[ -f $cache ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$cache"; then fresh=(--fresh); fi
  output=$(cmake --preset "$1" "${fresh[@]}" 2>&1) || { printf '%s\n' "$output" >&2; die "cmake failed"; }
}

# Applies the demo's feature set once more, with its own series and range, under another name and storage, in a schema of that name:
# apply_copy NAME STORAGE. Wants $regfeatd, $conninfo and sql().
# shellcheck disable=SC2154
apply_copy() {
  local series from to spec
  series=$(sql "SELECT string_agg(DISTINCT p.series, ',') FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id) WHERE f.name = 'bqx_regression' AND p.state = 'done'")
  [[ -n $series ]] || die "the demo's server holds no features: run scripts/demo first"
  read -r from to < <(sql "SELECT to_char(timestamp '2000-01-01' + min(lower_bound) * interval '1 microsecond', 'YYYY-MM-DD') || ' ' ||
    to_char(timestamp '2000-01-01' + max(upper_bound) * interval '1 microsecond', 'YYYY-MM-DD')
    FROM regfeat.partition p JOIN regfeat.feature_set f USING (feature_set_id) WHERE f.name = 'bqx_regression' AND p.state = 'done'")
  drop_copy "$1"
  sql "CREATE SCHEMA $1"
  spec=$(mktemp --suffix=.yaml)
  sql "SELECT document FROM regfeat.specification s JOIN regfeat.feature_set f ON f.feature_set_id = s.feature_set_id AND f.specification_version = s.version WHERE f.name = 'bqx_regression'" |
    sed -e "s/^feature_set:.*/feature_set: $1\nstorage: $2/" -e "s/bqx\.reg_/$1.reg_/" >"$spec"
  "$regfeatd" apply "$spec" --series "$series" --from "$from" --to "$to" --conninfo "$conninfo" >/dev/null
  rm "$spec"
}

# What apply_copy and the runs after it have made.
drop_copy() {
  sql "DROP SCHEMA IF EXISTS $1 CASCADE" 2>/dev/null || true
  sql "DELETE FROM regfeat.target WHERE feature_set = '$1'" 2>/dev/null || true
  sql "DELETE FROM regfeat.feature_set WHERE name = '$1'" 2>/dev/null || true
}
