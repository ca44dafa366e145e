#!/bin/sh
# mtl_efa_info_test.sh MTL_EFA_INFO INSTANCE_TABLES   Exit statuses and outputs of the tool.
tool=$1 tables=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
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
expect 0 "With mtl_efa_path packets eager up to at most 16360 (efa: one packet of the NIC), on this node through shared memory 8192" --protocols
expect 0 "mtl_efa_nic_policy" --parameters
expect 0 "built for Open MPI" --version
expect 1 "cannot be used" --instance p4d.24xlarge --nics mlx5_0
expect 2 "unknown instance type 'p9'" --instance p9
expect 2 "--ranks must be from 1" --ranks 0
expect 2 "--bind must be" --bind hwthread
expect 2 "unexpected argument 'x'" x
expect 2 "cannot be used with" --check --instance p4d.24xlarge
expect 2 "--problems belongs to --check" --problems
"$tool" --check | grep -v '^ok ' >"$work/problems"
"$tool" --check --problems | cmp -s - "$work/problems" || { echo "--check --problems does not print exactly the problems"; failed=1; }
"$tool" --check --json | python3 -m json.tool >/dev/null || { echo "--check --json is not JSON"; failed=1; }
"$tool" --instance p5.48xlarge --json | python3 -m json.tool >/dev/null || { echo "--json is not JSON"; failed=1; }
for what in --protocols --parameters; do
  "$tool" $what --json | python3 -m json.tool >/dev/null || { echo "$what --json is not JSON"; failed=1; }
done
for arguments in "" "--instance hpc7a.96xlarge" "--instance p5.48xlarge --ranks 8 --rails 4"; do
  "$tool" $arguments --svg - | python3 -c 'import sys, xml.dom.minidom as x; assert x.parse(sys.stdin).documentElement.tagName == "svg"' ||
    { echo "--svg $arguments is not SVG"; failed=1; }
done
expect 0 ">1 rank, not bound<" --instance p4d.24xlarge --ranks 1 --bind none --svg -
expect 1 "no ranks: they would have no NIC" --instance p4d.24xlarge --nics mlx5_0 --svg -
expect 0 "--svg FILE" --help
expect 1 "cannot be written" --instance p4d.24xlarge --svg /nosuch/file
expect 2 "--svg draws the machine" --svg - --json
# The path of a job, and where the parameter that decides is set.
unset OMPI_MCA_mtl_efa_path OMPI_MCA_mtl_efa_shm
mkdir -p "$work/home/.openmpi"
HOME=$work/home
export HOME
expect 0 "a job: path tagged (the default; mtl_efa_path is not set)"
expect 0 '"path": "path tagged (the default' --json
echo "mtl_efa_path = packets" >"$HOME/.openmpi/mca-params.conf"
expect 0 "path packets (mtl_efa_path=packets from $HOME/.openmpi/mca-params.conf), peers of the node through shared memory"
OMPI_MCA_mtl_efa_shm=0
export OMPI_MCA_mtl_efa_shm
expect 0 "through the provider (mtl_efa_shm=0 from the environment (OMPI_MCA_mtl_efa_shm))"
unset OMPI_MCA_mtl_efa_shm
OMPI_MCA_mtl_efa_path=tagged "$tool" | grep -qF "path tagged (mtl_efa_path=tagged from the environment (OMPI_MCA_mtl_efa_path))" ||
  { echo "the environment does not go before the file"; failed=1; }
(ulimit -f 10000; "$tool" --check) | grep -A 1 '^warning  path .*RLIMIT_FSIZE' | grep -q 'ulimit -f unlimited' ||
  { echo "--check does not say why no memory can be shared"; failed=1; }
rm "$HOME/.openmpi/mca-params.conf"
# libfabric ignores the name of an unknown interface; the preflight warns.
FI_TCP_IFACE=nosuch0 "$tool" --check | grep -q "FI_TCP_IFACE=nosuch0 names no interface of this machine" ||
  { echo "--check does not warn about FI_TCP_IFACE=nosuch0"; failed=1; }
FI_TCP_IFACE=lo "$tool" --check | grep -q FI_TCP_IFACE && { echo "--check warns about FI_TCP_IFACE=lo"; failed=1; }
# A machine with EFA devices that nothing drives, as hwloc sees it.
"$tables" --hwloc p4d.24xlarge >"$work/p4d.xml"
if [ ! -e /sys/class/infiniband ] || [ -z "$(ls /sys/class/infiniband)" ]; then
  HWLOC_XMLFILE=$work/p4d.xml expect 1 "EFA device found but not used: 4 on the PCI bus" --check
fi
# At a terminal that shows them, colours and lines; else plain text.
plain=$("$tool" --instance p4d.24xlarge | LC_ALL=C grep -c '[^ -~]')
[ "$plain" = 0 ] || { echo "not plain text when not a terminal"; failed=1; }
if command -v script >/dev/null; then
  fancy() { TERM=xterm LC_ALL=C.UTF-8 script -qec "$tool --instance p4d.24xlarge" /dev/null; }
  [ "$(fancy | grep -o '■' | wc -l)" = 52 ] || { echo "at a terminal: not a square per core and NIC"; failed=1; }
  [ "$(NO_COLOR=1 fancy | grep -c '■')" = 0 ] || { echo "colours in spite of NO_COLOR"; failed=1; }
fi
exit $failed
