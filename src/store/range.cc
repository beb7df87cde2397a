#include "store/range.h"

#include <algorithm>
#include <compare>
#include <utility>

#include "base/check.h"

namespace conclave::store {
namespace {

using api::CompareResult;
using api::CompareTarget;
using api::RangeRequest;
using api::RangeResponse;
using api::SortOrder;
using api::SortTarget;

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

RangeScan::RangeScan(RangeRequest request, Revision at)
    : request_(std::move(request)), at_(at), from_(request_.key) {
  // Without a sort order or filter only as many as the limit asks for, and one more, are looked at:
  // so an unordered Range with a sort target sorts what the limit left, as etcd does.
  const bool takes_all =
      request_.limit <= 0 || request_.sort_order != SortOrder::kNone || has_filter(request_);
  if (!takes_all) wanted_ = static_cast<std::size_t>(request_.limit) + 1;
  if (request_.count_only) wanted_ = 0;
  is_ordered_ = request_.sort_target == SortTarget::kKey;
}

std::expected<RangeScan, api::ErrorCode> RangeScan::begin(const Mvcc& mvcc,
                                                          const RangeRequest& request,
                                                          Revision now) {
  if (request.revision > now) return std::unexpected(api::ErrorCode::kFutureRevision);
  const Revision at = request.revision <= 0 ? now : request.revision;
  if (at < mvcc.compacted()) return std::unexpected(api::ErrorCode::kCompacted);
  return RangeScan(request, at);
}

// Ties stay in the order of keys. An order of "none" with a target other than the key means
// ascending.
bool RangeScan::comes_later(const Record* a, const Record* b) const {
  const bool descending = request_.sort_order == SortOrder::kDescend;
  if (sorts_before(request_.sort_target, *a, *b)) return descending;
  if (sorts_before(request_.sort_target, *b, *a)) return !descending;
  return a->key() > b->key();
}

void RangeScan::note(const Record& record) {
  ++count_;
  if (found_.size() >= wanted_ || !passes(request_, record)) return;
  found_.push_back(&record);
  if (is_ordered_) return;
  // A heap, since it grows and shrinks by one key at a time.
  std::ranges::push_heap(found_,
                         [this](const auto* a, const auto* b) { return comes_later(a, b); });
}

// False: the budget is used up before the end.
bool RangeScan::collect(const Mvcc& mvcc, Budget& budget) {
  const KeyRange keys = KeyRange::of(request_.key, request_.range_end);
  std::size_t looked_at = 0;
  const bool at_end =
      mvcc.scan_some(Keyspace::kEtcd, keys, at_, from_, budget.keys, [&](const Record& record) {
        ++looked_at;
        note(record);
      });
  budget.keys = at_end ? budget.keys - std::min(looked_at, budget.keys) : 0;
  if (at_end) end_collecting();
  return at_end;
}

void RangeScan::end_collecting() {
  is_collected_ = true;
  to_take_ = found_.size();
  if (request_.limit > 0) to_take_ = std::min(to_take_, static_cast<std::size_t>(request_.limit));
}

const Record* RangeScan::take_next() {
  const std::size_t number = taken_++;
  if (is_ordered_) {
    const bool descending = request_.sort_order == SortOrder::kDescend;
    return descending ? found_[found_.size() - 1 - number] : found_[number];
  }
  const auto heap_end = found_.end() - static_cast<std::ptrdiff_t>(number);
  std::pop_heap(found_.begin(), heap_end,
                [this](const auto* a, const auto* b) { return comes_later(a, b); });
  return *(heap_end - 1);
}

bool RangeScan::step(const Mvcc& mvcc, Budget& budget, RangeResponse& response) {
  if (!is_collected_ && !collect(mvcc, budget)) return false;
  const std::size_t number = std::min(to_take_ - taken_, budget.keys);
  response.kvs.reserve(response.kvs.size() + number);
  for (; taken_ < to_take_ && budget.keys > 0 && budget.bytes > 0; --budget.keys) {
    const Record& record = *take_next();
    response.kvs.push_back(record.to_api(!request_.keys_only));
    const api::KeyValue& kv = response.kvs.back();
    budget.bytes -= std::min(budget.bytes, sizeof(kv) + kv.key.size() + kv.value.size());
  }
  if (taken_ < to_take_) return false;
  response.more = to_take_ < found_.size();
  response.count = count_;
  return true;
}

std::expected<RangeResponse, api::ErrorCode> range(const Mvcc& mvcc, const RangeRequest& request,
                                                   Revision now) {
  auto scan = RangeScan::begin(mvcc, request, now);
  if (!scan) return std::unexpected(scan.error());
  RangeResponse response;
  RangeScan::Budget unlimited;
  const bool whole = scan->step(mvcc, unlimited, response);
  CHECK(whole);
  return response;
}

bool all_hold(const Mvcc& mvcc, const std::vector<api::Compare>& compares) {
  return std::ranges::all_of(compares,
                             [&](const api::Compare& compare) { return holds(mvcc, compare); });
}

}  // namespace conclave::store
