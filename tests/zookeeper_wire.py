"""ZooKeeper's wire protocol as far as tests need it: a client that sends any bytes, valid or not,
and sees every result code, Stat and event; and a real ZooKeeper to compare with.

A result is a Reply: xid, zxid, err, and what the answer's body says, decoded by what was asked.
"""

import dataclasses
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import harness

CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN, SYNC = range(1, 10)
PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG, CHECK_WATCHES, REMOVE_WATCHES = range(11, 19)
CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = range(19, 23)
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER = range(100, 105)
SET_WATCHES2, ADD_WATCH, WHO_AM_I = range(105, 108)
CREATE_SESSION, CLOSE_SESSION = -10, -11

WATCH_XID, PING_XID, AUTH_XID = -1, -2, -4

# Of Debian's packages: ZooKeeper, and a log that says nothing.
CLASSES = '/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar'
# And what its admin server is made of.
ADMIN_CLASSES = ''.join(
    f':/usr/share/java/{name}.jar'
    for name in (
        *(f'jetty9-{part}' for part in 'server servlet util util-ajax http io security'.split()),
        *(f'jackson-{part}' for part in 'core databind annotations'.split()),
        'servlet-api',
    )
)

OPEN_ACL = [(31, 'world', 'anyone')]

NAMES = {
    value: name.lower()
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int) and not name.endswith('_XID')
}


# --- jute ---


def int32(number):
    return struct.pack('>i', number)


def int64(number):
    return struct.pack('>q', number)


def boolean(value):
    return b'\1' if value else b'\0'


def buffer(data):
    """None is jute's null."""
    return int32(-1) if data is None else int32(len(data)) + data


def string(text):
    return buffer(text.encode() if isinstance(text, str) else text)


def vector(items, encode):
    return int32(-1) if items is None else int32(len(items)) + b''.join(map(encode, items))


def acls(entries):
    return vector(entries, lambda acl: int32(acl[0]) + string(acl[1]) + string(acl[2]))


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        taken = self.data[self.at : self.at + size]
        assert len(taken) == size, f'an answer ends early: {self.data.hex()}'
        self.at += size
        return taken

    def int32(self):
        return struct.unpack('>i', self.take(4))[0]

    def int64(self):
        return struct.unpack('>q', self.take(8))[0]

    def boolean(self):
        return self.take(1) != b'\0'

    def buffer(self):
        size = self.int32()
        return None if size < 0 else self.take(size)

    def string(self):
        data = self.buffer()
        return None if data is None else data.decode()

    def vector(self, decode):
        return [decode() for _ in range(self.int32())]

    def acls(self):
        return self.vector(lambda: (self.int32(), self.string(), self.string()))

    def stat(self):
        return Stat(*struct.unpack('>qqqqiiiqiiq', self.take(68)))

    def is_at_end(self):
        return self.at == len(self.data)


@dataclasses.dataclass
class Stat:
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int


@dataclasses.dataclass
class Event:
    type: int
    state: int
    path: str
    zxid: int = -1


@dataclasses.dataclass
class Reply:
    xid: int
    zxid: int
    err: int
    body: object = None


class Closed(ConnectionError):
    """The server has closed the connection."""


# --- requests: (opcode, bytes) ---


def create(path, data=b'', acl=None, flags=0, opcode=CREATE):
    return opcode, string(path) + buffer(data) + acls(OPEN_ACL if acl is None else acl) + int32(
        flags
    )


def create_ttl(path, data, ttl, flags=5, acl=None):
    return CREATE_TTL, create(path, data, acl, flags)[1] + int64(ttl)


def delete(path, version=-1):
    return DELETE, string(path) + int32(version)


def set_data(path, data, version=-1):
    return SET_DATA, string(path) + buffer(data) + int32(version)


def check(path, version):
    return CHECK, string(path) + int32(version)


def read(opcode, path, watch=False):
    """exists, getData, getChildren, getChildren2."""
    return opcode, string(path) + boolean(watch)


def get_acl(path):
    return GET_ACL, string(path)


def set_acl(path, acl, version=-1):
    return SET_ACL, string(path) + acls(acl) + int32(version)


def sync(path):
    return SYNC, string(path)


def multi(operations, opcode=MULTI):
    parts = [int32(kind) + boolean(False) + int32(-1) + body for kind, body in operations]
    return opcode, b''.join(parts) + int32(-1) + boolean(True) + int32(-1)


def watches(opcode, path, kind):
    """addWatch (0 persistent, 1 recursive), checkWatches and removeWatches (1 children, 2 data, 3
    any)."""
    return opcode, string(path) + int32(kind)


