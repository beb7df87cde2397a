#pragma once
// Clients of one member that wait for Conclave's own locks and barriers (api/native.h). What they
// ask for is a command; who is not answered by that at once waits in the *room* of the lock or
// barrier. A room has one watch of the keys, however many wait in it. When that tells that somebody
// left, the room looks at the keys, and those whose turn it is are answered; nobody else hears of
// it. (A watch of one key for each, as store/locks.h has it, would not do: who waits for a permit
// waits for any of those before it.)
//
// Like store/locks.h, it says what it wants done and is told what came of it; nothing of it is in
// the log but the keys. What is looked at is the cluster's state, not what this member has heard of
// it, so whoever is told that it holds a lock held it at a moment shortly before. Where there are
// users, each has a room of its own, and looks and watches are asked for in its name: who may not
// read the keys any more waits no longer.
//
// While there is no leader everybody keeps waiting. A command that was under way when a leader went
// is answered kTimeout: it is not known whether there is a key.
//
// Pure. Not thread-safe.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "api/request.h"
#include "base/time.h"
#include "store/lock_queue.h"
#include "store/locks.h"

namespace conclave::store {

class NativeWaits {
 public:
  using Effects = Locks::Effects;

  // Replies later, at most once. REQUIRES: an AcquireRequest, EnterRequest or LeaveRequest of
  // Route::kLock, and no other request of `client` waits. At `deadline` it is withdrawn, and
  // answered kDeadlineExceeded.
  void request(FeedId client, api::Request request, std::optional<Instant> deadline);
  // The client wants no answer any more: what was taken for it is given back, once. Who leaves a
  // barrier has left.
  void withdraw(FeedId client);
  void close_connection(std::uint64_t connection);

  void on_response(api::CallId call, api::Response response);
  void on_watch(std::uint64_t feed, const api::WatchNews& news);
  // Also repeats what failed for the moment.
  void expire(Instant now);
  // Answers everybody kStopped, from now on. Keys stay.
  void stop();

  bool has_effects() const { return !effects_.empty(); }
  Effects take_effects() { return std::exchange(effects_, {}); }
  std::size_t waiting() const { return waiters_.size(); }
  std::size_t rooms() const { return rooms_.size(); }
  std::size_t undoing() const { return undone_.size(); }

 private:
  // Names a waiter and its command; a room, its feed and its looks; or what is undone.
  using Number = std::uint64_t;
  enum class Kind : std::uint8_t { kAcquire, kEnter, kLeave };
  struct Waiter {
    Kind kind = Kind::kAcquire;
    FeedId client;
    bool is_gone = false;  // nobody waits for the reply
    std::optional<Instant> deadline;
    Bytes name;
    std::string user;  // who asks; empty: nobody said
    api::LeaseId lease = 0;
    Number room = 0;  // 0: its command was not answered yet
    // Of the command's answer, as is `acquired`, or `opened` of who leaves.
    api::Header header;
    api::AcquireResponse acquired;
    api::Revision opened = 0;
  };
  struct Undo {
    std::variant<api::ReleaseRequest, api::LeaveRequest> request;
    FeedId client;  // who took it
    std::string user;
    api::Revision taken = 0;  // what is undone was done at this revision, or before
  };
  struct Room {
    Bytes name;
    std::string user;
    absl::btree_set<Number> waiters;
    bool is_looking = false;
    bool is_stale = false;  // something changed after the look had begun
  };
  // The keys, as a room has found them.
  struct Seen {
    LockQueue queue;
    std::size_t holders = 0;
    api::Revision opened = 0;  // 0: it has no door
  };

  void enter_room(Number number, Waiter& waiter);
  void leave_room(Number number, const Waiter& waiter);
  void watch(Number number, const Room& room, api::Revision from);
  void look(Number number, Room& room);
  void looked(Number number, const api::Response& response);
  void commanded(Number number, api::Response& response);
  static std::optional<api::Answer> answer_of(const Waiter& waiter, const Seen& seen);
  void fail(const Room& room, const api::Error& error);
  void undo(Number number, const Waiter& waiter);
  void submit(Number number, const Undo& undo);
  void undone(Number number, const api::Response& response);
  bool has_companion(Number number, const Waiter& waiter) const;
  void leave(Number number, Waiter& waiter);
  void reply(const Waiter& waiter, const api::Header& header, api::Answer answer);
  void finish(Number number, const api::Header& header, api::Answer answer);
  void erase(Number number);

  absl::btree_map<Number, Waiter> waiters_;
  absl::btree_map<Number, Room> rooms_;
  absl::btree_map<Number, Undo> undone_;  // until it is known that it is
  absl::btree_map<std::pair<Bytes, std::string>, Number> room_by_name_;
  absl::btree_map<FeedId, Number> by_client_;  // those that are not gone
  absl::btree_set<std::pair<Instant, Number>> deadlines_;
  absl::btree_set<Number> repeated_;  // rooms and what is undone, at the next expire()
  Number next_ = 1;
  Effects effects_;
  bool stopped_ = false;
};

}  // namespace conclave::store
