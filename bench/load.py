"""bench-load (load.cc): gRPC requests whose bodies differ by a number, and streams that are held open.

For what h2load cannot do; h2load.py is used for everything else. A Report's requests are all answered with grpc-status
0, or there is none.
"""

import json
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from h2load import grpc_frame

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build/bench/bench-load"
PLACE = b"########"  # where a number goes
CONNECTIONS = 8
IN_FLIGHT = 256


class LoadError(Exception):
    """The generator did not run, or some request was refused."""


@dataclass(frozen=True)
class Report:
    requests: int
    refused: int
    retried: int
    seconds: float
    p50_us: float
    p99_us: float
    p999_us: float
    longest_us: float
    client_cpu_seconds: float

    @property
    def requests_per_s(self):
        return self.requests / self.seconds


def run(endpoint, path, message, *flags, in_flight=IN_FLIGHT, until=None):
    """`flags` are bench-load's; its comment says which there are. It is ended early when `until` says so."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(grpc_frame(message))
        body.flush()
        process = subprocess.Popen(
            _words(endpoint, path, body.name, CONNECTIONS, in_flight // CONNECTIONS, flags),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            try:
                while until and process.poll() is None and not until():
                    time.sleep(0.2)
                if until:
                    process.send_signal(signal.SIGINT)
                output, errors = process.communicate()
            except BaseException:
                process.kill()
                raise
    if process.returncode != 0:
        raise LoadError(f"{path}: {errors.strip()}")
    report = Report(**json.loads(output))
    if report.refused:
        raise LoadError(f"{path}: {report.refused} of {report.requests} requests were refused")
    return report


class Held:
    """`streams` on each of `connections` that send `messages` and stay open; counts what comes back."""

    def __init__(self, endpoint, path, messages, connections, streams, *flags):
        self.body = tempfile.NamedTemporaryFile()
        self.body.write(b"".join(grpc_frame(message) for message in messages))
        self.body.flush()
        words = _words(endpoint, path, self.body.name, connections, streams, ("--hold", *flags))
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.body.close()
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def wait_for(self, what, count):
        """`what`: "messages" or "field". When there were so many (time.monotonic), and both counts by then."""
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        if not line:
            raise LoadError(f"watching: {self.process.stderr.read().strip()}")
        return int(line[0]) / 1e9, int(line[1]), int(line[2])


def _words(endpoint, path, body, connections, streams, flags):
    return [PROGRAM, "--to", endpoint, "--path", path, "--body", body, "--connections", str(connections),
            "--streams", str(streams), *map(str, flags)]
