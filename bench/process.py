"""What the kernel says about a process: memory and time."""

from pathlib import Path


def memory_bytes(pid: int) -> dict[str, int]:
    """What a process holds: `pss` and `rss`, in bytes (proc(5), smaps_rollup)."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Pss", "Rss"):
            found[name.lower()] = int(value.split()[0]) * 1024
    return found


def forget_most_rss(pid: int) -> None:
    """Begin anew with what `most_rss_bytes` tells (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def most_rss_bytes(pid: int) -> int:
    """The most that a process has had resident since it was forgotten (proc(5), status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/status has no VmHWM")


def cpu_s(pid: int) -> float:
    """Time that the threads of a process have had a core so far, in seconds (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
