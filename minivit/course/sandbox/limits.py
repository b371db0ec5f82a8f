"""Limits on a student's process by the operating system: time, memory, sizes, and on Linux the system calls.

It needs the standard library alone; the student's process runs this file from its path. `Limits()` is made before the
fork, `apply` and `filter` are called after it. If a system lacks one of these, the others remain.
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
# Landlock: its system calls, the same on all machines, and its rights, which each version of it has more of
CREATE_RULES, ADD_RULE, RESTRICT = 444, 445, 446
RIGHTS = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
READ_FILE, READ_FOLDER, READ_WRITE = 4, 8, 2 | 4
PLAIN = ("/dev/urandom", "/etc/localtime", "/etc/ld.so.cache", "/sys/devices/system/cpu/online")
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
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
        | {"symlink": 88, "symlinkat": 266, "link": 86, "linkat": 265, "pidfd_getfd": 438, "rt_sigqueueinfo": 129}
        | {"memfd_create": 319, "memfd_secret": 447, "setpriority": 141, "sched_setscheduler": 144},
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
        | {"pidfd_getfd": 438, "rt_sigqueueinfo": 138, "memfd_create": 279, "memfd_secret": 447, "setpriority": 140}
        | {"sched_setscheduler": 119},
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
    """The limits that the operating system offers, determined once before any student's code runs."""

    def __init__(self) -> None:
        self.processes = processes()
        self.prctl: Any = None
        self.memory: Any = None
        if sys.platform == "linux":
            import ctypes

            self.prctl = ctypes.CDLL(None, use_errno=True).prctl
            self.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
            self.call = ctypes.CDLL(None, use_errno=True).syscall
            self.call.argtypes = [ctypes.c_long, *[ctypes.c_ulong] * 4]
            self.readable = readable()
            self.memory = ctypes.create_string_buffer
            self.address = ctypes.addressof

    def apply(self, memory_mib: int, cpu_seconds: float) -> None:
        """Limit memory above current use, CPU time, files and processes; the process dies with its parent."""
        import resource

        if self.prctl is not None:
            self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        used = 0
        if sys.platform == "linux":
            with open("/proc/self/statm", encoding="ascii") as file:
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

    def folders(self, own: str) -> bool:
        """Restrict reading to the student's folder and the folders that programs need. False if that is not
        possible."""
        version = self.call(CREATE_RULES, 0, 0, 1, 0) if self.prctl is not None else 0
        if version < 1 or self.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        every = RIGHTS[min(version, len(RIGHTS) - 1)]
        handled = self.memory(struct.pack("<Q", every), 8)
        rules = self.call(CREATE_RULES, self.address(handled), 8, 0, 0)
        if rules < 0:
            return False
        for path, rights in {**self.readable, own: every}.items():
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            rule = self.memory(struct.pack("<Qi", rights, place), 12)
            self.call(ADD_RULE, rules, 1, self.address(rule), 0)
            os.close(place)
        done = self.call(RESTRICT, rules, 0, 0, 0) == 0
        os.close(rules)
        return done

    def filter(self) -> bool:
        """Forbid system calls. False if that is not possible."""
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


def readable() -> dict[str, int]:
    """The paths that a student's process reads: NumPy, the standard library without other packages, and their needs."""
    import sysconfig

    import numpy

    found = dict.fromkeys(SYSTEM, READ_FILE | READ_FOLDER) | dict.fromkeys(PLAIN, READ_FILE)
    found[os.devnull] = READ_WRITE
    packages, library = os.path.split(os.path.dirname(numpy.__file__))
    for name in (library, "numpy.libs"):
        found[os.path.join(packages, name)] = READ_FILE | READ_FOLDER
    for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}:
        found[folder] = READ_FOLDER
        found.update(
            {
                entry.path: READ_FILE | (READ_FOLDER if entry.is_dir() else 0)
                for entry in os.scandir(folder)
                if not entry.name.endswith("-packages")
            }
        )
        beside = os.scandir(os.path.dirname(folder))
        found.update({entry.path: READ_FILE for entry in beside if ".so" in entry.name and entry.is_file()})
    return found


def processes() -> int:
    """The number of this user's threads now, which the limit of processes also counts."""
    count = 0
    if sys.platform == "linux":
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                pass
    return max(count, 256)
