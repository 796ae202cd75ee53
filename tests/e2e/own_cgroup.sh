# shellcheck shell=bash
# Control groups of a container's own. Sourced, never run. Two containers started in one group would manage, and kill, each
# other's services of the same name.

# Moves the calling (sub)shell into new groups below its own, in every hierarchy; where that is not possible it stays.
enter_own_cgroup() { # NAME
  local number controllers path mount
  while IFS=: read -r number controllers path; do
    case $number:$controllers in
      0:*) mount=/sys/fs/cgroup; [[ -e $mount/cgroup.procs ]] || mount=/sys/fs/cgroup/unified ;;
      *:name=systemd) mount=/sys/fs/cgroup/systemd ;;
      *) continue ;;
    esac
    mkdir -p "$mount$path/$1" 2>/dev/null && echo "$BASHPID" >"$mount$path/$1/cgroup.procs" 2>/dev/null || true
  done </proc/self/cgroup
}

# After the container has ended.
remove_own_cgroup() { # NAME
  local dir
  while read -r dir; do
    find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done < <(find /sys/fs/cgroup -maxdepth 6 -type d -name "$1" -prune 2>/dev/null)
}
