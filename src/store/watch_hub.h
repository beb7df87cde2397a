#pragma once
// Who has to be told of a change? The watches of this member's clients, over the store's history.
//
// A watch is *at the head* when it has been told everything so far; then it costs nothing until one
// of its keys changes. It falls behind when it begins in the past, or when its client does not take
// what it is told. What a watch that is behind has missed is not queued anywhere: it is read from
// the history, which has every change since the compacted revision. Those that are behind share
// *sweeps* over the history; one that reaches the head hands its watches over.
//
// All work is done by step(), in slices: changes are matched against the watched ranges (a slice is
// a number of whole revisions), then the watches that they concern are told, one after the other,
// by as many steps as it takes. A watch remembers what it has been told, so a slice can be thrown
// away at any time.
//
// A watch ends when its user may not read its range any more: looked at before anything is told
// after a change of users and roles.
//
// Pure. Not replicated: it belongs to a member, and outlives its Store when a snapshot replaces it
// (store_replaced). Not thread-safe.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <array>
#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "api/watch.h"
#include "store/slab.h"
#include "store/store.h"
#include "store/watch_index.h"

namespace conclave::store {

// Names a feed: a connection of this member, and a call of it.
struct FeedId {
  std::uint64_t connection = 0;
  std::uint64_t call = 0;

  auto operator<=>(const FeedId&) const = default;
};

class WatchHub {
 public:
  // Brings news to a feed; `revision` is for the header. False: the client has not taken enough of
  // what it was sent before; nothing happened, and has_room() is called when it has. Only events
  // and progress may be refused. It must not call back into the hub.
  using Tell = std::function<bool(FeedId, Revision revision, const api::WatchNews&)>;

  struct Limits {
    std::size_t watches = 0;
    std::size_t connection_watches = SIZE_MAX;  // of one connection
    std::size_t user_watches = SIZE_MAX;        // of one user
    // Of one step, about: changes matched, watches looked at for them, watches told, bytes told.
    std::size_t changes = 4'096;
    std::size_t matches = 65'536;
    std::size_t tells = 1'000;
    std::size_t bytes = 2 * 1024 * 1024;
    // An answer with events of several revisions ends at the first revision that passes this.
    std::size_t answer_bytes = 512 * 1024;
  };

  // The hub begins at the store's newest revision.
  WatchHub(const Limits& limits, const Store& store, Tell tell);
  ~WatchHub();

  // A feed is there from its first request on.
  void request(const Store& store, FeedId feed, const api::WatchRequest& request);
  void close_connection(std::uint64_t connection);
  // The feed, which refused news, takes them again.
  void has_room(FeedId feed);

  // Does a bounded amount of what is to be done. True: there is more.
  bool step(const Store& store);
  // Watches that asked for it are told how far they are, unless they were told anything since the
  // last call.
  void notify_progress();
  // The store was replaced by a newer state of the same history.
  void store_replaced(const Store& store);

  // Changes of revisions up to this one are needed no more: the store may reclaim them.
  Revision told() const;

  std::size_t watches() const { return watchers_.size(); }
  std::size_t behind() const { return behind_; }
  // Of those that are behind, the ones that have missed something; the others have yet to begin.
  std::size_t late() const { return behind_ - future_.size(); }
  // Found to concern a watch, and not told yet.
  std::size_t events_pending() const;
  std::size_t feeds() const { return feeds_.size(); }
  std::uint64_t events_told() const { return events_told_; }

 private:
  static constexpr std::uint32_t kNone = WatchIndex::kNone;
  static constexpr std::size_t kSweeps = WatchIndex::kLists - 1;

  // Where a watcher is. Values below kLists are cursors: the head, and the sweeps after it.
  enum Place : std::uint8_t {
    kHead = 0,
    kWaiting = WatchIndex::kLists,  // for a sweep
    kParked,                        // for its client
    kAlone,                         // in large_
  };

  struct Watcher {
    WatchIndex::Range* range = nullptr;
    api::WatchId id = 0;
    Revision next = 0;  // the first revision it has not been told, or not looked for
    std::uint32_t feed = 0;
    std::uint32_t user = 0;        // in users_
    std::uint32_t before = kNone;  // in its range's list for its cursor
    std::uint32_t after = kNone;
    std::uint32_t first_match = kNone;  // in the slice of its cursor
    std::uint32_t last_match = kNone;
    std::uint8_t place = kWaiting;
    bool no_put : 1 = false;
    bool no_delete : 1 = false;
    bool prev_kv : 1 = false;
    bool progress : 1 = false;
    bool fragment : 1 = false;
    bool quiet : 1 = false;   // nothing told since the last notify_progress
    bool future : 1 = false;  // in future_
  };
  struct Feed {
    FeedId id;
    absl::btree_map<api::WatchId, std::uint32_t> watchers;
    std::vector<std::uint32_t> parked;
    api::WatchId next_id = 0;
    std::size_t behind = 0;                     // watchers that are, or begin in the future
    std::optional<Revision> progress_asked_at;  // the store's revision then
  };

