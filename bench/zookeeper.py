"""Real ZooKeeper and Conclave side by side, through ZooKeeper's own C client (zookeeper_load.c).

Each round starts a fresh three-member ensemble of one system, loads it, stops it, and does the same with the other, in
turns. A scenario is one kind of operation with a fixed number in flight, on a connection for each 16 of them; the
connections are spread over the members. What is printed is the median over the rounds.

No failed request can count: the load ends with an error unless every request succeeded, every get brought the data that
were written, and the nodes' versions and numbers of children say that each write was done once.

Durability is each system's default: both fsync before they acknowledge. ZooKeeper's reads are answered from a member's own
state, which may be old. Conclave's are linearizable; with --reads session they promise what ZooKeeper's do.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import machine
from cluster import MEMBERS, START_TIMEOUT_S, free_ports, process_cpu_seconds, process_peak_memory_bytes

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ("get", "set", "create", "mixed")
IN_FLIGHT = (1, 64, 256)
PER_CONNECTION = 16
VALUE_BYTES = 256
WARM_UP_S = 2
JARS = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar"


def word(port, text):
    """What the member at the port says to a four-letter word; nothing if nobody is there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(text.encode())
            said = b""
            while more := connection.recv(1 << 16):
                said += more
            return said.decode()
    except OSError:
        return ""


