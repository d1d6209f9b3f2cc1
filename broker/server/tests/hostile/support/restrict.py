"""What an unfriendly host does to a process before it starts; for `preexec_fn`."""

import ctypes
import errno
import resource

_PR_CAPBSET_DROP = 24
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAP_IPC_LOCK = 14
# The number is the same on every architecture.
_IO_URING_SETUP = 425

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class _Filter(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("jump_true", ctypes.c_ubyte),
        ("jump_false", ctypes.c_ubyte),
        ("constant", ctypes.c_uint),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter))]


def few_descriptors(count):
    """`ulimit -n`, soft and hard."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def little_locked_memory(count):
    """`ulimit -l` in bytes, soft and hard, and no capability that would lift it."""

    def apply():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (count, count))
        # Fails for a user who has no such capability anyway.
        _libc.prctl(_PR_CAPBSET_DROP, _CAP_IPC_LOCK, 0, 0, 0)

    return apply


def no_io_uring(error=errno.EPERM):
    """A seccomp filter that answers io_uring_setup with this error, as Docker's does."""
    load_number, jump_equal, answer = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | error
    filters = (_Filter * 4)(
        _Filter(load_number, 0, 0, 0),
        _Filter(jump_equal, 0, 1, _IO_URING_SETUP),
        _Filter(answer, 0, 0, refuse),
        _Filter(answer, 0, 0, allow),
    )
    program = _Program(len(filters), filters)

    def apply():
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
        mode = _SECCOMP_MODE_FILTER
        if _libc.prctl(_PR_SET_SECCOMP, mode, ctypes.addressof(program), 0, 0):
            raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")

    return apply
