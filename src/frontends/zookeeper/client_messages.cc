#include "frontends/zookeeper/client_messages.h"

#include "frontends/zookeeper/jute.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

constexpr std::size_t kLeastAclBytes = 4 + 4 + 4;
constexpr std::size_t kLeastStringBytes = 4;

template <class WriteBody>
void append_asked(Bytes& out, WriteBody&& write) {
  Bytes body;
  Writer writer(body);
  write(writer);
  Writer(out).buffer(body);
}

bool has_watch(Opcode opcode) {
  return opcode == Opcode::kExists || opcode == Opcode::kGetData || opcode == Opcode::kGetChildren2;
}

zk::Stat read_stat(Reader& reader) {
  zk::Stat stat;
  stat.czxid = reader.int64();
  stat.mzxid = reader.int64();
  stat.ctime_ms = reader.int64();
  stat.mtime_ms = reader.int64();
  stat.version = reader.int32();
  stat.cversion = reader.int32();
  stat.aversion = reader.int32();
  stat.ephemeral_owner = reader.int64();
  stat.data_length = reader.int32();
  stat.num_children = reader.int32();
  stat.pzxid = reader.int64();
  return stat;
}

zk::Acls read_acls(Reader& reader) {
  zk::Acls acls;
  for (std::size_t left = reader.count(kLeastAclBytes); left > 0 && reader.ok(); --left) {
    zk::Acl acl;
    acl.permissions = reader.int32();
    acl.id.scheme = reader.string();
    acl.id.id = reader.string();
    acls.acl.push_back(std::move(acl));
  }
  acls.stat = read_stat(reader);
  return acls;
}

zk::Names read_names(Reader& reader) {
  zk::Names names;
  for (std::size_t left = reader.count(kLeastStringBytes); left > 0 && reader.ok(); --left) {
    names.names.emplace_back(reader.string());
  }
  names.stat = read_stat(reader);
  return names;
}

AnswerHeader read_answer_header(Reader& reader) {
  AnswerHeader header;
  header.xid = reader.int32();
  header.zxid = reader.int64();
  header.code = static_cast<zk::Code>(reader.int32());
  return header;
}

decltype(ClientAnswer::what) read_answer(Opcode opcode, Reader& reader) {
  switch (opcode) {
    case Opcode::kExists:
      return zk::Changed{read_stat(reader)};
    case Opcode::kGetData: {
      zk::Data data;
      data.data = reader.buffer();
      data.stat = read_stat(reader);
      return data;
    }
    case Opcode::kGetAcl:
      return read_acls(reader);
    case Opcode::kGetChildren2:
      return read_names(reader);
    case Opcode::kGetAllChildrenNumber:
      return zk::Count{reader.int32()};
    default:
      return {};
  }
}

}  // namespace

void append(const ConnectRequest& request, Bytes& out) {
  append_asked(out, [&](Writer& writer) {
    writer.int32(0);  // the protocol's version
    writer.int64(request.last_zxid_seen);
    writer.int32(request.timeout_ms);
    writer.int64(request.session);
    writer.buffer(request.password);
    if (request.has_read_only) writer.boolean(false);
  });
}

void append_auth(BytesView scheme, BytesView credentials, Bytes& out) {
  append_asked(out, [&](Writer& writer) {
    writer.int32(kAuthXid);
    writer.int32(static_cast<std::int32_t>(Opcode::kAuth));
    writer.int32(0);  // a type that nobody reads
    writer.buffer(scheme);
    writer.buffer(credentials);
  });
}

void append_question(std::int32_t xid, Opcode opcode, BytesView path, Bytes& out) {
  append_asked(out, [&](Writer& writer) {
    writer.int32(xid);
    writer.int32(static_cast<std::int32_t>(opcode));
    if (opcode == Opcode::kCloseSession) return;
    writer.buffer(path);
    if (has_watch(opcode)) writer.boolean(false);
  });
}

std::optional<ConnectResponse> decode_connected(BytesView packet) {
  Reader reader(packet);
  ConnectResponse response;
  reader.int32();
  response.timeout_ms = reader.int32();
  response.session = reader.int64();
  response.password = reader.buffer();
  if (!reader.ok()) return std::nullopt;
  response.has_read_only = reader.left() > 0;
  return response;
}

std::optional<AnswerHeader> decode_answer_header(BytesView packet) {
  Reader reader(packet);
  const AnswerHeader header = read_answer_header(reader);
  return reader.ok() ? std::optional(header) : std::nullopt;
}

std::optional<ClientAnswer> decode_answer(Opcode opcode, BytesView packet) {
  Reader reader(packet);
  ClientAnswer answer;
  answer.header = read_answer_header(reader);
  if (answer.header.code == zk::Code::kOk) answer.what = read_answer(opcode, reader);
  return reader.ok() ? std::optional(std::move(answer)) : std::nullopt;
}

}  // namespace conclave::zookeeper
