#pragma once
// For tests: the store as one would write it without a thought for speed. Every revision's state is
// kept as a whole, so that nothing about history, compaction or order has to be derived.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "api/request.h"

namespace conclave::store {

class Model {
 public:
  using State = std::map<Bytes, api::KeyValue>;

  // REQUIRES: the request passed Store::validate.
  api::Response run(const api::Request& request) {
    api::Response response;
    response.answer = std::visit([this](const auto& body) { return answer(body); }, request.body);
    response.header.revision = revision();
    return response;
  }

  // The cluster's time from here on.
  void set_time_ms(std::uint64_t now_ms) { now_ms_ = now_ms; }

  // Revokes what is over by now: leases and keys together up to `max_work`, or one lease.
  void expire(std::uint64_t max_work) {
    std::uint64_t work = 0;
    while (work < max_work || work == 0) {
      const auto first = std::ranges::min_element(leases_, {}, by_deadline);
      if (first == leases_.end() || first->second.deadline_ms > now_ms_) return;
      work += 1 + end_lease(first->first);
    }
  }

  std::int64_t revision() const { return static_cast<std::int64_t>(states_.size()); }

 private:
  const State& now() const { return states_.back(); }

  static bool contains(const Bytes& key, const Bytes& end, const Bytes& candidate) {
    if (end.empty()) return candidate == key;
    if (end == Bytes(1, '\0')) return candidate >= key;
    return candidate >= key && candidate < end;
  }

  api::Answer answer(const api::RangeRequest& request) const {
    if (const auto error = revision_error(request, revision())) return api::Error{*error, {}};
    const auto at = request.revision <= 0 ? revision() : request.revision;
    return range(request, states_[static_cast<std::size_t>(at - 1)]);
  }

  api::Answer answer(const api::PutRequest& put) {
    if (lacks_lease(put)) return api::Error{api::ErrorCode::kLeaseNotFound, {}};
    if (lacks_previous(put)) return api::Error{api::ErrorCode::kKeyNotFound, {}};
    State next = now();
    api::PutResponse response = apply(put, next);
    states_.push_back(std::move(next));
    return response;
  }

  api::Answer answer(const api::DeleteRangeRequest& erase) {
    State next = now();
    api::DeleteRangeResponse response = apply(erase, next);
    if (response.deleted > 0) states_.push_back(std::move(next));
    return response;
  }

  api::Answer answer(const api::TxnRequest& txn) {
    for (const bool puts : {true, false}) {
      if (const auto error = first_error(txn, puts)) return api::Error{*error, {}};
    }
    State next = now();
    has_changed_ = false;
    api::TxnResponse response = apply(txn, next);
    if (has_changed_) states_.push_back(std::move(next));
    return response;
  }

  api::Answer answer(const api::CompactRequest& compact) {
    if (compact.revision <= compacted_) return api::Error{api::ErrorCode::kCompacted, {}};
    if (compact.revision > revision()) return api::Error{api::ErrorCode::kFutureRevision, {}};
    compacted_ = compact.revision;
    return api::CompactResponse{};
  }

  api::Answer answer(const api::LeaseGrantRequest& grant) {
    const Lease lease{grant.ttl_s, now_ms_ + 1000 * static_cast<std::uint64_t>(grant.ttl_s)};
    if (!leases_.emplace(grant.id, lease).second)
      return api::Error{api::ErrorCode::kLeaseExists, {}};
    return api::LeaseGrantResponse{grant.id, grant.ttl_s};
  }

  api::Answer answer(const api::LeaseRevokeRequest& revoke) {
    if (!leases_.contains(revoke.id)) return api::Error{api::ErrorCode::kLeaseNotFound, {}};
    end_lease(revoke.id);
    return api::LeaseRevokeResponse{};
  }

  api::Answer answer(const api::LeaseKeepAliveRequest& keep) {
    const auto found = leases_.find(keep.id);
    if (found == leases_.end() || found->second.deadline_ms <= now_ms_)
      return api::LeaseKeepAliveResponse{keep.id, 0};
    found->second.deadline_ms = now_ms_ + 1000 * static_cast<std::uint64_t>(found->second.ttl_s);
    return api::LeaseKeepAliveResponse{keep.id, found->second.ttl_s};
  }

  api::Answer answer(const api::LeaseTimeToLiveRequest& ask) const {
    api::LeaseTimeToLiveResponse response{.id = ask.id, .keys = {}};
    const auto found = leases_.find(ask.id);
    if (found == leases_.end()) return response;
    response.granted_ttl_s = found->second.ttl_s;
    response.ttl_s = 0;
    while (now_ms_ + 1000 * static_cast<std::uint64_t>(response.ttl_s + 1) <
           found->second.deadline_ms) {
      ++response.ttl_s;
    }
    for (const auto& [key, kv] : now()) {
      if (ask.keys && kv.lease == ask.id) response.keys.push_back(key);
    }
    return response;
  }

