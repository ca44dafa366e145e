// Messages about what a program asks for and what is not possible. See ../message_catalog.h for the columns.
#pragma once

#define EFA_MESSAGES_PROGRAM(MESSAGE)                                                                        \
  MESSAGE(device_buffer, ERROR, 0,                                                                           \
          "A buffer in the memory of a device (GPU) was passed to MPI. mtl_efa moves host memory only. "     \
          "Copy the data to host memory first, or use another transport (for example `--mca pml ob1` or "    \
          "`--mca mtl ofi`).",                                                                               \
          "The program passes GPU memory to MPI.", "As the message says.")                                   \
  MESSAGE(                                                                                                   \
      communicators_last, WARNING, 2,                                                                        \
      "There are now {count} communicators, the maximum for the message tags of the provider {provider}. "   \
      "Creating another one will fail (MPI_ERR_INTERN). Free communicators that are no longer used.",        \
      "A tag of the provider has room for so many communicators only. Most often the program never frees "   \
      "some.",                                                                                               \
      "Call MPI_Comm_free for communicators that are not used any more. Providers with longer tags (efa, "   \
      "shm) allow more.")                                                                                    \
  MESSAGE(communicator_collides, ERROR, 0,                                                                   \
          "A communicator made from a group (MPI sessions) maps to the same message tags as another "        \
          "communicator, so their messages could be mixed up. Free communicators that are no longer used "   \
          "and create it again.",                                                                            \
          "Open MPI 5.0 numbers such communicators with 128 bits, of which a tag has room for few.",         \
          "As the message says; another tag string in MPI_Comm_create_from_group gives another number.")     \
  MESSAGE(persistent_buffered, ERROR, 0,                                                                     \
          "A persistent buffered send (MPI_Bsend_init) cannot be started: this Open MPI's pml/cm keeps its " \
          "requests in another way than those of Open MPI 4.1 and 5.0 that this component knows. Use "       \
          "MPI_Send_init or MPI_Bsend, or `--mca pml ob1`.",                                                 \
          "A fault of pml/cm is avoided with knowledge of its structures, which this Open MPI has changed.", \
          "As the message says, and report the version of Open MPI as an issue.")
