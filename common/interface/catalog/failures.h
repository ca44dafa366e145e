// Messages about operations that failed, and about messages that make no sense. See ../message_catalog.h for the columns.
#pragma once

#define EFA_MESSAGES_FAILURES(MESSAGE)                                                                       \
  MESSAGE(operation_failed, ERROR, 5, "{process}: {operation} failed: {reason}.{ advice}{ contact}",         \
          "The provider ended the operation with an error. The MPI call returns an error, which ends the "   \
          "job unless the program handles errors.",                                                          \
          "Follow the reason: \"the provider says\" is libfabric's own text. If a peer is named, look for "  \
          "an earlier message of that rank, and whether it is still alive.")                                 \
  MESSAGE(operation_exception, ERROR, 4, "Rank {rank} on host {host}: {operation} failed: {reason}.",        \
          "Most often this process has no memory left. The MPI call returns an error.",                      \
          "Look at the memory of the node (`dmesg` for the out-of-memory killer), at `ulimit -v` and the "   \
          "limits of the job; start fewer ranks per node.")                                                  \
  MESSAGE(local_failure, ERROR, 4, "Rank {rank} on host {host}: {operation} failed: {reason}.",              \
          "The operation failed on this side, not in the network, for the given reason.",                    \
          "See the reasons below.")                                                                          \
  MESSAGE(state_lost, FATAL, 4,                                                                              \
          "Rank {rank} on host {host}: {operation} failed: {reason}. The state of an operation is not "      \
          "known any more, so the job ends.",                                                                \
          "This process had no memory left in the middle of an operation.", "As operation_exception.")       \
  MESSAGE(nic_failed, WARNING, 4,                                                                            \
          "{process}: the additional NIC {nic} failed: {reason}.{ advice} It is not used any more. The "     \
          "first NIC takes its share.",                                                                      \
          "One of several NICs of this process has failed. No data is lost; long messages are slower.",      \
          "After the job, look at the NIC (`dmesg`, `mtl_efa_info --check`). On EC2 stop and start the "     \
          "instance.")                                                                                       \
  MESSAGE(nic_read_failed, WARNING, 6,                                                                       \
          "{process}: reading over the additional NIC {nic} from {peer} failed: {reason}.{ advice} This "    \
          "NIC is not used any more. {first} takes its share.",                                              \
          "As nic_failed, noticed when data was read.", "As nic_failed.")                                    \
  MESSAGE(endpoint_failed, FATAL, 3,                                                                         \
          "{process}: the endpoint failed: {reason}.{ advice} The provider does not report which message "   \
          "it was, so the job ends.",                                                                        \
          "The provider reports an error of the NIC's endpoint, or of a short message (which has no "        \
          "request of its own).",                                                                            \
          "Follow the reason. If the reason names a peer, that rank has ended or cannot be reached. "        \
          "Otherwise look at the NIC.")                                                                      \
  MESSAGE(message_lost_closing, VERBOSE, 3,                                                                  \
          "{process}: a message, while closing, failed: {reason}.{ advice}",                                 \
          "In MPI_Finalize a message could not be delivered, because its receiver has left MPI already.",    \
          "Nothing is to be done, unless the program expects the message to be received.")                   \
  MESSAGE(queue_failed, FATAL, 3, "{call} failed on {nic}: {error}",                                         \
          "The completion queue of the NIC cannot be read any more: the NIC or its driver has failed.",      \
          "Look at the NIC (`dmesg`). On EC2 stop and start the instance.")                                  \
  MESSAGE(failure_said, PART, 3, "{error}; the provider says: {text} ({code})",                              \
          "libfabric's error, and the provider's own text and number for it.",                               \
          "The text is of libfabric's provider: its documentation (for EFA the manual page fi_efa) "         \
          "explains it.")                                                                                    \
  MESSAGE(failure_coded, PART, 2, "{error} ({code})",                                                        \
          "libfabric's error, and the provider's number for it.", "See operation_failed.")                   \
  MESSAGE(failure_peer, PART, 2, "{reason}; the peer is {peer}",                                             \
          "The provider's text has the address of this peer.", "Look for an earlier message of that rank.")  \
  MESSAGE(                                                                                                   \
      advice_unreachable, PART, 0,                                                                           \
      "The peer died or cannot be reached. Look for an earlier message of that process; on EC2 the "         \
      "security group must allow all traffic from and to itself, and all instances must be in one subnet.",  \
      "The error is one of the connection.",                                                                 \
      "Look for the first message in the job's output: the rank that failed first names the cause.")         \
  MESSAGE(advice_memory, PART, 0,                                                                            \
          "Check `ulimit -l` (locked memory) and the number of ranks per node; fewer ranks or a larger "     \
          "limit help.",                                                                                     \
          "NIC or kernel refused memory.",                                                                   \
          "Set the limit on locked memory to unlimited for the job (`/etc/security/limits.conf`; in Slurm "  \
          "`PropagateResourceLimitsExcept=MEMLOCK`).")                                                       \
  MESSAGE(op_send, PART, 3, "sending {bytes} bytes with tag {tag} to {peer}",                                \
          "MPI_Send and its relatives; negative tags are of collective operations.",                         \
          "See operation_failed.")                                                                           \
  MESSAGE(op_receive, PART, 2, "receiving up to {bytes} bytes from {peer}", "MPI_Recv and its relatives.",   \
          "See operation_failed.")                                                                           \
  MESSAGE(op_probe, PART, 1, "probing for messages from {peer}",                                             \
          "MPI_Probe, MPI_Iprobe, MPI_Mprobe, MPI_Improbe.", "See operation_failed.")                        \
  MESSAGE(op_fetch, PART, 1, "reading a message from {peer}", "A message that a probe found is read.",       \
          "See operation_failed.")                                                                           \
  MESSAGE(op_claim, PART, 1, "looking for messages from {peer}",                                             \
          "More receives are posted than the provider takes, so mtl_efa looks for messages itself.",         \
          "See operation_failed.")                                                                           \
  MESSAGE(op_receive_probed, PART, 1, "receiving a probed message from {peer}",                              \
          "MPI_Mrecv, or MPI_Recv after a probe.", "See operation_failed.")                                  \
  MESSAGE(op_send_control, PART, 1, "sending a control message to {peer}",                                   \
          "A short message of the protocol, such as clear-to-send.", "See operation_failed.")                \
  MESSAGE(op_receive_control, PART, 1, "receiving a control message from {peer}",                            \
          "A short message of the protocol, such as clear-to-send.", "See operation_failed.")                \
  MESSAGE(op_send_piece, PART, 3, "sending piece {index} of a message of {bytes} bytes to {peer}",           \
          "A long message is sent in pieces.", "See operation_failed or local_failure.")                     \
  MESSAGE(op_receive_piece, PART, 3, "receiving piece {index} of a message of {bytes} bytes from {peer}",    \
          "A long message is received in pieces.", "See operation_failed or local_failure.")                 \
  MESSAGE(op_pack_piece, PART, 3, "packing piece {index} of a message of {bytes} bytes to {peer}",           \
          "A long noncontiguous message is packed in pieces.", "See local_failure.")                         \
  MESSAGE(op_unpack_piece, PART, 3, "unpacking piece {index} of a message of {bytes} bytes from {peer}",     \
          "A long noncontiguous message is unpacked in pieces.", "See local_failure.")                       \
  MESSAGE(op_unpack, PART, 2, "unpacking {bytes} bytes from rank {other_rank} of a communicator",            \
          "A noncontiguous message is unpacked.", "See local_failure.")                                      \
  MESSAGE(op_begin_send, PART, 2, "sending {bytes} bytes to {peer}", "A long message is prepared.",          \
          "See local_failure.")                                                                              \
  MESSAGE(op_begin_receive, PART, 2, "receiving {bytes} bytes from {peer}", "A long message is prepared.",   \
          "See local_failure.")                                                                              \
  MESSAGE(op_connect, PART, 1, "preparing to talk to rank {rank}", "The first use of a peer.",               \
          "See operation_exception.")                                                                        \
  MESSAGE(op_call_send, PART, 0, "sending a message", "MPI_Send and its relatives.",                         \
          "See operation_exception.")                                                                        \
  MESSAGE(op_call_receive, PART, 0, "receiving a message", "MPI_Recv and its relatives.",                    \
          "See operation_exception.")                                                                        \
  MESSAGE(op_call_probe, PART, 0, "probing for messages", "MPI_Probe and its relatives.",                    \
          "See operation_exception.")                                                                        \
  MESSAGE(op_read_probed, PART, 0, "reading a message that a probe found", "MPI_Mprobe, MPI_Mrecv.",         \
          "See state_lost.")                                                                                 \
  MESSAGE(op_complete, PART, 0, "completing an operation", "Any MPI call that waits.", "See state_lost.")    \
  MESSAGE(op_cancel, PART, 0, "cancelling an operation", "MPI_Cancel.", "See state_lost.")                   \
  MESSAGE(op_give_up_peer, PART, 0, "giving up a peer", "After peer_lost or peer_given_up.",                 \
          "See state_lost.")                                                                                 \
  MESSAGE(reason_no_memory, PART, 0, "out of memory", "This process has no memory left.",                    \
          "Look at the memory of the node and the limits of the job; start fewer ranks per node.")           \
  MESSAGE(reason_no_staging, PART, 0, "there is no memory for a staging buffer",                             \
          "Noncontiguous messages are packed into buffers, for which this process has no memory left.",      \
          "As reason_no_memory; a smaller mtl_efa_staging_memory needs less.")                               \
  MESSAGE(reason_memory_lost, PART, 0, "the memory of the sender, a process of this node, cannot be read any more",  \
          "The sender ended while its data was copied.", "Look for an earlier message of that rank.")         \
  MESSAGE(reason_pack, PART, 0, "the datatype cannot be packed",                                             \
          "Open MPI could not pack the program's datatype.",                                                 \
          "Check the datatype and the buffer that the program passed to MPI.")                               \
  MESSAGE(reason_unpack, PART, 0, "the datatype cannot be unpacked",                                         \
          "Open MPI could not unpack into the program's datatype.",                                          \
          "Check the datatype and the buffer that the program passed to MPI.")                               \
  MESSAGE(not_notified, WARNING, 1, "{peer} could not be told that a message failed, and may wait for it.",  \
          "After an error, the message about it to the other side failed too.",                              \
          "The cause is in the message before.")                                                             \
  MESSAGE(control_not_delivered, FATAL, 0,                                                                   \
          "A control message could not be delivered. Its receiver would wait forever, so the job ends.",     \
          "Follows operation_failed for a control message: the peer has died or cannot be reached.",         \
          "The cause is in the message before.")                                                             \
  MESSAGE(control_not_received, FATAL, 0, "Control messages can no longer be received, so the job ends.",    \
          "Follows operation_failed for a control message.", "The cause is in the message before.")          \
  MESSAGE(control_no_memory, FATAL, 0,                                                                       \
          "There is no memory for a control message. Its receiver would wait forever, so the job ends.",     \
          "This process has no memory left.",                                                                \
          "Look at the memory of the node and the limits of the job; start fewer ranks per node.")           \
  MESSAGE(control_unknown, FATAL, 2,                                                                         \
          "A control message of {bytes} bytes arrived from {sender} that this version does not know.",       \
          "The sender runs another version of mtl_efa, or something else sends to this process's address.",  \
          "Install the same mtl_efa on all nodes. Otherwise report an issue.")                               \
  MESSAGE(message_unreadable, FATAL, 1,                                                                      \
          "A message from {peer} that is to be answered cannot be read. Its sender would wait forever, so "  \
          "the job ends.",                                                                                   \
          "The header of a long or synchronous message is damaged, or the provider could not read it.",      \
          "If a message before names a failure, that is the cause. Otherwise install the same mtl_efa on "   \
          "all nodes, or report an issue.")                                                                  \
  MESSAGE(packet_impossible, FATAL, 4,                                                                       \
          "A packet from {peer} is impossible: type {value}, {bytes} bytes, communicator {index}. The job ends.", \
          "The nodes have different versions of mtl_efa, or memory of a process is damaged.",                \
          "Install the same mtl_efa on all nodes. If it is the same, report an issue.")                      \
  MESSAGE(shm_broken, FATAL, 1,                                                                              \
          "The memory that {peer} shares with this process contains what mtl_efa does not write. The job ends.", \
          "Memory of a process on this node is damaged, or it runs another mtl_efa.",                        \
          "Install the same mtl_efa on all nodes. If it is the same, report an issue.")                      \
  MESSAGE(message_not_kept, FATAL, 2,                                                                        \
          "There is no memory to keep a message of {bytes} bytes from {peer} until it is received. The job ends.", \
          "Messages arrived for which no receive is posted, and this process has no memory left for them.",   \
          "Post receives earlier, or start fewer ranks per node.")                                           \
  MESSAGE(rank_of_communicator, PART, 1, "rank {rank} of a communicator",                                    \
          "A sender by its rank in the communicator of the message.", "See the message around it.")          \
  MESSAGE(answer_unreadable, FATAL, 2,                                                                       \
          "A message of {bytes} bytes from {peer} cannot be read although it is to be answered.",            \
          "As message_unreadable.", "As message_unreadable.")                                                \
  MESSAGE(answer_impossible, FATAL, 3,                                                                       \
          "Rank {rank} on host {host} has received a message from rank {other_rank} of a communicator, "     \
          "which waits for an answer, and cannot find that process: an earlier message says why. The job "   \
          "cannot go on.",                                                                                   \
          "The sender could not be made a peer.",                                                            \
          "The cause is in the message before, such as peer_refused.")                                       \
  MESSAGE(eager_too_long, FATAL, 2,                                                                          \
          "A message longer than {bytes} bytes came eagerly from {peer}, although longer ones must be sent " \
          "by rendezvous.",                                                                                  \
          "The sender does not keep to the limits of this process: it runs another version of mtl_efa.",     \
          "Install the same mtl_efa on all nodes. Otherwise report an issue.")                               \
  MESSAGE(message_impossible, FATAL, 3,                                                                      \
          "An impossible message arrived from {sender}: {control}, about a message to {peer}.",              \
          "The sender runs another version of mtl_efa, or a message is damaged.",                            \
          "Install the same mtl_efa on all nodes. Otherwise report an issue with the text in braces.")       \
  MESSAGE(message_about_nothing, FATAL, 2,                                                                   \
          "An impossible message arrived from {sender}: {control}, about a message that does not exist.",    \
          "As message_impossible.", "As message_impossible.")                                                \
  MESSAGE(withdrawal_impossible, FATAL, 1,                                                                   \
          "A process that is no peer of this one wants a message back: {control}.",                          \
          "As message_impossible.", "As message_impossible.")                                                \
  MESSAGE(piece_impossible, FATAL, 3,                                                                        \
          "A piece of {bytes} bytes came from {peer}, but it must have {expected}.",                         \
          "As message_impossible.", "As message_impossible.")                                                \
  MESSAGE(unknown_process, PART, 0, "an unknown process", "No peer of this process has sent that message.",  \
          "See the message around it.")                                                                      \
  MESSAGE(any_source, PART, 0, "any source", "MPI_ANY_SOURCE: a receive or probe without a certain sender.", \
          "See the message around it.")
