// Answers to writes as bytes (request_codec.h).

#include <algorithm>

#include "base/check.h"
#include "store/request_codec.h"

namespace conclave::store {
namespace {

using api::KeyValue;
using NestedResponse = std::unique_ptr<api::TxnResponse>;

// Stored: values never change meaning.
enum class AnswerKind : std::uint8_t {
  kError = 0,
  kRange = 1,
  kPut = 2,
  kDeleteRange = 3,
  kTxn = 4,
  kCompact = 5,
  kLeaseGrant = 6,
  kLeaseRevoke = 7,
  kLeaseKeepAlive = 8,
  kAcquire = 9,
  kRelease = 10,
  kEnter = 11,
  kLeave = 12,
};

void encode(Encoder& out, const KeyValue& kv) {
  out.bytes(kv.key);
  out.bytes(kv.value);
  out.number(kv.create_revision);
  out.number(kv.mod_revision);
  out.number(kv.version);
  out.number(kv.lease);
}

KeyValue decode_key_value(Decoder& in) {
  KeyValue kv;
  kv.key = in.bytes();
  kv.value = in.bytes();
  kv.create_revision = in.number();
  kv.mod_revision = in.number();
  kv.version = in.number();
  kv.lease = in.number();
  return kv;
}

void encode(Encoder& out, const std::vector<KeyValue>& kvs) {
  out.varint(kvs.size());
  for (const KeyValue& kv : kvs) encode(out, kv);
}

std::vector<KeyValue> decode_key_values(Decoder& in) {
  std::vector<KeyValue> kvs;
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) kvs.push_back(decode_key_value(in));
  return kvs;
}

// Writes an answer, or an operation's result, as its kind and content.
struct AnswerEncoder {
  void operator()(const api::Error& error) const {
    begin(AnswerKind::kError);
    out.u8(static_cast<std::uint8_t>(error.code));
    out.bytes(error.detail);
  }
  void operator()(const api::RangeResponse& range) const {
    begin(AnswerKind::kRange);
    out.u8(range.more ? 1 : 0);
    out.number(range.count);
    encode(out, range.kvs);
  }
  void operator()(const api::PutResponse& put) const {
    begin(AnswerKind::kPut);
    out.u8(put.prev_kv ? 1 : 0);
    if (put.prev_kv) encode(out, *put.prev_kv);
  }
  void operator()(const api::DeleteRangeResponse& erase) const {
    begin(AnswerKind::kDeleteRange);
    out.number(erase.deleted);
    encode(out, erase.prev_kvs);
  }
  void operator()(const api::TxnResponse& txn) const {
    begin(AnswerKind::kTxn);
    out.u8(txn.succeeded ? 1 : 0);
    out.varint(txn.results.size());
    for (const api::OperationResult& result : txn.results) std::visit(*this, result.result);
  }
  void operator()(const NestedResponse& txn) const { (*this)(*txn); }
  void operator()(const api::CompactResponse&) const { begin(AnswerKind::kCompact); }
  void operator()(const api::LeaseGrantResponse& grant) const {
    begin(AnswerKind::kLeaseGrant);
    out.number(grant.id);
    out.number(grant.ttl_s);
  }
  void operator()(const api::LeaseRevokeResponse&) const { begin(AnswerKind::kLeaseRevoke); }
  void operator()(const api::LeaseKeepAliveResponse& keep_alive) const {
    begin(AnswerKind::kLeaseKeepAlive);
    out.number(keep_alive.id);
    out.number(keep_alive.ttl_s);
  }
  void operator()(const api::AcquireResponse& acquired) const {
    begin(AnswerKind::kAcquire);
    out.bytes(acquired.key);
    out.number(acquired.token);
    out.varint(acquired.ahead);
    out.varint(acquired.times);
  }
  void operator()(const api::ReleaseResponse& released) const {
    begin(AnswerKind::kRelease);
    out.u8(released.was_there ? 1 : 0);
    out.varint(released.times);
  }
  void operator()(const api::EnterResponse& entered) const {
    begin(AnswerKind::kEnter);
    out.u8(entered.open ? 1 : 0);
    out.varint(entered.present);
  }
  void operator()(const api::LeaveResponse& left) const {
    begin(AnswerKind::kLeave);
    out.varint(left.present);
    out.number(left.opened);
  }
  template <class Other>
  void operator()(const Other&) const {
    CHECK(false, "not the answer of a write");
  }

  void begin(AnswerKind kind) const { out.u8(static_cast<std::uint8_t>(kind)); }

