"""Limits of a student's process that the operating system keeps: time, memory, sizes, on Linux the system calls.

Standard library alone; the student's process runs this file from its path. `Limits()` is made before the fork,
`apply` and `filter` are called after it. Where a system lacks one of these, the others remain.
"""

import os
import signal
import struct
import sys
from typing import Any

__all__ = ["Limits"]

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_DUMPABLE = 1, 38, 22, 4
ALLOW, DENY, MISSING, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM, ENOSYS
CLONE_THREAD = 0x00010000
# machine -> (its number for the kernel, system calls by name)
CALLS = {
    "x86_64": (
        0xC000003E,
        {
            "clone": 56,
            "clone3": 435,
            "fork": 57,
            "vfork": 58,
            "execve": 59,
            "execveat": 322,
            "socket": 41,
            "ptrace": 101,
        }
        | {"kill": 62, "tkill": 200, "tgkill": 234, "pidfd_open": 434, "pidfd_send_signal": 424, "setrlimit": 160}
        | {"prlimit64": 302, "setsid": 112, "setpgid": 109, "process_vm_readv": 310, "process_vm_writev": 311}
        | {"unshare": 272, "setns": 308, "mount": 165, "chroot": 161, "bpf": 321, "io_uring_setup": 425, "shmget": 29}
        | {"symlink": 88, "symlinkat": 266, "link": 86, "linkat": 265, "pidfd_getfd": 438, "rt_sigqueueinfo": 129},
    ),
    "aarch64": (
        0xC00000B7,
        {"clone": 220, "clone3": 435, "execve": 221, "execveat": 281, "socket": 198, "ptrace": 117, "kill": 129}
        | {"tkill": 130, "tgkill": 131, "pidfd_open": 434, "pidfd_send_signal": 424, "setrlimit": 164, "prlimit64": 261}
        | {
            "setsid": 157,
            "setpgid": 154,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "unshare": 97,
            "setns": 268,
        }
        | {"mount": 40, "chroot": 51, "bpf": 280, "io_uring_setup": 425, "shmget": 194, "symlinkat": 36, "linkat": 37}
        | {"pidfd_getfd": 438, "rt_sigqueueinfo": 138},
    ),
}


def _line(code: int, yes: int, no: int, value: int) -> bytes:
    """One instruction of the kernel's filter."""
    return struct.pack("<HBBI", code, yes, no, value & 0xFFFFFFFF)


def program(machine: str, pid: int) -> bytes:
    """The filter: the named calls fail, but a thread may start, a process signal itself and ask for its limits."""
    number, calls = CALLS[machine]
    load, equal, test, answer = 0x20, 0x15, 0x45, 0x06
    lines = [_line(load, 0, 0, 4), _line(equal, 1, 0, number), _line(answer, 0, 0, KILL), _line(load, 0, 0, 0)]
    if machine == "x86_64":  # numbers of the other table of this machine
        lines += [_line(0x35, 0, 1, 0x40000000), _line(answer, 0, 0, MISSING)]
    for name, call in calls.items():
        if name == "clone":  # a thread or nothing
            body = [_line(load, 0, 0, 16), _line(test, 1, 0, CLONE_THREAD), _line(answer, 0, 0, DENY)]
        elif name in ("kill", "tgkill"):  # itself or nobody
            body = [_line(load, 0, 0, 16), _line(equal, 1, 0, pid), _line(answer, 0, 0, DENY)]
        elif name == "prlimit64":  # ask, never set: the pointer to new limits is null
            body = [_line(load, 0, 0, 32), _line(equal, 0, 2, 0), _line(load, 0, 0, 36), _line(equal, 1, 0, 0)]
            body += [_line(answer, 0, 0, DENY)]
        elif name == "clone3":  # the C library then takes clone, whose flags can be seen
            body = [_line(answer, 0, 0, MISSING)]
        else:
            body = [_line(answer, 0, 0, DENY)]
        body.append(_line(answer, 0, 0, ALLOW))
        lines += [_line(equal, 0, len(body), call), *body]
    return b"".join([*lines, _line(answer, 0, 0, ALLOW)])


class Limits:
    """What the operating system can be asked for, found out once before any student's code runs."""

    def __init__(self) -> None:
        self.processes = processes()
        self.prctl: Any = None
        self.memory: Any = None
        if sys.platform == "linux":
            import ctypes

            self.prctl = ctypes.CDLL(None, use_errno=True).prctl
            self.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
            self.memory = ctypes.create_string_buffer
            self.address = ctypes.addressof

    def apply(self, memory_mib: int, cpu_seconds: float) -> None:
        """Bounds of memory above what is in use, of CPU time, files and processes; the process dies with its parent."""
        import resource

        if self.prctl is not None:
            self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        used = 0
        if sys.platform == "linux":
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
        seconds = int(cpu_seconds) + 2
        wanted = [("RLIMIT_AS", used + (memory_mib << 20)), ("RLIMIT_CPU", seconds), ("RLIMIT_FSIZE", 16 << 20)]
        wanted += [("RLIMIT_NOFILE", 256), ("RLIMIT_CORE", 0), ("RLIMIT_NPROC", self.processes + 64)]
        for name, value in wanted:
            if name == "RLIMIT_AS" and sys.platform == "darwin":
                continue  # it is not kept there
            number = getattr(resource, name, None)
            try:
                hard = resource.getrlimit(number)[1] if number is not None else 0
                bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
                if number is not None:
                    resource.setrlimit(number, (bound, bound))
            except (OSError, ValueError):
                pass

    def filter(self) -> bool:
        """Take away system calls. False where that is not possible."""
        machine = os.uname().machine
        if self.prctl is None or machine not in CALLS or sys.maxsize < 2**32:
            return False
        text = program(machine, os.getpid())
        body = self.memory(text, len(text))
        head = struct.pack("<HxxxxxxQ", len(text) // 8, self.address(body))
        holder = self.memory(head, len(head))
        if self.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        return self.prctl(PR_SET_SECCOMP, 2, self.address(holder), 0, 0) == 0


def processes() -> int:
    """Threads of this user that run now, which the limit of processes counts too."""
    count = 0
    if sys.platform == "linux":
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                pass
    return max(count, 256)