def set_watches(zxid, data=(), exist=(), child=(), persistent=None, recursive=()):
    lists = [data, exist, child] + ([] if persistent is None else [persistent, recursive])
    opcode = SET_WATCHES if persistent is None else SET_WATCHES2
    return opcode, int64(zxid) + b''.join(vector(paths, string) for paths in lists)


# --- answers ---


def decode_multi(reader):
    results = []
    while True:
        kind, done, err = reader.int32(), reader.boolean(), reader.int32()
        if done:
            assert (kind, err) == (-1, -1), (kind, err)
            return results
        if kind == -1:
            results.append(('error', err, reader.int32()))
        else:
            results.append((NAMES[kind], err, decode_body(kind, reader)))


def decode_body(kind, reader):
    if kind in (CREATE, SYNC):
        return reader.string()
    if kind in (CREATE2, CREATE_CONTAINER, CREATE_TTL):
        return reader.string(), reader.stat()
    if kind in (EXISTS, SET_DATA, SET_ACL):
        return reader.stat()
    if kind in (GET_DATA, RECONFIG):
        return reader.buffer(), reader.stat()
    if kind == GET_ACL:
        return reader.acls(), reader.stat()
    if kind in (GET_CHILDREN, GET_EPHEMERALS):
        return sorted(reader.vector(reader.string))
    if kind == GET_CHILDREN2:
        return sorted(reader.vector(reader.string)), reader.stat()
    if kind in (MULTI, MULTI_READ):
        return decode_multi(reader)
    if kind in (GET_ALL_CHILDREN_NUMBER, ADD_WATCH):
        return reader.int32()
    if kind == WHO_AM_I:
        return reader.vector(lambda: (reader.string(), reader.string()))
    return None


class Client:
    """One connection. With `session` and `password` it asks for that session; with `tls`, an
    ssl.SSLContext, it is encrypted."""

    def __init__(
        self,
        address,
        timeout_ms=10_000,
        session=0,
        password=bytes(16),
        zxid=0,
        read_only=False,
        tls=None,
    ):
        self.address = address
        self.events = []
        self.asked = {}  # xid -> opcode
        self.xid = 0
        self.received = b''
        self.zxid = zxid
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        request = int32(0) + int64(zxid) + int32(timeout_ms) + int64(session) + buffer(password)
        self.send_packet(request + (b'' if read_only is None else boolean(read_only)))
        answer = Reader(self.receive_packet())
        self.protocol, self.timeout_ms = answer.int32(), answer.int32()
        self.session, self.password = answer.int64(), answer.buffer()
        self.has_read_only = not answer.is_at_end()
        self.is_read_only = self.has_read_only and answer.boolean()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def send_packet(self, payload):
        self.socket.settimeout(20)
        self.socket.sendall(int32(len(payload)) + payload)

    def receive_packet(self, timeout=20):
        deadline = time.monotonic() + timeout
        while True:
            if len(self.received) >= 4:
                size = struct.unpack('>i', self.received[:4])[0]
                assert 0 <= size < 1 << 26, f'an answer of {size} bytes'
                if len(self.received) >= 4 + size:
                    packet = self.received[4 : 4 + size]
                    self.received = self.received[4 + size :]
                    return packet
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                more = self.socket.recv(1 << 16)
            except ConnectionError as error:
                raise Closed from error
            if not more:
                raise Closed
            self.received += more

    def send(self, request, xid=None):
        opcode, body = request
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.asked[xid] = opcode
        self.send_packet(int32(xid) + int32(opcode) + body)
        return xid

    def receive(self, timeout=20):
        """The next answer; events before it go to `events`."""
        while True:
            found = self.receive_any(timeout)
            if isinstance(found, Reply):
                return found
            self.events.append(found)

    def receive_any(self, timeout=20):
        reader = Reader(self.receive_packet(timeout))
        xid, zxid, err = reader.int32(), reader.int64(), reader.int32()
        if xid == WATCH_XID:
            event = Event(reader.int32(), reader.int32(), reader.string(), zxid)
            assert reader.is_at_end(), 'bytes after an event'
            return event
        reply = Reply(xid, zxid, err)
        kind = self.asked[xid]
        if not reader.is_at_end():
            reply.body = decode_body(kind, reader)
        assert reader.is_at_end(), f'bytes after the answer to {NAMES.get(kind, kind)}'
        if zxid > 0:
            self.zxid = zxid
        return reply

    def ask(self, request, xid=None, timeout=20):
        sent = self.send(request, xid)
        reply = self.receive(timeout)
        assert reply.xid == sent, f'{reply.xid} was answered and not {sent}'
        return reply

    def ping(self):
        return self.ask((PING, b''), PING_XID)

    def auth(self, scheme, credentials):
        body = int32(0) + string(scheme) + buffer(credentials)
        return self.ask((AUTH, body), AUTH_XID)

    def take_events(self, wait_s=0):
        """All events that have come, or come before nothing has for so long."""
        while True:
            try:
                found = self.receive_any(wait_s)
            except (TimeoutError, Closed):
                taken, self.events = self.events, []
                return taken
            assert isinstance(found, Event), found
            self.events.append(found)

    def close(self):
        """Ends the session and waits until the server has."""
        reply = self.ask((CLOSE_SESSION, b''))
        self.drop()
        return reply

    def drop(self):
        """Ends the connection and not the session."""
        self.socket.close()


