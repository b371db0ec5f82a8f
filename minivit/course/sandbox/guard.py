"""Restricts a student's process: it may read the standard library and NumPy, use its own folder, and nothing else.

`guard` sets an audit hook, which Python cannot remove, before the student's code is loaded. It needs the standard
library alone. The student's process runs this file from its path, in a namespace with builtins of its own, so that
patched builtins do not reach it. This stops mistakes and the tricks of Python. It does not stop somebody who corrupts
the memory of the process: run the grader in a container.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["BANNED", "guard"]

BANNED = ("minivit", "torch", "jax", "autograd", "tensorflow", "cupy", "scipy", "mlx", "tinygrad", "numba")
SYSTEM: tuple[str, ...] = ("_ctypes", "ctypes", "_interpreters", "_xxsubinterpreters")
SYSTEM += (
    "_interpchannels",
    "_testcapi",
    "_testinternalcapi",
    "_gdbm",
    "_dbm",
    "_sqlite3",
    "_posixshmem",
    "pty",
    "readline",
)
SYSTEM += () if sys.platform == "linux" else ("_posixsubprocess",)  # there its system calls are taken away
REFUSED: tuple[str, ...] = (
    "subprocess.",
    "ctypes.",
    "socket.",
    "resource.set",
    "resource.prlimit",
    "pty.",
    "urllib.",
    "webbrowser.",
)
REFUSED += ("os.fork", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.kill", "os.startfile", "syslog.")
REFUSED += ("signal.pthread_kill", "os.link", "os.symlink", "os.chroot", "os.setns", "sqlite3.", "os.unshare", "fcntl.")
REFUSED += ("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames", "sys._current_exceptions")
REFUSED += (
    "cpython.PyInterpreterState_New",
    "sys.remote_exec",
    "cpython.remote_debugger_script",
    "os.lockf",
    "_winapi.",
    "winreg.",
    "msvcrt.",
)
# events about files, and how many of their arguments are paths
READS = {"os.listdir": 1, "os.scandir": 1, "os.listxattr": 1, "os.getxattr": 1}
WRITES = {"os.chmod": 1, "os.chown": 1, "os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1}
WRITES |= {"os.utime": 1, "os.chflags": 1, "os.setxattr": 1, "os.removexattr": 1, "os.chdir": 1, "os.fchdir": 1}
WRITES |= {"os.lchown": 1, "os.mknod": 1, "os.mkfifo": 1, "os.lchmod": 1}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HARMLESS = ("/dev/null", "/dev/urandom", "/usr/share/zoneinfo")


def library_roots() -> tuple[str, ...]:
    """The folders of the standard library and of NumPy."""
    import sysconfig

    import numpy

    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)]
    folders += [path for path in sys.path if path.endswith(("lib-dynload", ".zip")) and "packages" not in path]
    folders.append(os.path.dirname(numpy.__file__))
    found = {os.path.normpath(folder) for folder in folders} | {os.path.realpath(folder) for folder in folders}
    return tuple(sorted(found))


def places(own: str) -> tuple[Callable, Callable, Callable, Callable]:
    """Where a path leads and whose it is: place, inside, readable, folder.   own: the student's folder."""
    roots = library_roots()
    numpy_roots = tuple(root for root in roots if root.endswith("/numpy"))
    cwd, stat = os.getcwd, os.stat

    def place(path: Any) -> str | None:
        """The absolute path of an event, or None for a descriptor.

        No method of an argument is called, since anybody can raise an event with arguments of their own classes.
        """
        kind = type(path)
        if path is None or kind is int:
            return None if kind is int else cwd()
        path = bytes.decode(path, "utf-8", "surrogateescape") if issubclass(kind, bytes) else str.__str__(path)
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                if not parts and path[:1] != "/":
                    return "/.."  # from which folder it goes up, the event does not say
                parts[-1:] = []
            elif part not in ("", "."):
                parts.append(part)
        start = "" if path[:1] == "/" else cwd().rstrip("/")
        return "/".join([start, *parts]) or "/"

    def inside(path: str, folders: tuple[str, ...]) -> bool:
        return any(path == folder or path[: len(folder) + 1] == folder + "/" for folder in folders)

    def readable(path: str) -> bool:
        if inside(path, (own, *numpy_roots, *HARMLESS)):
            return True
        return inside(path, roots) and "/site-packages/" not in path + "/" and "/dist-packages/" not in path + "/"

    def folder(path: str | None) -> bool:
        """Whether it is a foreign folder. With a descriptor of one, paths would no longer show where they lead."""
        try:
            return path is not None and not inside(path, (own,)) and stat(path).st_mode & 0o170000 == 0o040000
        except OSError:
            return False

    return place, inside, readable, folder


def permission(own: str, modules: frozenset[str], banned: tuple[str, ...]) -> Callable[[str, tuple], str | None]:
    """The rule: (event, its arguments) -> the forbidden action in words, or None.

    own: the student's folder.   modules: the names of its modules, which may equal those of banned libraries.
    """
    place, inside, readable, folder = places(own)
    threads = sys.modules["_thread"]._count

    def files(event: str, paths: tuple, writing: bool) -> str | None:
        for path in map(place, paths):
            if path is not None and not (inside(path, (own, "/dev/null")) if writing else readable(path)):
                return f"{'writing' if writing else 'reading'} files outside the folder of the submission ({event})"
        return None

    def module(name: Any, file: Any) -> str | None:
        """`file` is given only for a module of machine code; its function is found by the last part of its name."""
        parts = str.__str__(name).split(".")
        if parts[0] in banned and parts[0] not in modules:
            return f"importing {parts[0]}"
        path = None if file is None else place(file)
        for part in parts if path is None else (*parts, path.rpartition("/")[2].split(".")[0]):
            if part in SYSTEM and (path is not None or part == parts[0]):
                return f"importing {part}"
        if path is not None and inside(path, (own,)):
            return "importing machine code"
        return None if path is None or readable(path) else "importing from outside the folder of the submission"

    def rule(event: str, args: tuple) -> str | None:
        if event == "open":
            path, mode, flags = args
            flags = flags if type(flags) is int else 0
            writing = bool(flags & WRITING) or (type(mode) is str and any(c in mode for c in "wax+"))
            if type(path) is not int and folder(place(path)):
                return "opening folders of others"
            return files(event, (path,), writing)
        if event == "import":
            return module(args[0], args[1])
        if event == "_thread.start_new_thread" and threads() >= 64:
            return "starting more than 64 threads"
        if event in READS:
            return files(event, args[: READS[event]], False)
        if event in WRITES:
            return files(event, args[: WRITES[event]], True)
        return event if event.startswith(REFUSED) else None

    return rule


HOOK = """
def hook(event, args, rule=rule, every=BaseException, other=PermissionError, kinds=kinds):
    try:
        text = rule(event, args)
    except every:
        text = "this"
    if text is not None:
        kind = kinds[1] if event == kinds[0] else other
        del rule, kinds, args, every, other  # an error carries this frame to whoever catches it
        raise kind(f"{text} is not allowed in a submission")
"""


def guard(own: str, modules: frozenset[str], banned: tuple[str, ...]) -> None:
    """Set the hook for the rest of the process's life. Its frame contains nothing through which it could be changed."""
    names: dict[str, Any] = {"rule": permission(own, modules, banned), "kinds": ("import", ImportError)}
    exec(compile(HOOK, "<guard>", "exec"), names)
    hook = names["hook"]
    names.clear()
    sys.addaudithook(hook)
