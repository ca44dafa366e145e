#!/bin/sh
# info_test.sh MTL_EFA_INFO   Exit statuses and outputs of the tool.
tool=$1
failed=0
expect() { # STATUS TEXT ARGUMENTS...
  status=$1 text=$2
  shift 2
  out=$("$tool" "$@" 2>&1)
  got=$?
  if [ "$got" = "$status" ] && echo "$out" | grep -qF -- "$text"; then return; fi
  echo "mtl_efa_info $*: exit status $got, not $status, or no '$text' in:"
  echo "$out"
  failed=1
}
expect 0 "4 EFA NICs" --instance p4d.24xlarge
expect 0 "rdmap32s27-rdm     0000:20:1b.0  100 Gbit/s   RDMA read     ranks 12-23" --instance p4d.24xlarge
expect 0 "hpc7a.96xlarge" --instance list
expect 0 "not bound" --instance hpc7a.96xlarge --ranks 6 --bind none --map
expect 0 '"ranks": 12}' --instance p4d.24xlarge --json
expect 0 "tcp;ofi_rxm" --protocols
expect 0 "mtl_efa_nic_policy" --parameters
expect 0 "built for Open MPI" --version
expect 1 "cannot be used" --instance p4d.24xlarge --nics mlx5_0
expect 2 "does not know 'p9'" --instance p9
expect 2 "--ranks must be from 1" --ranks 0
expect 2 "--bind must be" --bind hwthread
expect 2 "what is 'x'" x
expect 2 "does not go with" --check --instance p4d.24xlarge
"$tool" --check --json | python3 -m json.tool >/dev/null || { echo "--check --json is not JSON"; failed=1; }
"$tool" --instance p5.48xlarge --json | python3 -m json.tool >/dev/null || { echo "--json is not JSON"; failed=1; }
exit $failed
