#include "frontends/etcd/range_answer.h"

#include <utility>

#include "etcd.pb.h"
#include "frontends/etcd/json_fields.h"
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

api::KeyValueView view_of(const api::KeyValue& kv) {
  return {kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease};
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
    append_key_value(view_of(kvs[i]), out);
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
