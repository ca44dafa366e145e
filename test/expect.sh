# Functions for scripts that run programs and check their output; to be sourced. `run` sets $status, and writes $work/out and
# $work/err.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

# parse_build "$@"   Parses the arguments of these scripts, --build DIR, into $build.
parse_build() {
  if [ $# != 2 ] || [ "$1" != --build ] || ! build=$(cd "$2" && pwd); then
    echo "usage: ${0#"$tree/"} --build DIR" >&2
    exit 2
  fi
}

# expect NAME CONDITION...   CONDITION is a command. If it fails, the output of the last run is printed.
expect() {
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failed=$((failed + 1))
    echo "FAILED  $name: $*"
    echo "        exit status $status of: ${last[*]}"
    sed 's/^/        /' "$work/out" "$work/err" | head -n 40
  fi
}
# Whether mpirun itself crashed when it ended, or hung there: a fault of Open MPI 4.1 with PMIx 4.2 (docs/known-issues.md).
mpirun_crashed() { [ "$status" = 139 ] && grep -q 'PMIx_server_finalize' "$work/err" && grep -q '[ /]mpirun(' "$work/err"; }
# An mpirun that waits for its ranks ends at SIGTERM, with them; one that hangs in PMIx_server_finalize does not.
mpirun_hung() { [ "$status" = 137 ] && grep -q '^timeout: sending signal KILL' "$work/err"; }
run() {
  local attempt
  last=("$@")
  for attempt in 1 2 3; do
    timeout --verbose --kill-after 10 60 "$@" >"$work/out" 2>"$work/err"
    status=$?
    mpirun_crashed || mpirun_hung || return 0
    echo "        attempt $attempt: mpirun crashed in PMIx_server_finalize, or did not end at SIGTERM: exit status $status"
  done
}
# Whether stderr has the text. Messages are wrapped at the terminal's width, so lines are joined.
says() { tr -s '\n ' '  ' <"$work/err" | grep -qF -- "$1"; }
# A counter of the last run on the software EFA device, with --stats-json "$work/stats".
counter() { sed -n '/"total"/,$p' "$work/stats" | grep -o "\"$1\": [0-9]*" | head -n 1 | tr -dc 0-9; }
moved() { [ "$(counter "$1")" -gt 0 ]; }
# Before 1.18 libfabric does not tell whether it emulates RDMA read, so mtl_efa does not use it.
reads_by_rdma() { [ "$(printf '%s\n' 1.18 "$(fi_info --version | sed -n 's/^libfabric: //p')" | sort -V | head -n 1)" = 1.18 ]; }
silent() { [ ! -s "$work/err" ]; }
ended() { [ "$(grep -c '^end of test' "$work/out")" = 2 ]; }
refused() { [ "$status" != 0 ] && [ "$status" != 124 ] && ! grep -q '^end of test' "$work/out"; }
all() { local each; for each in "$@"; do eval "$each" || return 1; done; }
verdict() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
