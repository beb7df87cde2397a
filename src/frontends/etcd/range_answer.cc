#include "frontends/etcd/range_answer.h"

#include <fmt/format.h>

#include <utility>

#include "etcd.pb.h"
#include "frontends/etcd/translate.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

constexpr std::size_t kPieceBytes = 1024 * 1024;

void append_protobuf(const google::protobuf::MessageLite& message, Bytes& out) {
  const std::size_t begin = out.size();
  const std::size_t size = message.ByteSizeLong();
  out.resize(begin + size);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(out.data() + begin));
}

// What stands between the braces of a JSON object.
BytesView inside(BytesView object) { return object.substr(1, object.size() - 2); }

// Numbers with default values are left out, 64-bit ones are strings: protobuf's JSON.
void add_number(BytesView name, std::int64_t value, Bytes& out) {
  if (value != 0) fmt::format_to(std::back_inserter(out), "\"{}\":\"{}\",", name, value);
}

void add_bytes(BytesView name, BytesView value, Bytes& out) {
  if (value.empty()) return;
  fmt::format_to(std::back_inserter(out), "\"{}\":\"", name);
  wire::append_base64(value, out);
  out += "\",";
}

// Ten times as fast as protobuf's own, which a large range would notice.
void add_json_of(const api::KeyValue& kv, Bytes& out) {
  out.push_back('{');
  add_bytes("key", kv.key, out);
  add_number("create_revision", kv.create_revision, out);
  add_number("mod_revision", kv.mod_revision, out);
  add_number("version", kv.version, out);
  add_bytes("value", kv.value, out);
  add_number("lease", kv.lease, out);
  if (out.back() == ',') out.pop_back();
  out.push_back('}');
}

}  // namespace

RangeAnswer::RangeAnswer(Format format, const api::Header& header) : format_(format) {
  pb::RangeResponse message;
  to_proto(header, *message.mutable_header());
  Bytes& out = open_piece();
  if (format_ == Format::kProtobuf) {
    append_protobuf(message, out);
  } else {
    out.push_back('{');
    out += inside(wire::to_json(message));
  }
  size_bytes_ = out.size();
}

Bytes& RangeAnswer::open_piece() {
  if (pieces_.empty() || pieces_.back().size() >= kPieceBytes) pieces_.emplace_back();
  return pieces_.back();
}

void RangeAnswer::add(std::vector<api::KeyValue> kvs) {
  if (kvs.empty()) return;
  Bytes& out = open_piece();
  const std::size_t before = out.size();
  if (format_ == Format::kProtobuf) {
    add_protobuf(kvs, out);
  } else {
    add_json(kvs, out);
  }
  has_keys_ = true;
  size_bytes_ += out.size() - before;
}

void RangeAnswer::add_protobuf(std::vector<api::KeyValue>& kvs, Bytes& out) {
  pb::RangeResponse message;
  api::RangeResponse part{.kvs = std::move(kvs)};
  to_proto(part, message);
  append_protobuf(message, out);
}

void RangeAnswer::add_json(const std::vector<api::KeyValue>& kvs, Bytes& out) {
  if (!has_keys_) out += ",\"kvs\":[";
  for (std::size_t i = 0; i < kvs.size(); ++i) {
    if (has_keys_ || i > 0) out.push_back(',');
    add_json_of(kvs[i], out);
  }
}

void RangeAnswer::finish(api::RangeResponse last) {
  add(std::exchange(last.kvs, {}));
  pb::RangeResponse message;
  to_proto(last, message);
  Bytes& out = open_piece();
  const std::size_t before = out.size();
  if (format_ == Format::kProtobuf) {
    append_protobuf(message, out);
  } else {
    if (has_keys_) out.push_back(']');
    const Bytes text = wire::to_json(message);
    if (text.size() > 2) out.push_back(',');
    out += inside(text);
    out.push_back('}');
  }
  size_bytes_ += out.size() - before;
}

}  // namespace conclave::etcd
