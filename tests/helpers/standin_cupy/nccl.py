"""`cupy.cuda.nccl` of the stand-in: sums over the ranks of MPI, whose GPUs are each rank's own memory."""

import ctypes
import importlib

import numpy as np

from standin_cupy import device

NCCL_SUM = 0
NCCL_INT32, NCCL_INT64, NCCL_FLOAT32, NCCL_FLOAT64 = "i4", "i8", "f4", "f8"
calls: list[str] = []


def get_version():
    return 22703


def get_unique_id():
    return (7,) * 128


def groupStart():
    calls.append("groupStart")


def groupEnd():
    calls.append("groupEnd")


class NcclCommunicator:
    """A communicator of one rank; strict about addresses, sizes and streams."""

    def __init__(self, ndev, commId, rank):
        self._mpi = importlib.import_module("mpi4py.MPI")
        self._comm = self._mpi.COMM_WORLD.Dup()
        assert (ndev, commId, rank) == (self._comm.size, (7,) * 128, self._comm.rank)

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        assert (op, sendbuf) == (NCCL_SUM, recvbuf)
        array = at(recvbuf, count, datatype)
        device.submit_by_address(stream, lambda: self._comm.Allreduce(self._mpi.IN_PLACE, array))

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        own, whole = at(sendbuf, count, datatype), at(recvbuf, count * self._comm.size, datatype)
        device.submit_by_address(stream, lambda: self._comm.Allgather(own, whole))


def at(address, count, datatype):
    """The array at this address."""
    size = count * np.dtype(datatype).itemsize
    assert device.is_allocated(address, size), "no memory of the device"
    return np.frombuffer((ctypes.c_char * size).from_address(address), datatype)