class Ensemble:
    """Three members of one system; its processes and directory go when its `with` block ends."""

    name = ""

    def __init__(self, directory, base_port, options):
        self.directory = Path(directory) / self.name
        self.ports = free_ports(base_port, 3 * MEMBERS)
        self.options = options
        self.processes = []

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        try:
            for member in range(MEMBERS):
                with open(self.directory / f"m{member + 1}.log", "wb") as log:
                    self.processes.append(subprocess.Popen(self.command(member), stdin=subprocess.DEVNULL,
                                                           stdout=log, stderr=log, cwd=self.directory))
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, error, traceback):
        self.stop()
        if kind is None:
            shutil.rmtree(self.directory)

    def wait(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            modes = sorted(line.split()[1] for port in self.client_ports for line in word(port, "srvr").splitlines()
                           if line.startswith("Mode: "))
            if modes == ["follower", "follower", "leader"]:
                return
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                sys.exit(f"{self.name} has not started; logs in {self.directory}")
            time.sleep(0.1)

    def stop(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    @property
    def client_ports(self):
        return self.ports[:MEMBERS]

    def cpu_seconds(self):
        return sum(process_cpu_seconds(process.pid) for process in self.processes)

    def peak_memory_bytes(self):
        return max(process_peak_memory_bytes(process.pid) for process in self.processes)


class ZooKeeper(Ensemble):
    name = "zookeeper"

    def command(self, member):
        data = self.directory / f"m{member + 1}"
        data.mkdir()
        (data / "myid").write_text(str(member + 1))
        lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={data}", "admin.enableServer=false",
                 "clientPortAddress=127.0.0.1", f"clientPort={self.ports[member]}", "maxClientCnxns=0"]
        lines += [f"server.{n + 1}=127.0.0.1:{self.ports[MEMBERS + n]}:{self.ports[2 * MEMBERS + n]}"
                  for n in range(MEMBERS)]
        config = self.directory / f"m{member + 1}.cfg"
        config.write_text("\n".join(lines) + "\n")
        return ["java", *self.options.java.split(), "-cp", JARS,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]


class Conclave(Ensemble):
    name = "conclave"

    def command(self, member):
        clients = [f"http://127.0.0.1:{port}" for port in self.ports[MEMBERS:2 * MEMBERS]]
        peers = [f"http://127.0.0.1:{port}" for port in self.ports[2 * MEMBERS:]]
        return [*self.options.conclave.split(), "--name", f"m{member}", "--data-dir", str(self.directory / f"m{member}"),
                "--listen-zookeeper", f"127.0.0.1:{self.ports[member]}", "--zookeeper-reads", self.options.reads,
                "--listen-client-urls", clients[member], "--advertise-client-urls", clients[member],
                "--listen-peer-urls", peers[member], "--initial-advertise-peer-urls", peers[member],
                "--initial-cluster", ",".join(f"m{n}={url}" for n, url in enumerate(peers)),
                "--quota-backend-bytes", "-1"]


def build_load(directory):
    program = directory / "zookeeper_load"
    subprocess.run(["cc", "-O2", str(ROOT / "bench/zookeeper_load.c"), "-o", str(program), "-l:libzookeeper_st.so.2"],
                   check=True)
    return program


def load(program, ensemble, operation, in_flight, seconds):
    hosts = " ".join(f"127.0.0.1:{port}" for port in ensemble.client_ports)
    connections = max(1, in_flight // PER_CONNECTION)
    done = subprocess.run([str(program), hosts, operation, str(in_flight), str(connections), str(seconds),
                           str(VALUE_BYTES)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench zookeeper: {ensemble.name}, {operation}, {in_flight} in flight: {done.stderr}")
    return json.loads(done.stdout)


def run_scenario(options, program, ensemble, operation, in_flight):
    before = ensemble.cpu_seconds()
    measured = load(program, ensemble, operation, in_flight, options.seconds)
    cpu_s = ensemble.cpu_seconds() - before
    return {"system": ensemble.name, "operation": operation, "in_flight": in_flight,
            "requests_per_s": measured["requests"] / measured["seconds"], "p50_ms": measured["p50_us"] / 1000,
            "p99_ms": measured["p99_us"] / 1000, "cpu_us_per_request": cpu_s / max(1, measured["requests"]) * 1e6,
            "peak_memory_bytes": ensemble.peak_memory_bytes()}


def median_of(samples, system, operation, in_flight):
    chosen = [s for s in samples if (s["system"], s["operation"], s["in_flight"]) == (system, operation, in_flight)]
    return {name: statistics.median(s[name] for s in chosen) for name in chosen[0] if name not in ("system", "operation")}


def report(options, samples):
    for operation in options.operations:
        print(f"\n{operation}, {VALUE_BYTES} bytes; median of {options.rounds}")
        print(f"{'in':>6} {'requests/s':^30} {'p50 ms':^19} {'p99 ms':^19} {'CPU us/request':^19}")
        names = f"{ZooKeeper.name:>10} {Conclave.name:>8}"
        print(f"{'flight':>6} {names} {'ratio':>9}  {names} {names} {names}")
        for in_flight in options.in_flight:
            theirs, ours = (median_of(samples, system.name, operation, in_flight) for system in (ZooKeeper, Conclave))
            ratio = ours["requests_per_s"] / theirs["requests_per_s"]
            print(f"{in_flight:>6} {theirs['requests_per_s']:>10,.0f} {ours['requests_per_s']:>8,.0f} {ratio:>8.1f}x  "
                  f"{theirs['p50_ms']:>10.2f} {ours['p50_ms']:>8.2f} {theirs['p99_ms']:>10.2f} {ours['p99_ms']:>8.2f} "
                  f"{theirs['cpu_us_per_request']:>10.0f} {ours['cpu_us_per_request']:>8.0f}")
    memory = {s: max(x["peak_memory_bytes"] for x in samples if x["system"] == s) for s in (ZooKeeper.name, Conclave.name)}
    print("\nMost memory of a member: " + ", ".join(f"{name} {size >> 20} MiB" for name, size in memory.items()))


def parse_options():
    parser = argparse.ArgumentParser(prog="scripts/bench zookeeper", description="ZooKeeper and Conclave side by side")
    parser.add_argument("--seconds", type=float, default=10, help="length of one scenario")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system runs each scenario")
    parser.add_argument("--in-flight", type=int, nargs="+", default=IN_FLIGHT, metavar="N")
    parser.add_argument("--only", default="", help="only operations whose name contains this")
    parser.add_argument("--reads", choices=["linearizable", "session"], default="linearizable", help="Conclave's")
    parser.add_argument("--java", default="-Xmx2g", help="flags for ZooKeeper's Java")
    parser.add_argument("--conclave", default=os.environ.get("CONCLAVE") or f"{ROOT}/build/conclave serve",
                        help="command that starts a member of Conclave")
    parser.add_argument("--directory", default=f"{ROOT}/build/bench/data", help="where the members keep their data")
    parser.add_argument("--base-port", type=int, default=23790)
    parser.add_argument("--json", default=f"{ROOT}/build/bench/zookeeper.json")
    options = parser.parse_args()
    options.operations = [each for each in OPERATIONS if options.only in each]
    if not options.operations:
        parser.error(f"--only {options.only}: no operation is called so")
    for in_flight in options.in_flight:
        if in_flight < 1 or (in_flight > PER_CONNECTION and in_flight % PER_CONNECTION != 0):
            parser.error(f"--in-flight {in_flight}: must be at most {PER_CONNECTION}, or a multiple of it")
    return options


def main():
    options = parse_options()
    scratch = Path(options.directory)
    scratch.mkdir(parents=True, exist_ok=True)
    program = build_load(scratch)
    facts = machine.facts(scratch)
    print(f"{facts['cores']} cores, {facts['processor']}, {facts['memory_gib']} GiB, Linux {facts['kernel']}, "
          f"data on {facts['filesystem']}, load average {facts['load_average_before']}")
    samples, syncs = [], []
    for number in range(options.rounds):
        for system in (ZooKeeper, Conclave) if number % 2 == 0 else (Conclave, ZooKeeper):
            syncs += machine.fdatasync_us(scratch)
            with system(scratch, options.base_port, options) as ensemble:
                load(program, ensemble, "mixed", 16, WARM_UP_S)  # Java gets faster as it goes
                for operation in options.operations:
                    for in_flight in options.in_flight:
                        samples.append(run_scenario(options, program, ensemble, operation, in_flight))
    print(f"4 KiB write + fdatasync: p50 {machine.percentile(syncs, 0.5) / 1000:.2f} ms, "
          f"p99 {machine.percentile(syncs, 0.99) / 1000:.2f} ms")
    report(options, samples)
    Path(options.json).write_text(json.dumps({"facts": facts, "samples": samples}, indent=1))
    print(f"\nEvery sample of every round: {options.json}")


if __name__ == "__main__":
    main()
