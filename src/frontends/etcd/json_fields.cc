#include "frontends/etcd/json_fields.h"

#include <fmt/format.h>

#include <iterator>

#include "wire/json.h"

namespace conclave::etcd {

void add_number(BytesView name, std::int64_t value, Bytes& out) {
  if (value != 0) fmt::format_to(std::back_inserter(out), "\"{}\":\"{}\",", name, value);
}

void add_unsigned(BytesView name, std::uint64_t value, Bytes& out) {
  if (value != 0) fmt::format_to(std::back_inserter(out), "\"{}\":\"{}\",", name, value);
}

void add_flag(BytesView name, bool value, Bytes& out) {
  if (value) fmt::format_to(std::back_inserter(out), "\"{}\":true,", name);
}

void add_text(BytesView name, BytesView value, Bytes& out) {
  if (value.empty()) return;
  fmt::format_to(std::back_inserter(out), "\"{}\":{},", name, wire::json_string(value));
}

void add_bytes(BytesView name, BytesView value, Bytes& out) {
  if (value.empty()) return;
  fmt::format_to(std::back_inserter(out), "\"{}\":\"", name);
  wire::append_base64(value, out);
  out += "\",";
}

void end_object(Bytes& out) {
  if (out.back() == ',') out.pop_back();
  out.push_back('}');
}

void append_key_value(const api::KeyValueView& kv, Bytes& out) {
  out.push_back('{');
  add_bytes("key", kv.key, out);
  add_number("create_revision", kv.create_revision, out);
  add_number("mod_revision", kv.mod_revision, out);
  add_number("version", kv.version, out);
  add_bytes("value", kv.value, out);
  add_number("lease", kv.lease, out);
  end_object(out);
}

}  // namespace conclave::etcd
