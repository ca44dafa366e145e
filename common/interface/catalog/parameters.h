// Messages about MCA parameters with values that are not possible. See ../message_catalog.h for the columns.
#pragma once

#define EFA_MESSAGES_PARAMETERS(MESSAGE)                                                                     \
  MESSAGE(parameter_range, ERROR, 5,                                                                         \
          "The parameter mtl_efa_{name} is {value}, but must be from {least} to {greatest}{ unit}.",         \
          "The value is outside the range of the parameter.",                                                \
          "Correct it where it is set: the command line (`--mca`), the environment (`OMPI_MCA_...`), or a "  \
          "file (`~/.openmpi/mca-params.conf`). [parameters.md](parameters.md) has all ranges.")             \
  MESSAGE(parameter_range_automatic, ERROR, 5,                                                               \
          "The parameter mtl_efa_{name} is {value}, but must be from {least} to {greatest}{ unit} (-1: "     \
          "automatic).",                                                                                     \
          "As parameter_range.", "As parameter_range; -1 leaves the choice to mtl_efa.")                     \
  MESSAGE(parameter_providers, ERROR, 2,                                                                     \
          "The parameter mtl_efa_{name} is \"{text}\", but must be a comma-separated list of provider "      \
          "names such as \"efa,shm\", without empty entries, spaces or '^'.",                                \
          "The list of providers is malformed.",                                                             \
          "Write names as `fi_info -l` prints them, separated by single commas. To leave providers out, "    \
          "use mtl_efa_provider_exclude instead of '^'.")                                                    \
  MESSAGE(parameter_nics, ERROR, 2,                                                                          \
          "The parameter mtl_efa_{name} is \"{text}\", which has an empty entry. It must list NICs, such "   \
          "as \"rdmap16s27\" or \"rdmap*\".",                                                                \
          "Two separators follow each other, or the list ends with one.",                                    \
          "Remove the surplus comma or semicolon. `mtl_efa_info` lists the NICs of a node.")                 \
  MESSAGE(parameter_policy, ERROR, 2,                                                                        \
          "The parameter mtl_efa_{name} is \"{text}\", but must be near, spread or one.",                    \
          "The word is not known.",                                                                          \
          "Use one of the three words; [affinity.md](affinity.md) says what they do.")                       \
  MESSAGE(parameter_path, ERROR, 2,                                                                          \
          "The parameter mtl_efa_{name} is \"{text}\", but must be auto, tagged or packets.",                \
          "The word is not known.", "Use one of the three words; [protocols.md](protocols.md#paths) explains them.") \
  MESSAGE(parameter_statistics, ERROR, 2,                                                                    \
          "The parameter mtl_efa_{name} is \"{text}\", but must be none, table or json.",                    \
          "The word is not known.", "Use one of the three words.")                                           \
  MESSAGE(parameter_above_provider, ERROR, 4,                                                                \
          "The parameter mtl_efa_{name} is {value}, but the provider {provider} allows at most {greatest} "  \
          "bytes (0 to {greatest}, or -1: automatic).",                                                      \
          "The value is in the range of the parameter, but beyond what this provider can do.",               \
          "Use a smaller value, or -1. The limit depends on the provider, so jobs over another one may "     \
          "allow more.")                                                                                     \
  MESSAGE(parameter_staging_size, ERROR, 2,                                                                  \
          "The parameter mtl_efa_staging_size is {value}, but must be at least {least} bytes (or -1: "       \
          "automatic).",                                                                                     \
          "Pieces of noncontiguous messages cannot be shorter than a page.", "Use a greater value, or -1.")  \
  MESSAGE(parameter_provider_unknown, ERROR, 4,                                                              \
          "The parameter mtl_efa_provider_{name} names \"{provider}\", which this libfabric ({version}) "    \
          "does not have. It has: {providers}.",                                                             \
          "The name is misspelt, or this libfabric was built without that provider, or the environment "     \
          "variable FI_PROVIDER hides it.",                                                                  \
          "Use one of the names in the message. `echo $FI_PROVIDER` should print nothing. With the EFA "     \
          "installer put /opt/amazon/efa/lib64 first in LD_LIBRARY_PATH.")                                   \
  MESSAGE(parameter_provider_incomplete, ERROR, 2,                                                           \
          "The parameter mtl_efa_provider_include names \"{provider}\", which cannot carry all of MPI in "   \
          "libfabric {version} (probes and long unexpected messages fail). Name another one, such as "       \
          "tcp;ofi_rxm.",                                                                                    \
          "The provider has faults that make MPI programs fail.",                                            \
          "Name another provider, such as tcp;ofi_rxm.")                                                     \
  MESSAGE(parameter_provider_too_old, ERROR, 3,                                                              \
          "The parameter mtl_efa_provider_include names \"{provider}\", which cannot carry all of MPI in "   \
          "libfabric {version} (probes and long unexpected messages fail); from {since} on it can. Name "    \
          "another one, such as tcp;ofi_rxm.",                                                               \
          "The provider of this libfabric has faults that make MPI programs fail; they are mended in a "     \
          "newer one.",                                                                                      \
          "Use a newer libfabric, or name another provider.")                                                \
  MESSAGE(parameter_check_exception, ERROR, 1, "Checking the parameters of mtl_efa failed: {reason}.",       \
          "In MPI_Init there was not enough memory for the process.",                                        \
          "Look for a limit on memory (`ulimit -v`, the cgroup of the job or container).")                   \
  MESSAGE(nic_list_empty, ERROR, 1, "The explicit list of NICs, '{list}', is empty.",                        \
          "mtl_efa_nics contains only separators.", "List NICs, or do not set the parameter.")               \
  MESSAGE(                                                                                                   \
      nic_name_unusable, ERROR, 3,                                                                           \
      "The explicit list of NICs names '{pattern}', which cannot be used: {why}. Usable NICs: {nics}.",      \
      "mtl_efa_nics names a NIC that this node does not have, or that cannot be used for the given reason.", \
      "Use names that the message lists. In a job over different instance types, patterns such as `rdmap*` " \
      "fit all nodes.")                                                                                      \
  MESSAGE(nic_none_offered, ERROR, 0, "libfabric offers no NIC on this node.",                               \
          "The parameters choose among NICs, but libfabric lists none here.",                                \
          "Run `mtl_efa_info --check` on that node.")                                                        \
  MESSAGE(nic_none_usable, ERROR, 1,                                                                         \
          "None of the NICs that libfabric offers on this node can be used:{ reasons}",                      \
          "Each NIC is left out for the given reason.",                                                      \
          "If it is a parameter (mtl_efa_nic_include, mtl_efa_nic_exclude), change it; if a link is down, "  \
          "look at the node with `mtl_efa_info --check`.")                                                   \
  MESSAGE(nic_parameters, PART, 0,                                                                           \
          "NICs are chosen by the parameters mtl_efa_nics, mtl_efa_nic_include and mtl_efa_nic_exclude; "    \
          "fi_info lists those that libfabric has.",                                                         \
          "Follows the messages about NICs.", "See the message that it follows.")                            \
  MESSAGE(nic_skipped, PART, 2, "{nic}: {why}.", "A NIC that is left out, with the reason.",                 \
          "See nic_none_usable.")                                                                            \
  MESSAGE(nic_unknown, PART, 0, "there is no such NIC", "libfabric lists no NIC of that name.",              \
          "See nic_name_unusable.")                                                                          \
  MESSAGE(nic_other_provider, PART, 2, "it belongs to provider {provider}, not {wanted}",                    \
          "All NICs of a process must belong to one provider.", "Name NICs of one provider.")                \
  MESSAGE(nic_link_down, PART, 0, "its link is down", "The NIC has no link.",                                \
          "On EC2, stop and start the instance; on other machines, look at cable and interface.")            \
  MESSAGE(nic_listed_twice, PART, 0, "it is listed twice",                                                   \
          "libfabric lists the same device under two names.",                                                \
          "Nothing is to be done: the other entry is used.")                                                 \
  MESSAGE(nic_not_included, PART, 0, "the include list does not name it", "mtl_efa_nic_include is set.",     \
          "Add the NIC to mtl_efa_nic_include, or do not set it.")                                           \
  MESSAGE(nic_excluded, PART, 0, "the exclude list names it", "mtl_efa_nic_exclude names the NIC.",          \
          "Remove it from mtl_efa_nic_exclude.")                                                             \
  MESSAGE(nic_slow, PART, 0, "its rate is less than half of the fastest NIC's",                              \
          "Slow NICs are not mixed with fast ones.",                                                         \
          "Name the NICs with mtl_efa_nics to use it nevertheless.")
