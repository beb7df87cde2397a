#include "store/request_codec.h"

#include <algorithm>

#include "base/check.h"
#include "store/lease.h"

namespace conclave::store {
namespace {

using api::Compare;
using api::Operation;
using api::RangeRequest;
using NestedTxn = std::unique_ptr<api::TxnRequest>;

// Stored: values never change meaning.
enum class OperationKind : std::uint8_t { kRange = 1, kPut = 2, kDeleteRange = 3, kTxn = 4 };

constexpr std::uint8_t kPutPrevKv = 1;
constexpr std::uint8_t kPutIgnoreValue = 2;
constexpr std::uint8_t kPutIgnoreLease = 4;
constexpr std::uint8_t kPutHasLease = 8;
constexpr std::uint8_t kPutFlags = 15;

constexpr std::uint8_t kRangeSerializable = 1;
constexpr std::uint8_t kRangeKeysOnly = 2;
constexpr std::uint8_t kRangeCountOnly = 4;
constexpr std::uint8_t kRangeFlags = 7;

// How many elements to make room for before they have been read.
constexpr std::size_t kReserveAtMost = 128;

constexpr std::uint8_t flag(bool is_set, std::uint8_t bit) {
  return is_set ? bit : std::uint8_t{0};
}

void encode(Encoder& out, const RangeRequest& range) {
  out.u8(static_cast<std::uint8_t>(flag(range.serializable, kRangeSerializable) |
                                   flag(range.keys_only, kRangeKeysOnly) |
                                   flag(range.count_only, kRangeCountOnly)));
  out.bytes(range.key);
  out.bytes(range.range_end);
  out.number(range.limit);
  out.number(range.revision);
  out.u8(static_cast<std::uint8_t>(range.sort_order));
  out.u8(static_cast<std::uint8_t>(range.sort_target));
  out.number(range.min_mod_revision);
  out.number(range.max_mod_revision);
  out.number(range.min_create_revision);
  out.number(range.max_create_revision);
}

RangeRequest decode_range(Decoder& in) {
  RangeRequest range;
  const std::uint8_t flags = in.flags(kRangeFlags);
  range.serializable = (flags & kRangeSerializable) != 0;
  range.keys_only = (flags & kRangeKeysOnly) != 0;
  range.count_only = (flags & kRangeCountOnly) != 0;
  range.key = in.bytes();
  range.range_end = in.bytes();
  range.limit = in.number();
  range.revision = in.number();
  range.sort_order = in.enumerator(api::SortOrder::kDescend);
  range.sort_target = in.enumerator(api::SortTarget::kValue);
  range.min_mod_revision = in.number();
  range.max_mod_revision = in.number();
  range.min_create_revision = in.number();
  range.max_create_revision = in.number();
  return range;
}

void encode(Encoder& out, const Compare& compare) {
  out.u8(static_cast<std::uint8_t>(compare.result));
  out.u8(static_cast<std::uint8_t>(compare.target));
  out.bytes(compare.key);
  out.bytes(compare.range_end);
  out.number(compare.number);
  out.bytes(compare.value);
}

Compare decode_compare(Decoder& in) {
  Compare compare;
  compare.result = in.enumerator(api::CompareResult::kNotEqual);
  compare.target = in.enumerator(api::CompareTarget::kLease);
  compare.key = in.bytes();
  compare.range_end = in.bytes();
  compare.number = in.number();
  compare.value = in.bytes();
  return compare;
}

void encode(Encoder& out, const std::vector<Operation>& operations) {
  const auto begin = [&](OperationKind kind) { out.u8(static_cast<std::uint8_t>(kind)); };
  out.varint(operations.size());
  for (const Operation& operation : operations) {
    if (const auto* range = std::get_if<RangeRequest>(&operation.op)) {
      begin(OperationKind::kRange);
      encode(out, *range);
    } else if (const auto* put = std::get_if<api::PutRequest>(&operation.op)) {
      begin(OperationKind::kPut);
      encode(out, *put);
    } else if (const auto* erase = std::get_if<api::DeleteRangeRequest>(&operation.op)) {
      begin(OperationKind::kDeleteRange);
      encode(out, *erase);
    } else {
      const auto& nested = std::get<NestedTxn>(operation.op);
      CHECK(nested != nullptr, "an operation without content passed validation");
      begin(OperationKind::kTxn);
      encode(out, *nested);
    }
  }
}

api::PutRequest owned(const PutOp& put) {
  return {.key = Bytes(put.key),
          .value = Bytes(put.value),
          .lease = put.lease,
          .prev_kv = put.prev_kv,
          .ignore_value = put.ignore_value,
          .ignore_lease = put.ignore_lease};
}

api::TxnRequest decode_txn(Decoder& in, std::size_t depth);

Operation decode_operation(Decoder& in, std::size_t depth) {
  switch (static_cast<OperationKind>(in.u8())) {
    case OperationKind::kRange:
      return {decode_range(in)};
    case OperationKind::kPut:
      return {owned(decode_put(in))};
    case OperationKind::kDeleteRange:
      return {decode_delete_range(in)};
    case OperationKind::kTxn:
      return {std::make_unique<api::TxnRequest>(decode_txn(in, depth + 1))};
  }
  in.fail();
  return {};
}

std::vector<Operation> decode_operations(Decoder& in, std::size_t depth) {
  std::vector<Operation> operations;
  const std::size_t count = in.count();
  operations.reserve(std::min(count, kReserveAtMost));
  for (std::size_t i = 0; i < count && in.ok(); ++i)
    operations.push_back(decode_operation(in, depth));
  return operations;
}

api::TxnRequest decode_txn(Decoder& in, std::size_t depth) {
  api::TxnRequest txn;
  if (depth > kMaxTxnDepth) return in.fail(), std::move(txn);
  const std::size_t compares = in.count();
  txn.compare.reserve(std::min(compares, kReserveAtMost));
  for (std::size_t i = 0; i < compares && in.ok(); ++i) txn.compare.push_back(decode_compare(in));
  txn.success = decode_operations(in, depth);
  txn.failure = decode_operations(in, depth);
  return txn;
}

}  // namespace

void encode(Encoder& out, const api::PutRequest& put) {
  out.u8(static_cast<std::uint8_t>(
      flag(put.prev_kv, kPutPrevKv) | flag(put.ignore_value, kPutIgnoreValue) |
      flag(put.ignore_lease, kPutIgnoreLease) | flag(put.lease != 0, kPutHasLease)));
  if (put.lease != 0) out.number(put.lease);
  out.bytes(put.key);
  out.bytes(put.value);
}

PutOp decode_put(Decoder& in) {
  PutOp put;
  const std::uint8_t flags = in.flags(kPutFlags);
  put.prev_kv = (flags & kPutPrevKv) != 0;
  put.ignore_value = (flags & kPutIgnoreValue) != 0;
  put.ignore_lease = (flags & kPutIgnoreLease) != 0;
  if ((flags & kPutHasLease) != 0) put.lease = in.number();
  put.key = in.bytes();
  put.value = in.bytes();
  return put;
}

void encode(Encoder& out, const api::DeleteRangeRequest& erase) {
  out.u8(flag(erase.prev_kv, 1));
  out.bytes(erase.key);
  out.bytes(erase.range_end);
}

api::DeleteRangeRequest decode_delete_range(Decoder& in) {
  api::DeleteRangeRequest erase;
  erase.prev_kv = in.flags(1) != 0;
  erase.key = in.bytes();
  erase.range_end = in.bytes();
  return erase;
}

void encode(Encoder& out, const api::TxnRequest& txn) {
  out.varint(txn.compare.size());
  for (const Compare& compare : txn.compare) encode(out, compare);
  encode(out, txn.success);
  encode(out, txn.failure);
}

api::TxnRequest decode_txn(Decoder& in) { return decode_txn(in, 1); }

void encode(Encoder& out, const api::CompactRequest& compact) {
  out.u8(flag(compact.physical, 1));
  out.number(compact.revision);
}

api::CompactRequest decode_compact(Decoder& in) {
  api::CompactRequest compact;
  compact.physical = in.flags(1) != 0;
  compact.revision = in.number();
  return compact;
}

void encode(Encoder& out, const api::LeaseGrantRequest& grant) {
  out.number(grant.id);
  out.number(grant.ttl_s);
}

api::LeaseGrantRequest decode_lease_grant(Decoder& in) {
  api::LeaseGrantRequest grant;
  grant.id = in.number();
  grant.ttl_s = in.number();
  const bool is_grantable = grant.ttl_s > 0 && grant.ttl_s <= kMaxLeaseTtlSeconds;
  if (grant.id == 0 || !is_grantable) in.fail();
  return grant;
}

void encode(Encoder& out, const api::LeaseRevokeRequest& revoke) { out.number(revoke.id); }

api::LeaseRevokeRequest decode_lease_revoke(Decoder& in) { return {.id = in.number()}; }

void encode(Encoder& out, const api::LeaseKeepAliveRequest& keep_alive) {
  out.number(keep_alive.id);
}

api::LeaseKeepAliveRequest decode_lease_keep_alive(Decoder& in) { return {.id = in.number()}; }

void encode(Encoder& out, const api::AcquireRequest& acquire) {
  out.bytes(acquire.name);
  out.number(acquire.lease);
  out.bytes(acquire.owner);
  out.u8(static_cast<std::uint8_t>(acquire.mode));
  out.varint(acquire.permits);
  out.u8(static_cast<std::uint8_t>(acquire.wait));
}

api::AcquireRequest decode_acquire(Decoder& in) {
  api::AcquireRequest acquire;
  acquire.name = in.bytes();
  acquire.lease = in.number();
  acquire.owner = in.bytes();
  acquire.mode = in.enumerator(api::LockMode::kSemaphore);
  acquire.permits = in.u32();
  acquire.wait = in.enumerator(api::LockWait::kInQueue);
  const bool is_semaphore = acquire.mode == api::LockMode::kSemaphore;
  if (is_semaphore != (acquire.permits > 0)) in.fail();
  if (acquire.owner.find('/') != Bytes::npos) in.fail();
  return acquire;
}

void encode(Encoder& out, const api::ReleaseRequest& release) {
  out.bytes(release.key);
  out.number(release.token);
  out.u8(flag(release.altogether, 1));
  out.number(release.unless_after);
}

api::ReleaseRequest decode_release(Decoder& in) {
  api::ReleaseRequest release;
  release.key = in.bytes();
  release.token = in.number();
  release.altogether = in.flags(1) != 0;
  release.unless_after = in.number();
  return release;
}

void encode(Encoder& out, const api::EnterRequest& enter) {
  out.bytes(enter.name);
  out.number(enter.lease);
  out.varint(enter.count);
}

api::EnterRequest decode_enter(Decoder& in) {
  api::EnterRequest enter;
  enter.name = in.bytes();
  enter.lease = in.number();
  enter.count = in.u32();
  if (enter.count == 0) in.fail();
  return enter;
}

void encode(Encoder& out, const api::LeaveRequest& leave) {
  out.bytes(leave.name);
  out.number(leave.lease);
  out.number(leave.unless_after);
}

api::LeaveRequest decode_leave(Decoder& in) {
  api::LeaveRequest leave;
  leave.name = in.bytes();
  leave.lease = in.number();
  leave.unless_after = in.number();
  return leave;
}

}  // namespace conclave::store
