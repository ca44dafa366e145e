/* Sends from, and receives into, memory that Open MPI takes for a GPU's: there is no GPU here, so its own
 * test for device memory is replaced after MPI_Init. Open MPI 5.0 only; Debian's 4.1 is built without CUDA
 * and never asks.
 *
 *   device_buffer send|receive    exits 0 if the operation was refused with an MPI error */
#include "ompi_config.h"

#include "opal/mca/accelerator/accelerator.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

static char device[4096];

static int on_device(const void *address, int *id, uint64_t *flags)
{
    const char *at = address;

    *id = 0;
    *flags = 0;
    return at >= device && at < device + sizeof device;
}

int main(int argc, char **argv)
{
    int rank, peer, error, good;
    char host[64] = "unchanged";

    if (2 != argc || (0 != strcmp(argv[1], "send") && 0 != strcmp(argv[1], "receive"))) {
        fprintf(stderr, "usage: device_buffer send|receive\n");
        return 2;
    }
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    opal_accelerator.check_addr = on_device;

    if (0 == strcmp(argv[1], "send")) {
        error = MPI_Send(device, sizeof device, MPI_BYTE, (rank + 1) % 2, 0, MPI_COMM_WORLD);
    } else {
        error =
            MPI_Recv(device, sizeof device, MPI_BYTE, (rank + 1) % 2, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    good = MPI_SUCCESS != error;
    /* The job goes on with host memory. */
    peer = (rank + 1) % 2;
    error = MPI_Sendrecv_replace(host, sizeof host, MPI_BYTE, peer, 1, peer, 1, MPI_COMM_WORLD,
                                 MPI_STATUS_IGNORE);
    good = good && MPI_SUCCESS == error && 0 == strcmp(host, "unchanged");
    if (good) {
        printf("end of test device_buffer, rank %d\n", rank);
    }
    MPI_Finalize();
    return good ? 0 : 1;
}
