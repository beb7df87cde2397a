#pragma once
// The key-value vocabulary: what front-ends ask of the store and what it answers. Plain values; a
// revision of 0 means "now" in a request.
//
// Key ranges are etcd's: [key, range_end); an empty range_end means the one key; range_end "\0"
// (one zero byte) means all keys from `key` on.

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace conclave::api {

using Revision = std::int64_t;
using LeaseId = std::int64_t;

struct KeyValue {
  Bytes key;
  Bytes value;
  Revision create_revision = 0;
  Revision mod_revision = 0;
  std::int64_t version = 0;  // 1 at creation, grows with each put
  LeaseId lease = 0;

  bool operator==(const KeyValue&) const = default;
};

enum class SortOrder : std::uint8_t { kNone, kAscend, kDescend };
enum class SortTarget : std::uint8_t { kKey, kVersion, kCreate, kMod, kValue };

struct RangeRequest {
  Bytes key;
  Bytes range_end;
  std::int64_t limit = 0;  // 0: none
  Revision revision = 0;
  SortOrder sort_order = SortOrder::kNone;
  SortTarget sort_target = SortTarget::kKey;
  bool serializable = false;  // may be answered from this member's state, without a barrier
  bool keys_only = false;
  bool count_only = false;
  Revision min_mod_revision = 0;
  Revision max_mod_revision = 0;
  Revision min_create_revision = 0;
  Revision max_create_revision = 0;

  bool operator==(const RangeRequest&) const = default;
};

struct RangeResponse {
  std::vector<KeyValue> kvs;
  bool more = false;
  std::int64_t count = 0;  // keys in the range, whatever the limit

  bool operator==(const RangeResponse&) const = default;
};

struct PutRequest {
  Bytes key;
  Bytes value;
  LeaseId lease = 0;
  bool prev_kv = false;
  bool ignore_value = false;
  bool ignore_lease = false;

  bool operator==(const PutRequest&) const = default;
};

struct PutResponse {
  std::optional<KeyValue> prev_kv;

  bool operator==(const PutResponse&) const = default;
};

struct DeleteRangeRequest {
  Bytes key;
  Bytes range_end;
  bool prev_kv = false;

  bool operator==(const DeleteRangeRequest&) const = default;
};

struct DeleteRangeResponse {
  std::int64_t deleted = 0;
  std::vector<KeyValue> prev_kvs;

  bool operator==(const DeleteRangeResponse&) const = default;
};

enum class CompareResult : std::uint8_t { kEqual, kGreater, kLess, kNotEqual };
enum class CompareTarget : std::uint8_t { kVersion, kCreate, kMod, kValue, kLease };

// `<target of key> <result> <operand>`; with a range_end it must hold for every key in the range.
struct Compare {
  CompareResult result = CompareResult::kEqual;
  CompareTarget target = CompareTarget::kVersion;
  Bytes key;
  Bytes range_end;
  std::int64_t number = 0;  // operand for version, create, mod, lease
  Bytes value;              // operand for kValue

  bool operator==(const Compare&) const = default;
};

struct TxnRequest;
struct TxnResponse;

// One operation of a transaction. A null transaction stands for an operation that came without
// content: it is refused with kKeyNotFound.
struct Operation {
  std::variant<RangeRequest, PutRequest, DeleteRangeRequest, std::unique_ptr<TxnRequest>> op;
};

struct TxnRequest {
  std::vector<Compare> compare;
  std::vector<Operation> success;
  std::vector<Operation> failure;
};

struct OperationResult {
  std::variant<RangeResponse, PutResponse, DeleteRangeResponse, std::unique_ptr<TxnResponse>>
      result;
};

struct TxnResponse {
  bool succeeded = false;
  std::vector<OperationResult> results;
};

struct CompactRequest {
  Revision revision = 0;
  bool physical = false;  // answer only once the space has been reclaimed on the answering member
};

struct CompactResponse {};

}  // namespace conclave::api
