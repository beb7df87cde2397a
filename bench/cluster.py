"""Three members of one system on loopback: started fresh, asked through stock gRPC, stopped, gone.

A System is a name and the words that start one member of it; what follows them are etcd's flags, which Conclave
shares. A Cluster owns its processes and its data directory and removes both when its `with` block ends. Not for
sharing between threads.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

MEMBERS = 3
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
RESTART_TIMEOUT_S = 120
RETRY_S = 0.1  # of a client that waits for a new leader: then it asks another member
# Clusters that follow one another use the same ports, and must not inherit each other's connections.
CHANNEL_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500),
                   ("grpc.use_local_subchannel_pool", 1))
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class System:
    """`argv` starts one member once etcd's flags are appended; with a certificate in it all URLs have https."""
    name: str
    argv: tuple

    @property
    def ca(self):
        """The file of the authority that signed its certificate; None: no TLS."""
        flag = "--peer-trusted-ca-file"
        return self.argv[self.argv.index(flag) + 1] if flag in self.argv else None

    @property
    def scheme(self):
        return "https" if self.ca else "http"


class ClusterError(Exception):
    """A cluster that did not start, or that answered something else than it should; the text says what to look at."""


class Cluster:
    """`directory` is made for this cluster and removed with it, unless a member failed: then the logs stay."""

    def __init__(self, system, directory, base_port):
        self.system = system
        self.directory = Path(directory)
        self.ports = free_ports(base_port, 2 * MEMBERS)
        self.endpoints = [f"127.0.0.1:{port}" for port in self.ports[:MEMBERS]]
        self.processes = []
        self.channels = {}

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        try:
            for member in range(MEMBERS):
                self._start(member)
            self._wait_until_serving()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind, error, traceback):
        self._stop()
        if kind is None:
            shutil.rmtree(self.directory)

    def kv(self, endpoint):
        return rpc_pb2_grpc.KVStub(self._channel(endpoint))

    def status(self, endpoint, timeout_s=5):
        stub = rpc_pb2_grpc.MaintenanceStub(self._channel(endpoint))
        # gRPC for Python makes progress with connecting only while some request waits for it.
        return stub.Status(rpc_pb2.StatusRequest(), timeout=timeout_s, wait_for_ready=True)

    def leader(self):
        """The endpoint that says of itself that it leads."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            self._check_running()
            for endpoint in self.endpoints:
                with contextlib.suppress(grpc.RpcError):
                    status = self.status(endpoint, timeout_s=1)
                    if status.leader != 0 and status.leader == status.header.member_id:
                        return endpoint
            time.sleep(0.05)
        raise ClusterError(f"{self.system.name}: no member says that it leads; logs in {self.directory}")

    def process(self, endpoint):
        """The process of the member that clients reach there."""
        return self.processes[self.endpoints.index(endpoint)]

    def data_directory(self, endpoint):
        return self.directory / f"m{self.endpoints.index(endpoint) + 1}"

    def restart(self, endpoint):
        """Stops that member and starts it again; the seconds from its start until it is healthy: /health says so, and
        it answers a linearizable Range."""
        member = self.endpoints.index(endpoint)
        if endpoint in self.channels:
            self.channels.pop(endpoint).close()
        end_process(self.processes[member])
        began = time.monotonic()
        self._start(member)
        while time.monotonic() - began < RESTART_TIMEOUT_S:
            self._check_running()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._says_healthy(endpoint):
                    return time.monotonic() - began
            time.sleep(0.005)
        raise ClusterError(f"{self.system.name}: {endpoint} is not healthy after {RESTART_TIMEOUT_S} s; "
                           f"logs in {self.directory}")

    def fail_over(self, request):
        """Kills the leader; the seconds until another member has acknowledged `request`, a Put."""
        leader = self.leader()
        others = [endpoint for endpoint in self.endpoints if endpoint != leader]
        self.process(leader).kill()
        began = time.monotonic()
        for attempt in range(10_000):
            with contextlib.suppress(grpc.RpcError):
                self.kv(others[attempt % len(others)]).Put(request, timeout=RETRY_S)
                return time.monotonic() - began
            time.sleep(0.002)
        raise ClusterError(f"{self.system.name}: no write after its leader was killed; logs in {self.directory}")

    def peer_traffic(self):
        """Messages and bytes that the members sent to each other since they started, summed; None if they do not say."""
        secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.system.ca))
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
        pages = [direct.open(f"{self.system.scheme}://{endpoint}/metrics", timeout=10).read().decode() for endpoint in self.endpoints]
        counts = [[re.search(rf"^conclave_peer_sent_{what}_total (\S+)$", page, re.M) for page in pages]
                  for what in ("messages", "bytes")]
        if not all(found for each in counts for found in each):
            return None
        return tuple(sum(float(found[1]) for found in each) for each in counts)

    def cpu_seconds(self):
        """User and system time that the members used since they started, summed."""
        return sum(process_cpu_seconds(process.pid) for process in self.processes)

    def peak_memory_bytes(self):
        """The largest resident set of any member so far."""
        return max(process_peak_memory_bytes(process.pid) for process in self.processes)

    def _channel(self, endpoint):
        if endpoint not in self.channels:
            if self.system.ca:
                trust = grpc.ssl_channel_credentials(Path(self.system.ca).read_bytes())
                self.channels[endpoint] = grpc.secure_channel(endpoint, trust, CHANNEL_OPTIONS)
            else:
                self.channels[endpoint] = grpc.insecure_channel(endpoint, CHANNEL_OPTIONS)
        return self.channels[endpoint]

    def _start(self, member):
        log = open(self.directory / f"m{member + 1}.log", "ab")
        with log:
            process = subprocess.Popen(
                [*self.system.argv, *self._flags(member)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes[member:member + 1] = [process]

    def _flags(self, member):
        urls = [f"{self.system.scheme}://127.0.0.1:{port}" for port in self.ports]
        client, peer = urls[member], urls[MEMBERS + member]
        peers = ",".join(f"m{i + 1}={urls[MEMBERS + i]}" for i in range(MEMBERS))
        return ["--name", f"m{member + 1}", "--data-dir", str(self.directory / f"m{member + 1}"),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", peers, "--initial-cluster-state", "new",
                "--initial-cluster-token", "bench"]

    def _wait_until_serving(self):
        leader = self.leader()
        probe = rpc_pb2.PutRequest(key=b"bench/started", value=b"yes")
        for endpoint in [leader, *self.endpoints]:
            self._retry(lambda: self.kv(endpoint).Put(probe, timeout=5, wait_for_ready=True))

    def _retry(self, request):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return request()
            except grpc.RpcError as error:
                self._check_running()
                if time.monotonic() > deadline:
                    raise ClusterError(f"{self.system.name}: {error.details()}; logs in {self.directory}") from error
                time.sleep(0.1)

    def _check_running(self):
        for member, process in enumerate(self.processes):
            if process.poll() is not None:
                raise ClusterError(f"{self.system.name}: member m{member + 1} ended with {process.returncode}; "
                                   f"its log is {self.directory}/m{member + 1}.log")

    def _says_healthy(self, endpoint):
        host, port = endpoint.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/health")
            answer = connection.getresponse()
            health = answer.read()
            if answer.status != 200 or b"true" not in health:
                return False
            connection.request("POST", "/v3/kv/range", body=b'{"key": "AA=="}')
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200

    def _stop(self):
        for channel in self.channels.values():
            channel.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            end_process(process)


def end_process(process):
    """A process that a signal to end was sent to, or is sent now; killed if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(base, count):
    """The first `count` ports from `base` up that nobody listens on."""
    ports = []
    port = base
    while len(ports) < count:
        if port > 65535:
            raise ClusterError(f"fewer than {count} free ports above {base}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
        port += 1
    return ports


def process_cpu_seconds(pid):
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return (user_ticks + system_ticks) / CLOCK_TICKS_PER_S


def process_peak_memory_bytes(pid):
    return process_memory_bytes(pid, "VmHWM")


def process_memory_bytes(pid, what="VmRSS"):
    """`what`: a line of /proc/PID/status; by default what is resident now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise ClusterError(f"process {pid} has ended")
