// Transactions over lists: clients read some keys and append to some of them, at once or not at
// all. etcd cannot append, so an appending transaction reads its keys first and then writes the
// longer lists on condition that no key has changed since; what it read is then part of it. Others
// only read, several keys in one transaction. Judged: strictly serializable.
//
// A value is the elements of the list, as text, one space between two.

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/serializability.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

using List = std::vector<Element>;

constexpr std::size_t kKeys = 5;              // that are in use at a time
constexpr std::size_t kAppendsUntilNew = 50;  // then a key is used no more, and another is
constexpr std::size_t kKeysInLastLook = 50;   // in one transaction

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : seed(plan.seed) {}
  std::string key(std::size_t slot) const { return key(slot, appends[slot] / kAppendsUntilNew); }
  std::string key(std::size_t slot, std::size_t generation) const {
    return fmt::format("list_append/{}/{}.{}", seed, slot, generation);
  }

  std::uint64_t seed;
  std::size_t appends[kKeys] = {};  // asked for
  Element last_element = 0;
  TransactionHistory history;
};

std::string to_value(const List& list) { return fmt::format("{}", fmt::join(list, " ")); }

List to_list(const std::string& key, std::string_view value) {
  List list;
  const char* const end = value.data() + value.size();
  for (const char* at = value.data(); at < end;) {
    const auto [next, error] = std::from_chars(at, end, list.emplace_back());
    if (error != std::errc() || (next != end && *next != ' '))
      found("transactions", fmt::format("{} holds \"{}\", which nobody wrote", key, value));
    at = std::min(next + 1, end);
  }
  return list;
}

MicroOp to_read(const std::string& key, const etcdserverpb::RangeResponse& response) {
  return read_of(key, response.kvs().empty() ? List{} : to_list(key, response.kvs(0).value()));
}

class ListClient {
 public:
  ListClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : caller_(site, plan, "t", number), shared_(shared) {}

  Caller& caller() { return caller_; }

  void act() {
    pick_keys();
    if (caller_.rng().one_in(3)) return read_all();
    known_.clear();
    read_next();
  }

 private:
  // What a key held when it was read before the transaction.
  struct Known {
    std::string key;
    std::int64_t mod_revision = 0;
    List list;
  };

  void pick_keys() {
    keys_.clear();
    std::vector<std::size_t> slots = {0, 1, 2, 3, 4};
    static_assert(kKeys == 5);
    for (std::uint64_t i = caller_.rng().between(1, 3); i > 0; --i) {
      const auto slot =
          slots.begin() + static_cast<std::ptrdiff_t>(caller_.rng().below(slots.size()));
      keys_.push_back(*slot);
      slots.erase(slot);
    }
  }

  Transaction begin() const { return {.client = caller_.number(), .called_ns = caller_.now_ns()}; }
  void returned(Transaction& transaction) const { transaction.returned_ns = caller_.now_ns(); }
  void keep(Transaction transaction) { shared_.history.push_back(std::move(transaction)); }

  // --- transactions that only read ---

  void read_all() {
    etcdserverpb::TxnRequest request;
    std::vector<std::string> names;
    for (const std::size_t slot : keys_) {
      names.push_back(shared_.key(slot));
      request.add_success()->mutable_request_range()->set_key(names.back());
    }
    caller_.call("KV/Txn", request,
                 [this, names, transaction = begin()](const EtcdClient::Reply& reply) mutable {
                   if (reply.answered()) {
                     keep_reads(names, reply.as<etcdserverpb::TxnResponse>(), transaction);
                   }
                   caller_.next();
                 });
  }

  void keep_reads(const std::vector<std::string>& names, const etcdserverpb::TxnResponse& response,
                  Transaction transaction) {
    transaction.ops.clear();
    for (std::size_t i = 0; i < names.size(); ++i)
      transaction.ops.push_back(
          to_read(names[i], response.responses(static_cast<int>(i)).response_range()));
    returned(transaction);
    keep(std::move(transaction));
  }

  // --- transactions that append ---

  // The keys one after the other, some of them in whatever state a member has: the condition of the
  // transaction makes up for it.
  void read_next() {
    if (known_.size() == keys_.size()) return append();
    etcdserverpb::RangeRequest request;
    request.set_key(shared_.key(keys_[known_.size()]));
    request.set_serializable(caller_.rng().one_in(4));
    caller_.call("KV/Range", request,
                 [this, request, transaction = begin()](const EtcdClient::Reply& reply) mutable {
                   if (!reply.answered()) return caller_.next();
                   const auto response = reply.as<etcdserverpb::RangeResponse>();
                   MicroOp read = to_read(request.key(), response);
                   known_.push_back({request.key(),
                                     response.kvs().empty() ? 0 : response.kvs(0).mod_revision(),
                                     *read.list});
                   if (!request.serializable()) {
                     transaction.ops = {std::move(read)};
                     returned(transaction);
                     keep(std::move(transaction));
                   }
                   read_next();
                 });
  }

