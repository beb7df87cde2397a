// Clients that put, get, delete and compare-and-swap a few keys, each value written once. Judged:
// linearizable key by key, and the revisions they were told must fit one order.

#include <fmt/core.h>

#include <map>
#include <utility>

#include "etcd.pb.h"
#include "sim/linearizability.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kKeys = 5;

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : seed(plan.seed) {}
  std::uint64_t seed;
  History history;
};

class RegisterClient {
 public:
  RegisterClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : caller_(site, plan, "r", number), shared_(shared) {}

  Caller& caller() { return caller_; }

  void act() {
    Rng& rng = caller_.rng();
    op_ = Operation{};
    op_.client = caller_.number();
    op_.key = fmt::format("registers/{}", rng.below(kKeys));
    op_.called_ns = caller_.now_ns();
    const std::uint64_t dice = rng.below(10);
    if (dice < 4) return get();
    if (dice < 5) return remove();
    op_.value = fmt::format("v{}-{}-{}", shared_.seed, caller_.number(), ++written_);
    return dice < 8 ? put() : swap();
  }

 private:
  void get() {
    op_.kind = OpKind::kGet;
    etcdserverpb::RangeRequest request;
    request.set_key(op_.key);
    call("KV/Range", request, [this](const EtcdClient::Reply& reply) {
      read(reply.as<etcdserverpb::RangeResponse>());
      op_.value = std::exchange(op_.actual, std::nullopt);
    });
  }

  void put() {
    op_.kind = OpKind::kPut;
    etcdserverpb::PutRequest request;
    request.set_key(op_.key);
    request.set_value(*op_.value);
    call("KV/Put", request, [this](const EtcdClient::Reply& reply) {
      wrote(reply.as<etcdserverpb::PutResponse>().header().revision());
    });
  }

  void remove() {
    op_.kind = OpKind::kDelete;
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(op_.key);
    call("KV/DeleteRange", request, [this](const EtcdClient::Reply& reply) {
      const auto response = reply.as<etcdserverpb::DeleteRangeResponse>();
      op_.store_revision = response.header().revision();
      if (response.deleted() > 0) op_.revision = op_.store_revision;
      seen_.erase(op_.key);
    });
  }

  // If the key still holds what this client saw last; else it learns what it holds instead.
  void swap() {
    op_.kind = OpKind::kCas;
    if (const auto seen = seen_.find(op_.key); seen != seen_.end()) op_.expect = seen->second;
    etcdserverpb::TxnRequest request;
    etcdserverpb::Compare& compare = *request.add_compare();
    compare.set_key(op_.key);
    compare.set_result(etcdserverpb::Compare::EQUAL);
    if (op_.expect) {
      compare.set_target(etcdserverpb::Compare::VALUE);
      compare.set_value(*op_.expect);
    } else {
      compare.set_target(etcdserverpb::Compare::VERSION);
      compare.set_version(0);
    }
    etcdserverpb::PutRequest& write = *request.add_success()->mutable_request_put();
    write.set_key(op_.key);
    write.set_value(*op_.value);
    request.add_failure()->mutable_request_range()->set_key(op_.key);
    call("KV/Txn", request, [this](const EtcdClient::Reply& reply) {
      const auto response = reply.as<etcdserverpb::TxnResponse>();
      op_.succeeded = response.succeeded();
      if (op_.succeeded) return wrote(response.header().revision());
      op_.actual_known = true;
      read(response.responses(0).response_range());
      op_.store_revision = response.header().revision();
    });
  }

  void wrote(std::int64_t revision) {
    op_.revision = revision;
    op_.store_revision = revision;
    seen_[op_.key] = *op_.value;
  }

  void read(const etcdserverpb::RangeResponse& response) {
    op_.store_revision = response.header().revision();
    if (response.kvs().empty()) {
      seen_.erase(op_.key);
      return;
    }
    op_.actual = response.kvs(0).value();
    op_.revision = response.kvs(0).mod_revision();
    seen_[op_.key] = *op_.actual;
  }

  void call(std::string_view method, const google::protobuf::Message& request,
            std::function<void(const EtcdClient::Reply&)> learn) {
    caller_.call(method, request, [this, learn = std::move(learn)](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        learn(reply);
        op_.returned_ns = caller_.now_ns();
      }
      if (!reply.refused()) shared_.history.push_back(op_);
      caller_.next();
    });
  }

  Caller caller_;
  Shared& shared_;
  std::uint64_t written_ = 0;
  Operation op_;
  std::map<std::string, std::string> seen_;
};

class Registers final : public Crowd<RegisterClient, Shared> {
 public:
  using Crowd::Crowd;

  std::optional<Finding> judge() const override {
    const History& history = shared().history;
    const Verdict verdict = check_linearizable(history);
    if (verdict.violation) return finding("linearizability", *verdict.violation);
    if (const auto order = find_revision_violation(history)) return finding("revisions", *order);
    return std::nullopt;
  }
  std::string history() const override { return to_json_lines(shared().history); }

 private:
  void last_look(Caller&) override { over(); }

  static Finding finding(std::string check, const Violation& violation) {
    Finding finding{std::move(check), violation.key + ": " + violation.what, {}};
    for (const Operation& op : violation.around) finding.around.push_back(to_json(op));
    return finding;
  }
};

}  // namespace

std::unique_ptr<Workload> make_registers(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<Registers>(site, plan);
}

}  // namespace conclave::sim
