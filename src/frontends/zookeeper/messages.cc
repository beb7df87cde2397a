#include "frontends/zookeeper/messages.h"

#include <utility>

#include "base/check.h"
#include "frontends/zookeeper/jute.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

constexpr std::int32_t kMostMode = static_cast<std::int32_t>(zk::Mode::kPersistentSequentialTtl);

// The fewest bytes of an element of a vector.
constexpr std::size_t kStringBytes = 4;
constexpr std::size_t kAclBytes = 12;

// The marks of a part of a multi, and of its end.
struct PartHeader {
  std::int32_t type = -1;
  bool done = true;
  std::int32_t code = -1;
};
constexpr std::int32_t kErrorPart = -1;

PartHeader read_part_header(Reader& reader) {
  PartHeader header;
  header.type = reader.int32();
  header.done = reader.boolean();
  header.code = reader.int32();
  return header;
}

void write_part_header(const PartHeader& header, Writer& writer) {
  writer.int32(header.type);
  writer.boolean(header.done);
  writer.int32(header.code);
}

// --- asked --------------------------------------------------------------------------

std::vector<zk::Acl> read_acl(Reader& reader) {
  std::vector<zk::Acl> acl(reader.count(kAclBytes));
  for (zk::Acl& each : acl) {
    each.permissions = reader.int32();
    each.id.scheme = reader.buffer();
    each.id.id = reader.buffer();
  }
  return acl;
}

std::vector<Bytes> read_paths(Reader& reader) {
  std::vector<Bytes> paths(reader.count(kStringBytes));
  for (Bytes& path : paths) path = reader.string();
  return paths;
}

bool has_ttl(zk::Mode mode) {
  return mode == zk::Mode::kPersistentTtl || mode == zk::Mode::kPersistentSequentialTtl;
}

zk::Create read_create(Opcode opcode, Reader& reader) {
  zk::Create create;
  create.path = reader.string();
  create.data = reader.buffer();
  create.acl = read_acl(reader);
  const std::int32_t flags = reader.int32();
  const bool is_known = flags >= 0 && flags <= kMostMode;
  create.mode = is_known ? static_cast<zk::Mode>(flags) : zk::Mode::kNone;
  if (opcode == Opcode::kCreateTtl) create.ttl_ms = reader.int64();
  return create;
}

zk::SetData read_set_data(Reader& reader) {
  zk::SetData request;
  request.path = reader.string();
  request.data = reader.buffer();
  request.version = reader.int32();
  return request;
}

zk::SetAcl read_set_acl(Reader& reader) {
  zk::SetAcl request;
  request.path = reader.string();
  request.acl = read_acl(reader);
  request.version = reader.int32();
  return request;
}

// Delete, Check.
template <class Asked>
Asked read_versioned(Reader& reader) {
  Asked request;
  request.path = reader.string();
  request.version = reader.int32();
  return request;
}

// Exists, GetData, GetChildren.
template <class Asked>
Asked read_watched(Reader& reader) {
  Asked request;
  request.path = reader.string();
  request.watch = reader.boolean();
  return request;
}

zk::SetWatches read_set_watches(Opcode opcode, Reader& reader) {
  zk::SetWatches request;
  request.relative_zxid = reader.int64();
  request.data = read_paths(reader);
  request.exist = read_paths(reader);
  request.child = read_paths(reader);
  if (opcode == Opcode::kSetWatches) return request;
  request.persistent = read_paths(reader);
  request.persistent_recursive = read_paths(reader);
  return request;
}

using Asked = decltype(Request::what);

Asked read_add_watch(Reader& reader) {
  zk::AddWatch request;
  request.path = reader.string();
  const std::int32_t mode = reader.int32();
  if (mode != 0 && mode != 1) return Refused{zk::Code::kMarshallingError};
  request.mode = static_cast<zk::WatchMode>(mode);
  return Read(std::move(request));
}

Asked read_remove_watches(Opcode opcode, Reader& reader) {
  zk::RemoveWatches request;
  request.path = reader.string();
  const std::int32_t type = reader.int32();
  if (type < 1 || type > 3) return Refused{zk::Code::kMarshallingError};
  request.type = static_cast<zk::WatcherType>(type);
  request.only_check = opcode == Opcode::kCheckWatches;
  return Read(std::move(request));
}

