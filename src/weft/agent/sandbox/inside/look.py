"""What can be seen inside: two sandboxes of which the same is seen are the same to a command."""

from __future__ import annotations

import os

# Where a command can leave something that is neither in the workspace nor a process.
_PRIVATE = ("/tmp", "/dev/shm", "/dev/mqueue")
# A new sandbox has a hundred; one that has more is not new, whatever follows.
_MAX_LINES = 10_000


def look() -> list[str]:
    """Mounts, processes, private files, control groups and limits, a line for each."""
    found = []
    for line in _lines("/proc/self/mountinfo"):
        _, _, _, _, place, options, *rest = line.split(" ")
        kind = rest[rest.index("-") + 1 :]
        found.append(" ".join(("mount", place, options, *kind)))
    found += ["process" for name in os.listdir("/proc") if name.isdigit()]
    for private in filter(os.path.isdir, _PRIVATE):
        device = os.stat(private).st_dev
        for top, folders, files in os.walk(private):
            found += [f"file {top}/{name}" for name in folders + files]
            if len(found) > _MAX_LINES:
                return found
            # What is shown there of the host, such as a toolchain below /tmp, is not the command's to change.
            folders[:] = [name for name in folders if os.lstat(f"{top}/{name}").st_dev == device]
    found += [f"group {line}" for line in _lines("/proc/self/cgroup")]
    found += [f"limit {line}" for line in _lines("/proc/self/limits")]
    return found


def _lines(path: str) -> list[str]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    data = bytearray()
    try:
        while part := os.read(fd, 1 << 16):
            data += part
    finally:
        os.close(fd)
    return os.fsdecode(bytes(data)).splitlines()
