#pragma once
// Feeds that are told who leads an election (api::ObserveElection), made of ordinary reads and
// watches: the first key of the election, then what becomes of it until it goes, then the next one.
// Like store/locks.h, it says what it wants done and is told what came of it.
//
// What a client does not take waits in the history, as with any watch (store/watch_hub.h).
//
// Pure. Not thread-safe.

#include <absl/container/btree_map.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "api/request.h"
#include "api/session.h"
#include "api/watch.h"
#include "store/watch_hub.h"

namespace conclave::store {

class Observers {
 public:
  // Brings news to a client's feed. False: not now; has_room() is called when it can be.
  using Tell = std::function<bool(FeedId, Revision revision, const api::WatchNews&)>;

  struct Effects {
    struct Call {
      FeedId client;  // on whose behalf
      api::CallId id = 0;
      api::Request request;
    };
    struct Watch {
      std::uint64_t feed = 0;
      api::WatchCreate request;
    };
    std::vector<Call> calls;              // to be answered with on_response
    std::vector<Watch> watches;           // of feeds of our own, to be answered with on_watch
    std::vector<std::uint64_t> closed;    // feeds of which nothing more is to be heard
    std::vector<std::uint64_t> has_room;  // of these feeds, that refused news
  };

  explicit Observers(Tell tell) : tell_(std::move(tell)) {}

  void observe(FeedId client, Bytes election, std::string user);
  // No effect if it is none of these.
  void close(FeedId client);
  void close_connection(std::uint64_t connection);
  void has_room(FeedId client);
  bool owns(FeedId client) const { return by_client_.contains(client); }

  void on_response(api::CallId call, api::Response response);
  // False: not now.
  bool on_watch(std::uint64_t feed, Revision revision, const api::WatchNews& news);

  bool has_effects() const;
  Effects take_effects() { return std::exchange(effects_, {}); }
  std::size_t size() const { return observers_.size(); }

 private:
  enum class Step : std::uint8_t {
    kLooking,    // for the leader
    kTelling,    // of it, once the client has room
    kAwaiting,   // the first key of the election
    kFollowing,  // what becomes of the leader
  };
  struct Observer {
    FeedId client;
    Bytes election;
    std::string user;  // who asks
    Step step = Step::kLooking;
    std::uint64_t feed = 0;  // the call, or the feed with its one watch, that takes it on
    Revision revision = 0;   // of the news in `leader`, and of all news before
    api::KeyValue leader;
    Revision told_create = 0;  // of the leader that was told last, and of its value
    Revision told_mod = 0;
  };
  using Number = std::uint64_t;

  void look(Number number, Observer& observer);
  void watch(Number number, Observer& observer, Step step, api::WatchCreate create);
  void tell_leader(Number number, Observer& observer);
  void follow(Number number, Observer& observer, BytesView key);
  bool on_events(Number number, Observer& observer, const api::WatchEvents& news);
  void end(Number number, const Observer& observer, Revision revision, api::ErrorCode why);
  bool tell(Observer& observer, const api::KeyValueView& leader, Revision revision);
  void end_step(Observer& observer);
  void erase(Number number);

  Tell tell_;
  absl::btree_map<Number, Observer> observers_;
  absl::btree_map<FeedId, Number> by_client_;
  absl::btree_map<std::uint64_t, Number> expected_;  // by call or feed
  Number next_ = 1;                                  // also of calls and feeds
  Effects effects_;
};

}  // namespace conclave::store