  struct Match {
    const Record* record;
    std::uint32_t next;
  };
  // Goes through the history for the watchers in its lists.
  struct Cursor {
    Revision at = 0;   // told up to here
    Revision end = 0;  // of the slice; == at: there is none
    std::vector<Match> matches;
    std::vector<std::uint32_t> touched;  // watchers with matches
    std::size_t next_touched = 0;
    // Of a sweep: those who joined. Some may have left.
    std::vector<std::uint32_t> members;
    std::size_t present = 0;  // those who have not
  };
  // What is left of a step.
  struct Budget {
    std::size_t changes, matches, tells, bytes;
    bool is_spent() const { return changes == 0 || matches == 0 || tells == 0 || bytes == 0; }
  };

  void create(const Store& store, FeedId feed, const api::WatchCreate& create);
  void cancel(const Store& store, FeedId feed, api::WatchId id);
  std::uint32_t number_of(const std::string& user);
  void look_at_rights(const Store& store);
  void close(FeedId feed);
  std::uint32_t feed_of(FeedId id);
  std::optional<api::WatchId> choose_id(Feed& feed, api::WatchId wanted) const;

  void place(std::uint32_t index, Place where);
  void link(std::uint32_t index, std::uint8_t list);
  void unlink(std::uint32_t index);
  void count_behind(Watcher& watcher, bool before, bool after);
  void remove(std::uint32_t index);
  void set_future(std::uint32_t index);
  void greet_future();

  void admit(const Store& store);
  bool admit_one(const Store& store, std::uint32_t index);
  static Revision oldest_start(const Store& store);
  bool is_near(Revision next) const;
  std::uint8_t sweep_for(Revision next);
  void wait(std::uint32_t index, Revision next);
  void dissolve(std::uint8_t cursor, Revision dropped);
  void abandon_slice(Cursor& cursor);

  bool run(const Store& store, std::uint8_t cursor, Revision until, Budget& budget);
  bool collect(const Store& store, std::uint8_t cursor, Revision until, Budget& budget);
  bool collect_revision(const Store& store, std::uint8_t cursor, std::size_t& at, Budget& budget);
  std::size_t match(std::uint8_t cursor, const Record& change);
  void set_alone(const Store& store, std::uint8_t cursor, Revision revision);
  void tell_slice(const Store& store, Cursor& cursor, Budget& budget);
  bool tell_events(std::uint32_t index, Revision told_to, Budget& budget);
  void gather(const Store& store, const Watcher& watcher, const Record& record);
  void park(std::uint32_t index, Revision next);
  void hand_over(std::uint8_t sweep, Budget& budget);
  void tell_alone(const Store& store, Budget& budget);
  void tell_progress(Budget& budget);
  void answer_progress();
  static bool wants(const Watcher& watcher, const Record& change);

  Limits limits_;
  Tell tell_;
  WatchIndex index_;
  Slab<Watcher> watchers_;
  Slab<Feed> feed_slots_;
  absl::btree_map<FeedId, std::uint32_t> feeds_;
  absl::btree_map<std::uint64_t, std::size_t> connections_;  // how many watches each has
  std::array<Cursor, WatchIndex::kLists> cursors_;           // the head first
  std::deque<std::uint32_t> waiting_;                        // some may have left
  std::deque<std::uint32_t> large_;  // whose next revision has very many changes
  absl::btree_set<std::pair<Revision, std::uint32_t>> future_;  // at the head, and begin later
  absl::btree_set<std::uint32_t> progress_;                     // who asked to be notified
  std::optional<std::uint32_t> progress_at_;                    // where notifying goes on
  absl::btree_set<FeedId> progress_asked_;                      // feeds
  // Names stay, as there are not many.
  std::vector<std::string> users_ = {""};
  std::vector<std::size_t> user_watches_ = {0};
  absl::btree_map<std::string, std::uint32_t> user_numbers_;
  std::uint64_t rights_ = 0;  // the digest of users and roles when rights were looked at
  std::size_t behind_ = 0;
  std::uint64_t events_told_ = 0;
  std::vector<api::Event> events_;  // of the answer being made
  std::size_t event_bytes_ = 0;
};

}  // namespace conclave::store
