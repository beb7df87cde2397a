"""One redis-server that fsyncs its log before it answers (appendfsync always), loaded by redis-benchmark.

A peer for single writes without agreement: one process, one copy. What it answers is proved by its own count of SETs.
"""

import csv
import io
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cluster import START_TIMEOUT_S, end_process, free_ports

VALUE_BYTES = 256
PATIENCE_S = 600


class RedisError(Exception):
    """The server did not start, or did not do what redis-benchmark counted."""


@dataclass(frozen=True)
class Sample:
    requests_per_s: float
    p50_us: float
    p99_us: float


class RedisServer:
    """Started fresh in `directory`, which goes when the `with` block ends."""

    name = "redis"

    def __init__(self, directory, base_port):
        self.directory = Path(directory)
        self.port = free_ports(base_port, 1)[0]

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory),
             "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._ask("ping", checked=False).strip() != "PONG":
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RedisError("redis-server does not start")
            time.sleep(0.05)
        if self._ask("config", "get", "appendfsync").split()[-1] != "always":
            raise RedisError("redis-server does not fsync always")
        return self

    def __exit__(self, *_):
        end_process(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def sample(self, in_flight, seconds):
        """SETs of one key, one in flight on each of `in_flight` connections; the rate of a short run says how many."""
        rate = self._benchmark(in_flight, 2_000).requests_per_s
        count = max(in_flight, round(rate * seconds))
        before = self._sets()
        sample = self._benchmark(in_flight, count)
        if self._sets() - before != count:
            raise RedisError(f"redis-benchmark counted {count} SETs, redis-server {self._sets() - before}")
        return sample

    def _benchmark(self, in_flight, count):
        words = ["redis-benchmark", "-p", str(self.port), "-t", "set", "-c", str(in_flight), "-n", str(count),
                 "-d", str(VALUE_BYTES), "--csv"]
        try:
            result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise RedisError(f"redis-benchmark did not end within {PATIENCE_S} s") from error
        rows = [row for row in csv.DictReader(io.StringIO(result.stdout)) if row.get("test") == "SET"]
        if result.returncode != 0 or not rows:
            raise RedisError(f"redis-benchmark: {result.stdout}{result.stderr}")
        return Sample(float(rows[0]["rps"]), float(rows[0]["p50_latency_ms"]) * 1000,
                      float(rows[0]["p99_latency_ms"]) * 1000)

    def _sets(self):
        found = re.search(r"cmdstat_set:calls=(\d+),.*rejected_calls=0,failed_calls=0", self._ask("info", "commandstats"))
        if not found:
            raise RedisError("redis-server counts no SETs, or refused some")
        return int(found[1])

    def _ask(self, *words, checked=True):
        result = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True)
        if checked and result.returncode != 0:
            raise RedisError(f"redis-cli {words[0]}: {result.stdout}{result.stderr}")
        return result.stdout
