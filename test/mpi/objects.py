"""Python objects and numpy arrays through mpi4py, with checked contents.

mpi4py pickles objects, and probes for their length before it receives them. It sends arrays without a copy.
"""

import os
import sys

import numpy
from mpi4py import MPI

comm = MPI.COMM_WORLD
rank, size = comm.rank, comm.size
after, before = (rank + 1) % size, (rank - 1) % size


def expect(expected, got, what):
    if expected != got:
        sys.stderr.write(f"rank {rank}: {what}: expected {expected!r}, got {got!r}\n")
        sys.stderr.flush()
        comm.Abort(1)


def thing(owner, i):
    """A nested object; the length of its pickle is between a few bytes and a megabyte, depending on i."""
    return {"owner": owner, "list": list(range(i)), "text": "ä" * (i * i), ("tuple", i): [None, 1.5, {owner}]}


def objects():
    sizes = (0, 1, 10, 100, 300, 700, 1000)
    for i in sizes:
        request = comm.isend(thing(rank, i), after, tag=i)
        expect(thing(before, i), comm.recv(source=before, tag=i), f"object {i}")
        request.wait()
        expect(thing(before, i), comm.sendrecv(thing(rank, i), after, source=before), f"sendrecv of object {i}")
    # Matched probes, in the reverse order of the sends.
    requests = [comm.issend(thing(rank, i), after, tag=i) for i in sizes]
    for i in reversed(sizes):
        status = MPI.Status()
        message = comm.mprobe(source=MPI.ANY_SOURCE, tag=i, status=status)
        expect(before, status.source, "source of the probed object")
        expect(thing(before, i), message.recv(), f"matched object {i}")
    MPI.Request.waitall(requests)


def collectives():
    expect([thing(r, 50) for r in range(size)], comm.allgather(thing(rank, 50)), "allgather of objects")
    expect(thing(0, 200), comm.bcast(thing(0, 200) if rank == 0 else None), "bcast of an object")
    expect([(r, rank) for r in range(size)], comm.alltoall([(rank, r) for r in range(size)]), "alltoall of objects")
    expect(size * (size - 1) // 2, comm.allreduce(rank), "allreduce of objects")
    everything = comm.gather(numpy.full((rank + 1, 3), rank), root=size - 1)
    if rank == size - 1:
        expect([[r] * 3 * (r + 1) for r in range(size)], [a.ravel().tolist() for a in everything], "gather of arrays")


def array(owner, n):
    return (numpy.arange(n, dtype=numpy.float64) * 3 + owner).reshape(-1)


def arrays():
    for n in (0, 1, 500, 1100, 9000, 1 << 20):
        got = numpy.full(n, -1.0)
        comm.Sendrecv(array(rank, n), after, recvbuf=got, source=before)
        expect(True, numpy.array_equal(array(before, n), got), f"array of {n} doubles")
    # Every third column of a matrix, by a vector type.
    matrix = numpy.arange(3000, dtype=numpy.int32).reshape(100, 30) + rank
    columns = MPI.INT32_T.Create_vector(1000, 1, 3).Commit()
    request = comm.Isend([matrix, 1, columns], after, tag=5)
    got = numpy.zeros(1000, dtype=numpy.int32)
    comm.Recv(got, before, tag=5)
    request.Wait()
    columns.Free()
    expect(True, numpy.array_equal((numpy.arange(0, 3000, 3) + before), got), "columns of a matrix")
    total = numpy.zeros(100000)
    comm.Allreduce(array(rank, 100000), total)
    expect(True, numpy.array_equal(sum(array(r, 100000) for r in range(size)), total), "sum of arrays")


objects()
collectives()
arrays()
comm.Barrier()
MPI.Finalize()
os.write(1, f"end of test objects.py, rank {rank} of {size}\n".encode())