  api::Answer answer(const api::LeaseLeasesRequest&) const {
    std::vector<std::pair<api::LeaseId, Lease>> all(leases_.begin(), leases_.end());
    std::ranges::sort(all, {},
                      [](const auto& entry) { return std::pair(by_deadline(entry), entry.first); });
    api::LeaseLeasesResponse response;
    for (const auto& [id, lease] : all) response.ids.push_back(id);
    return response;
  }

  template <class Other>
  api::Answer answer(const Other&) const {
    return api::Error{api::ErrorCode::kUnsupported, {}};
  }

  std::optional<api::ErrorCode> revision_error(const api::RangeRequest& request,
                                               std::int64_t newest) const {
    if (request.revision > newest) return api::ErrorCode::kFutureRevision;
    if (request.revision > 0 && request.revision < compacted_) return api::ErrorCode::kCompacted;
    return std::nullopt;
  }

  struct Lease {
    std::int64_t ttl_s = 0;
    std::uint64_t deadline_ms = 0;
  };

  static std::uint64_t by_deadline(const std::pair<const api::LeaseId, Lease>& lease) {
    return lease.second.deadline_ms;
  }

  std::size_t end_lease(api::LeaseId id) {
    State next = now();
    const std::size_t keys =
        std::erase_if(next, [&](const auto& kv) { return kv.second.lease == id; });
    if (keys > 0) states_.push_back(std::move(next));
    leases_.erase(id);
    return keys;
  }

  bool lacks_lease(const api::PutRequest& put) const {
    return put.lease != 0 && !leases_.contains(put.lease);
  }

  bool lacks_previous(const api::PutRequest& put) const {
    return (put.ignore_value || put.ignore_lease) && !now().contains(put.key);
  }

  bool holds(const api::Compare& compare, const api::KeyValue& kv) const {
    const auto by = [&](const auto& a, const auto& b) {
      switch (compare.result) {
        case api::CompareResult::kEqual:
          return a == b;
        case api::CompareResult::kGreater:
          return a > b;
        case api::CompareResult::kLess:
          return a < b;
        case api::CompareResult::kNotEqual:
          return a != b;
      }
      return false;
    };
    switch (compare.target) {
      case api::CompareTarget::kVersion:
        return by(kv.version, compare.number);
      case api::CompareTarget::kCreate:
        return by(kv.create_revision, compare.number);
      case api::CompareTarget::kMod:
        return by(kv.mod_revision, compare.number);
      case api::CompareTarget::kLease:
        return by(kv.lease, compare.number);
      case api::CompareTarget::kValue:
        return by(kv.value, compare.value);
    }
    return false;
  }

  bool holds(const api::Compare& compare) const {
    bool any = false;
    for (const auto& [key, kv] : now()) {
      if (!contains(compare.key, compare.range_end, key)) continue;
      any = true;
      if (!holds(compare, kv)) return false;
    }
    return any || (compare.target != api::CompareTarget::kValue && holds(compare, api::KeyValue{}));
  }

  bool succeeds(const api::TxnRequest& txn) const {
    return std::ranges::all_of(txn.compare,
                               [&](const api::Compare& compare) { return holds(compare); });
  }

  std::optional<api::ErrorCode> first_error(const api::TxnRequest& txn, bool of_puts) const {
    for (const api::Operation& operation : succeeds(txn) ? txn.success : txn.failure) {
      std::optional<api::ErrorCode> error;
      if (const auto* nested = std::get_if<std::unique_ptr<api::TxnRequest>>(&operation.op)) {
        error = first_error(**nested, of_puts);
      } else if (const auto* put = std::get_if<api::PutRequest>(&operation.op);
                 put != nullptr && of_puts) {
        if (lacks_lease(*put)) error = api::ErrorCode::kLeaseNotFound;
        if (lacks_previous(*put)) error = api::ErrorCode::kKeyNotFound;
      } else if (const auto* range = std::get_if<api::RangeRequest>(&operation.op);
                 range != nullptr && !of_puts) {
        error = revision_error(*range, revision());
      }
      if (error) return error;
    }
    return std::nullopt;
  }

