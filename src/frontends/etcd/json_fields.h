#pragma once
// Protobuf's JSON of what is large or frequent, ten times as fast as protobuf's own: numbers of 64
// bits are strings, bytes are in base64, and what has its default value is left out.
//
// Fields of an object are added one after the other, and end_object ends it:
//   out += '{';  add_number("count", 3, out);  end_object(out);

#include <cstdint>

#include "api/watch.h"
#include "base/bytes.h"

namespace conclave::etcd {

void add_number(BytesView name, std::int64_t value, Bytes& out);
void add_unsigned(BytesView name, std::uint64_t value, Bytes& out);
void add_flag(BytesView name, bool value, Bytes& out);
void add_text(BytesView name, BytesView value, Bytes& out);
void add_bytes(BytesView name, BytesView value, Bytes& out);
void end_object(Bytes& out);

// A whole KeyValue.
void append_key_value(const api::KeyValueView& kv, Bytes& out);

}  // namespace conclave::etcd
