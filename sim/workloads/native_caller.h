#pragma once
// A client of conclave.v1's locks and barriers that writes with fences: the calls that change what
// it has, each answer of which is judged (sim/workloads/native_judge.h).
//
// It counts how often it has acquired what it holds. An attempt whose fate is unknown may count, or
// not, and not any more later: its member undoes it.

#include <cstdint>
#include <optional>
#include <string>

#include "conclave.pb.h"
#include "sim/workloads/contender.h"
#include "sim/workloads/native_judge.h"

namespace conclave::sim {

class NativeCaller final : public Contender {
 public:
  using Acquire = conclave::v1::AcquireRequest;
  enum class Write : std::uint8_t { kPut, kTxn, kDelete };

  // See Contender; `records` are those of all clients.
  NativeCaller(Site& site, const WorkloadPlan& plan, std::size_t number, std::int64_t& leases,
               NativeRecords& records);

  const NativeJudge& judge() const { return judge_; }

  // What acquire() and lock() ask for from now on: name, owner, mode and permits.
  void want(Acquire wanted) { wanted_ = std::move(wanted); }
  const Acquire& wanted() const { return wanted_; }
  void acquire(Acquire::Wait wait, const Done& done, EtcdClient::Metadata metadata = {});
  // Of etcd's Lock service. REQUIRES: nothing else is asked for with this lease.
  void lock_as_etcd(const std::string& name, const Done& done);

  void lock(const std::string& name, const Done& done, EtcdClient::Metadata metadata) override;
  std::string key_in(const std::string& name) const override;
  void give_back(const Done& done) override { release(true, done); }

  // Whether what it has is the lock, and not a place in the queue.
  bool holds() const { return held_ && !waits_; }
  // The last that it had before, and perhaps has no more.
  const std::optional<Fenced>& former() const { return former_; }
  Fenced fence() const { return {held_->name, held_->key, held_->token}; }
  void drop();

  // REQUIRES: held().
  void release(bool altogether, const Done& done);
  // Whoever may hold the lock.
  void write(Write how, const std::string& key, const Fenced& fence, const Done& done);
  void validate(const Fenced& fence, const Done& done);

  void enter(const std::string& name, std::uint32_t count, const Done& done,
             EtcdClient::Metadata metadata = {});
  void leave(const std::string& name, bool at_once, const Done& done);

 private:
  // How often it has to be released.
  struct Count {
    std::uint32_t least = 0;
    std::uint32_t most = 0;
  };

  // Every other time under a request id, and then again elsewhere if its fate is unknown.
  template <class Request>
  void call_again(std::string_view method, const Request& request, EtcdClient::Done heard,
                  EtcdClient::Metadata metadata);
  template <class Request>
  void call_up_to(unsigned times, std::string_view method, const Request& request,
                  EtcdClient::Done heard, EtcdClient::Metadata metadata);
  void acquired(const Acquire& request, const std::string& key, std::int64_t asked,
                const conclave::v1::AcquireResponse& response);
  void count(const Acquire& request, const conclave::v1::AcquireResponse& response, bool is_known);
  void judge_refusal(const EtcdClient::Reply& reply, const std::string& name,
                     const std::string& key, std::int64_t asked);
  void released(const conclave::v1::ReleaseResponse& response, bool altogether);
  EtcdClient::Metadata with(const Fenced& fence);

  NativeJudge judge_;
  NativeRecords& records_;
  Acquire wanted_;
  Count times_;         // of held_
  bool waits_ = false;  // held_ is a place in the queue
  bool is_etcds_ = false;
  std::optional<Fenced> former_;
  std::uint64_t sequence_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace conclave::sim