// As in ZooKeeper a part's mode counts, and its opcode only for the TTL: which is not read, or
// ignored, where opcode and mode do not agree. False: it cannot be read.
bool read_create_part(Opcode opcode, Reader& reader, zk::Multi& multi, std::vector<Opcode>& parts) {
  zk::Create create = read_create(opcode, reader);
  if (opcode == Opcode::kCreateTtl && !has_ttl(create.mode)) create.ttl_ms = zk::Create().ttl_ms;
  if (opcode != Opcode::kCreateTtl && has_ttl(create.mode)) return false;
  const bool has_stat = create.mode == zk::Mode::kContainer || has_ttl(create.mode);
  parts.push_back(has_stat ? Opcode::kCreate2 : Opcode::kCreate);
  multi.operations.emplace_back(std::move(create));
  return true;
}

// False: a multi has no such part.
bool read_part(Opcode opcode, Reader& reader, zk::Multi& multi, std::vector<Opcode>& parts) {
  switch (opcode) {
    case Opcode::kCreate:
    case Opcode::kCreate2:
    case Opcode::kCreateContainer:
    case Opcode::kCreateTtl:
      return read_create_part(opcode, reader, multi, parts);
    case Opcode::kDelete:
      multi.operations.emplace_back(read_versioned<zk::Delete>(reader));
      break;
    case Opcode::kSetData:
      multi.operations.emplace_back(read_set_data(reader));
      break;
    case Opcode::kCheck:
      multi.operations.emplace_back(read_versioned<zk::Check>(reader));
      break;
    default:
      return false;
  }
  parts.push_back(opcode);
  return true;
}

bool read_part(Opcode opcode, Reader& reader, zk::MultiRead& multi, std::vector<Opcode>& parts) {
  if (opcode == Opcode::kGetData) {
    multi.operations.emplace_back(read_watched<zk::GetData>(reader));
  } else if (opcode == Opcode::kGetChildren) {
    multi.operations.emplace_back(read_watched<zk::GetChildren>(reader));
  } else {
    return false;
  }
  parts.push_back(opcode);
  return true;
}

template <class Kind, class Multi>
Asked read_multi(Reader& reader, std::vector<Opcode>& parts) {
  Multi multi;
  while (reader.ok()) {
    const PartHeader header = read_part_header(reader);
    if (header.done) break;
    if (!read_part(static_cast<Opcode>(header.type), reader, multi, parts)) {
      return Refused{zk::Code::kMarshallingError};
    }
  }
  return Kind(std::move(multi));
}

Asked read_auth(Reader& reader) {
  reader.int32();  // a type that has no meaning
  Auth auth;
  auth.scheme = reader.string();
  auth.credentials = reader.buffer();
  return auth;
}

Asked read_reconfig(Reader& reader) {
  Reconfig reconfig;
  reconfig.joining = reader.buffer();
  reconfig.leaving = reader.buffer();
  reconfig.members = reader.buffer();
  reconfig.from = reader.int64();
  return reconfig;
}

