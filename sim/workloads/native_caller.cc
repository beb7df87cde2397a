#include "sim/workloads/native_caller.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "etcd_lock.pb.h"

namespace conclave::sim {
namespace {

namespace pb = ::conclave::v1;

constexpr std::string_view kLost =
    "conclave: its key is gone: the lease has ended, or somebody gave it back";
constexpr std::string_view kEtcdLost = "mutex: session is expired";
constexpr std::string_view kConflict = "conclave: the lock is wanted in another way already";
constexpr std::string_view kFencedOff = "conclave: fenced off: ";

}  // namespace

NativeCaller::NativeCaller(Site& site, const WorkloadPlan& plan, std::size_t number,
                           std::int64_t& leases, NativeRecords& records)
    : Contender(site, plan, "n", number, leases),
      judge_(*site.lock_keys, records),
      records_(records) {}

template <class Request>
void NativeCaller::call_up_to(unsigned times, std::string_view method, const Request& request,
                              EtcdClient::Done heard, EtcdClient::Metadata metadata) {
  const auto heard_now = [this, times, method, request, heard,
                          metadata](const EtcdClient::Reply& reply) {
    if (!reply.unknown() || times <= 1) return heard(reply);
    caller_.hop();
    const auto heard_later = [heard](EtcdClient::Reply later) {
      // Who has not even tried knows nothing of the first time.
      const bool is_told = later.code == wire::GrpcCode::kFailedPrecondition ||
                           later.code == wire::GrpcCode::kNotFound;
      if (later.refused() && !is_told) later.fate = EtcdClient::Reply::Fate::kUnknown;
      heard(later);
    };
    call_up_to(times - 1, method, request, heard_later, metadata);
  };
  caller_.call(method, request, heard_now, metadata);
}

template <class Request>
void NativeCaller::call_again(std::string_view method, const Request& request,
                              EtcdClient::Done heard, EtcdClient::Metadata metadata) {
  const bool is_named = caller_.rng().one_in(2);
  if (is_named) {
    const std::string id = fmt::format("{}-{}/{}", records_.about, caller_.number(), ++sequence_);
    metadata.emplace_back("conclave-request-id", id);
  }
  call_up_to(is_named ? 3 : 1, method, request, std::move(heard), std::move(metadata));
}

void NativeCaller::drop() {
  if (held_) former_ = fence();
  held_.reset();
}

void NativeCaller::judge_refusal(const EtcdClient::Reply& reply, const std::string& name,
                                 const std::string& key, std::int64_t asked) {
  if (reply.error == kLost || reply.error == kEtcdLost) judge_.key_lost(name, key, asked);
  if (reply.error == kConflict) judge_.in_conflict(name, key, asked);
  if (says_no_lease(reply)) lease_.forget();
}

// --- locks --------------------------------------------------------------------------

std::string NativeCaller::key_in(const std::string& name) const {
  CHECK(name == wanted_.name());
  return NativeJudge::key_of(name, lease_.id(), wanted_);
}

void NativeCaller::lock(const std::string& name, const Done& done, EtcdClient::Metadata metadata) {
  CHECK(name == wanted_.name());
  acquire(Acquire::UNTIL_HELD, done, std::move(metadata));
}

void NativeCaller::acquire(Acquire::Wait wait, const Done& done, EtcdClient::Metadata metadata) {
  Acquire request = wanted_;
  request.set_lease(lease_.id());
  request.set_wait(wait);
  const std::string key = key_in(request.name());
  const auto heard = [this, request, key, done, asked = newest()](const EtcdClient::Reply& reply) {
    if (reply.answered()) {
      acquired(request, key, asked, reply.as<pb::AcquireResponse>());
    } else {
      judge_refusal(reply, request.name(), key, asked);
      ++records_.unknown[key];
      if (held_ && held_->key == key) ++times_.most;
    }
    done(reply);
  };
  constexpr std::string_view kMethod = "conclave.v1.Lock/Acquire";
  if (wait == Acquire::UNTIL_HELD)
    return caller_.call(kMethod, request, heard, std::move(metadata));
  call_again(kMethod, request, heard, std::move(metadata));
}

void NativeCaller::acquired(const Acquire& request, const std::string& key, std::int64_t asked,
                            const pb::AcquireResponse& response) {
  judge_.acquired(request, key, asked, response);
  if (response.key().empty()) return drop();
  const bool is_known = held_ && held_->key == key && held_->token == response.token();
  count(request, response, is_known);
  held_ = {.name = request.name(), .key = key, .token = response.token(), .leads = false};
  waits_ = !response.held();
  is_etcds_ = false;
}

void NativeCaller::count(const Acquire& request, const pb::AcquireResponse& response,
                         bool is_known) {
  const std::uint32_t unknown = records_.unknown[response.key()];
  const bool is_once_more = request.wait() == Acquire::UNTIL_HELD ||
                            (request.wait() == Acquire::NOT_AT_ALL && response.held());
  if (is_known) {
    times_.least += is_once_more ? 1 : 0;
    times_.most += is_once_more ? 1 : 0;
  } else {
    // A place that was there by an attempt of which nothing was heard is not taken once more.
    times_ = {is_once_more || unknown == 0 ? 1u : 0u, 1 + unknown};
  }
  if (response.times() < std::max(times_.least, 1u) || response.times() > times_.most)
    judge_.miscounted(response.key(), response.times(), times_.least, times_.most);
}

void NativeCaller::lock_as_etcd(const std::string& name, const Done& done) {
  v3lockpb::LockRequest request;
  request.set_name(name);
  request.set_lease(lease_.id());
  const std::string key = NativeJudge::barrier_key(name, lease_.id());
  caller_.call("v3lockpb.Lock/Lock", request,
               [this, name, key, done, asked = newest()](const EtcdClient::Reply& reply) {
                 if (reply.answered()) {
                   const auto response = reply.as<v3lockpb::LockResponse>();
                   const KeyLife& own =
                       judge_.locked(name, key, asked, response.header().revision());
                   held_ = {.name = name, .key = key, .token = own.created, .leads = false};
                   waits_ = false;
                   is_etcds_ = true;
                 } else {
                   judge_refusal(reply, name, key, asked);
                   ++records_.unknown[key];
                 }
                 done(reply);
               });
}

void NativeCaller::release(bool altogether, const Done& done) {
  const Fenced place = fence();
  std::uint32_t& releases = records_.releases[{place.key, place.token}];
  ++releases;
  if (is_etcds_) {
    v3lockpb::UnlockRequest request;
    request.set_key(place.key);
    return call_again("v3lockpb.Lock/Unlock", request,
                      [this, place, done](const EtcdClient::Reply& reply) {
                        if (reply.answered()) {
                          judge_.gone_at(place,
                                         reply.as<v3lockpb::UnlockResponse>().header().revision());
                          drop();
                        }
                        // It names no token: done late, it ends whatever the key is by then.
                        if (reply.unknown()) ++records_.unknown[place.key];
                        done(reply);
                      },
                      {});
  }
  pb::ReleaseRequest request;
  request.set_key(place.key);
  request.set_token(place.token);
  request.set_altogether(altogether);
  call_again("conclave.v1.Lock/Release", request,
             [this, place, altogether, done, asked = newest()](const EtcdClient::Reply& reply) {
               if (reply.answered()) {
                 const auto response = reply.as<pb::ReleaseResponse>();
                 judge_.released(place, asked, response);
                 released(response, altogether);
               }
               if (reply.unknown())
                 times_.least -= std::min(times_.least, altogether ? times_.least : 1u);
               done(reply);
             },
             {});
}

void NativeCaller::released(const pb::ReleaseResponse& response, bool altogether) {
  times_.least -= std::min(times_.least, 1u);
  times_.most -= std::min(times_.most, 1u);
  const bool is_all = !response.was_there() || altogether;
  const bool fits = is_all ? response.times() == 0
                           : response.times() >= times_.least && response.times() <= times_.most;
  if (!fits) judge_.miscounted(held_->key, response.times(), times_.least, times_.most);
  if (response.times() == 0) drop();
}

// --- fences -------------------------------------------------------------------------

// By the name of the lock, or by the key with which it is held.
EtcdClient::Metadata NativeCaller::with(const Fenced& fence) {
  const std::string& key = caller_.rng().one_in(2) ? fence.name : fence.key;
  return {{"conclave-fence", fmt::format("{}/{}", key, fence.token)}};
}

void NativeCaller::write(Write how, const std::string& key, const Fenced& fence, const Done& done) {
  const std::string value = fmt::format("{}-{}", caller_.number(), ++written_);
  const std::size_t removal = records_.removals.size();
  if (how == Write::kDelete) {
    records_.removals.push_back({.key = key, .fence = fence});
  } else {
    records_.writes[value] = {.fence = fence};
  }
  const auto heard = [this, how, value, removal, fence, done,
                      asked = newest()](const EtcdClient::Reply& reply) {
    const bool is_fenced_off = reply.error.starts_with(kFencedOff);
    if (is_fenced_off) judge_.fenced_off(fence, asked);
    if (how == Write::kDelete) {
      records_.removals[removal].is_refused = reply.refused();
    } else {
      records_.writes[value].is_refused = reply.refused();
    }
    if (reply.answered()) {
      // The header is the first field of each of these answers.
      const auto response = reply.as<etcdserverpb::PutResponse>();
      judge_.written(fence, asked, response.header().revision());
      if (how == Write::kDelete) records_.removals[removal].revision = response.header().revision();
    }
    if (is_fenced_off && held_ && held_->token == fence.token && !waits_) drop();
    done(reply);
  };
  etcdserverpb::PutRequest put;
  put.set_key(key);
  put.set_value(value);
  if (how == Write::kPut) return call_again("KV/Put", put, heard, with(fence));
  if (how == Write::kTxn) {
    etcdserverpb::TxnRequest request;
    *request.add_success()->mutable_request_put() = put;
    return call_again("KV/Txn", request, heard, with(fence));
  }
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(key);
  call_again("KV/DeleteRange", request, heard, with(fence));
}

void NativeCaller::validate(const Fenced& fence, const Done& done) {
  pb::ValidateRequest request;
  request.set_fence(with(fence).front().second);
  caller_.call("conclave.v1.Lock/Validate", request,
               [this, fence, done, asked = newest()](const EtcdClient::Reply& reply) {
                 if (reply.answered())
                   judge_.validated(fence, asked, reply.as<pb::ValidateResponse>());
                 done(reply);
               });
}

// --- barriers -----------------------------------------------------------------------

void NativeCaller::enter(const std::string& name, std::uint32_t count, const Done& done,
                         EtcdClient::Metadata metadata) {
  pb::EnterRequest request;
  request.set_name(name);
  request.set_lease(lease_.id());
  request.set_count(count);
  caller_.call(
      "conclave.v1.Barrier/Enter", request,
      [this, name, lease = lease_.id(), count, done,
       asked = newest()](const EtcdClient::Reply& reply) {
        const std::string key = NativeJudge::barrier_key(name, lease);
        if (reply.answered()) {
          judge_.entered(name, lease, count, asked, reply.as<pb::EnterResponse>());
        } else {
          judge_refusal(reply, name, key, asked);
          records_.left.insert(key);
        }
        done(reply);
      },
      std::move(metadata));
}

void NativeCaller::leave(const std::string& name, bool at_once, const Done& done) {
  pb::LeaveRequest request;
  request.set_name(name);
  request.set_lease(lease_.id());
  request.set_at_once(at_once);
  records_.left.insert(NativeJudge::barrier_key(name, lease_.id()));
  caller_.call("conclave.v1.Barrier/Leave", request,
               [this, name, lease = lease_.id(), at_once, done,
                asked = newest()](const EtcdClient::Reply& reply) {
                 if (reply.answered())
                   judge_.left(name, lease, at_once, asked, reply.as<pb::LeaveResponse>());
                 done(reply);
               });
}

}  // namespace conclave::sim
