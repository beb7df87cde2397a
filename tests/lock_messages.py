"""The messages of etcd's Lock and Election services, which python3-etcd3 does not have, and their
methods.

    locks = Services(member.channel)
    key = locks.lock(name=b'a', lease=7).key
"""

from etcd3.etcdrpc import kv_pb2, rpc_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto
BYTES, INT64 = Field.TYPE_BYTES, Field.TYPE_INT64
HEADER = '.etcdserverpb.ResponseHeader'
LEADER = '.v3electionpb.LeaderKey'

LOCK_FILE = {
    'LockRequest': [('name', BYTES), ('lease', INT64)],
    'LockResponse': [('header', HEADER), ('key', BYTES)],
    'UnlockRequest': [('key', BYTES)],
    'UnlockResponse': [('header', HEADER)],
}
ELECTION_FILE = {
    'LeaderKey': [('name', BYTES), ('key', BYTES), ('rev', INT64), ('lease', INT64)],
    'CampaignRequest': [('name', BYTES), ('lease', INT64), ('value', BYTES)],
    'CampaignResponse': [('header', HEADER), ('leader', LEADER)],
    'ProclaimRequest': [('leader', LEADER), ('value', BYTES)],
    'ProclaimResponse': [('header', HEADER)],
    'LeaderRequest': [('name', BYTES)],
    'LeaderResponse': [('header', HEADER), ('kv', '.mvccpb.KeyValue')],
    'ResignRequest': [('leader', LEADER)],
    'ResignResponse': [('header', HEADER)],
}


def _messages(package, spec):
    """Classes for messages whose fields are numbered from 1."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f'{package}.proto',
        package=package,
        syntax='proto3',
        dependency=[kv_pb2.DESCRIPTOR.name, rpc_pb2.DESCRIPTOR.name],
    )
    for name, fields in spec.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, start=1):
            entry = message.field.add(name=field, number=number, label=Field.LABEL_OPTIONAL)
            if isinstance(kind, str):
                entry.type, entry.type_name = Field.TYPE_MESSAGE, kind
            else:
                entry.type = kind
    pool = descriptor_pool.Default()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {
        name: factory.GetPrototype(pool.FindMessageTypeByName(f'{package}.{name}'))
        for name in spec
    }


MESSAGES = _messages('v3lockpb', LOCK_FILE) | _messages('v3electionpb', ELECTION_FILE)
LeaderKey = MESSAGES['LeaderKey']


class Services:
    """The methods on one channel. Each takes the request's fields, and how long to wait; `future`
    and `observe` give what grpc gives."""

    def __init__(self, channel):
        self.channel = channel

    def _method(self, name, kind='unary_unary'):
        package = 'v3lockpb.Lock' if name in ('Lock', 'Unlock') else 'v3electionpb.Election'
        answer = 'LeaderResponse' if name == 'Observe' else name + 'Response'
        return getattr(self.channel, kind)(
            f'/{package}/{name}',
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[answer].FromString,
        )

    def call(self, method, /, timeout=10, metadata=None, **fields):
        request = MESSAGES[method + 'Request'](**fields)
        return self._method(method)(request, timeout=timeout, metadata=metadata)

    def future(self, method, /, timeout=None, **fields):
        return self._method(method).future(MESSAGES[method + 'Request'](**fields), timeout=timeout)

    def observe(self, name, timeout=None):
        request = MESSAGES['LeaderRequest'](name=name)
        return self._method('Observe', 'unary_stream')(request, timeout=timeout)

    def lock(self, **fields):
        return self.call('Lock', **fields)

    def lock_and_fence(self, timeout=30, **fields):
        """The answer, and what it says the lock's fence is; None if it does not."""
        request = MESSAGES['LockRequest'](**fields)
        answer, call = self._method('Lock').with_call(request, timeout=timeout)
        return answer, dict(call.initial_metadata()).get('conclave-fence')

    def unlock(self, key, **fields):
        return self.call('Unlock', key=key, **fields)

    def campaign(self, **fields):
        return self.call('Campaign', **fields)