Asked read_body(Opcode opcode, Reader& reader, std::vector<Opcode>& parts) {
  switch (opcode) {
    case Opcode::kCreate:
    case Opcode::kCreate2:
    case Opcode::kCreateContainer:
    case Opcode::kCreateTtl:
      return Write(read_create(opcode, reader));
    case Opcode::kDelete:
      return Write(read_versioned<zk::Delete>(reader));
    case Opcode::kSetData:
      return Write(read_set_data(reader));
    case Opcode::kSetAcl:
      return Write(read_set_acl(reader));
    case Opcode::kCheck:
      return Write(read_versioned<zk::Check>(reader));
    case Opcode::kMulti:
      return read_multi<Write, zk::Multi>(reader, parts);
    case Opcode::kCloseSession:
      return Write(zk::CloseSession{});
    case Opcode::kExists:
      return Read(read_watched<zk::Exists>(reader));
    case Opcode::kGetData:
      return Read(read_watched<zk::GetData>(reader));
    case Opcode::kGetChildren:
    case Opcode::kGetChildren2:
      return Read(read_watched<zk::GetChildren>(reader));
    case Opcode::kGetAcl:
      return Read(zk::GetAcl{Bytes(reader.string())});
    case Opcode::kGetEphemerals:
      return Read(zk::GetEphemerals{Bytes(reader.buffer())});
    case Opcode::kGetAllChildrenNumber:
      return Read(zk::CountChildren{Bytes(reader.string())});
    case Opcode::kSync:
      return Read(zk::Sync{Bytes(reader.string())});
    case Opcode::kMultiRead:
      return read_multi<Read, zk::MultiRead>(reader, parts);
    case Opcode::kSetWatches:
    case Opcode::kSetWatches2:
      return Read(read_set_watches(opcode, reader));
    case Opcode::kAddWatch:
      return read_add_watch(reader);
    case Opcode::kCheckWatches:
    case Opcode::kRemoveWatches:
      return read_remove_watches(opcode, reader);
    case Opcode::kPing:
      return Ping{};
    case Opcode::kAuth:
      return read_auth(reader);
    case Opcode::kWhoAmI:
      return WhoAmI{};
    case Opcode::kReconfig:
      return read_reconfig(reader);
    case Opcode::kSasl:
      return Refused{zk::Code::kAuthFailed};
    case Opcode::kDeleteContainer:  // the server's own business
      return Refused{zk::Code::kBadArguments};
  }
  return Refused{zk::Code::kUnimplemented};
}

// --- answered -----------------------------------------------------------------------

void write_stat(const zk::Stat& stat, Writer& writer) {
  writer.int64(stat.czxid);
  writer.int64(stat.mzxid);
  writer.int64(stat.ctime_ms);
  writer.int64(stat.mtime_ms);
  writer.int32(stat.version);
  writer.int32(stat.cversion);
  writer.int32(stat.aversion);
  writer.int64(stat.ephemeral_owner);
  writer.int32(stat.data_length);
  writer.int32(stat.num_children);
  writer.int64(stat.pzxid);
}

// One result, in the form in which `opcode` is answered.
struct ResultWriter {
  Opcode opcode;
  BytesView path;  // of sync
  const std::vector<Opcode>* parts;
  Writer& writer;

  void operator()(std::monostate) const {
    if (opcode == Opcode::kSync) writer.buffer(path);
    if (opcode == Opcode::kAddWatch) writer.int32(0);  // an error's place, without one
  }
  void operator()(const zk::Created& created) const {
    writer.buffer(created.path);
    if (opcode != Opcode::kCreate) write_stat(created.stat, writer);
  }
  void operator()(const zk::Changed& changed) const { write_stat(changed.stat, writer); }
  void operator()(const zk::Data& data) const {
    writer.buffer(data.data);
    write_stat(data.stat, writer);
  }
  void operator()(const zk::Configured& done) const {
    writer.buffer(done.data);
    write_stat(done.stat, writer);
  }
  void operator()(const zk::Acls& acls) const {
    writer.count(acls.acl.size());
    for (const zk::Acl& each : acls.acl) {
      writer.int32(each.permissions);
      writer.buffer(each.id.scheme);
      writer.buffer(each.id.id);
    }
    write_stat(acls.stat, writer);
  }
  void operator()(const zk::Names& names) const {
    writer.count(names.names.size());
    for (const Bytes& name : names.names) writer.buffer(name);
    if (opcode == Opcode::kGetChildren2) write_stat(names.stat, writer);
  }
  void operator()(const zk::Count& count) const {
    writer.int32(static_cast<std::int32_t>(count.count));
  }
  void operator()(const zk::Results& results) const {
    CHECK(results.results.size() == parts->size(), "{} results of {} operations",
          results.results.size(), parts->size());
    bool has_failed = false;
    for (const auto& each : results.results) has_failed |= each.code != zk::Code::kOk;
    for (std::size_t i = 0; i < parts->size(); ++i) {
      write_part(results.results[i], (*parts)[i], has_failed && opcode == Opcode::kMulti);
    }
    write_part_header({}, writer);
  }
  // Not of a client's request.
  void operator()(const zk::Session&) const {}
  void operator()(const zk::Counts&) const {}
  void operator()(const zk::SessionDump&) const {}
  void operator()(const zk::WatchDump&) const {}
  void operator()(const zk::Tree&) const {}

