"""Connections that break the rules of TCP manners, HTTP/1.1 and HTTP/2, as raw bytes, for
tests/bad_input_test.py."""

import os
import socket
import struct
import time

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload):
    return (
        struct.pack('>I', len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack('>I', stream)
        + payload
    )


def literal(name, value):
    """A header field, neither compressed nor indexed."""
    return b'\x00' + bytes([len(name)]) + name + bytes([len(value)]) + value


POST_HEADERS = (
    literal(b':method', b'POST')
    + literal(b':scheme', b'http')
    + literal(b':authority', b'x')
    + literal(b':path', b'/etcdserverpb.KV/Put')
    + literal(b'content-type', b'application/grpc')
    + literal(b'te', b'trailers')
)
START = PREFACE + frame(SETTINGS, 0, 0, b'')
OPEN = START + frame(HEADERS, END_HEADERS, 1, POST_HEADERS)

# What a client sends that no server can take; the connection (or at least the stream) must end.
HTTP2 = {
    'a frame longer than allowed': START + frame(DATA, 0, 1, b'x' * 20000),
    'a frame length without a frame': START + b'\xff\xff\xff\x00\x00\x00\x00\x00\x01',
    'data before headers': START + frame(DATA, 0, 1, b'x'),
    'headers on stream 0': START + frame(HEADERS, END_HEADERS, 0, POST_HEADERS),
    'headers on an even stream': START + frame(HEADERS, END_HEADERS, 2, POST_HEADERS),
    'headers that are not HPACK': START
    + frame(HEADERS, END_HEADERS, 1, b'\xff\xff\xff\xff\xff\xff'),
    'an HPACK index that is not there': START + frame(HEADERS, END_HEADERS, 1, b'\xfe'),
    'continuation without headers': START + frame(CONTINUATION, END_HEADERS, 1, b''),
    'headers interrupted by a ping': START
    + frame(HEADERS, 0, 1, POST_HEADERS)
    + frame(PING, 0, 0, b'12345678'),
    'settings of a broken length': START + frame(SETTINGS, 0, 0, b'12345'),
    'settings on a stream': START + frame(SETTINGS, 0, 1, b''),
    'settings with a bad window': START + frame(SETTINGS, 0, 0, struct.pack('>HI', 4, 0xFFFFFFFF)),
    'a ping of a broken length': START + frame(PING, 0, 0, b'123'),
    'a window update of zero': START + frame(WINDOW, 0, 0, struct.pack('>I', 0)),
    'a window that overflows': START + frame(WINDOW, 0, 0, struct.pack('>I', 0x7FFFFFFF)) * 2,
    'a reset of an idle stream': START + frame(RST, 0, 9, struct.pack('>I', 0)),
    'a push from a client': START
    + frame(PUSH, END_HEADERS, 1, struct.pack('>I', 2) + POST_HEADERS),
    'padding longer than the frame': OPEN + frame(DATA, 8, 1, b'\xff'),
    'a preface with a mistake': PREFACE[:-2] + b'xx' + frame(SETTINGS, 0, 0, b''),
}

# Well-formed HTTP/2 that is not gRPC: an answer with a status, or a reset, is right too.
GRPC = {
    'no message': OPEN + frame(DATA, END_STREAM, 1, b''),
    'half a message': OPEN + frame(DATA, END_STREAM, 1, b'\x00\x00\x00\x00\x09ab'),
    'a length beyond any limit': OPEN + frame(DATA, 0, 1, b'\x00\xff\xff\xff\xffab'),
    'a compressed message that is not': OPEN
    + frame(DATA, END_STREAM, 1, b'\x01\x00\x00\x00\x02ab'),
    'two messages': OPEN + frame(DATA, END_STREAM, 1, b'\x00\x00\x00\x00\x00' * 2),
    'a malformed timeout': START
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, POST_HEADERS + literal(b'grpc-timeout', b'soon')),
    'no path': START
    + frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        literal(b':method', b'POST') + literal(b':scheme', b'http'),
    ),
    'a GET': START
    + frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        literal(b':method', b'GET')
        + literal(b':scheme', b'http')
        + literal(b':path', b'/etcdserverpb.KV/Put'),
    ),
    'an upper-case header': START
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, POST_HEADERS + literal(b'X-Upper', b'1')),
}

POST = b'POST /v3/kv/put HTTP/1.1\r\nHost: x\r\n'
HTTP1 = {
    'random bytes': os.urandom(4096),
    'zero bytes': bytes(4096),
    'a broken request line': b'GARBAGE\r\n\r\n',
    'an unknown version': b'GET / HTTP/9.9\r\n\r\n',
    'a header without end': b'GET / HTTP/1.1\r\nX: ' + b'x' * (1 << 20),
    'headers without end': b'GET / HTTP/1.1\r\n' + b'X: y\r\n' * 100000,
    'a negative length': b'POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n',
    'two lengths': POST + b'Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
    'a length beyond any limit': POST + b'Content-Length: 99999999999\r\n\r\n',
    'a broken chunk': POST + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
    'TLS': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + os.urandom(500),
}


class Connection:
    """A raw connection to a member."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """False if the other side has closed already."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def until_closed(self, seconds):
        """What arrives until the other side closes; None if it does not within `seconds`."""
        received = b''
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError:
                return received
            if not data:
                return received
            received += data

    def outcome(self, seconds):
        """How the server took it: the kind of the first frame that answers or ends something
        (HEADERS, RST, GOAWAY), 'closed', or None if nothing happens within `seconds`."""
        received = b''
        deadline = time.monotonic() + seconds
        while True:
            while len(received) >= 9:
                length, kind = int.from_bytes(received[:3], 'big'), received[3]
                if kind in (HEADERS, RST, GOAWAY):
                    return kind
                if len(received) < 9 + length:
                    break
                received = received[9 + length :]
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError:
                return 'closed'
            if not data:
                return 'closed'
            received += data
