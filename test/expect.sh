# For scripts that run programs and judge what they print; sourced. `run` leaves $status, $work/out and $work/err.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

# parse_build "$@"   The one argument that these scripts have: --build DIR, into $build.
parse_build() {
  if [ $# != 2 ] || [ "$1" != --build ] || ! build=$(cd "$2" && pwd); then
    echo "usage: ${0#"$tree/"} --build DIR" >&2
    exit 2
  fi
}

# expect NAME CONDITION...   CONDITION is a command; the last run's output is shown if it fails.
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
run() {
  last=("$@")
  timeout 60 "$@" >"$work/out" 2>"$work/err"
  status=$?
}
# The message as one line, since it is wrapped for the terminal.
says() { tr -s '\n ' '  ' <"$work/err" | grep -qF -- "$1"; }
# Of the last run on the software device, with --stats-json "$work/stats".
counter() { sed -n '/"total"/,$p' "$work/stats" | grep -o "\"$1\": [0-9]*" | head -n 1 | tr -dc 0-9; }
moved() { [ "$(counter "$1")" -gt 0 ]; }
# Before 1.18 libfabric does not tell whether it emulates RDMA reads, so mtl_efa uses none.
reads_by_rdma() { [ "$(printf '%s\n' 1.18 "$(fi_info --version | sed -n 's/^libfabric: //p')" | sort -V | head -n 1)" = 1.18 ]; }
silent() { [ ! -s "$work/err" ]; }
ended() { [ "$(grep -c '^end of test' "$work/out")" = 2 ]; }
refused() { [ "$status" != 0 ] && [ "$status" != 124 ] && ! grep -q '^end of test' "$work/out"; }
all() { local each; for each in "$@"; do eval "$each" || return 1; done; }
verdict() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
