// Writes that are sent again and again under one request id, to several members, unanswered and
// long answered ones alike. Each puts a key of its own and its client's counter, so keys' versions
// count how often it was applied. Judged: a write that was ever answered was applied once, another
// at most once, and each retry got the very answer that the first one got.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/limits.h"
#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kSentAgain = 50;  // so many of a client's newest writes
static_assert(kSentAgain < limits::kRequestIdsPerClient);

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"request ids", fmt::format(format, std::forward<Values>(values)...), {}};
}

struct Write {
  std::uint64_t client = 0;
  std::size_t sequence = 0;
  std::size_t sent = 0;
  std::string answer = {};  // the first one, without what names the member that gave it
  std::int64_t revision = 0;

  std::string id() const { return fmt::format("client-{}/{}", client, sequence); }
  std::string key() const { return fmt::format("request_ids/{}/{}", client, sequence); }
};

std::string counter_of(std::size_t client) { return fmt::format("request_ids/{}/counter", client); }

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : writes(plan.clients) {}
  std::vector<std::vector<Write>> writes;  // of each client, by sequence
};

class RetryingClient {
 public:
  RetryingClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : caller_(site, plan, "i", number), writes_(shared.writes[number]) {}

  Caller& caller() { return caller_; }

  void act() {
    Rng& rng = caller_.rng();
    if (writes_.empty() || rng.one_in(3)) {
      writes_.push_back({.client = caller_.number(), .sequence = writes_.size()});
      return send(writes_.size() - 1);
    }
    if (rng.one_in(2)) caller_.hop();
    const std::size_t newest = rng.one_in(2) ? 4 : kSentAgain;
    send(writes_.size() - 1 - rng.below(std::min(writes_.size(), newest)));
  }

 private:
  // The answer holds what the counter was before: applied again, the write would answer otherwise.
  void send(std::size_t sequence) {
    Write& write = writes_[sequence];
    ++write.sent;
    etcdserverpb::TxnRequest request;
    request.add_success()->mutable_request_put()->set_key(write.key());
    etcdserverpb::PutRequest& count = *request.add_success()->mutable_request_put();
    count.set_key(counter_of(write.client));
    count.set_value(std::to_string(sequence));
    count.set_prev_kv(true);
    caller_.call("KV/Txn", request,
                 [this, sequence](const EtcdClient::Reply& reply) {
                   hear(writes_[sequence], reply);
                   caller_.next();
                 },
                 {{"conclave-request-id", write.id()}});
  }

  static void hear(Write& write, const EtcdClient::Reply& reply) {
    if (reply.code == wire::GrpcCode::kFailedPrecondition)
      throw wrong("{}, among the newest of its client, is refused: {}", write.id(), reply.error);
    if (!reply.answered()) return;
    auto response = reply.as<etcdserverpb::TxnResponse>();
    response.mutable_header()->clear_member_id();
    response.mutable_header()->clear_raft_term();
    std::string answer = response.ShortDebugString();
    if (write.answer.empty()) {
      write.answer = std::move(answer);
      write.revision = response.header().revision();
    } else if (write.answer != answer) {
      throw wrong("{} was answered\n  {}\nand when it was sent again\n  {}", write.id(),
                  write.answer, answer);
    }
  }

  Caller caller_;
  std::vector<Write>& writes_;
};

class RequestIds final : public Crowd<RetryingClient, Shared> {
 public:
  using Crowd::Crowd;

  std::optional<Finding> judge() const override {
    std::map<std::string, const mvccpb::KeyValue*> keys;
    for (const mvccpb::KeyValue& kv : last_.kvs()) keys[kv.key()] = &kv;
    std::size_t known = 0;
    for (std::size_t client = 0; client < shared().writes.size(); ++client) {
      std::int64_t applied = 0;
      for (const Write& write : shared().writes[client]) {
        const auto found = keys.find(write.key());
        const mvccpb::KeyValue* kv = found == keys.end() ? nullptr : found->second;
        if (auto wrong = judge_write(write, kv)) return wrong;
        applied += kv != nullptr ? 1 : 0;
      }
      const auto counter = keys.find(counter_of(client));
      const std::int64_t counted = counter == keys.end() ? 0 : counter->second->version();
      if (counted != applied)
        return wrong("client {} had {} writes applied, but its counter was written {} times",
                     client, applied, counted);
      known += static_cast<std::size_t>(applied) + (counted > 0 ? 1 : 0);
    }
    if (known != keys.size())
      return wrong("{} keys are there, of which {} were written", keys.size(), known);
    return std::nullopt;
  }

 private:
  static std::optional<Finding> judge_write(const Write& write, const mvccpb::KeyValue* kv) {
    if (kv == nullptr) {
      if (write.answer.empty()) return std::nullopt;
      return wrong("{} was answered ({}) but is not there", write.id(), write.answer);
    }
    if (kv->version() != 1)
      return wrong("{}, sent {} times, was applied {} times", write.id(), write.sent,
                   kv->version());
    if (!write.answer.empty() && kv->mod_revision() != write.revision)
      return wrong("{} was applied at revision {}, but answered with {}", write.id(),
                   kv->mod_revision(), write.revision);
    return std::nullopt;
  }

  void last_look(Caller& caller) override {
    etcdserverpb::RangeRequest request;
    request.set_key("request_ids/");
    request.set_range_end("request_ids0");
    caller.call("KV/Range", request, [this, &caller](const EtcdClient::Reply& reply) {
      if (!reply.answered()) return last_look(caller);
      last_ = reply.as<etcdserverpb::RangeResponse>();
      over();
    });
  }

  etcdserverpb::RangeResponse last_;
};

}  // namespace

std::unique_ptr<Workload> make_request_ids(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<RequestIds>(site, plan);
}

}  // namespace conclave::sim
