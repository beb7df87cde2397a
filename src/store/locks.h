#pragma once
// The procedures behind locks and elections (api/lock.h): which requests they make of the store,
// and what they answer to whom. Whoever waits watches one key, that of the one before it, so that a
// release wakes the next one and nobody else; what waits costs nothing until then.
//
// It is told what happened and says what is to be done next (take_effects). What it asks for are
// ordinary requests and watches, which its owner submits like a client's. Nothing of it is in the
// log but the keys: where a client waits is known to its member alone, and to the key.
//
// Pure. Not thread-safe.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "api/request.h"
#include "api/session.h"
#include "api/watch.h"
#include "base/time.h"
#include "store/watch_hub.h"

namespace conclave::store {

// The range of `<name>/`, where the keys of a lock or an election are; without limits or order.
api::RangeRequest lock_keys(BytesView name);
// Of these the one that was created first: whose it is holds the lock, or leads.
api::RangeRequest first_lock_key(BytesView name);

class Locks {
 public:
  struct Effects {
    struct Call {
      FeedId client;  // on whose behalf; connection 0: of several
      api::CallId id = 0;
      api::Request request;
    };
    struct Reply {
      FeedId client;
      api::Response response;
    };
    struct Watch {
      std::uint64_t feed = 0;
      api::WatchCreate request;
    };
    std::vector<Call> calls;            // to be answered with on_response
    std::vector<Watch> watches;         // of feeds of our own, to be answered with on_watch
    std::vector<std::uint64_t> closed;  // feeds of which nothing more is to be heard
    std::vector<Reply> replies;

    bool empty() const {
      return calls.empty() && watches.empty() && closed.empty() && replies.empty();
    }
  };

  // Replies later, at most once. REQUIRES: api::route_of(request) is kLock, and no other request of
  // `client` waits. At `deadline` it is withdrawn, and answered kDeadlineExceeded.
  void request(FeedId client, api::Request request, std::optional<Instant> deadline);
  // The client wants no answer any more: the key that was created for it is deleted, as soon as it
  // is known which that is; one that was there before only if, just then, the call waits with it
  // for another to go. But it stays if another call of this member, with the same lease, wants it
  // too or has been granted the lock with it.
  void withdraw(FeedId client);
  void close_connection(std::uint64_t connection);

  void on_response(api::CallId call, api::Response response);
  void on_watch(std::uint64_t feed, const api::WatchNews& news);
  // Withdraws those whose deadline has come. Also repeats what failed for the moment: nobody loses
  // a place since this member had no leader for a while.
  void expire(Instant now);
  // Answers everybody kStopped, from now on. Keys stay: a client that asks another member, with the
  // same lease, has its place still.
  void stop();

  bool has_effects() const { return !effects_.empty(); }
  Effects take_effects() { return std::exchange(effects_, {}); }
  std::size_t waiting() const { return waiters_.size(); }
  // Of the names and values they brought.
  std::size_t waiting_bytes() const { return waiting_bytes_; }
  std::size_t waiting_bytes_of(std::uint64_t connection) const;

 private:
  enum class Kind : std::uint8_t { kLock, kCampaign, kProclaim, kResign, kLeader };
  enum class Step : std::uint8_t {
    kHeldBack,     // until a removal of its key is through
    kGranting,     // the lease
    kEntering,     // creates the key, or finds it
    kProclaiming,  // the value of the leader
    kLooking,      // for the key before its own
    kWaiting,      // for that key to go
    kConfirming,   // that its own is there still
    kWithdrawing,  // deletes its own
    kResigning,
    kAsking,  // for the leader
  };
  struct Waiter {
    Kind kind = Kind::kLock;
    Step step = Step::kEntering;
    bool is_gone = false;  // nobody waits for the reply
    bool has_waited = false;
    // Of the key that was created for it, or for a call that handed it over; and of the one with
    // which another call was granted the lock. Revisions, since a later key may have the same name.
    api::Revision created = 0;
    api::Revision granted = 0;
    FeedId client;
    std::size_t bytes = 0;      // of the name and value it brought
    std::uint64_t expects = 0;  // the call, or the feed with its one watch, that takes it on
    std::optional<Instant> deadline;
    std::string user;    // who asks
    api::LeaderKey own;  // revision 0: not known yet
    Bytes value;
    std::optional<api::Fence> fence;  // of what it writes until it waits
    api::Header entered;
    std::optional<api::Error> error;  // the reply, once it is withdrawn
  };
  // The steps to which a client's fence applies: what it asked for, not how it is withdrawn.
  static bool writes_first(Step step) {
    return step == Step::kGranting || step == Step::kEntering || step == Step::kProclaiming ||
           step == Step::kResigning;
  }
  using Number = std::uint64_t;
  using Waiters = absl::btree_map<Number, Waiter>;

  void begin(Number number, Waiter& waiter);
  void call(Number number, Waiter& waiter, Step step, api::Body body);
  void grant(Number number, Waiter& waiter);
  void enter(Number number, Waiter& waiter);
  void proclaim(Number number, Waiter& waiter);
  void look(Number number, Waiter& waiter);
  void wait(Number number, Waiter& waiter, const api::Response& found);
  void confirm(Number number, Waiter& waiter);
  void take_back(Number number, Waiter& waiter);
  static bool may_take_back(const Waiter& waiter);
  bool hand_over(Number number, const Waiter& waiter);
  template <class Visit>
  void for_each_sharing(Number number, const Waiter& waiter, Visit visit);
  static bool may_repeat(Step step, api::ErrorCode code);
  bool is_being_withdrawn(Number number, const Waiter& waiter);
  void let_held_back_enter(const Bytes& key);
  void leave(Number number, Waiter& waiter);
  void stop_waiting(Waiter& waiter);

  void granted(Number number, Waiter& waiter, const api::Response& response);
  void entered(Number number, Waiter& waiter, api::Response& response);
  void proclaimed(Number number, Waiter& waiter, const api::Response& response);
  void looked(Number number, Waiter& waiter, const api::Response& response);
  void confirmed(Number number, Waiter& waiter, const api::Response& response);
  void told_leader(Number number, Waiter& waiter, api::Response& response);

  static bool has_own(const Waiter& waiter, const std::vector<api::KeyValue>& kvs);
  void lose(Number number, Waiter& waiter, const api::Header& header);
  void reached(Number number, Waiter& waiter, const api::Header& header);
  void fail(Number number, Waiter& waiter, api::Error error);
  void reply(Waiter& waiter, const api::Header& header, api::Answer answer);
  void finish(Number number, Waiter& waiter, const api::Header& header, api::Answer answer);
  void erase(Number number);

  Waiters waiters_;
  std::size_t waiting_bytes_ = 0;
  absl::btree_map<std::uint64_t, std::size_t> waiting_bytes_of_;  // each connection
  Number next_ = 1;                                               // also of calls and feeds
  absl::btree_map<Number, Number> expected_;                      // by call or feed
  absl::btree_map<FeedId, Number> by_client_;                     // those that are not gone
  absl::btree_set<std::pair<Bytes, Number>> by_key_;  // who enters, waits or is withdrawn with it
  absl::btree_set<std::pair<Instant, Number>> deadlines_;
  absl::btree_set<Number> repeated_;  // at the next expire(): their calls failed for the moment
  Effects effects_;
  bool stopped_ = false;
};

}  // namespace conclave::store
