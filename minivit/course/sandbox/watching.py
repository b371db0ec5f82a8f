"""Watches a student's process while the grader waits: its time and disk use; and deletes its folder."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["MOST_FILES", "MOST_WRITTEN", "bulky", "busy", "remove", "used"]

MOST_FILES, MOST_WRITTEN = 2000, 256 << 20  # that a process leaves in its folder


def used(pid: int) -> float:
    """CPU seconds of a process so far; 0 if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = text.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def busy(pid: int) -> float:
    """Seconds in which the threads of a process computed or waited for a core; 0 if unknown."""
    try:
        fields = [(task / "schedstat").read_bytes().split() for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(computed) + int(delayed) for computed, delayed, *_ in fields) / 1e9
    except (OSError, ValueError):
        return 0.0


def bulky(folder: str) -> bool:
    """Whether a folder holds more than any answer needs."""
    todo, count, size = [folder], 0, 0
    while todo:
        try:
            with os.scandir(todo.pop()) as found:
                for entry in found:
                    about = entry.stat(follow_symlinks=False)
                    count, size = count + 1, size + about.st_blocks * 512
                    if count > MOST_FILES or size > MOST_WRITTEN:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:  # it is gone, or closed to us: then to most others too
            pass
    return False


def remove(folder: str) -> None:
    """Delete a folder, even if parts of it were closed, or it is deeper than Python can follow."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            with contextlib.suppress(OSError):
                subprocess.run([*command, "--", folder], check=False, stderr=subprocess.DEVNULL)
