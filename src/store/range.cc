#include "store/range.h"

#include <algorithm>
#include <compare>

#include "base/check.h"

namespace conclave::store {
namespace {

using api::CompareResult;
using api::CompareTarget;
using api::RangeRequest;
using api::RangeResponse;
using api::SortOrder;
using api::SortTarget;
using Found = std::vector<const Record*>;

bool has_filter(const RangeRequest& request) {
  return request.min_mod_revision != 0 || request.max_mod_revision != 0 ||
         request.min_create_revision != 0 || request.max_create_revision != 0;
}

bool passes(const RangeRequest& request, const Record& record) {
  if (request.max_mod_revision != 0 && record.mod > request.max_mod_revision) return false;
  if (request.min_mod_revision != 0 && record.mod < request.min_mod_revision) return false;
  if (request.max_create_revision != 0 && record.create > request.max_create_revision) return false;
  if (request.min_create_revision != 0 && record.create < request.min_create_revision) return false;
  return true;
}

bool sorts_before(SortTarget target, const Record& a, const Record& b) {
  switch (target) {
    case SortTarget::kKey:
      return a.key() < b.key();
    case SortTarget::kVersion:
      return a.version < b.version;
    case SortTarget::kCreate:
      return a.create < b.create;
    case SortTarget::kMod:
      return a.mod < b.mod;
    case SortTarget::kValue:
      return a.value() < b.value();
  }
  CHECK(false, "sort target {}", static_cast<int>(target));
}

// Ties stay in the order of keys. An order of "none" with a target other than the key means
// ascending; the records are in ascending order of keys to begin with.
void sort_records(const RangeRequest& request, Found& records) {
  const bool by_key = request.sort_target == SortTarget::kKey;
  if (by_key && request.sort_order != SortOrder::kDescend) return;
  const bool descending = request.sort_order == SortOrder::kDescend;
  std::ranges::sort(records, [&](const Record* a, const Record* b) {
    if (sorts_before(request.sort_target, *a, *b)) return !descending;
    if (sorts_before(request.sort_target, *b, *a)) return descending;
    return a->key() < b->key();
  });
}

// The records to answer with before sorting, and the count of all keys in the range. Without a sort
// order or filter only as many as the limit asks for, and one more, are looked at: so an unordered
// Range with a sort target sorts what the limit left, as etcd does.
Found collect(const Mvcc& mvcc, const RangeRequest& request, Revision at, std::int64_t& count) {
  Found found;
  const bool takes_all =
      request.limit <= 0 || request.sort_order != SortOrder::kNone || has_filter(request);
  const auto wanted = takes_all ? SIZE_MAX : static_cast<std::size_t>(request.limit) + 1;
  const KeyRange keys = KeyRange::of(request.key, request.range_end);
  mvcc.scan(Keyspace::kEtcd, keys, at, [&](const Record& record) {
    ++count;
    if (!request.count_only && found.size() < wanted && passes(request, record))
      found.push_back(&record);
    return true;
  });
  return found;
}

bool compare_holds(CompareResult result, std::strong_ordering order) {
  switch (result) {
    case CompareResult::kEqual:
      return order == 0;
    case CompareResult::kGreater:
      return order > 0;
    case CompareResult::kLess:
      return order < 0;
    case CompareResult::kNotEqual:
      return order != 0;
  }
  CHECK(false, "compare result {}", static_cast<int>(result));
}

bool holds_for(const api::Compare& compare, const Record& record) {
  const auto against = [&](std::int64_t number) {
    return compare_holds(compare.result, number <=> compare.number);
  };
  switch (compare.target) {
    case CompareTarget::kVersion:
      return against(record.version);
    case CompareTarget::kCreate:
      return against(record.create);
    case CompareTarget::kMod:
      return against(record.mod);
    case CompareTarget::kLease:
      return against(record.lease);
    case CompareTarget::kValue:
      return compare_holds(compare.result, record.value() <=> BytesView(compare.value));
  }
  CHECK(false, "compare target {}", static_cast<int>(compare.target));
}

bool holds(const Mvcc& mvcc, const api::Compare& compare) {
  bool any = false;
  bool all = true;
  const KeyRange keys = KeyRange::of(compare.key, compare.range_end);
  mvcc.scan(Keyspace::kEtcd, keys, mvcc.revision(), [&](const Record& record) {
    any = true;
    all = holds_for(compare, record);
    return all;
  });
  if (any) return all;
  return compare.target != CompareTarget::kValue && holds_for(compare, Record{});
}

}  // namespace

std::expected<RangeResponse, api::ErrorCode> range(const Mvcc& mvcc, const RangeRequest& request,
                                                   Revision now) {
  if (request.revision > now) return std::unexpected(api::ErrorCode::kFutureRevision);
  const Revision at = request.revision <= 0 ? now : request.revision;
  if (at < mvcc.compacted()) return std::unexpected(api::ErrorCode::kCompacted);

  RangeResponse response;
  Found found = collect(mvcc, request, at, response.count);
  sort_records(request, found);
  if (request.limit > 0 && found.size() > static_cast<std::size_t>(request.limit)) {
    found.resize(static_cast<std::size_t>(request.limit));
    response.more = true;
  }
  response.kvs.reserve(found.size());
  for (const Record* record : found) response.kvs.push_back(record->to_api(!request.keys_only));
  return response;
}

bool all_hold(const Mvcc& mvcc, const std::vector<api::Compare>& compares) {
  return std::ranges::all_of(compares,
                             [&](const api::Compare& compare) { return holds(mvcc, compare); });
}

}  // namespace conclave::store
