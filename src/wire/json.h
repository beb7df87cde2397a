#pragma once
// Protobuf's JSON mapping as etcd's gateway speaks it: original field names, 64-bit integers as
// strings, bytes in base64, fields with default values left out.

#include <optional>

#include "base/bytes.h"
#include "base/result.h"

namespace google::protobuf {
class Message;
}

namespace conclave::wire {

Bytes to_json(const google::protobuf::Message& message);

// Unknown fields are skipped, and an empty text is an empty message, as in etcd. kInvalid: not
// JSON, or a value does not fit its field.
Result<void> from_json(BytesView text, google::protobuf::Message& message);

// `bytes` in base64, with padding (RFC 4648, section 4).
void append_base64(BytesView bytes, Bytes& out);
// nullopt: it is not, whole and with its padding.
std::optional<Bytes> from_base64(BytesView text);

// `text` as a JSON string, with its quotes.
Bytes json_string(BytesView text);

}  // namespace conclave::wire
