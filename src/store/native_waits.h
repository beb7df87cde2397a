#pragma once
// Clients of one member that wait for Conclave's own locks and barriers (api/native.h). What they
// ask for is a command; who is not answered by that at once waits in the *room* of the lock or
// barrier. A room has one watch, however many wait in it, and looks at the keys when that tells of
// a change: whose turn it is, by these, is answered, and nobody else is woken.
//
// Like store/locks.h, it says what it wants done and is told what came of it; nothing of it is in
// the log but the keys. What is looked at is this member's own state, of after the command: so
// whoever is told that it holds a lock did hold it at a moment after it had asked.
//
// Pure. Not thread-safe.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <optional>
#include <utility>

#include "api/request.h"
#include "base/time.h"
#include "store/lock_queue.h"
#include "store/locks.h"

namespace conclave::store {

class NativeWaits {
 public:
  using Effects = Locks::Effects;

  // Replies later, at most once. REQUIRES: an AcquireRequest, EnterRequest or LeaveRequest that
  // waits, and no other request of `client` does. At `deadline` it is withdrawn, and answered
  // kDeadlineExceeded.
  void request(FeedId client, api::Request request, std::optional<Instant> deadline);
  // The client wants no answer any more: what was taken for it is released, once. Who leaves a
  // barrier has left.
  void withdraw(FeedId client);
  void close_connection(std::uint64_t connection);

  void on_response(api::CallId call, api::Response response);
  void on_watch(std::uint64_t feed, const api::WatchNews& news);
  void expire(Instant now);
  // Answers everybody kStopped, from now on. Keys stay.
  void stop();

  bool has_effects() const { return !effects_.empty(); }
  Effects take_effects() { return std::exchange(effects_, {}); }
  std::size_t waiting() const { return waiters_.size(); }
  std::size_t rooms() const { return rooms_.size(); }

 private:
  enum class Kind : std::uint8_t { kAcquire, kEnter, kLeave };
  struct Waiter {
    Kind kind = Kind::kAcquire;
    FeedId client;
    bool is_gone = false;     // nobody waits for the reply
    bool is_entered = false;  // the command was answered
    api::CallId call = 0;     // the command
    std::optional<Instant> deadline;
    Bytes name;
    api::LeaseId lease = 0;
    api::Header header;  // of the command's answer, as are the next two
    api::AcquireResponse acquired;
    api::EnterResponse entered;
  };
  using Number = std::uint64_t;
  struct Room {
    absl::btree_set<Number> waiters;
    std::uint64_t feed = 0;  // with the one watch
    api::CallId look = 0;    // under way; 0: none
    bool is_stale = false;   // something changed after the look had begun
  };

  void enter_room(Number number, const Waiter& waiter);
  void leave_room(Number number, const Waiter& waiter);
  void watch(const Bytes& name, Room& room, Revision from);
  void look(const Bytes& name, Room& room);
  void looked(const Bytes& name, const api::Response& response);
  void commanded(Number number, api::Response& response);
  void settle(Number number, const api::Header& header, const LockQueue& queue, bool is_open);
  void fail(const Room& room, const api::Error& error);
  void undo(const Waiter& waiter);
  void leave(Number number, Waiter& waiter);
  void reply(const Waiter& waiter, const api::Header& header, api::Answer answer);
  void finish(Number number, const api::Header& header, api::Answer answer);
  void erase(Number number);

  absl::btree_map<Number, Waiter> waiters_;
  absl::btree_map<Bytes, Room> rooms_;  // by name
  absl::btree_map<FeedId, Number> by_client_;
  absl::btree_map<api::CallId, Number> commands_;
  absl::btree_map<api::CallId, Bytes> looks_;    // of rooms
  absl::btree_map<std::uint64_t, Bytes> feeds_;  // of rooms
  absl::btree_set<std::pair<Instant, Number>> deadlines_;
  std::uint64_t next_ = 1;  // waiter, call and feed
  Effects effects_;
  bool stopped_ = false;
};

}  // namespace conclave::store
