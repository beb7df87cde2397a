// Clients that put, get, delete and compare-and-swap a few keys, each value written once. Judged:
// linearizable key by key, and the revisions they were told must fit one order.

#include <fmt/core.h>

#include <map>
#include <utility>

#include "etcd.pb.h"
#include "sim/etcd_client.h"
#include "sim/linearizability.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kKeys = 5;

class RegisterClient {
 public:
  RegisterClient(Site& site, const WorkloadPlan& plan, std::size_t number)
      : site_(site),
        plan_(plan),
        number_(number),
        name_(fmt::format("r{}", number)),
        rng_(plan.seed + number),
        client_({.seed = rng_.next(), .members = &site.members}, site.clock,
                site.fabric.host(name_)) {}
  ~RegisterClient() { site_.clock.cancel(next_); }

  bool done() const { return asked_ == plan_.operations && !client_.busy(); }
  std::uint64_t answered() const { return answered_; }
  const History& history() const { return history_; }

  void think() {
    const auto most = static_cast<std::uint64_t>(plan_.think.ns);
    next_ = site_.clock.after(nanoseconds(static_cast<std::int64_t>(rng_.below(most + 1))),
                              [this] { ask(); });
  }

 private:
  void ask() {
    if (asked_ == plan_.operations) return;
    ++asked_;
    op_ = Operation{};
    op_.client = number_;
    op_.key = fmt::format("registers/{}", rng_.below(kKeys));
    op_.called_ns = site_.clock.now().ns;
    const std::uint64_t dice = rng_.below(10);
    if (dice < 4) return get();
    if (dice < 5) return remove();
    op_.value = fmt::format("v{}-{}-{}", plan_.seed, number_, asked_);
    return dice < 8 ? put() : swap();
  }

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

  void call(std::string_view method, const google::protobuf::MessageLite& request,
            std::function<void(const EtcdClient::Reply&)> learn) {
    client_.call(method, request, [this, learn = std::move(learn)](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        ++answered_;
        learn(reply);
        op_.returned_ns = site_.clock.now().ns;
      }
      if (!reply.refused()) history_.push_back(op_);
      if (site_.trace.wants(Trace::Kind::kClient)) {
        site_.trace.note(Trace::Kind::kClient, name_, to_json(op_) + " " + reply.error);
      }
      think();
    });
  }

  Site& site_;
  const WorkloadPlan& plan_;
  std::size_t number_;
  std::string name_;
  Rng rng_;
  EtcdClient client_;
  io::Clock::TimerId next_ = 0;
  std::size_t asked_ = 0;
  std::uint64_t answered_ = 0;
  Operation op_;
  std::map<std::string, std::string> seen_;
  History history_;
};

class Registers final : public Workload {
 public:
  Registers(Site& site, const WorkloadPlan& plan) : plan_(plan) {
    for (std::size_t i = 0; i < plan.clients; ++i) {
      clients_.push_back(std::make_unique<RegisterClient>(site, plan_, i));
    }
  }

  void start() override {
    for (const auto& client : clients_) client->think();
  }
  bool done() const override {
    for (const auto& client : clients_) {
      if (!client->done()) return false;
    }
    return true;
  }
  std::uint64_t answered() const override {
    std::uint64_t sum = 0;
    for (const auto& client : clients_) sum += client->answered();
    return sum;
  }
  std::optional<Finding> judge() const override {
    const History history = all();
    const Verdict verdict = check_linearizable(history);
    if (verdict.violation) return finding("linearizability", *verdict.violation);
    if (const auto order = find_revision_violation(history)) return finding("revisions", *order);
    return std::nullopt;
  }
  std::string history() const override { return to_json_lines(all()); }

 private:
  static Finding finding(std::string check, const Violation& violation) {
    Finding finding{std::move(check), violation.key + ": " + violation.what, {}};
    for (const Operation& op : violation.around) finding.around.push_back(to_json(op));
    return finding;
  }
  History all() const {
    History all;
    for (const auto& client : clients_) {
      all.insert(all.end(), client->history().begin(), client->history().end());
    }
    return all;
  }

  const WorkloadPlan plan_;
  std::vector<std::unique_ptr<RegisterClient>> clients_;
};

}  // namespace

std::unique_ptr<Workload> make_registers(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<Registers>(site, plan);
}

}  // namespace conclave::sim
