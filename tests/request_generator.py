"""Seeded random etcd requests, valid and not, over a handful of keys: what
tests/differential_test.py asks.

Sort orders and targets beyond those of the schema are left out: one such request stops an etcd 3.4
with a nil pointer. At most twelve keys exist at a time. Stock etcd sorts ranges with an unstable
sort that happens to be stable for so few, so that the order of equal elements can be compared too.
"""

from etcd3 import etcdrpc as rpc

KEYS = [b'a', b'aa', b'ab', b'b', b'ba', b'bb', b'c', b'ca', b'd', b'\x00', b'\xff', b'\xff\xff']
ENDS = KEYS + [b'', b'', b'\x00', b'e', b'ac']
LEASES = [1, 2, 3, 4, -5]
VALUES = [b'', b'1', b'2', b'10', b'\x00\xff', b'long' * 50]
MAX_DEPTH = 3
EXTREMES = [-(2**63), -(2**63) + 1, -2, 2**31, 2**32, 2**62, 2**63 - 1]


class Generator:
    def __init__(self, rng):
        self.rng = rng
        self.revision = 1  # of the store, as last heard
        self.compacted = 0

    def next(self):
        """(method, request message)"""
        kind = self.rng.choices(
            ['Put', 'Range', 'DeleteRange', 'Txn', 'Compact', 'Lease'], [30, 35, 10, 22, 3, 14]
        )[0]
        if kind == 'Lease':
            return self.lease()
        return kind, getattr(self, kind.lower())()

    def heard(self, revision):
        self.revision = max(self.revision, revision)

    def one_in(self, n):
        return self.rng.randrange(n) == 0

    def key(self):
        return b'' if self.one_in(60) else self.rng.choice(KEYS)

    def number(self):
        """A revision or version that makes a difference."""
        if self.one_in(25):
            return self.rng.choice(EXTREMES)
        near = self.rng.randint(max(1, self.revision - 40), self.revision + 2)
        return self.rng.choice([0, 1, 2, near, near, near, self.revision, -1])

    def past(self):
        if self.one_in(3):
            return self.rng.randint(max(1, self.revision - 40), self.revision)
        return self.number() if self.one_in(4) else 0

    def put(self):
        put = rpc.PutRequest(key=self.key(), value=self.rng.choice(VALUES), prev_kv=self.one_in(3))
        if self.one_in(8):
            put.ignore_value = True
            if not self.one_in(4):
                put.value = b''
        if self.one_in(12):
            put.ignore_lease = True
        if self.one_in(4):
            put.lease = 7777 if self.one_in(20) else self.rng.choice(LEASES)
        return put

    def lease(self):
        """Of leases that do not expire meanwhile."""
        lease = self.rng.choice(LEASES)
        kind = self.rng.choices(
            ['LeaseGrant', 'LeaseRevoke', 'LeaseKeepAlive', 'LeaseTimeToLive', 'LeaseLeases'],
            [6, 2, 2, 4, 1],
        )[0]
        if kind == 'LeaseGrant':
            ttl = self.rng.choice([10_000, 20_000, 9_000_000_000, 9_000_000_001, 2**63 - 1])
            return kind, rpc.LeaseGrantRequest(ID=lease, TTL=ttl)
        if kind == 'LeaseRevoke':
            return kind, rpc.LeaseRevokeRequest(ID=lease)
        if kind == 'LeaseKeepAlive':
            return kind, rpc.LeaseKeepAliveRequest(ID=lease)
        if kind == 'LeaseTimeToLive':
            return kind, rpc.LeaseTimeToLiveRequest(ID=lease, keys=not self.one_in(4))
        return kind, rpc.LeaseLeasesRequest()

    def range(self):
        request = rpc.RangeRequest(key=self.key())
        if not self.one_in(3):
            request.range_end = self.rng.choice(ENDS)
        if self.one_in(4):
            request.limit = self.rng.choice([1, 2, 3, 100, -1, *EXTREMES])
        if self.one_in(3):
            request.revision = self.past()
        if self.one_in(3):
            request.sort_order = self.rng.choice([0, 1, 2])
            request.sort_target = self.rng.choice([0, 1, 2, 3, 4])
        request.keys_only = self.one_in(6)
        request.count_only = self.one_in(8)
        request.serializable = self.one_in(8)
        for bound in (
            'min_mod_revision',
            'max_mod_revision',
            'min_create_revision',
            'max_create_revision',
        ):
            if self.one_in(10):
                setattr(request, bound, self.number())
        return request

    def deleterange(self):
        request = rpc.DeleteRangeRequest(key=self.key(), prev_kv=self.one_in(2))
        if self.one_in(3):
            request.range_end = self.rng.choice(ENDS)
        return request

    def compact(self):
        behind = self.rng.choice([-2, -1, 0, 3, 10, 30, 100])
        revision = self.rng.choice(EXTREMES) if self.one_in(10) else self.revision - behind
        return rpc.CompactionRequest(revision=revision, physical=self.one_in(4))

    def compare(self):
        compare = rpc.Compare(
            result=self.rng.randrange(4), target=self.rng.randrange(5), key=self.key()
        )
        if self.one_in(3):
            compare.range_end = self.rng.choice(ENDS)
        field = ['version', 'create_revision', 'mod_revision', 'value', 'lease'][compare.target]
        if self.one_in(40):
            compare.result = self.rng.choice([4, 9])
        if self.one_in(40):
            compare.target = self.rng.choice([5, 9])
        if self.one_in(20):
            field = self.rng.choice(['version', 'value', None])
        if field == 'value':
            compare.value = self.rng.choice(VALUES)
        elif field is not None:
            setattr(compare, field, self.number())
        return compare

    def operation(self, depth):
        kinds = ['put', 'range', 'deleterange'] + (['txn'] if depth < MAX_DEPTH else [])
        kind = self.rng.choices(kinds, [5, 4, 2, 2][: len(kinds)])[0]
        if self.one_in(200):
            return rpc.RequestOp()
        if kind == 'txn':
            return rpc.RequestOp(request_txn=self.txn(depth + 1))
        name = {
            'put': 'request_put',
            'range': 'request_range',
            'deleterange': 'request_delete_range',
        }[kind]
        return rpc.RequestOp(**{name: getattr(self, kind)()})

    def txn(self, depth=0):
        few = [0, 0, 1, 1, 2, 3]
        return rpc.TxnRequest(
            compare=[self.compare() for _ in range(self.rng.choice(few))],
            success=[self.operation(depth) for _ in range(self.rng.choice(few))],
            failure=[self.operation(depth) for _ in range(self.rng.choice(few))],
        )
