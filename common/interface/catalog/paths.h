// Messages about the path that messages take, and about the memory that processes of a node share. See ../message_catalog.h
// for the columns.
#pragma once

#define EFA_MESSAGES_PATHS(MESSAGE)                                                                          \
  MESSAGE(shm_unavailable, NOTICE, 4,                                                                        \
          "{process}: no memory can be shared with other processes of the node ({error}), so they are "      \
          "reached through the provider {provider}, which is slower. {remedy}",                              \
          "mtl_efa_path is packets, and the system refuses what the shared memory of a process needs. "      \
          "Printed by the first process of each node; by others if mtl_efa_verbose is 1 or more.",           \
          "The message ends with what to do for its reason. mtl_efa_shm false does without, and without "    \
          "the message. `mtl_efa_info --check` tries the same.")                                             \
  MESSAGE(shm_peer_refused, NOTICE, 5,                                                                       \
          "{process}: the shared memory of {peer}, on the same node, cannot be opened ({error}), so it is "  \
          "reached through the provider {provider}, which is slower. {remedy}",                              \
          "mtl_efa_path is packets, and the system does not let this process open the memory of the other. " \
          "Printed for the first such peer by the first process of each node; by others, and for other "     \
          "peers, if mtl_efa_verbose is 1 or more.",                                                         \
          "The message ends with what to do for its reason.")                                                \
  MESSAGE(                                                                                                   \
      memory_unreadable, NOTICE, 6,                                                                          \
      "{process}: the memory of {peer}, on the same node, cannot be read (process_vm_readv: {error}), "      \
      "so messages of more than {bytes} bytes from it go through the provider {provider}, which is "         \
      "slower. {remedy}",                                                                                    \
      "mtl_efa_path is packets, and the system forbids processes of a node to read each other's memory. "    \
      "Printed as shm_peer_refused.",                                                                        \
      "The message ends with what to do for its reason.")                                                    \
  MESSAGE(remedy_seccomp_memfd, PART, 0,                                                                     \
          "Allow the system call memfd_create in the seccomp profile of the container.",                     \
          "The system call is forbidden, or Linux is older than 3.17.", "As the text says.")                 \
  MESSAGE(remedy_file_size, PART, 1,                                                                         \
          "Set `ulimit -f unlimited`, or at least {bytes} bytes: the memory counts as a file of this "       \
          "length, most of which is never used.",                                                            \
          "RLIMIT_FSIZE is too small.", "As the text says.")                                                 \
  MESSAGE(remedy_address_space, PART, 1, "Set `ulimit -v unlimited`, or {bytes} bytes more.",                \
          "RLIMIT_AS is too small, or the process has no memory left.", "As the text says.")                 \
  MESSAGE(remedy_descriptors, PART, 0, "Raise the limit of open files (`ulimit -n`).",                       \
          "The process, or the system, has no file descriptor left.", "As the text says.")                   \
  MESSAGE(remedy_proc, PART, 0, "Mount /proc in the PID namespace of the processes.",                        \
          "There is no /proc, or it is that of another PID namespace.", "As the text says.")                 \
  MESSAGE(remedy_dumpable, PART, 0,                                                                          \
          "Run the program without set-user-ID, set-group-ID and file capabilities, readable for its user, " \
          "and without prctl(PR_SET_DUMPABLE, 0).",                                                          \
          "Linux lets no other process open the memory of such a program.", "As the text says.")             \
  MESSAGE(remedy_one_user, PART, 0, "Run the processes as one user and with the same capabilities.",         \
          "The peer belongs to another user, has more capabilities, or is not dumpable.",                    \
          "As the text says.")                                                                               \
  MESSAGE(remedy_senders, PART, 1,                                                                           \
          "Nothing is to be done: at most {count} processes of a node can send to another in this way.",     \
          "A process has more senders on its node.", "Nothing is to be done.")                               \
  MESSAGE(remedy_ptrace_scope, PART, 1, "Run `sysctl -w kernel.yama.ptrace_scope=0`; it is {value}.",        \
          "Yama forbids processes to read each other's memory.", "As the text says.")                        \
  MESSAGE(                                                                                                   \
      remedy_readv, PART, 0,                                                                                 \
      "In a container, allow process_vm_readv: --cap-add SYS_PTRACE, or a seccomp profile that allows it.",  \
      "The system call is forbidden.", "As the text says.")                                                  \
  MESSAGE(remedy_shm_unknown, PART, 0, "Set mtl_efa_shm to false to do without.",                            \
          "The reason is none of those that mtl_efa knows.", "As the text says, or report an issue.")        \
  MESSAGE(path_tagged, PART, 1, "path tagged (the provider matches messages; {why})", "See mtl_efa_path.",   \
          "[protocols.md](protocols.md#paths) explains the paths.")                                          \
  MESSAGE(path_packets, PART, 2, "path packets (mtl_efa matches messages; {why}), {node}",                   \
          "See mtl_efa_path.", "[protocols.md](protocols.md#paths) explains the paths.")                     \
  MESSAGE(path_by_default, PART, 0, "the default", "mtl_efa_path is not set, or auto.",                      \
          "Nothing is to be done.")                                                                          \
  MESSAGE(path_by_parameter, PART, 0, "set by mtl_efa_path", "mtl_efa_path names the path.",                 \
          "Nothing is to be done.")                                                                          \
  MESSAGE(node_by_shm, PART, 0, "peers of the node through shared memory",                                   \
          "Each process has memory that the others of the node write into.",                                 \
          "[shm.md](shm.md) explains it.")                                                                   \
  MESSAGE(node_by_provider, PART, 1, "peers of the node through the provider ({reason})",                    \
          "There is no shared memory, for that reason.", "See shm_unavailable.")                             \
  MESSAGE(shm_is_off, PART, 0, "mtl_efa_shm is false", "The parameter forbids it.",                          \
          "Set mtl_efa_shm to true, which is the default.")                                                  \
  MESSAGE(shm_failed, PART, 1, "no memory can be shared: {error}", "See shm_unavailable.",                   \
          "See shm_unavailable.")                                                                            \
  MESSAGE(protocol_inside, PART, 3,                                                                          \
          ", inside the node inject up to {inject} and eager up to {eager} (noncontiguous {packed})",        \
          "The thresholds for peers on the same node, where they are others.",                               \
          "[protocols.md](protocols.md) explains them.")
