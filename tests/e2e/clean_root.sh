# shellcheck shell=bash
# A clean Debian 12 with systemd and PostgreSQL, booted in a container: for the tests of the package and of the operating
# guide. Sourced after check.sh, never run. What cannot be had here (root, tools, packages) skips the test with the reason.
#
# The root is made by mmdebstrap once for a build directory and kept there; each test sees it through an overlay in memory,
# so that nothing of one test is left for the next. The container has a network of its own with nothing but a loopback.

# shellcheck source-path=SCRIPTDIR source=own_cgroup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/own_cgroup.sh"

skip() { echo "SKIPPED: $*"; exit 77; }

work=''
root=''
init=''
nspawn_pid=''

# To be called by the test's own cleanup, with its exit status.
clean_root_cleanup() {
  if [[ -n $nspawn_pid ]]; then
    [[ $1 == 0 || -z $init ]] || inside journalctl --no-pager -n 60 -u 'regfeatd*' 2>/dev/null || true
    kill -TERM "$nspawn_pid" 2>/dev/null || true
    for _ in {1..100}; do kill -0 "$nspawn_pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$nspawn_pid" 2>/dev/null || true
    wait "$nspawn_pid" 2>/dev/null || true
    remove_own_cgroup "regfeatd-test-$$"
  fi
  ! mountpoint -q "$work/overlay/root" || umount "$work/overlay/root" || umount -l "$work/overlay/root"
  ! mountpoint -q "$work/overlay" || umount "$work/overlay" || umount -l "$work/overlay"
  rm -rf --one-file-system -- "$work"
}

clean_root_requirements() {
  local tool
  [[ $(id -u) == 0 ]] || skip "a clean root takes root"
  for tool in mmdebstrap systemd-nspawn dpkg-deb nsenter cpack; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  [[ -x $REGFEATD_BUILD_DIR/generate-bars ]] || skip "generate-bars is not built"
  ldd "$REGFEATD_BUILD_DIR/regfeatd" | grep -qE 'lib(asan|tsan|ubsan)' && skip "a build with sanitizers is not packaged"
  # shellcheck disable=SC1091
  [[ $(. /etc/os-release && echo "${VERSION_CODENAME:-}") == bookworm ]] || skip "packages built here are not for Debian 12"
  work=$(mktemp -d /var/tmp/regfeatd-root.XXXXXX)
}

# package VERSION: a package of this build in $work/regfeatd_VERSION.deb; built with a umask that must not get into it
package() {
  (umask 077 && cd "$work" && cpack --config "$REGFEATD_BUILD_DIR/CPackConfig.cmake" -D "CPACK_PACKAGE_VERSION=$1" -B "$work/cpack-$1" >"$work/cpack.log" 2>&1) ||
    { cat "$work/cpack.log"; fail "cpack $1"; }
  mv "$work/cpack-$1"/regfeatd_"$1"_*.deb "$work/regfeatd_$1.deb"
  rm -rf -- "$work/cpack-$1"
}

# make_root DEB: a root at $root with what the package depends on, and $work/*.deb in its /root
make_root() {
  local packages base=$REGFEATD_BUILD_DIR/clean-root
  packages="systemd,systemd-sysv,dbus,postgresql,openssl,$(dpkg-deb -f "$1" Depends | tr ',' '\n' | awk '{ print $1 }' | paste -sd,)"
  exec 8>"$base.lock"
  flock 8
  if [[ $(cat "$base.packages" 2>/dev/null) != "$packages" ]]; then
    rm -rf --one-file-system -- "$base" "$base.packages"
    if ! mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$base" >"$work/root.log" 2>&1; then
      tail -n 5 "$work/root.log"
      rm -rf --one-file-system -- "$base"
      skip "no root could be made of the distribution's packages"
    fi
    echo "$packages" >"$base.packages"
  fi
  exec 8>&-
  mkdir "$work/overlay"
  root=$work/overlay/root
  { mount -t tmpfs -o mode=755 tmpfs "$work/overlay" && mkdir "$work/overlay/upper" "$work/overlay/work" "$root" &&
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/overlay/upper,workdir=$work/overlay/work" "$root"; } 2>"$work/mount.log" ||
    skip "an overlay cannot be mounted: $(cat "$work/mount.log")"
  cp "$work"/*.deb "$root/root/"
}

boot_root() {
  (
    enter_own_cgroup "regfeatd-test-$$"
    exec systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --private-network --console=pipe --machine="regfeatd-$$" \
      </dev/null >"$work/boot.log" 2>&1
  ) &
  nspawn_pid=$!
  local up=no
  for _ in {1..300}; do
    kill -0 "$nspawn_pid" 2>/dev/null || break
    init=$(pgrep -P "$nspawn_pid" || true)
    if [[ -n $init ]] && nsenter -t "$init" -a systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; then up=yes; break; fi
    sleep 0.2
  done
  [[ $up == yes ]] || { tail -n 5 "$work/boot.log"; skip "systemd does not start in a container here"; }
}

inside() { nsenter -t "$init" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
as() { local user=$1; shift; inside runuser -u "$user" -- "$@"; }

# eventually WHAT COMMAND...: the command succeeds within two minutes
eventually() {
  local what=$1
  shift
  for _ in {1..600}; do
    if "$@" >/dev/null 2>&1; then ok "$what"; return; fi
    sleep 0.2
  done
  fail "$what" "not within two minutes: $*"
}
