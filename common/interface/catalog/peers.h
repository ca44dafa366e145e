// Messages about peers: the first use of one, long waits for one, and peers that are given up. See ../message_catalog.h
// for the columns.
#pragma once

#define EFA_MESSAGES_PEERS(MESSAGE)                                                                          \
  MESSAGE(peer_refused, ERROR, 5,                                                                            \
          "Rank {rank} on host {host} cannot talk to rank {other_rank}{ where}: {why}.",                     \
          "At the first message between two ranks, what the other rank has published does not fit this "     \
          "rank, for the given reason. The MPI call returns an error.",                                      \
          "All ranks must run the same mtl_efa over the same provider: see the reasons below.")              \
  MESSAGE(peer_on_host, PART, 1, "on host {host}", "The other rank's host, where it is known.",              \
          "See peer_refused.")                                                                               \
  MESSAGE(card_foreign, PART, 0, "its address information is not from mtl_efa",                              \
          "The other rank runs another component under the name of mtl_efa.",                                \
          "Install the same mtl_efa on all nodes.")                                                          \
  MESSAGE(card_damaged, PART, 0, "its address information is damaged",                                       \
          "What PMIx delivered is incomplete, or of another version of mtl_efa.",                            \
          "Install the same mtl_efa on all nodes. If it is the same, report an issue.")                      \
  MESSAGE(                                                                                                   \
      card_version, PART, 2,                                                                                 \
      "its mtl_efa has wire format {value}, this one has {expected}; install the same mtl_efa on all nodes", \
      "The nodes have different versions of mtl_efa.", "Install the same mtl_efa on all nodes.")             \
  MESSAGE(peer_other_provider, PART, 3,                                                                      \
          "it uses libfabric's provider {provider}, this process uses {own}; name one that all processes "   \
          "have with the parameter mtl_efa_provider_include{job}",                                           \
          "Each process chooses its provider by itself; these two chose different ones, for example "        \
          "because only one of the nodes has an EFA NIC or a working /dev/shm.",                             \
          "Set mtl_efa_provider_include to a provider that all nodes have. `mpirun ... mtl_efa_info "        \
          "--check` shows what each node would use.")                                                        \
  MESSAGE(peer_other_path, PART, 2,                                                                          \
          "its messages take the path \"{text}\", those of this process \"{own}\"; set the parameter "       \
          "mtl_efa_path to the same for all processes",                                                      \
          "The parameter mtl_efa_path differs between the processes.",                                       \
          "Give all processes the same mtl_efa_path, for example with `mpirun --mca mtl_efa_path packets`.") \
  MESSAGE(peer_other_job, PART, 0, ". It belongs to another job (MPI_Comm_spawn or MPI_Comm_connect)",       \
          "The other process was started by another command.", "Give both jobs the same parameters.")        \
  MESSAGE(peer_other_job_variables, PART, 0,                                                                 \
          ". It belongs to another job (MPI_Comm_spawn or MPI_Comm_connect); variables such as FI_PROVIDER " \
          "that were given with `mpirun -x` do not reach processes that Open MPI 5.0 spawns: export them "   \
          "before mpirun, or use the parameter",                                                             \
          "Open MPI 5.0 gives spawned processes the environment of its daemons, not that of `mpirun -x`.",   \
          "Export the variables before mpirun, or use MCA parameters.")                                      \
  MESSAGE(peer_address_format, PART, 0, "its address has another format",                                    \
          "The two libfabrics have the provider in versions with different addresses.",                      \
          "Use the same libfabric on all nodes.")                                                            \
  MESSAGE(peer_address_failed, PART, 2, "fi_av_insert failed on {nic}: {error}",                             \
          "libfabric does not accept the address of the other rank.",                                        \
          "\"Cannot allocate memory\": too many peers for the memory or the NIC's address handles; fewer "   \
          "ranks per node help. Otherwise use the same libfabric on all nodes.")                             \
  MESSAGE(peer_address_refused, PART, 1,                                                                     \
          "fi_av_insert failed on {nic}: the provider does not accept the address",                          \
          "As peer_address_failed, without a reason of libfabric.", "Use the same libfabric on all nodes.")  \
  MESSAGE(peer_address_said, PART, 1, "; it says: {text}",                                                   \
          "The warning of libfabric's provider about the address.",                                          \
          "The text is of libfabric's provider: its documentation (for EFA the manual page fi_efa) "         \
          "explains it.")                                                                                    \
  MESSAGE(peer_no_address_handle, PART, 0,                                                                   \
          ". The NIC has no address handle left: it needs one for each NIC that the processes on this host " \
          "communicate with",                                                                                \
          "The kernel or the NIC refused an address handle. All processes of all users on the host share "   \
          "the NIC's handles.",                                                                              \
          "Let fewer ranks, or ranks on fewer hosts, communicate with this NIC, and look for other jobs on " \
          "the node. "                                                                                       \
          "`dmesg` may have the driver's reason.")                                                           \
  MESSAGE(                                                                                                   \
      peer_rail_refused, WARNING, 2,                                                                         \
      "The address of {peer} is not accepted by NIC {nic}, so long messages from it are not read by RDMA.",  \
      "An additional NIC cannot reach the peer's additional NIC. Messages go on over the first NIC, more "   \
      "slowly.",                                                                                             \
      "Check that all NICs of the instances are in one subnet and use the same security group, or set "      \
      "mtl_efa_rails to 1.")                                                                                 \
  MESSAGE(peer_rail_unknown, WARNING, 2,                                                                     \
          "The address of {peer} is not known any more for NIC {nic}, so long messages from it are not "     \
          "read by RDMA.",                                                                                   \
          "PMIx does not return the peer's addresses any more, for example because its job has ended.",      \
          "Nothing is to be done: messages go on, more slowly.")                                             \
  MESSAGE(peer_no_address, ERROR, 1,                                                                         \
          "Rank {rank} published no address for mtl_efa: it uses another transport. All ranks must run "     \
          "with the same `--mca mtl` and `--mca pml` settings and have mtl_efa installed.",                  \
          "The other rank selected another component of Open MPI, or could not load mtl_efa.",               \
          "`mpirun ... mtl_efa_info --check` tells on which node mtl_efa is missing or not selected.")       \
  MESSAGE(                                                                                                   \
      sender_outside_communicator, ERROR, 0,                                                                 \
      "A message arrived from a rank that is not in its communicator.",                                      \
      "The sender's communicator has another number of ranks than the receiver's of the same number: the "   \
      "two sides created their communicators in different order, or a message is damaged.",                  \
      "Check that all ranks create and free communicators in the same order. Otherwise report an issue.")    \
  MESSAGE(                                                                                                   \
      contact_late, WARNING, 4,                                                                              \
      "{process} has sent its first message to {peer}, and it has not answered for {seconds} s. It may "     \
      "compute without calling MPI, or be stopped or dead. Otherwise no message gets through between these " \
      "NICs.{ likely} The job continues to wait. The parameter mtl_efa_contact_timeout sets the time of "    \
      "this warning.",                                                                                       \
      "Nothing has come back from the peer since the start. On EC2 it is most often the security group.",    \
      "Check that the security group allows all traffic from and to itself and that the instances are in "   \
      "one subnet (for EFA also one Availability Zone). If the peer computes for a long time, raise "        \
      "mtl_efa_contact_timeout. A stack trace of the peer (`gdb -p`, `kill -USR1` of mpirun) shows what it " \
      "does.")                                                                                               \
  MESSAGE(contacts_late, WARNING, 4,                                                                         \
          "{process} has sent its first message to {peers}, and none of them has answered for {seconds} s. " \
          "They may compute without calling MPI, or be stopped or dead. Otherwise no message gets through "  \
          "between these NICs.{ likely} The job continues to wait. The parameter mtl_efa_contact_timeout "   \
          "sets the time of this warning.",                                                                  \
          "As contact_late, for several peers.", "As contact_late.")                                         \
  MESSAGE(contact_answered, NOTICE, 2,                                                                       \
          "{peer} has answered after all: the network lets messages of rank {rank} through",                 \
          "Follows contact_late: the peer has called MPI.", "Nothing is to be done.")                        \
  MESSAGE(contact_never, WARNING, 3, "{process} never received an answer from {peers}.{ likely}",            \
          "The job ends, and the peer that contact_late named had not answered until then.",                 \
          "As contact_late.")                                                                                \
  MESSAGE(contact_failed, PART, 1,                                                                           \
          "The first contact with that peer failed: probably nothing that this process sent has arrived "    \
          "there.{ likely}",                                                                                 \
          "Added to an error if no message to the peer has ever completed.", "As contact_late.")             \
  MESSAGE(likely_same_host, PART, 0,                                                                         \
          "It runs on this host: ps shows whether it is stopped (state T) or dead.",                         \
          "The peers in question are on the same host, so the network is not the cause.",                    \
          "Look at the process with ps.")                                                                    \
  MESSAGE(likely_security_group, PART, 0,                                                                    \
          "On EC2 the usual cause is the security group: it must allow all traffic from and to itself, "     \
          "inbound and outbound, and all instances must be in one subnet.",                                  \
          "EFA traffic needs rules whose source and destination is the security group itself.",              \
          "In the EC2 console, add a rule for all traffic from the group to itself, inbound and outbound.")  \
  MESSAGE(peer_stalled, WARNING, 4,                                                                          \
          "{process} has operations waiting that nothing has taken for {seconds} s, for {peers}. "           \
          "The peer may compute without calling MPI, be overloaded, stopped or dead, or the network to it "  \
          "may be down.{ likely} The job goes on waiting (mtl_efa_stall_warning sets the time of this "      \
          "warning, mtl_efa_send_timeout one after which such a peer fails).",                               \
          "The peer takes no further messages: its receive buffers, the provider's queues or, with "         \
          "mtl_efa_path packets, the shared memory to it are full.",                                         \
          "Look at the peer first: what it computes, whether it is stopped, whether its host swaps. A "      \
          "program that sends much more than it receives needs receives posted in time.")                    \
  MESSAGE(peers_stalled, WARNING, 4,                                                                         \
          "{process} has operations waiting that nothing has taken for {seconds} s, for {peers}. "           \
          "A peer may compute without calling MPI, be overloaded, stopped or dead, or the network to it "    \
          "may be down.{ likely} The job goes on waiting (mtl_efa_stall_warning sets the time of this "      \
          "warning, mtl_efa_send_timeout one after which such a peer fails).",                               \
          "As peer_stalled, for several peers.", "As peer_stalled.")                                         \
  MESSAGE(peer_moves_again, NOTICE, 2, "{peer} takes messages of rank {rank} again.",                        \
          "Follows peer_stalled: the peer goes on.", "Nothing is to be done.")                               \
  MESSAGE(                                                                                                   \
      peer_given_up, ERROR, 4,                                                                               \
      "{process} gives up {peer}: for {seconds} s, as long as the parameter mtl_efa_send_timeout allows, "   \
      "nothing that was sent to it was taken. The peer may compute without calling MPI, be overloaded, "     \
      "stopped or dead, or the network to it may be down.{ likely} Every operation with it ends with an "    \
      "error from now on.",                                                                                  \
      "mtl_efa_send_timeout is set, and the peer took nothing for so long.",                                 \
      "Find out what the peer did, as for peer_stalled. If it was only slow, raise mtl_efa_send_timeout.")   \
  MESSAGE(messages_unacknowledged, WARNING, 3,                                                               \
          "{process} has sent messages that are not acknowledged for {seconds} s by the NIC of {peers}. "    \
          "Either the receive buffers there are used up (receiver not ready), because the peer does not "    \
          "call MPI or is "                                                                                  \
          "overloaded, or the network lets nothing through. The job continues to wait "                      \
          "(mtl_efa_stall_warning sets the time of "                                                         \
          "this warning, mtl_efa_send_timeout one after which such a peer fails).",                          \
          "Over EFA, between hosts: the NIC repeats a message until the peer's NIC has stored it, and in "   \
          "this time no "                                                                                    \
          "operation of this rank has completed.",                                                           \
          "Look at the peer first: what it computes, whether it is stopped, whether its host swaps. If the " \
          "peer calls MPI "                                                                                  \
          "all the time, look at the network and at the security group.")                                    \
  MESSAGE(messages_acknowledged, NOTICE, 1, "{process}: messages are acknowledged again.",                   \
          "Follows messages_unacknowledged: the peer goes on.", "Nothing is to be done.")                    \
  MESSAGE(peer_unacknowledged, ERROR, 4,                                                                     \
          "{process} gives up {peer}: for {seconds} s, as long as the parameter mtl_efa_send_timeout "       \
          "allows, it has "                                                                                  \
          "acknowledged no message. Either the receive buffers there are used up (receiver not ready), "     \
          "because the peer "                                                                                \
          "does not call MPI or is overloaded, or the network lets nothing through.{ likely} Every "         \
          "operation with it ends "                                                                          \
          "with an error from now on.",                                                                      \
          "mtl_efa_send_timeout is set, and the peer's NIC stored no message for so long.",                  \
          "As messages_unacknowledged. If the peer was only slow, raise mtl_efa_send_timeout.")              \
  MESSAGE(peer_silent, WARNING, 3,                                                                           \
          "{process} waits for a peer: {silence} Operations with it fail after {seconds} s "                 \
          "(mtl_efa_peer_timeout).",                                                                         \
          "This rank waits for the peer, and the peer's process does not even answer pings, which a "        \
          "computing one does.",                                                                             \
          "See the three reasons below. If the process comes back within the time, the job goes on.")        \
  MESSAGE(peer_lost, ERROR, 2,                                                                               \
          "{process} gives up a peer: {silence} The parameter mtl_efa_peer_timeout sets this time (0: wait " \
          "for ever, for example with a debugger). Every operation with it ends with an error from now on.", \
          "The peer's process did not answer pings for mtl_efa_peer_timeout while this rank waited for it.", \
          "See the three reasons below. If ranks are stopped on purpose, set mtl_efa_peer_timeout to 0.")    \
  MESSAGE(peer_gave_up, ERROR, 2,                                                                            \
          "{peer} has given up {process}, since an operation between them failed there. Every operation "    \
          "with that peer ends with an error from now on.",                                                  \
          "The peer could not deliver a message to this rank, or waited for it in vain, and goes on without "\
          "it (MPI_ERRORS_RETURN).",                                                                         \
          "The peer's own messages say why.")                                                                \
  MESSAGE(peer_undeliverable, ERROR, 2,                                                                      \
          "{process} gives up {peer}, to which a control message could not be delivered. Every operation "   \
          "with it ends with an error from now on.",                                                         \
          "Follows operation_failed for a control message: the peer, its NIC or the network has failed.",    \
          "The cause is in the message before.")                                                             \
  MESSAGE(silent_process, PART, 2,                                                                           \
          "{peer} has not answered for {seconds} s. Its host answers, so the process was stopped (state T "  \
          "in ps) or has ended.",                                                                            \
          "The host and the network are up, the process is stopped or gone.",                                \
          "Look for an earlier message of that rank, a core file, the out-of-memory killer (`dmesg`), a "    \
          "debugger or `kill -STOP`.")                                                                       \
  MESSAGE(silent_host, PART, 2,                                                                              \
          "{peer} has not answered for {seconds} s, and nor has any other process of that host: the host "   \
          "or the network to it is down.",                                                                   \
          "The instance has stopped or was reclaimed, or its network is down.",                              \
          "Look at the state of the instance (`aws ec2 describe-instance-status`), and ping it.")            \
  MESSAGE(silent_alone, PART, 2,                                                                             \
          "{peer} has not answered for {seconds} s. No other process of that host could be asked: the "      \
          "process was stopped "                                                                             \
          "(state T in ps) or has ended, or the host or the network to it is down.",                         \
          "This rank has communicated with no other process of that host, so it cannot tell the process "    \
          "from the host.",                                                                                  \
          "Ping the host. If it answers, see silent_process, otherwise silent_host.")                        \
  MESSAGE(peer_answers_again, NOTICE, 2, "{peer} answers rank {rank} again.",                                \
          "Follows peer_silent: the process goes on.", "Nothing is to be done.")                             \
  MESSAGE(peer_memory_kept, FATAL, 3,                                                                        \
          "{process} has given up {peer}, but libfabric's provider {provider} does not return the memory "   \
          "of operations with it. The job ends.",                                                            \
          "After peer_lost or peer_unacknowledged, an operation that libfabric holds never ended, so the "   \
          "MPI call cannot return.",                                                                         \
          "The cause is in the message before.")                                                             \
  MESSAGE(pings_off, VERBOSE, 1, "peers that are not alive any more are not noticed: {why}",                 \
          "The process has no means to ping others; peer_silent and peer_lost do not come.",                 \
          "See the reasons below.")                                                                          \
  MESSAGE(ping_no_interface, PART, 0, "no network interface is up",                                          \
          "The host has no interface but the loopback.",                                                     \
          "Configure a network interface with an IP address.")                                               \
  MESSAGE(ping_call_failed, PART, 2, "{call} failed: {error}",                                               \
          "A system call failed; `error` is the kernel's reason.",                                           \
          "Look for limits on open files (`ulimit -n`).")                                                    \
  MESSAGE(ping_no_thread, PART, 1, "a thread could not be started: {error}",                                 \
          "The process or the user has too many threads.",                                                   \
          "Look at `ulimit -u` and the limits of the cgroup.")                                               \
  MESSAGE(pending_none, NOTICE, 1, "{process}: no operation is pending",                                     \
          "SIGUSR1 was sent to mpirun or to the process (mtl_efa_dump_signal), which waits for nothing.",    \
          "A rank that has nothing pending while others wait for it may not have called MPI yet.")           \
  MESSAGE(pending_one, NOTICE, 3, "{process}: 1 operation is pending{posts}{lines}",                         \
          "SIGUSR1 was sent, or an operation was pending for longer than mtl_efa_watchdog. Each line is an " \
          "operation: with whom, which tag, how many bytes, since when, and its state.",                     \
          "Compare the lines of the ranks: a receive that nothing matches has no send with its rank, tag "   \
          "and communicator; the states below say what each waits for.")                                     \
  MESSAGE(pending_many, NOTICE, 4, "{process}: {count} operations are pending{posts}{lines}",                \
          "As pending_one.", "As pending_one.")                                                              \
  MESSAGE(pending_posts, PART, 1, ", {count} posts wait to be repeated",                                     \
          "Operations that the provider, or a peer's shared memory, did not take yet, those of mtl_efa "     \
          "itself included.",                                                                                \
          "See peer_stalled if it stays so.")                                                                \
  MESSAGE(pending_send, PART, 6, "send to {peer}, {tags}, {bytes} bytes, for {age}: {state}{silent}",        \
          "A send that has not ended.", "See the state.")                                                    \
  MESSAGE(pending_receive, PART, 6,                                                                          \
          "receive from {peer}, {tags}, up to {bytes} bytes, for {age}: {state}{silent}",                    \
          "A receive that has not ended.", "See the state.")                                                 \
  MESSAGE(pending_more, PART, 1, "and {count} more", "Only the first operations are listed.",                \
          "Nothing is to be done.")                                                                          \
  MESSAGE(pending_silent, PART, 1, "; the peer does not answer pings, for {seconds} s",                      \
          "The peer's process may be stopped or dead.", "See peer_silent.")                                  \
  MESSAGE(state_sending, PART, 2,                                                                            \
          "rendezvous: the receiver has asked for the data, {value} of {count} pieces are complete",         \
          "A long message is being sent.", "If the number stays, look at the receiver.")                     \
  MESSAGE(state_receiving, PART, 2,                                                                          \
          "rendezvous: matched, the sender sends the data, {value} of {count} pieces are complete",          \
          "A long message is being received.", "If the number stays, look at the sender.")                   \
  MESSAGE(state_reading, PART, 2,                                                                            \
          "rendezvous: matched, the data is read by RDMA, {value} of {count} pieces are complete",           \
          "A long message is being read.", "If the number stays, look at the NICs and the peer's host.")     \
  MESSAGE(state_not_posted, PART, 0,                                                                         \
          "not posted: the provider takes no more operations for now (FI_EAGAIN), or the peer's shared "     \
          "memory is full",                                                                                  \
          "The queues to the peer are full.", "See peer_stalled.")                                           \
  MESSAGE(state_unmatched, PART, 0, "no message has matched it", "A receive for which no message has come.", \
          "Look for the send: it has not been called, or has another tag, rank or communicator.")            \
  MESSAGE(state_matched, PART, 0, "matched, its data is being received", "The message is on its way.",       \
          "Nothing is to be done.")                                                                          \
  MESSAGE(state_held, PART, 0, "held back, since the receiver keeps many messages that it has not received",  \
          "The receiver's memory for messages that no receive has matched (mtl_efa_unexpected_memory) is full.", \
          "Look at what the receiver does; the send ends when it receives this message, or enough of the others.") \
  MESSAGE(state_announced, PART, 0, "rendezvous: announced (ready-to-send), the receiver has not answered",  \
          "A long send whose receive has not been called, or whose receiver does not call MPI.",             \
          "Look at what the receiver does; the send ends when the receive is posted.")                       \
  MESSAGE(state_synchronous, PART, 0, "synchronous: sent, the receiver has not matched it",                  \
          "As state_announced, for MPI_Ssend.", "As state_announced.")                                       \
  MESSAGE(state_eager, PART, 0, "eager: the provider has not completed it",                                  \
          "A short send that is not acknowledged yet.", "If it stays so, the peer or the network is down.")