  // Where one of a multi has failed all of them are written as errors.
  void write_part(const zk::Results::One& one, Opcode part, bool is_undone) const {
    if (is_undone || one.code != zk::Code::kOk) {
      const auto code = static_cast<std::int32_t>(one.code);
      write_part_header({kErrorPart, false, code}, writer);
      return writer.int32(code);
    }
    write_part_header({static_cast<std::int32_t>(part), false, 0}, writer);
    const ResultWriter of_part{part, {}, nullptr, writer};
    std::visit(of_part, one.result);
  }
};

// Writes a packet's length before what `write` writes.
template <class Write_>
void append_packet(Bytes& out, Write_&& write) {
  const std::size_t begin = out.size();
  Writer writer(out);
  writer.int32(0);
  write(writer);
  Bytes length;
  Writer(length).count(out.size() - begin - 4);
  out.replace(begin, length.size(), length);
}

void write_header(std::int32_t xid, zk::Zxid zxid, zk::Code code, Writer& writer) {
  writer.int32(xid);
  writer.int64(zxid);
  writer.int32(static_cast<std::int32_t>(code));
}

}  // namespace

std::optional<ConnectRequest> decode_connect(BytesView packet) {
  Reader reader(packet);
  ConnectRequest request;
  reader.int32();  // the protocol's version: there is one
  request.last_zxid_seen = reader.int64();
  request.timeout_ms = reader.int32();
  request.session = reader.int64();
  request.password = reader.buffer();
  if (!reader.ok()) return std::nullopt;
  request.has_read_only = reader.left() > 0;
  return request;
}

std::optional<Request> decode_request(BytesView packet) {
  Reader reader(packet);
  Request request;
  request.xid = reader.int32();
  request.opcode = reader.int32();
  if (!reader.ok()) return std::nullopt;
  request.what = read_body(static_cast<Opcode>(request.opcode), reader, request.parts);
  if (const auto* read = std::get_if<Read>(&request.what)) {
    if (const auto* sync = std::get_if<zk::Sync>(read)) request.path = sync->path;
  }
  const auto* refused = std::get_if<Refused>(&request.what);
  if (!reader.ok() && refused == nullptr) request.what = Refused{zk::Code::kMarshallingError};
  return request;
}

void append(const ConnectResponse& response, Bytes& out) {
  append_packet(out, [&](Writer& writer) {
    writer.int32(0);  // the protocol's version
    writer.int32(static_cast<std::int32_t>(response.timeout_ms));
    writer.int64(response.session);
    writer.buffer(response.password);
    if (response.has_read_only) writer.boolean(false);
  });
}

void append_answer(std::int32_t xid, zk::Zxid zxid, zk::Code code, Bytes& out) {
  append_packet(out, [&](Writer& writer) { write_header(xid, zxid, code, writer); });
}

void append_answer(const Request& request, const zk::Reply& reply, Bytes& out) {
  append_packet(out, [&](Writer& writer) {
    write_header(request.xid, reply.zxid, reply.code, writer);
    if (reply.code != zk::Code::kOk) return;
    const ResultWriter result{static_cast<Opcode>(request.opcode), request.path, &request.parts,
                              writer};
    std::visit(result, reply.result);
  });
}

void append_who_i_am(std::int32_t xid, zk::Zxid zxid, const std::vector<zk::Id>& ids, Bytes& out) {
  append_packet(out, [&](Writer& writer) {
    write_header(xid, zxid, zk::Code::kOk, writer);
    writer.count(ids.size());
    for (const zk::Id& id : ids) {
      const bool is_digest = id.scheme == "digest";  // only the user's name is told
      writer.buffer(id.scheme);
      writer.buffer(is_digest ? BytesView(id.id).substr(0, id.id.find(':')) : BytesView(id.id));
    }
  });
}

void append(const zk::Event& event, Bytes& out) {
  append_packet(out, [&](Writer& writer) {
    constexpr std::int32_t kConnected = 3;
    write_header(kWatchXid, kNoZxid, zk::Code::kOk, writer);
    writer.int32(static_cast<std::int32_t>(event.type));
    writer.int32(kConnected);
    writer.buffer(event.path);
  });
}

}  // namespace conclave::zookeeper
