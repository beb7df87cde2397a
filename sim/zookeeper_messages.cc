#include "sim/zookeeper_messages.h"

#include <fmt/core.h>

#include "sim/finding.h"

namespace conclave::sim {
namespace {

constexpr std::int32_t kErrorPart = -1;

[[noreturn]] void unreadable(std::string_view what) {
  found("zookeeper protocol", fmt::format("a member sent something else than {}", what));
}

}  // namespace

ZkEventType zk_event_type(std::int32_t number) {
  const auto type = static_cast<ZkEventType>(number);
  if (type < ZkEventType::kCreated || type > ZkEventType::kChildren) unreadable("an event's type");
  return type;
}

std::string describe(const ZkEvent& event) {
  constexpr const char* kNames[] = {"created", "deleted", "changed", "children"};
  return fmt::format("{} {}", event.path, kNames[static_cast<int>(event.type) - 1]);
}

// --- writing ------------------------------------------------------------------------

JuteWriter& JuteWriter::number(std::int32_t value) {
  const auto bits = static_cast<std::uint32_t>(value);
  for (int shift = 24; shift >= 0; shift -= 8) bytes_ += static_cast<char>(bits >> shift & 0xff);
  return *this;
}

JuteWriter& JuteWriter::large(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  number(static_cast<std::int32_t>(bits >> 32));
  return number(static_cast<std::int32_t>(bits & 0xffff'ffff));
}

JuteWriter& JuteWriter::flag(bool value) {
  bytes_ += value ? '\1' : '\0';
  return *this;
}

JuteWriter& JuteWriter::bytes(std::string_view value) {
  number(static_cast<std::int32_t>(value.size()));
  return raw(value);
}

JuteWriter& JuteWriter::list(const std::vector<std::string>& values) {
  number(static_cast<std::int32_t>(values.size()));
  for (const std::string& value : values) bytes(value);
  return *this;
}

JuteWriter& JuteWriter::raw(std::string_view value) {
  bytes_ += value;
  return *this;
}

Bytes JuteWriter::packet() const { return JuteWriter().bytes(bytes_).written(); }

// --- reading ------------------------------------------------------------------------

std::string_view JuteReader::take(std::size_t bytes) {
  if (bytes > rest_.size()) unreadable("a whole message");
  const std::string_view taken = rest_.substr(0, bytes);
  rest_.remove_prefix(bytes);
  return taken;
}

std::uint64_t JuteReader::big_endian(std::size_t bytes) {
  std::uint64_t value = 0;
  for (const char byte : take(bytes)) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

std::int32_t JuteReader::number() {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(big_endian(4)));
}
std::int64_t JuteReader::large() { return static_cast<std::int64_t>(big_endian(8)); }
bool JuteReader::flag() { return big_endian(1) != 0; }

std::string JuteReader::bytes() {
  const std::int32_t size = number();
  if (size < -1) unreadable("a length");
  return std::string(size == -1 ? std::string_view() : take(static_cast<std::size_t>(size)));
}

std::vector<std::string> JuteReader::list() {
  const std::int32_t size = number();
  if (size < -1) unreadable("a count");
  std::vector<std::string> values;
  for (std::int32_t i = 0; i < size; ++i) values.push_back(bytes());
  return values;
}

ZkStat JuteReader::stat() {
  ZkStat stat;
  stat.czxid = large();
  stat.mzxid = large();
  large();  // times, which say nothing here
  large();
  stat.version = number();
  stat.cversion = number();
  number();  // of the ACL
  stat.owner = large();
  stat.data_bytes = number();
  stat.children = number();
  stat.pzxid = large();
  return stat;
}

void JuteReader::end() const {
  if (!rest_.empty()) unreadable("the end of a message");
}

// --- requests -----------------------------------------------------------------------

Bytes zk_create(std::string_view path, std::string_view data, ZkMode mode) {
  constexpr std::int32_t kAll = 31;
  JuteWriter out;
  out.bytes(path).bytes(data).number(1).number(kAll).bytes("world").bytes("anyone");
  return out.number(static_cast<std::int32_t>(mode)).written();
}

Bytes zk_versioned(std::string_view path, std::int32_t version) {
  return JuteWriter().bytes(path).number(version).written();
}

Bytes zk_set(std::string_view path, std::string_view data, std::int32_t version) {
  return JuteWriter().bytes(path).bytes(data).number(version).written();
}

Bytes zk_watched(std::string_view path, bool watch) {
  return JuteWriter().bytes(path).flag(watch).written();
}

Bytes zk_sync(std::string_view path) { return JuteWriter().bytes(path).written(); }

Bytes zk_add_watch(std::string_view path, bool recursive) {
  return JuteWriter().bytes(path).number(recursive ? 1 : 0).written();
}

Bytes zk_auth(std::string_view scheme, std::string_view credentials) {
  return JuteWriter().number(0).bytes(scheme).bytes(credentials).written();
}

Bytes zk_reconfig(std::string_view joining, std::string_view leaving, std::string_view members,
                  std::int64_t from) {
  return JuteWriter().bytes(joining).bytes(leaving).bytes(members).large(from).written();
}

Bytes zk_multi(const std::vector<std::pair<std::int32_t, Bytes>>& parts) {
  JuteWriter out;
  for (const auto& [opcode, body] : parts) out.number(opcode).flag(false).number(-1).raw(body);
  return out.number(-1).flag(true).number(-1).written();
}

// --- answers ------------------------------------------------------------------------

std::vector<ZkPart> read_parts(std::string_view body, std::size_t count) {
  JuteReader reader(body);
  std::vector<ZkPart> parts;
  for (;;) {
    ZkPart part;
    part.opcode = reader.number();
    const bool is_end = reader.flag();
    const std::int32_t code = reader.number();
    if (is_end) break;
    if (part.opcode == kErrorPart) {
      part.code = reader.number();
      if (part.code != code) unreadable("one code of one error");
    } else if (part.opcode == ZkOp::kGetChildren) {
      part.names = reader.list();
    } else if (part.opcode == ZkOp::kGetData) {
      part.data = reader.bytes();
      part.stat = reader.stat();
    } else if (part.opcode == ZkOp::kCreate) {
      part.data = reader.bytes();
    } else if (part.opcode == ZkOp::kSetData) {
      part.stat = reader.stat();
    } else if (part.opcode != ZkOp::kDelete && part.opcode != ZkOp::kCheck) {
      unreadable("a part of an answer");
    }
    parts.push_back(std::move(part));
  }
  reader.end();
  if (parts.size() != count) {
    found("znode multi", fmt::format("{} parts are asked for, {} answered", count, parts.size()));
  }
  return parts;
}

}  // namespace conclave::sim