  // Appends to the first key and to half of the others, and reads some of them in between.
  void append() {
    etcdserverpb::TxnRequest request;
    Transaction transaction = begin();
    for (std::size_t i = 0; i < known_.size(); ++i) {
      const Known& known = known_[i];
      etcdserverpb::Compare& compare = *request.add_compare();
      compare.set_key(known.key);
      compare.set_target(etcdserverpb::Compare::MOD);
      compare.set_mod_revision(known.mod_revision);
      request.add_failure()->mutable_request_range()->set_key(known.key);
      transaction.ops.push_back(read_of(known.key, known.list));
    }
    for (std::size_t i = 0; i < known_.size(); ++i) {
      if (i == 0 || caller_.rng().one_in(2)) add_append(i, request, transaction);
      if (caller_.rng().one_in(3)) {
        const std::string& key = known_[caller_.rng().below(known_.size())].key;
        request.add_success()->mutable_request_range()->set_key(key);
        transaction.ops.push_back(read_of(key, std::nullopt));
      }
    }
    caller_.call("KV/Txn", request,
                 [this, transaction = std::move(transaction)](const EtcdClient::Reply& reply) {
                   hear(reply, transaction);
                   caller_.next();
                 });
  }

  void add_append(std::size_t i, etcdserverpb::TxnRequest& request, Transaction& transaction) {
    ++shared_.appends[keys_[i]];
    const Element element = ++shared_.last_element;
    List list = known_[i].list;
    list.push_back(element);
    etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
    put.set_key(known_[i].key);
    put.set_value(to_value(list));
    transaction.ops.push_back(append_to(known_[i].key, element));
  }

  void hear(const EtcdClient::Reply& reply, Transaction transaction) {
    if (reply.unknown()) return keep(std::move(transaction));
    returned(transaction);
    transaction.aborted = true;
    if (reply.refused()) return keep(std::move(transaction));
    const auto response = reply.as<etcdserverpb::TxnResponse>();
    if (!response.succeeded()) {
      std::vector<std::string> names;
      for (const Known& known : known_) names.push_back(known.key);
      keep_reads(names, response, transaction);
      return keep(std::move(transaction));
    }
    transaction.aborted = false;
    int next = 0;
    for (std::size_t i = known_.size(); i < transaction.ops.size(); ++i, ++next) {
      MicroOp& op = transaction.ops[i];
      if (!op.append) op = to_read(op.key, response.responses(next).response_range());
    }
    keep(std::move(transaction));
  }

  Caller caller_;
  Shared& shared_;
  std::vector<std::size_t> keys_;  // the slots of this transaction
  std::vector<Known> known_;
};

class ListAppend final : public Crowd<ListClient, Shared> {
 public:
  using Crowd::Crowd;

  std::optional<Finding> judge() const override {
    const auto anomaly = find_anomaly(shared().history);
    if (!anomaly) return std::nullopt;
    return Finding{"transactions", name_of(*anomaly) + ": " + anomaly->what, {}};
  }
  std::string history() const override { return to_json_lines(shared().history); }

 private:
  // All keys there ever were.
  void last_look(Caller& caller) override {
    for (std::size_t slot = 0; slot < kKeys; ++slot)
      for (std::size_t i = 0; i <= shared().appends[slot] / kAppendsUntilNew; ++i)
        left_.push_back(shared().key(slot, i));
    look_on(caller);
  }

  void look_on(Caller& caller) {
    if (left_.empty()) return over();
    const std::size_t count = std::min(left_.size(), kKeysInLastLook);
    etcdserverpb::TxnRequest request;
    for (std::size_t i = 0; i < count; ++i)
      request.add_success()->mutable_request_range()->set_key(left_[i]);
    const std::int64_t called_ns = caller.now_ns();
    caller.call("KV/Txn", request, [this, &caller, count, called_ns](const auto& reply) {
      if (reply.answered()) {
        const auto response = reply.template as<etcdserverpb::TxnResponse>();
        Transaction transaction{
            .client = caller.number(), .called_ns = called_ns, .returned_ns = caller.now_ns()};
        for (std::size_t i = 0; i < count; ++i)
          transaction.ops.push_back(
              to_read(left_[i], response.responses(static_cast<int>(i)).response_range()));
        shared().history.push_back(std::move(transaction));
        left_.erase(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(count));
      }
      look_on(caller);
    });
  }

  std::vector<std::string> left_;  // keys still to be read
};

}  // namespace

std::unique_ptr<Workload> make_list_append(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<ListAppend>(site, plan);
}

}  // namespace conclave::sim
