// Messages of start-up: whether this component can be used at all. See ../message_catalog.h for the columns.
#pragma once

#define EFA_MESSAGES_START(MESSAGE)                                                                          \
  MESSAGE(abi_version, WARNING, 2,                                                                           \
          "This mtl_efa was built for Open MPI {built} and cannot run with \"{running}\". Build it against " \
          "that Open MPI, or remove it from the directories that it is loaded from.",                        \
          "Open MPI has loaded a component that was built for another series of Open MPI. Components work "  \
          "only with the series that they were built for. The job goes on without mtl_efa.",                 \
          "Build and install mtl_efa again with the `ompi_info` of the running Open MPI first in PATH (or "  \
          "`-Dopenmpi=PREFIX`). `mtl_efa_info --check` names the file that would be loaded.")                \
  MESSAGE(                                                                                                   \
      abi_size, WARNING, 3,                                                                                  \
      "This mtl_efa was built with headers in which {type} has {built} bytes; in the running Open MPI it "   \
      "has {running}. Build it against the headers of the Open MPI that runs.",                              \
      "The running Open MPI has the right version, but was configured in another way (for example with "     \
      "other options for debugging) than the one whose headers were used. The job goes on without mtl_efa.", \
      "Build mtl_efa with the headers that were installed together with the running Open MPI.")              \
  MESSAGE(                                                                                                   \
      abi_fields, WARNING, 0,                                                                                \
      "This mtl_efa was built with headers in which the fields of opal_convertor_t or opal_datatype_t are "  \
      "not where the running Open MPI has them. Build it against the headers of the Open MPI that runs.",    \
      "As abi_size: the structures have the same size, but another layout. The job goes on without "         \
      "mtl_efa.",                                                                                            \
      "Build mtl_efa with the headers that were installed together with the running Open MPI.")              \
  MESSAGE(other_pml_efa, NOTICE, 1,                                                                          \
          "EFA device found but not used: another pml of Open MPI (ob1 or ucx) was selected, because the "   \
          "parameter mtl_efa_priority is {priority}. Use `--mca pml cm --mca mtl efa` to select EFA.",       \
          "Open MPI selects the pml with the highest priority, and pml/cm, which uses mtl_efa, has a lower " \
          "one. Messages go over TCP or UCX.",                                                               \
          "Run with `--mca pml cm --mca mtl efa`, or do not lower mtl_efa_priority.")                        \
  MESSAGE(other_pml_named, NOTICE, 1,                                                                        \
          "mtl_efa is not used, although the parameter mtl names it: another pml of Open MPI (ob1 or ucx) "  \
          "was selected, because the parameter mtl_efa_priority is {priority}. Use `--mca pml cm --mca mtl " \
          "efa` to select mtl_efa.",                                                                         \
          "As other_pml_efa, on a machine without an EFA NIC.", "Run with `--mca pml cm --mca mtl efa`.")    \
  MESSAGE(publish_failed, ERROR, 0, "The address of this process could not be published through PMIx.",      \
          "PMIx, by which the ranks learn each other's addresses, refused this process's address. mtl_efa "  \
          "is not used.",                                                                                    \
          "Start the job with the mpirun of the same Open MPI, or with `srun --mpi=pmix` of a Slurm with "   \
          "PMIx. Other messages of PMIx in the output say more.")                                            \
  MESSAGE(open_exception, ERROR, 1, "Opening the transport of mtl_efa failed: {reason}.",                    \
          "In MPI_Init; most often there was not enough memory for the process.",                            \
          "Look for a limit on memory (`ulimit -v`, the cgroup of the job or container); start fewer ranks " \
          "per node.")                                                                                       \
  MESSAGE(endpoint_not_opened, ERROR, 3, "Rank {rank} on host {host} cannot open its endpoint: {why}",       \
          "In MPI_Init, for the given reason. mtl_efa is not used.",                                         \
          "See rail_open_failed, rail_no_memory and rail_locked_memory.")                                    \
  MESSAGE(rail_open_failed, ERROR, 5, "{call} failed on {provider} {nic}: {error} ({code})",                 \
          "libfabric could not open the NIC, or could not prepare it for messages. `error` is libfabric's "  \
          "reason.",                                                                                         \
          "Run `mtl_efa_info --check` on that node: it opens the NIC as the component does and names "       \
          "missing permissions and limits. `FI_LOG_LEVEL=warn` prints more from libfabric. \"Cannot "        \
          "allocate memory\" means a limit on locked memory (`ulimit -l`) or too many ranks per NIC.")       \
  MESSAGE(rail_no_memory, ERROR, 1, "There is no memory to open NIC {nic}.",                                 \
          "In MPI_Init there was not enough memory for the process.",                                        \
          "Look for a limit on memory (`ulimit -v`, the cgroup of the job or container); start fewer ranks " \
          "per node.")                                                                                       \
  MESSAGE(rail_locked_memory, PART, 1,                                                                       \
          "; the memory that a process may lock for the NIC may be used up: `ulimit -l` is {limit} here. "   \
          "Set it to unlimited, "                                                                            \
          "in /etc/security/limits.conf (* - memlock unlimited), and under Slurm LimitMEMLOCK=infinity for " \
          "slurmd.",                                                                                         \
          "A NIC reads and writes locked memory only; the receive buffers alone need several MiB.",          \
          "As the message says. Processes that are started by a daemon have the limit of the daemon: "       \
          "restart it.")                                                                                     \
  MESSAGE(rail_shm_full, PART, 0,                                                                            \
          "; /dev/shm may be full: mount -o remount,size=... /dev/shm; in a container --shm-size",           \
          "Providers that use shared memory have no room left in /dev/shm. `df /dev/shm` shows it.",         \
          "Enlarge /dev/shm, or remove the files that ended jobs have left there.")                          \
  MESSAGE(rail_names_taken, PART, 0,                                                                         \
          "; the files in /dev/shm by which processes find each other have the names that were tried (ls "   \
          "-l /dev/shm): remove those of jobs that have ended",                                              \
          "Files of the same names exist, of killed processes of another user or another program.",          \
          "`ls -l /dev/shm` shows whose they are; have their owner remove those of jobs that have ended.")   \
  MESSAGE(tags_too_small, ERROR, 2, "The provider {provider} cannot be used: {why}.",                        \
          "The provider's tags are too short for MPI's matching.",                                           \
          "Name another provider, such as tcp;ofi_rxm, with mtl_efa_provider_include.")                      \
  MESSAGE(tag_bits, PART, 2,                                                                                 \
          "the provider's tag has {count} usable bits and its completions carry {bytes} bytes of data; MPI " \
          "needs room for tag, communicator and source",                                                     \
          "A property of the provider.", "See tags_too_small.")                                              \
  MESSAGE(tag_bits_undirected, PART, 2,                                                                      \
          "the provider's tag has {count} usable bits and its completions carry {bytes} bytes of data (and " \
          "it has no directed receive); MPI needs room for tag, communicator and source",                    \
          "A property of the provider.", "See tags_too_small.")
