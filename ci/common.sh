# Shared functions of the scripts in ci/; to be sourced. Callers have `set -euo pipefail`.
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
release=$(. /etc/os-release && echo "${ID:-linux}-${VERSION_ID:-0}") # debian-12
build=$tree/build/$release
caller=$(basename "$0")

say() { echo "$caller: $*"; }
die() { echo "$caller: $*" >&2; exit 1; }

# packages PURPOSE...   Prints the packages of ci/packages for this Debian release.
packages() {
  local purpose
  for purpose in "$@"; do
    awk -v release="${release#debian-}" -v purpose="$purpose" \
      '$1 !~ /^#/ && $NF == purpose { for (i = 2; i < NF; ++i) if ($i == release) print $1 }' "$tree/ci/packages"
  done
}

# install PURPOSE...   Installs missing packages. Without root or apt-get it prints them and fails.
install() {
  local missing=() name
  case $release in
    debian-12 | debian-13) ;;
    *) say "this is $release; package names are only known for Debian 12 and 13, so nothing is installed"; return 0 ;;
  esac
  for name in $(packages "$@"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "these packages are missing, and installing them takes root: apt-get install ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"${TMPDIR:-/tmp}/mtl_efa-apt.log" 2>&1 || die "apt-get failed; see ${TMPDIR:-/tmp}/mtl_efa-apt.log"
}

# build [-DOPTION=VALUE]... [TARGET]...   Configures and builds the targets (default: all) in $build. Prints the compiler's
# output only if it fails.
build() {
  local log=$build.log options=() targets=() argument
  for argument in "$@"; do
    case $argument in -D*) options+=("$argument") ;; *) targets+=("$argument") ;; esac
  done
  mkdir -p "$tree/build"
  say "building in build/$release"
  if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" "$tree" "${options[@]}" >"$log" 2>&1 ||
      { tail -n 20 "$log" >&2; die "meson setup failed; the log is $log"; }
  elif [ ${#options[@]} -gt 0 ]; then # a build that ci/quickstart made has no tests yet
    meson configure "$build" "${options[@]}" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "meson configure failed"; }
  fi
  ninja -C "$build" "${targets[@]}" >"$log" 2>&1 || { grep -A 20 -E 'error|FAILED' "$log" | head -n 60 >&2; die "the build failed; the log is $log"; }
}

# The environment for mpirun: as root, and with the component of the build directory.
mpi_environment() {
  if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  # shellcheck disable=SC1091
  . "$build/mtl_efa/mtl_efa.sh"
}

# Prints the Debian mirror that this machine's apt uses.
mirror() {
  apt-get indextargets --format '$(SITE) $(ORIGIN)' 2>/dev/null |
    awk '$2 == "Debian" && $1 !~ /security/ { print $1; exit }' | grep . || echo http://deb.debian.org/debian
}

need_debootstrap() {
  command -v debootstrap >/dev/null || install rootfs >&2
  command -v debootstrap >/dev/null ||
    die "debootstrap is missing: install it with this system's package manager (Debian: apt-get install debootstrap)"
}

# Prints the descendants of a process, parents before their children.
descendants() {
  local pid
  for pid in $(cat "/proc/$1"/task/*/children 2>/dev/null); do
    echo "$pid"
    descendants "$pid"
  done
}

# Ends all processes that this script started: SIGTERM first, so that runners end the sessions that they started, then
# SIGKILL. The list is made first, because orphans are no longer descendants.
end_children() {
  local pids attempt
  mapfile -t pids < <(descendants $$)
  kill -TERM "${pids[@]}" 2>/dev/null || true
  for attempt in {1..50}; do
    kill -0 "${pids[@]}" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "${pids[@]}" 2>/dev/null || true
}

# watch LOG COMMAND...   Runs COMMAND and copies its output to LOG. At a signal the script ends all its processes.
watch() {
  local log=$1
  shift
  trap 'trap - TERM INT HUP; end_children; exit 143' TERM INT HUP
  (set -o pipefail; "$@" 2>&1 | tee "$log") &
  wait $!
}
