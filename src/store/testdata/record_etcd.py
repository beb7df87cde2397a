#!/usr/bin/python3
"""Writes what a real etcd answers to a random script of requests: the file that etcd_test.cc replays.

usage: record_etcd.py SEED COUNT [PORT] > etcd-SEED.txt

Starts its own etcd (with an empty directory, so that revisions begin at 1) on PORT and PORT + 1, default 25010.
The language is that of transcript.h: a request on one line, its answer on the next behind "-> ".
"""
import random
import subprocess
import sys
import tempfile
import time

import etcd3.etcdrpc as pb
import grpc

ORDERS = ["none", "asc", "desc"]
SORT_TARGETS = ["key", "version", "create", "mod", "value"]
COMPARE_TARGETS = ["version", "create", "mod", "value", "lease"]
RESULTS = ["=", ">", "<", "!="]
ERRORS = {
    "etcdserver: key is not provided": "empty_key",
    "etcdserver: key not found": "key_not_found",
    "etcdserver: value is provided": "value_provided",
    "etcdserver: lease is provided": "lease_provided",
    "etcdserver: too many operations in txn request": "too_many_ops",
    "etcdserver: duplicate key given in txn request": "duplicate_key",
    "etcdserver: mvcc: required revision has been compacted": "compacted",
    "etcdserver: mvcc: required revision is a future revision": "future_revision",
    "etcdserver: requested lease not found": "lease_not_found",
}


def word(data):
    if not data:
        return "-"
    return "".join(chr(b) if 32 < b < 127 and b != 37 else "%%%02x" % b for b in data)


