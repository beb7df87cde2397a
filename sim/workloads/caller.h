#pragma once
// What clients of a workload have in common. A Caller is one of them: a name, a connection,
// randomness, a pause before each thing it does, and a count of things to do. A Crowd is a workload
// of such clients that has a last look at the data when all of them are through.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/message.h>

#include "sim/etcd_client.h"
#include "sim/workload.h"

namespace conclave::sim {

class Caller {
 public:
  // Its name in network and trace is `letter` and `number`. Site and plan outlive it.
  Caller(Site& site, const WorkloadPlan& plan, std::string_view letter, std::size_t number);
  ~Caller();
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // From now on calls `act` after a pause, as often as the plan says, and at last `finished`. Each
  // act ends in next().
  void begin(std::function<void()> act, std::function<void()> finished);
  void next();
  // The next next() is the last.
  void stop() { acts_ = plan_.operations; }

  // One call; `heard` comes when it has ended. REQUIRES: no other is under way.
  void call(std::string_view method, const google::protobuf::Message& request,
            EtcdClient::Done heard, EtcdClient::Metadata metadata = {});
  // See EtcdClient.
  void set_patience(Duration timeout, bool resets) { client_.set_patience(timeout, resets); }
  // The next call goes to any member.
  void hop() { client_.disconnect(); }

  std::size_t number() const { return number_; }
  std::uint64_t answered() const { return answered_; }
  std::int64_t now_ns() const { return site_.clock.now().ns; }
  Rng& rng() { return rng_; }

 private:
  Site& site_;
  const WorkloadPlan& plan_;
  std::size_t number_;
  std::string name_;
  Rng rng_;
  EtcdClient client_;
  std::function<void()> act_;
  std::function<void()> finished_;
  io::Clock::TimerId pause_ = 0;
  std::size_t acts_ = 0;
  std::uint64_t answered_ = 0;
};

// Client is made from (Site&, const WorkloadPlan&, number, Shared&) and has a caller() and an
// act(). Shared is what the clients of one workload know together.
template <class Client, class Shared>
class Crowd : public Workload {
 public:
  Crowd(Site& site, const WorkloadPlan& plan) : plan_(plan), shared_(plan_) {
    for (std::size_t i = 0; i < plan.clients; ++i)
      clients_.push_back(std::make_unique<Client>(site, plan_, i, shared_));
  }

  void start() final {
    over_ = clients_.empty();
    for (const auto& client : clients_)
      client->caller().begin([&client] { client->act(); }, [this] { finished(); });
  }
  bool done() const override { return over_; }
  std::uint64_t answered() const override {
    std::uint64_t sum = 0;
    for (const auto& client : clients_) sum += client->caller().answered();
    return sum;
  }

 protected:
  // All clients are through. Reads what judge() needs, by `caller`, and ends in over().
  virtual void last_look(Caller& caller) = 0;
  void over() { over_ = true; }
  const std::vector<std::unique_ptr<Client>>& clients() const { return clients_; }
  const Shared& shared() const { return shared_; }
  Shared& shared() { return shared_; }

 private:
  void finished() {
    if (++finished_ == clients_.size()) last_look(clients_.front()->caller());
  }

  const WorkloadPlan plan_;
  Shared shared_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::size_t finished_ = 0;
  bool over_ = false;
};

}  // namespace conclave::sim
