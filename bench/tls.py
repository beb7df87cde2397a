"""Conclave without and with TLS side by side, for clients and among the members (TLS 1.3, AES-128-GCM); and how many
handshakes a second a member takes part in. See side_by_side.py for what is measured and how."""

import os
import re
import subprocess
import sys
from pathlib import Path

from cluster import Cluster, System
from side_by_side import ROOT, Comparison, run

CERTIFICATES = Path(ROOT) / "build/bench/certificates"
PLAIN = os.environ.get("CONCLAVE") or f"{ROOT}/build/conclave serve"
KEYS = {"ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa": ("rsa:2048",)}
HANDSHAKE_SECONDS = 5


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"openssl {arguments[0]}: {done.stderr}")


def flags(kind):
    """Of a member with a certificate of that kind, made here."""
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    certificate, key = CERTIFICATES / f"{kind}.crt", CERTIFICATES / f"{kind}.key"
    openssl("req", "-x509", "-newkey", *KEYS[kind], "-nodes", "-days", "30", "-subj", "/CN=bench",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)
    return (f"--cert-file {certificate} --key-file {key} --peer-cert-file {certificate} --peer-key-file {key} "
            f"--peer-client-cert-auth --peer-trusted-ca-file {certificate}")


def measure_handshakes(command):
    """Two clients connect again and again."""
    print(f"\nHandshakes per second with one member ({HANDSHAKE_SECONDS} s, openssl s_time, a new connection each):")
    for kind, words in KEYS.items():
        system = System("conclave", tuple(f"{command} {flags(kind)}".split()))
        with Cluster(system, Path(ROOT) / "build/bench/data/handshakes", 23790) as cluster:
            target = cluster.leader()
            before = cluster.cpu_seconds()
            clients = [subprocess.Popen(["openssl", "s_time", "-connect", target, "-new", "-time", str(HANDSHAKE_SECONDS)],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
            outputs = [client.communicate()[0] for client in clients]
            cpu = cluster.cpu_seconds() - before
        counts = [int(re.search(r"^(\d+) connections in \d+ real seconds", output, re.M)[1]) for output in outputs]
        print(f"  {words[0]:<9} {sum(counts) / HANDSHAKE_SECONDS:>6,.0f} /s, "
              f"{cpu / sum(counts) * 1e6:,.0f} us of the members' CPU each, with what they do anyway")


if __name__ == "__main__":
    run(Comparison("tls", ("plain", PLAIN), ("tls", f"{PLAIN} {flags('ec')}")),
        then=lambda: measure_handshakes(PLAIN))
