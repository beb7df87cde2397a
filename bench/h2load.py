"""One h2load run of identical gRPC requests, and what it measured.

h2load knows HTTP, not gRPC: it counts a refused request (status 200 with a grpc-status in the trailers) as a success.
So a Run carries what the caller needs to prove that every request did its work: the exact number of requests and the
exact number of bytes of response bodies.
"""

import os
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import machine

MAX_CONNECTIONS = 8
PATIENCE_S = 600


class H2loadError(Exception):
    """h2load did not run, or some request did not get HTTP 200."""


@dataclass(frozen=True)
class Run:
    requests: int
    seconds: float
    response_body_bytes: int
    p50_us: float
    p99_us: float
    client_cpu_seconds: float

    @property
    def requests_per_s(self):
        return self.requests / self.seconds


@dataclass(frozen=True)
class Load:
    """`in_flight` requests at any time to `url`, spread over at most MAX_CONNECTIONS connections."""
    url: str
    message: bytes
    in_flight: int

    @property
    def connections(self):
        return min(self.in_flight, MAX_CONNECTIONS)

    def measure_rate(self, seconds):
        """Requests per second in a short run, which also warms the server up."""
        return _reported_rate(self._h2load([f"--duration={seconds}"])[0])

    def run(self, requests):
        """Exactly `requests` requests, each timed."""
        with tempfile.TemporaryDirectory(dir=_memory_directory()) as scratch:
            log = Path(scratch) / "requests.log"
            output, cpu_seconds = self._h2load([f"--requests={requests}", f"--log-file={log}"])
            latencies_us = [int(line.split()[2]) for line in log.read_text().splitlines()]
        _check_all_succeeded(output, requests, len(latencies_us))
        return Run(requests=requests,
                   seconds=requests / _reported_rate(output),
                   response_body_bytes=int(_match(r"traffic: .*\((\d+)\) data", output)),
                   p50_us=machine.percentile(latencies_us, 0.50),
                   p99_us=machine.percentile(latencies_us, 0.99),
                   client_cpu_seconds=cpu_seconds)

    def _h2load(self, how_long):
        before = os.times()
        with tempfile.NamedTemporaryFile() as body:
            body.write(grpc_frame(self.message))
            body.flush()
            result = _patiently(
                ["h2load", "--npn-list=h2", f"--clients={self.connections}", "--threads=1",
                 f"--max-concurrent-streams={self.in_flight // self.connections}",
                 f"--data={body.name}", "--header=content-type: application/grpc", "--header=te: trailers",
                 *how_long, self.url])
        after = os.times()
        if result.returncode != 0:
            raise H2loadError(f"h2load ended with {result.returncode}:\n{result.stdout}{result.stderr}")
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return result.stdout, cpu


def _patiently(words):
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise H2loadError(f"h2load did not end within {PATIENCE_S} s: some request is not answered") from error


def grpc_frame(message):
    """gRPC's framing of one uncompressed message: a flag byte, the length, the bytes."""
    return struct.pack(">BI", 0, len(message)) + message


def _check_all_succeeded(output, requests, logged):
    ok = int(_match(r"status codes: (\d+) 2xx", output))
    if (ok, logged) != (requests, requests):
        raise H2loadError(f"{requests} requests sent, {ok} answered with HTTP 200, {logged} timed:\n{output}")


def _reported_rate(output):
    seconds, unit = re.search(r"finished in ([\d.]+)(us|ms|s)", output).groups()
    rate = float(_match(r"finished in .*, ([\d.]+) req/s", output))
    if rate == 0:
        raise H2loadError(f"no request was answered in {seconds}{unit}:\n{output}")
    return rate


def _match(pattern, output):
    found = re.search(pattern, output)
    if not found:
        raise H2loadError(f"h2load printed nothing like '{pattern}':\n{output}")
    return found.group(1)


def _memory_directory():
    # A log on the servers' file system would be flushed along with their fsyncs.
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
