// Messages about EFA devices, NICs and providers: what is used, and why not EFA. See ../message_catalog.h for the columns.
#pragma once

#define EFA_MESSAGES_NICS(MESSAGE)                                                                           \
  MESSAGE(no_efa_device, NOTICE, 2,                                                                          \
          "no EFA device is used: MPI messages go over libfabric's provider {provider} ({library})",         \
          "The machine has no EFA device, and the job was started with `--mca mtl efa`.",                    \
          "On a machine without EFA nothing. On an EC2 instance that should have EFA, check that the "       \
          "network interface was attached with EFA, and run `mtl_efa_info --check`.")                        \
  MESSAGE(                                                                                                   \
      efa_unused, NOTICE, 2, "EFA device found but not used: {why}{ instead}",                               \
      "The machine has an EFA device, but the messages go another way, for the given reason.",               \
      "The reasons below have their remedies. `mtl_efa_info --check` goes through all of them on a node.")   \
  MESSAGE(efa_unused_instead, PART, 1, "MPI messages go over libfabric's provider {provider}.",              \
          "Says what is used instead.", "See efa_unused.")                                                   \
  MESSAGE(                                                                                                   \
      efa_not_included, PART, 1, "the parameter mtl_efa_provider_include (\"{list}\") does not name efa.",   \
      "The parameter restricts the providers.", "Add efa to mtl_efa_provider_include, or do not set it.")    \
  MESSAGE(efa_excluded, PART, 1, "the parameter mtl_efa_provider_exclude (\"{list}\") names efa.",           \
          "The parameter excludes EFA.", "Remove efa from mtl_efa_provider_exclude.")                        \
  MESSAGE(efa_named_later, PART, 2,                                                                          \
          "the parameter mtl_efa_provider_include (\"{list}\") names {provider} before efa.",                \
          "The first provider of the list that works is used.",                                              \
          "Put efa first in mtl_efa_provider_include.")                                                      \
  MESSAGE(efa_no_driver, PART, 1,                                                                            \
          "the machine has {devices} on its PCI bus, but the kernel's driver shows none. Load the driver "   \
          "(modprobe efa; it is part of the EFA installer). In a container, pass /dev/infiniband through.",  \
          "The kernel module efa is not loaded, or the container does not see the device.",                  \
          "`modprobe efa`; in a container `--device=/dev/infiniband/uverbs0` for each device.")              \
  MESSAGE(efa_filtered, PART, 2,                                                                             \
          "the kernel shows {devices}, but the environment variable FI_PROVIDER is \"{filter}\", which "     \
          "leaves out libfabric's efa provider. Unset it.",                                                  \
          "FI_PROVIDER restricts libfabric itself, for example in a module file or a shell profile.",        \
          "Unset FI_PROVIDER on all nodes, or let it name efa.")                                             \
  MESSAGE(                                                                                                   \
      efa_no_provider, PART, 2,                                                                              \
      "the kernel shows {devices}, but this libfabric ({version}) has no efa provider. Use the libfabric "   \
      "of the EFA installer (/opt/amazon/efa/lib64 first in LD_LIBRARY_PATH), or Debian 13's.",              \
      "A libfabric without EFA was loaded, often the distribution's.",                                       \
      "Put /opt/amazon/efa/lib64 first in LD_LIBRARY_PATH on all nodes.")                                    \
  MESSAGE(efa_not_offered, PART, 1,                                                                          \
          "the kernel shows {devices}, but libfabric offers none. `FI_LOG_LEVEL=warn fi_info -p efa` "       \
          "prints the reason, usually a missing permission for /dev/infiniband/uverbs*.",                    \
          "The provider is there and refuses the device.",                                                   \
          "Run the command in the message as the user of the job; `ls -l /dev/infiniband` shows the "        \
          "permissions.")                                                                                    \
  MESSAGE(efa_unexplained, PART, 0, "no parameter of mtl_efa explains it.",                                  \
          "None of the known reasons applies.",                                                              \
          "Run `mtl_efa_info --check`, and report the output as an issue.")                                  \
  MESSAGE(efa_without_shm, NOTICE, 2,                                                                        \
          "libfabric's provider efa uses no shared memory ({reason}): messages inside the node go over the " \
          "NIC. {shm}",                                                                                      \
          "libfabric's efa could not open shared memory, most often because /dev/shm is too small. "         \
          "Messages inside the node are slower.",                                                            \
          "Enlarge /dev/shm: `mount -o remount,size=... /dev/shm`, in a container `--shm-size`.")            \
  MESSAGE(no_reason_given, PART, 0, "it does not say why", "libfabric gives no reason.",                     \
          "See the message around it.")                                                                      \
  MESSAGE(shm_free, PART, 1,                                                                                 \
          "{count} MiB are free in /dev/shm; remedy: mount -o remount,size=... /dev/shm; in a container "    \
          "--shm-size",                                                                                      \
          "The provider needs more room in /dev/shm than is free.",                                          \
          "Enlarge /dev/shm, or remove the files that ended jobs have left there.")                          \
  MESSAGE(provider_none, ERROR, 1,                                                                           \
          "No provider of libfabric that may be used here can carry MPI messages (tried: {tried}). fi_info " \
          "lists what libfabric finds on this machine; the parameters mtl_efa_provider_include and "         \
          "mtl_efa_provider_exclude say what may be used.",                                                  \
          "libfabric offers nothing for any of the providers that the parameters allow, for the reasons in " \
          "parentheses.",                                                                                    \
          "Run `fi_info` as the user of the job on that node, then `mtl_efa_info --check`. If the "          \
          "providers are there, look at the two parameters and at FI_PROVIDER.")                             \
  MESSAGE(provider_none_allowed, PART, 0, "none is allowed",                                                 \
          "The parameters and FI_PROVIDER leave no provider.",                                               \
          "Look at mtl_efa_provider_include and mtl_efa_provider_exclude.")                                  \
  MESSAGE(provider_found_nothing, PART, 0, "nothing found",                                                  \
          "libfabric has no interface for that provider here.",                                              \
          "`fi_info -p PROVIDER` prints the same; `FI_LOG_LEVEL=warn` may say why.")                         \
  MESSAGE(provider_reason_shm, PART, 2, "{reason}; {shm}", "libfabric's reason, and the room in /dev/shm.",  \
          "See shm_free.")                                                                                   \
  MESSAGE(provider_tried, PART, 2, "{provider}: {reason}",                                                   \
          "A provider that was tried, and libfabric's reason.", "See provider_none.")                        \
  MESSAGE(provider_skipped, NOTICE, 3,                                                                       \
          "libfabric's provider {skipped} is not used ({reason}): MPI messages go over {provider}, which "   \
          "is slower inside a node",                                                                         \
          "Shared memory would be faster, but libfabric cannot open it.",                                    \
          "Follow the reason; most often /dev/shm must be enlarged.")                                        \
  MESSAGE(process_summary, VERBOSE, 10,                                                                      \
          "rank {rank} on host {host}: provider {provider} ({library}), NIC {nics} ({place}), {available} "  \
          "on this node; {path}; {protocols}; {mpi}",                                                        \
          "mtl_efa_verbose is 1 or more: what each process uses.", "Nothing is to be done.")                 \
  MESSAGE(job_summary, NOTICE, 10,                                                                           \
          "summary: {ranks}, {count} on the first node ({host}); provider {provider} ({library}), "          \
          "{available} per node, {rails} per rank; {path}; {protocols}; {mpi}",                              \
          "mtl_efa_summary is set: what the job uses.", "Nothing is to be done.")                            \
  MESSAGE(protocol_limits, PART, 9,                                                                          \
          "inject up to {inject} bytes, eager up to {eager} (noncontiguous {packed}){alone}{inside}, then "  \
          "rendezvous: {reads}pieces of {piece} (noncontiguous {staging}), {window} in flight",              \
          "The thresholds of the protocols.", "[protocols.md](protocols.md) explains them.")                 \
  MESSAGE(protocol_alone, PART, 1, ", a single long send up to {bytes}", "See mtl_efa_eager_limit_alone.",   \
          "Nothing is to be done.")                                                                          \
  MESSAGE(protocol_reads, PART, 2, "RDMA reads from {least} on, each of at most {bytes}, else ",             \
          "The NIC reads long messages by RDMA.", "Nothing is to be done.")                                  \
  MESSAGE(nic_unbound, VERBOSE, 0,                                                                           \
          "Processes are not bound to cores, so the NIC of each is chosen by its local rank and may be far " \
          "away. Bind them to cores (mpirun --bind-to core, srun --cpu-bind=cores) to use NICs of the same " \
          "NUMA node.",                                                                                      \
          "The job was started without binding on a machine whose NICs are on different NUMA nodes.",        \
          "Bind the processes; [affinity.md](affinity.md) has the details.")                                 \
  MESSAGE(staging_used, VERBOSE, 2,                                                                          \
          "staging buffers used at most {bytes} bytes of the {bound} that mtl_efa_staging_memory allows",    \
          "mtl_efa_verbose is 1 or more, in MPI_Finalize.",                                                  \
          "If both numbers are the same, a greater mtl_efa_staging_memory may be faster.")                   \
  MESSAGE(statistics_one, NOTICE, 0,                                                                         \
          "mtl_efa: statistics of the only rank; counters that are 0 are left out",                          \
          "mtl_efa_statistics is table; the counters follow.",                                               \
          "[performance-variables.md](performance-variables.md) explains the counters.")                     \
  MESSAGE(statistics_all, NOTICE, 1,                                                                         \
          "mtl_efa: statistics of all {count} ranks; counters that are 0 are left out",                      \
          "mtl_efa_statistics is table; the counters follow.",                                               \
          "[performance-variables.md](performance-variables.md) explains the counters.")                     \
  MESSAGE(statistics_some, NOTICE, 2,                                                                        \
          "mtl_efa: statistics of {count} of {total} ranks, the others are missing; counters that are 0 "    \
          "are left out",                                                                                    \
          "Some ranks had ended, or came too late to MPI_Finalize.",                                         \
          "If ranks have died, look for their messages above.")
