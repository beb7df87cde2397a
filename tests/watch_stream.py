"""A stream of watches for tests, with the fields that python3-etcd3's messages do not have.

    with WatchStream(member) as stream:
        stream.create(key=b'a', watch_id=7)
        stream.until(lambda responses: len(responses) == 1)
"""

import queue
import threading
import time

import grpc
from etcd3 import etcdrpc as rpc


def varint(value):
    value &= (1 << 64) - 1
    out = b''
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def part(number, payload):
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def create_request(watch_id=0, fragment=False, **fields):
    request = rpc.WatchCreateRequest(**fields).SerializeToString()
    if watch_id:
        request += bytes([7 << 3]) + varint(watch_id)
    if fragment:
        request += bytes([8 << 3, 1])
    return part(1, request)


def is_fragment(response):
    """Field 7, which the message does not know."""
    rest = rpc.WatchResponse()
    rest.CopyFrom(response)
    rest.DiscardUnknownFields()
    return rest.SerializeToString() != response.SerializeToString()


class WatchStream:
    """Requests go out as they are made; responses are kept as they come, by a thread."""

    def __init__(self, member, reads=True):
        self.responses = []
        self.error = None
        self._requests = queue.Queue()
        watch = member.channel.stream_stream(
            '/etcdserverpb.Watch/Watch',
            request_serializer=None,
            response_deserializer=rpc.WatchResponse.FromString,
        )
        self.call = watch(iter(self._requests.get, None))
        if reads:
            self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self):
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for response in self.call:
                self.responses.append(response)
        except grpc.RpcError as error:
            self.error = error

    def send(self, request):
        self._requests.put(request)

    def create(self, **fields):
        self.send(create_request(**fields))

    def cancel(self, watch_id):
        self.send(part(2, bytes([1 << 3]) + varint(watch_id)))

    def ask_progress(self):
        self.send(part(3, b''))

    def half_close(self):
        self._requests.put(None)

    def close(self):
        self._requests.put(None)
        self.call.cancel()

    def until(self, condition, timeout=10):
        """Waits until `condition(responses)`; fails with what has come."""
        deadline = time.monotonic() + timeout
        while not condition(self.responses):
            if self.error is not None:
                raise AssertionError(f'the stream ended: {self.error}')
            if time.monotonic() > deadline:
                raise AssertionError(f'waited in vain; so far: {self.responses[-5:]}')
            time.sleep(0.01)
        return self.responses

    def wait_created(self):
        return next(r for r in self.until(lambda all_: any(r.created for r in all_)) if r.created)

    def wait_events(self, count, timeout=10):
        self.until(lambda _: len(self.events()) >= count, timeout)
        return self.events()

    def events(self, watch_id=None):
        return [
            event
            for response in list(self.responses)
            if watch_id is None or response.watch_id == watch_id
            for event in response.events
        ]
