# What the scripts here share; sourced, not run. Callers have `set -euo pipefail`.
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
release=$(. /etc/os-release && echo "${ID:-linux}-${VERSION_ID:-0}") # debian-12
build=$tree/build/$release
caller=$(basename "$0")

say() { echo "$caller: $*"; }
die() { echo "$caller: $*" >&2; exit 1; }

# packages PURPOSE...   Names from ci/packages for this Debian release.
packages() {
  local purpose
  for purpose in "$@"; do
    awk -v release="${release#debian-}" -v purpose="$purpose" \
      '$1 !~ /^#/ && $NF == purpose { for (i = 2; i < NF; ++i) if ($i == release) print $1 }' "$tree/ci/packages"
  done
}

# install PURPOSE...   Installs what is missing; without root or apt says what to install.
install() {
  local missing=() name
  case $release in
    debian-12 | debian-13) ;;
    *) say "this is $release; the packages are only known for Debian 12 and 13, so nothing is installed"; return 0 ;;
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

# Configures and builds the tree in $build; quiet unless it fails. Arguments: ninja targets, default all.
build() {
  local log=$build.log
  mkdir -p "$tree/build"
  say "building in build/$release"
  if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" "$tree" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "meson setup failed; the log is $log"; }
  fi
  ninja -C "$build" "$@" >"$log" 2>&1 || { grep -A 20 -E 'error|FAILED' "$log" | head -n 60 >&2; die "the build failed; the log is $log"; }
}

# What Open MPI needs to run from a script: as root, and with the component out of the build directory.
mpi_environment() {
  if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
  # shellcheck disable=SC1091
  . "$build/mtl_efa/mtl_efa.sh"
}