  api::RangeResponse range(const api::RangeRequest& request, const State& state) const {
    api::RangeResponse response;
    for (const auto& [key, kv] : state) {
      if (contains(request.key, request.range_end, key)) response.kvs.push_back(kv);
    }
    auto& kvs = response.kvs;
    response.count = static_cast<std::int64_t>(kvs.size());
    const auto limit = static_cast<std::size_t>(std::max<std::int64_t>(request.limit, 0));
    const bool is_filtered = request.min_mod_revision != 0 || request.max_mod_revision != 0 ||
                             request.min_create_revision != 0 || request.max_create_revision != 0;
    if (limit > 0 && request.sort_order == api::SortOrder::kNone && !is_filtered &&
        kvs.size() > limit) {
      kvs.resize(limit + 1);
    }
    std::erase_if(kvs, [&](const api::KeyValue& kv) { return !passes(request, kv); });
    sort(request, kvs);
    if (request.count_only) kvs.clear();
    if (limit > 0 && kvs.size() > limit) {
      kvs.resize(limit);
      response.more = true;
    }
    if (request.keys_only) {
      for (api::KeyValue& kv : kvs) kv.value.clear();
    }
    return response;
  }

  static bool passes(const api::RangeRequest& request, const api::KeyValue& kv) {
    const auto within = [](std::int64_t low, std::int64_t value, std::int64_t high) {
      return (low == 0 || value >= low) && (high == 0 || value <= high);
    };
    return within(request.min_mod_revision, kv.mod_revision, request.max_mod_revision) &&
           within(request.min_create_revision, kv.create_revision, request.max_create_revision);
  }

  static void sort(const api::RangeRequest& request, std::vector<api::KeyValue>& kvs) {
    const bool descending = request.sort_order == api::SortOrder::kDescend;
    const auto by = [&](auto member) {
      std::ranges::sort(kvs, [&](const api::KeyValue& a, const api::KeyValue& b) {
        if (a.*member == b.*member) return a.key < b.key;
        return descending ? a.*member > b.*member : a.*member < b.*member;
      });
    };
    switch (request.sort_target) {
      case api::SortTarget::kKey:
        return by(&api::KeyValue::key);
      case api::SortTarget::kVersion:
        return by(&api::KeyValue::version);
      case api::SortTarget::kCreate:
        return by(&api::KeyValue::create_revision);
      case api::SortTarget::kMod:
        return by(&api::KeyValue::mod_revision);
      case api::SortTarget::kValue:
        return by(&api::KeyValue::value);
    }
  }

  api::PutResponse apply(const api::PutRequest& put, State& next) {
    has_changed_ = true;
    api::PutResponse response;
    const auto found = next.find(put.key);
    const bool exists = found != next.end();
    if (put.prev_kv && exists) response.prev_kv = found->second;
    api::KeyValue kv{.key = put.key, .value = put.value, .lease = put.lease};
    kv.create_revision = exists ? found->second.create_revision : revision() + 1;
    kv.mod_revision = revision() + 1;
    kv.version = exists ? found->second.version + 1 : 1;
    if (put.ignore_value && exists) kv.value = found->second.value;
    if (put.ignore_lease && exists) kv.lease = found->second.lease;
    next[put.key] = kv;
    return response;
  }

  api::DeleteRangeResponse apply(const api::DeleteRangeRequest& erase, State& next) {
    api::DeleteRangeResponse response;
    for (auto it = next.begin(); it != next.end();) {
      if (!contains(erase.key, erase.range_end, it->first)) {
        ++it;
        continue;
      }
      if (erase.prev_kv) response.prev_kvs.push_back(it->second);
      ++response.deleted;
      it = next.erase(it);
    }
    has_changed_ = has_changed_ || response.deleted > 0;
    return response;
  }

  api::RangeResponse apply(const api::RangeRequest& request, State& next) {
    if (request.revision <= 0) return range(request, next);
    return range(request, states_[static_cast<std::size_t>(request.revision - 1)]);
  }

  api::TxnResponse apply(const api::TxnRequest& txn, State& next) {
    api::TxnResponse response;
    response.succeeded = succeeds(txn);
    for (const api::Operation& operation : response.succeeded ? txn.success : txn.failure) {
      api::OperationResult& result = response.results.emplace_back();
      if (const auto* nested = std::get_if<std::unique_ptr<api::TxnRequest>>(&operation.op)) {
        result.result = std::make_unique<api::TxnResponse>(apply(**nested, next));
      } else if (const auto* put = std::get_if<api::PutRequest>(&operation.op)) {
        result.result = apply(*put, next);
      } else if (const auto* erase = std::get_if<api::DeleteRangeRequest>(&operation.op)) {
        result.result = apply(*erase, next);
      } else {
        result.result = apply(std::get<api::RangeRequest>(operation.op), next);
      }
    }
    return response;
  }

  std::vector<State> states_ = std::vector<State>(1);  // after each revision, from 1 on
  std::map<api::LeaseId, Lease> leases_;
  std::uint64_t now_ms_ = 0;
  std::int64_t compacted_ = -1;
  bool has_changed_ = false;
};

}  // namespace conclave::store
