"""What the numbers were measured on, so that a table can be read by somebody who was not there."""

import os
import platform
import subprocess
import time
from pathlib import Path

PROBE_WRITES = 300
PROBE_BLOCK_BYTES = 4096


def facts(directory):
    """Cores, processor, memory, kernel, and the file system that holds `directory`."""
    filesystem = subprocess.run(["df", "--output=fstype", directory], check=True, text=True, capture_output=True)
    return {
        "cores": os.cpu_count(),
        "processor": _first_value("/proc/cpuinfo", "model name"),
        "memory_gib": round(int(_first_value("/proc/meminfo", "MemTotal").split()[0]) / 1024 / 1024),
        "kernel": platform.release(),
        "filesystem": filesystem.stdout.split()[-1],
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def fdatasync_us(directory):
    """Microseconds that each of PROBE_WRITES takes: one block written into preallocated space, then fdatasync."""
    path = Path(directory) / "fdatasync.probe"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(file, 0, PROBE_WRITES * PROBE_BLOCK_BYTES)
        os.fsync(file)
        return [_timed_write_us(file, i * PROBE_BLOCK_BYTES) for i in range(PROBE_WRITES)]
    finally:
        os.close(file)
        path.unlink()


def percentile(values, share):
    """The smallest value that at least `share` (0 to 1) of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _timed_write_us(file, offset):
    started = time.perf_counter_ns()
    os.pwrite(file, b"x" * PROBE_BLOCK_BYTES, offset)
    os.fdatasync(file)
    return (time.perf_counter_ns() - started) / 1000


def _first_value(path, key):
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "unknown"