class Script:
    """Makes requests up: each is (text, protobuf message)."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.revision = 1

    def chance(self, n):
        return self.random.randrange(n) == 0

    def key(self):
        if self.chance(200):
            return b""
        return bytes("k%d" % self.random.randrange(12), "ascii")

    def end(self):
        return self.random.choice([b"", b"", b"", b"\0", b"k5", b"k2", b"l", b"a"])

    def value(self):
        return self.random.choice([b"", b"x", b"y", b"z", b"\x01 %"])

    def some_revision(self):
        return max(-2, self.revision + self.random.choice([0, -1, -2, -3, -5, -8, -13, -30, 1, 2]))

    def put(self):
        m = pb.PutRequest(key=self.key(), value=self.value())
        text = ["put", word(m.key), word(m.value)]
        if self.chance(40):
            m.lease = 5
            text.append("lease=5")
        if self.chance(3):
            m.prev_kv = True
            text.append("prev")
        if self.chance(8):
            m.ignore_value = True
            text.append("ignore_value")
            if not self.chance(10):
                m.value = b""
                text[2] = "-"
        if self.chance(12):
            m.ignore_lease = True
            text.append("ignore_lease")
        return " ".join(text), m

    def delete(self):
        m = pb.DeleteRangeRequest(key=self.key())
        text = ["del", word(m.key)]
        if self.chance(3):
            m.range_end = self.end()
            if m.range_end:
                text.append(word(m.range_end))
        if self.chance(2):
            m.prev_kv = True
            text.append("prev")
        return " ".join(text), m

    def range(self):
        m = pb.RangeRequest(key=self.key(), range_end=self.end())
        text = ["range", word(m.key)]
        if m.range_end:
            text.append(word(m.range_end))
        if self.chance(3):
            m.limit = self.random.choice([1, 2, 3, 5, -1])
            text.append("limit=%d" % m.limit)
        if self.chance(3):
            m.revision = self.some_revision()
            text.append("rev=%d" % m.revision)
        if self.chance(2):
            m.sort_order = self.random.randrange(3)
            text.append("sort=" + ORDERS[m.sort_order])
        if self.chance(2):
            m.sort_target = self.random.randrange(5)
            text.append("by=" + SORT_TARGETS[m.sort_target])
        if self.chance(6):
            m.keys_only = True
            text.append("keys_only")
        if self.chance(8):
            m.count_only = True
            text.append("count_only")
        for name, field in (("min_mod", "min_mod_revision"), ("max_mod", "max_mod_revision"),
                            ("min_create", "min_create_revision"), ("max_create", "max_create_revision")):
            if self.chance(8):
                setattr(m, field, max(0, self.some_revision()))
                text.append("%s=%d" % (name, getattr(m, field)))
        return " ".join(text), m

    def compare(self):
        m = pb.Compare(key=self.key(), target=self.random.randrange(5), result=self.random.randrange(4))
        text = [COMPARE_TARGETS[m.target], word(m.key)]
        if self.chance(3):
            m.range_end = self.end()
            if m.range_end:
                text.append(word(m.range_end))
        text.append(RESULTS[m.result])
        if m.target == pb.Compare.VALUE:
            m.value = self.value()
            text.append(word(m.value))
        else:
            number = max(0, self.random.choice([0, 1, 2, self.some_revision()]))
            field = ["version", "create_revision", "mod_revision", None, "lease"][m.target]
            setattr(m, field, number)
            text.append(str(number))
        return " ".join(text), m

    def operations(self, depth):
        texts, messages = [], []
        for _ in range(self.random.randrange(4)):
            kind = self.random.randrange(7 if depth < 2 else 6)
            if kind < 2:
                text, m = self.range()
                messages.append(pb.RequestOp(request_range=m))
            elif kind < 5:
                text, m = self.put()
                messages.append(pb.RequestOp(request_put=m))
            elif kind < 6:
                text, m = self.delete()
                messages.append(pb.RequestOp(request_delete_range=m))
            else:
                text, m = self.txn(depth + 1)
                messages.append(pb.RequestOp(request_txn=m))
            texts.append(text)
        return "[ " + "".join(t + " ; " for t in texts) + "]", messages

    def txn(self, depth=0):
        compares = [self.compare() for _ in range(self.random.randrange(3))]
        success = self.operations(depth)
        failure = self.operations(depth)
        text = "txn [ %s] %s %s" % ("".join(t + " ; " for t, _ in compares), success[0], failure[0])
        return text, pb.TxnRequest(compare=[m for _, m in compares], success=success[1], failure=failure[1])

    def compact(self):
        m = pb.CompactionRequest(revision=self.some_revision())
        return "compact %d" % m.revision, m

    def request(self):
        kind = self.random.randrange(100)
        if kind < 30:
            return self.put()
        if kind < 60:
            return self.range()
        if kind < 70:
            return self.delete()
        if kind < 97:
            return self.txn()
        return self.compact()


def kv_text(kv):
    lease = ",%d" % kv.lease if kv.lease else ""
    return " %s=%s(%d,%d,%d%s)" % (word(kv.key), word(kv.value), kv.create_revision, kv.mod_revision, kv.version,
                                   lease)


def answer_text(m):
    if isinstance(m, pb.PutResponse):
        return "put" + (kv_text(m.prev_kv) if m.HasField("prev_kv") else "")
    if isinstance(m, pb.RangeResponse):
        return "range %d%s%s" % (m.count, " more" if m.more else "", "".join(map(kv_text, m.kvs)))
    if isinstance(m, pb.DeleteRangeResponse):
        return "del %d%s" % (m.deleted, "".join(map(kv_text, m.prev_kvs)))
    if isinstance(m, pb.CompactionResponse):
        return "compact"
    results = [answer_text(getattr(r, r.WhichOneof("response"))) for r in m.responses]
    return "txn %s [%s ]" % ("yes" if m.succeeded else "no", " ;".join(" " + r for r in results))


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 25010
    client, peer = "http://127.0.0.1:%d" % port, "http://127.0.0.1:%d" % (port + 1)
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            ["etcd", "--data-dir", directory, "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster",
             "default=" + peer, "--unsafe-no-fsync"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            stub = pb.KVStub(grpc.insecure_channel("127.0.0.1:%d" % port))
            stub.Range(pb.RangeRequest(key=b"k"), wait_for_ready=True, timeout=30)
            time.sleep(0.5)
            record(stub, Script(seed), count)
        finally:
            server.terminate()
            server.wait()


def record(stub, script, count):
    methods = {pb.PutRequest: stub.Put, pb.RangeRequest: stub.Range, pb.DeleteRangeRequest: stub.DeleteRange,
               pb.TxnRequest: stub.Txn, pb.CompactionRequest: stub.Compact}
    for _ in range(count):
        text, message = script.request()
        try:
            response = methods[type(message)](message)
            script.revision = response.header.revision
            answer = "%d %s" % (response.header.revision, answer_text(response))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                # etcd 3.4 dies of a put with ignore_value whose key an earlier operation of the same transaction
                # deleted with a range to the end.
                sys.exit("etcd died of: " + text)
            answer = "error " + ERRORS[error.details()]
        print(text)
        print("-> " + answer)


main()