  Encoder& out;
};

api::Error decode_error(Decoder& in) {
  api::Error error;
  error.code = in.enumerator(api::ErrorCode::kLockConflict);
  error.detail = in.bytes();
  return error;
}

api::RangeResponse decode_range(Decoder& in) {
  api::RangeResponse range;
  range.more = in.flags(1) != 0;
  range.count = in.number();
  range.kvs = decode_key_values(in);
  return range;
}

api::PutResponse decode_put_response(Decoder& in) {
  api::PutResponse put;
  if (in.flags(1) != 0) put.prev_kv = decode_key_value(in);
  return put;
}

api::DeleteRangeResponse decode_delete_range_response(Decoder& in) {
  api::DeleteRangeResponse erase;
  erase.deleted = in.number();
  erase.prev_kvs = decode_key_values(in);
  return erase;
}

api::TxnResponse decode_txn_response(Decoder& in, std::size_t depth);

api::OperationResult decode_result(Decoder& in, std::size_t depth) {
  switch (static_cast<AnswerKind>(in.u8())) {
    case AnswerKind::kRange:
      return {decode_range(in)};
    case AnswerKind::kPut:
      return {decode_put_response(in)};
    case AnswerKind::kDeleteRange:
      return {decode_delete_range_response(in)};
    case AnswerKind::kTxn:
      return {std::make_unique<api::TxnResponse>(decode_txn_response(in, depth + 1))};
    case AnswerKind::kError:
    case AnswerKind::kCompact:
    case AnswerKind::kLeaseGrant:
    case AnswerKind::kLeaseRevoke:
    case AnswerKind::kLeaseKeepAlive:
    case AnswerKind::kAcquire:
    case AnswerKind::kRelease:
    case AnswerKind::kEnter:
    case AnswerKind::kLeave:
      break;
  }
  in.fail();
  return {};
}

api::TxnResponse decode_txn_response(Decoder& in, std::size_t depth) {
  api::TxnResponse txn;
  if (depth > kMaxTxnDepth) return in.fail(), std::move(txn);
  txn.succeeded = in.flags(1) != 0;
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i)
    txn.results.push_back(decode_result(in, depth));
  return txn;
}

api::LeaseGrantResponse decode_grant_response(Decoder& in) {
  api::LeaseGrantResponse grant;
  grant.id = in.number();
  grant.ttl_s = in.number();
  return grant;
}

api::LeaseKeepAliveResponse decode_keep_alive_response(Decoder& in) {
  api::LeaseKeepAliveResponse keep_alive;
  keep_alive.id = in.number();
  keep_alive.ttl_s = in.number();
  return keep_alive;
}

api::AcquireResponse decode_acquire_response(Decoder& in) {
  api::AcquireResponse acquired;
  acquired.key = in.bytes();
  acquired.token = in.number();
  acquired.ahead = in.u32();
  acquired.times = in.u32();
  return acquired;
}

api::ReleaseResponse decode_release_response(Decoder& in) {
  api::ReleaseResponse released;
  released.was_there = in.flags(1) != 0;
  released.times = in.u32();
  return released;
}

api::EnterResponse decode_enter_response(Decoder& in) {
  api::EnterResponse entered;
  entered.open = in.flags(1) != 0;
  entered.present = in.u32();
  return entered;
}

api::LeaveResponse decode_leave_response(Decoder& in) {
  api::LeaveResponse left;
  left.present = in.u32();
  left.opened = in.number();
  return left;
}

api::Answer decode_answer(Decoder& in) {
  switch (static_cast<AnswerKind>(in.u8())) {
    case AnswerKind::kError:
      return decode_error(in);
    case AnswerKind::kRange:
      return decode_range(in);
    case AnswerKind::kPut:
      return decode_put_response(in);
    case AnswerKind::kDeleteRange:
      return decode_delete_range_response(in);
    case AnswerKind::kTxn:
      return decode_txn_response(in, 1);
    case AnswerKind::kCompact:
      return api::CompactResponse{};
    case AnswerKind::kLeaseGrant:
      return decode_grant_response(in);
    case AnswerKind::kLeaseRevoke:
      return api::LeaseRevokeResponse{};
    case AnswerKind::kLeaseKeepAlive:
      return decode_keep_alive_response(in);
    case AnswerKind::kAcquire:
      return decode_acquire_response(in);
    case AnswerKind::kRelease:
      return decode_release_response(in);
    case AnswerKind::kEnter:
      return decode_enter_response(in);
    case AnswerKind::kLeave:
      return decode_leave_response(in);
  }
  in.fail();
  return {};
}

}  // namespace

Bytes encode_response(const api::Response& response) {
  Bytes bytes;
  Encoder out(bytes);
  out.number(response.header.revision);
  std::visit(AnswerEncoder{out}, response.answer);
  return bytes;
}

Result<api::Response> decode_response(BytesView bytes) {
  Decoder in(bytes);
  api::Response response;
  response.header.revision = in.number();
  response.answer = decode_answer(in);
  if (!in.finished()) return fail(ErrorCode::kCorrupt, "a stored answer cannot be decoded");
  return response;
}

}  // namespace conclave::store