def four_letters(address, word, timeout=10):
    """What the server says to one of its four-letter words."""
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(word.encode())
        said = b''
        while True:
            try:
                more = connection.recv(1 << 16)
            except ConnectionResetError:
                return said.decode()
            if not more:
                return said.decode()
            said += more


class Server:
    """A real ZooKeeper, alone, in a temporary directory."""

    def __init__(self, properties=(), with_admin=False):
        self.port = harness.free_port()
        self.admin = ('127.0.0.1', harness.free_port()) if with_admin else None
        self.directory = tempfile.mkdtemp(prefix='conclave-zookeeper-')
        self.properties = list(properties)
        settings = [
            f'dataDir={self.directory}/data',
            f'clientPort={self.port}',
            'clientPortAddress=127.0.0.1',
            'tickTime=2000',
            *(
                ['admin.serverAddress=%s' % self.admin[0], 'admin.serverPort=%s' % self.admin[1]]
                if self.admin
                else ['admin.enableServer=false']
            ),
            'maxClientCnxns=0',
            '4lw.commands.whitelist=*',
            'extendedTypesEnabled=true',
        ]
        with open(f'{self.directory}/zoo.cfg', 'w', encoding='ascii') as config:
            config.write('\n'.join(settings) + '\n')
        self.process = None

    @property
    def address(self):
        return '127.0.0.1', self.port

    def start(self):
        command = [
            shutil.which('java'),
            '-Xmx512m',
            '-cp',
            CLASSES + (ADMIN_CLASSES if self.admin else ''),
            *(f'-D{each}' for each in self.properties),
            'org.apache.zookeeper.server.ZooKeeperServerMain',
            f'{self.directory}/zoo.cfg',
        ]
        with open(f'{self.directory}/log', 'ab') as log:
            self.process = harness.spawn(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )
        harness.wait_until(
            lambda: four_letters(self.address, 'isro') == 'rw', 30, 'ZooKeeper to start'
        )
        return self

    def stop(self):
        if self.process is not None:
            self.process.kill()
            harness.reap(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Ensemble:
    """Three real ZooKeepers that take part in one ensemble, with reconfig."""

    def __init__(self, properties=()):
        self.directory = tempfile.mkdtemp(prefix='conclave-zookeeper-')
        self.properties = list(properties)
        self.ports = {number: [harness.free_port() for _ in range(3)] for number in (1, 2, 3)}
        self.processes = {}

    def line(self, number):
        """What its configuration says of the server of this number."""
        peer, election, client = self.ports[number]
        return f'127.0.0.1:{peer}:{election}:participant;127.0.0.1:{client}'

    def address(self, number=1):
        return '127.0.0.1', self.ports[number][2]

    def start(self):
        for number in self.ports:
            self._write_settings(number)
            command = [shutil.which('java'), '-Xmx256m', '-cp', CLASSES]
            command += [f'-D{each}' for each in self.properties]
            command += ['org.apache.zookeeper.server.quorum.QuorumPeerMain']
            command += [f'{self.directory}/{number}/zoo.cfg']
            with open(f'{self.directory}/{number}/log', 'ab') as log:
                self.processes[number] = harness.spawn(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
                )
        for number in self.ports:
            harness.wait_until(
                lambda number=number: four_letters(self.address(number), 'isro') == 'rw',
                60,
                'an ensemble of ZooKeeper to start',
            )
        return self

    def _write_settings(self, number):
        data = f'{self.directory}/{number}/data'
        os.makedirs(data)
        with open(f'{data}/myid', 'w', encoding='ascii') as myid:
            myid.write(str(number))
        settings = [
            f'dataDir={data}',
            'tickTime=2000',
            'initLimit=10',
            'syncLimit=5',
            'admin.enableServer=false',
            'reconfigEnabled=true',
            '4lw.commands.whitelist=*',
            *(f'server.{each}={self.line(each)}' for each in self.ports),
        ]
        with open(f'{self.directory}/{number}/zoo.cfg', 'w', encoding='ascii') as config:
            config.write('\n'.join(settings) + '\n')

    def stop(self):
        for process in self.processes.values():
            process.kill()
            harness.reap(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()
