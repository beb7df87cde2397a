#include "store/watch_hub.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "store/state.h"

namespace conclave::store {
namespace {

constexpr BytesView kSmallestKey("\0", 1);
// What an event costs beside its bytes.
constexpr std::size_t kEventBytes = 48;
// Matches that the changes of one revision may have, as a multiple of a slice's.
constexpr std::size_t kMatchesOfOneRevision = 4;
// A watch that has missed no more revisions than so many steps match does not wait for those that
// replay much.
constexpr std::size_t kNearSteps = 2;
// Admitting a watch to a sweep is that much cheaper than telling it something.
constexpr std::size_t kAdmissionsPerTell = 10;

void take_off(std::size_t& left, std::size_t used) { left -= std::min(left, used); }

// As a request names it.
BytesView end_of(const WatchIndex::Range& range) {
  if (range.interval == nullptr) return {};
  return range.interval->unbounded ? kSmallestKey : BytesView(range.interval->end);
}

api::KeyValueView view_of(const Record& record) {
  return {.key = record.key(),
          .value = record.value(),
          .create_revision = record.create,
          .mod_revision = record.mod,
          .version = record.version,
          .lease = record.lease};
}

}  // namespace

WatchHub::WatchHub(const Limits& limits, const Store& store, Tell tell)
    : limits_(limits), tell_(std::move(tell)) {
  cursors_[kHead].at = cursors_[kHead].end = store.revision();
  rights_ = store.auth().digest();
}

WatchHub::~WatchHub() = default;

// --- requests -----------------------------------------------------------------------

void WatchHub::request(const Store& store, FeedId feed, const api::WatchRequest& request) {
  struct Handler {
    void operator()(const api::WatchCreate& wanted) const { hub.create(store, feed, wanted); }
    void operator()(const api::WatchCancel& wanted) const { hub.cancel(store, feed, wanted.id); }
    void operator()(const api::WatchProgressAsked&) const {
      hub.feed_slots_[hub.feed_of(feed)].progress_asked_at = store.revision();
      hub.progress_asked_.insert(feed);
    }
    void operator()(const api::WatchFeedClosed&) const { hub.close(feed); }
    void operator()(const api::ObserveElection&) const {
      CHECK(false, "elections are observed by their keys");
    }

    WatchHub& hub;
    const Store& store;
    FeedId feed;
  };
  std::visit(Handler{*this, store, feed}, request);
}

std::uint32_t WatchHub::feed_of(FeedId id) {
  const auto [found, is_new] = feeds_.try_emplace(id, kNone);
  if (is_new) {
    found->second = feed_slots_.add();
    feed_slots_[found->second].id = id;
  }
  return found->second;
}

// nullopt: it is in use.
std::optional<api::WatchId> WatchHub::choose_id(Feed& feed, api::WatchId wanted) const {
  if (wanted != 0) {
    if (feed.watchers.contains(wanted)) return std::nullopt;
    return wanted;
  }
  while (feed.watchers.contains(feed.next_id)) ++feed.next_id;
  return feed.next_id++;
}

void WatchHub::create(const Store& store, FeedId id, const api::WatchCreate& wanted) {
  using Reason = api::WatchRefused::Reason;
  const Revision now = store.revision();
  const auto refuse = [&](Reason reason) {
    tell_(id, now, api::WatchRefused{api::kNoWatch, reason});
  };
  const KeyRange range =
      KeyRange::of(wanted.key.empty() ? kSmallestKey : BytesView(wanted.key), wanted.range_end);
  const bool is_empty = !range.single && !range.unbounded && range.end <= range.key;
  // As etcd: rights come before what else may be wrong.
  const BytesView key = wanted.key.empty() ? kSmallestKey : BytesView(wanted.key);
  if (const auto denied = store.watch_denial(wanted.identity.user, key, wanted.range_end)) {
    tell_(id, now, api::WatchRefused{api::kNoWatch, Reason::kDenied, *denied});
    return;
  }
  if (is_empty) return refuse(Reason::kEmptyRange);
  const auto connection = connections_.find(id.connection);
  const std::uint32_t user = number_of(wanted.identity.user);
  const bool has_too_many =
      (connection != connections_.end() && connection->second >= limits_.connection_watches) ||
      (user != 0 && user_watches_[user] >= limits_.user_watches);
  if (watches() >= limits_.watches || has_too_many) return refuse(Reason::kTooMany);
  const std::uint32_t feed_index = feed_of(id);
  Feed& feed = feed_slots_[feed_index];
  const auto watch_id = choose_id(feed, wanted.id);
  if (!watch_id) return refuse(Reason::kIdInUse);

  ++connections_[id.connection];
  ++user_watches_[user];
  const std::uint32_t index = watchers_.add();
  Watcher& watcher = watchers_[index];
  watcher.range = index_.take(range);
  watcher.id = *watch_id;
  // As in etcd, which finds nothing before the first revision: from -1 on, while nothing has been
  // compacted, is from now on. (All else below the first one counts as compacted.)
  const bool from_now =
      wanted.start_revision == 0 || (wanted.start_revision == -1 && oldest_start(store) < 0);
  watcher.next = from_now ? now + 1 : wanted.start_revision;
  watcher.feed = feed_index;
  watcher.user = user;
  watcher.no_put = wanted.no_put;
  watcher.no_delete = wanted.no_delete;
  watcher.prev_kv = wanted.prev_kv;
  watcher.fragment = wanted.fragment;
  watcher.progress = wanted.progress_notify;
  watcher.quiet = true;
  feed.watchers.emplace(*watch_id, index);
  if (watcher.progress) progress_.insert(index);
  ++feed.behind;
  ++behind_;

  tell_(id, now, api::WatchCreated{*watch_id});
  const bool is_ahead = watcher.next > cursors_[kHead].end && watcher.next >= oldest_start(store);
  if (!is_ahead) {
    waiting_.push_back(index);
    return;
  }
  if (watcher.next > now + 1) set_future(index);
  place(index, kHead);
}

void WatchHub::cancel(const Store& store, FeedId id, api::WatchId watch) {
  const auto found = feeds_.find(id);
  if (found == feeds_.end()) return;
  const auto& watchers = feed_slots_[found->second].watchers;
  const auto watcher = watchers.find(watch);
  if (watcher == watchers.end()) return;
  remove(watcher->second);
  tell_(id, store.revision(), api::WatchCanceled{watch});
}

// --- rights -------------------------------------------------------------------------

std::uint32_t WatchHub::number_of(const std::string& user) {
  if (user.empty()) return 0;
  const auto [place, is_new] =
      user_numbers_.try_emplace(user, static_cast<std::uint32_t>(users_.size()));
  if (is_new) {
    users_.push_back(user);
    user_watches_.push_back(0);
  }
  return place->second;
}

// All at once, so that nothing later is told to who may not hear it.
void WatchHub::look_at_rights(const Store& store) {
  const std::uint64_t digest = store.auth().digest();
  if (std::exchange(rights_, digest) == digest || !store.auth().is_enabled()) return;
  struct Ended {
    FeedId feed;
    api::WatchId watch;
    api::ErrorCode why;
  };
  std::vector<Ended> ended;
  for (const auto& [id, feed] : feeds_) {
    for (const auto& [watch, index] : feed_slots_[feed].watchers) {
      const Watcher& watcher = watchers_[index];
      const auto denied =
          store.watch_denial(users_[watcher.user], watcher.range->key, end_of(*watcher.range));
      if (denied) ended.push_back({id, watch, *denied});
    }
  }
  for (const Ended& end : ended) {
    remove(feed_slots_[feeds_.at(end.feed)].watchers.at(end.watch));
    tell_(end.feed, store.revision(), api::WatchCanceled{end.watch, end.why});
  }
}

void WatchHub::close(FeedId id) {
  const auto found = feeds_.find(id);
  if (found == feeds_.end()) return;
  const std::uint32_t index = found->second;
  auto& watchers = feed_slots_[index].watchers;
  while (!watchers.empty()) remove(watchers.begin()->second);
  progress_asked_.erase(id);
  feeds_.erase(found);
  feed_slots_.remove(index);
}

void WatchHub::close_connection(std::uint64_t connection) {
  for (;;) {
    const auto found = feeds_.lower_bound(FeedId{connection, 0});
    if (found == feeds_.end() || found->first.connection != connection) return;
    close(FeedId(found->first));
  }
}

void WatchHub::has_room(FeedId id) {
  const auto found = feeds_.find(id);
  if (found == feeds_.end()) return;
  for (const std::uint32_t index : std::exchange(feed_slots_[found->second].parked, {})) {
    const Watcher& watcher = watchers_[index];
    if (watcher.place == kParked && watcher.feed == found->second) wait(index, watcher.next);
  }
}

// --- where a watcher is -------------------------------------------------------------

void WatchHub::place(std::uint32_t index, Place where) {
  Watcher& watcher = watchers_[index];
  const bool was_behind = watcher.place != kHead || watcher.future;
  if (watcher.place < WatchIndex::kLists) unlink(index);
  watcher.place = where;
  if (where < WatchIndex::kLists) link(index, where);
  count_behind(watcher, was_behind, where != kHead || watcher.future);
}

void WatchHub::count_behind(Watcher& watcher, bool before, bool after) {
  const std::size_t change = static_cast<std::size_t>(after) - static_cast<std::size_t>(before);
  feed_slots_[watcher.feed].behind += change;
  behind_ += change;
}

void WatchHub::link(std::uint32_t index, std::uint8_t list) {
  Watcher& watcher = watchers_[index];
  std::uint32_t& first = watcher.range->first[list];
  watcher.before = kNone;
  watcher.after = first;
  if (first != kNone) watchers_[first].before = index;
  first = index;
  ++cursors_[list].present;
}

void WatchHub::unlink(std::uint32_t index) {
  Watcher& watcher = watchers_[index];
  const std::uint8_t list = watcher.place;
  if (watcher.before == kNone) {
    watcher.range->first[list] = watcher.after;
  } else {
    watchers_[watcher.before].after = watcher.after;
  }
  if (watcher.after != kNone) watchers_[watcher.after].before = watcher.before;
  watcher.before = watcher.after = kNone;
  watcher.first_match = watcher.last_match = kNone;
  --cursors_[list].present;
}

void WatchHub::remove(std::uint32_t index) {
  Watcher& watcher = watchers_[index];
  if (watcher.future) {
    future_.erase({watcher.next, index});
    count_behind(watcher, true, watcher.place != kHead);
    watcher.future = false;
  }
  place(index, kHead);  // not behind any more
  unlink(index);
  if (watcher.progress) progress_.erase(index);
  index_.release(watcher.range);
  Feed& feed = feed_slots_[watcher.feed];
  const auto connection = connections_.find(feed.id.connection);
  if (--connection->second == 0) connections_.erase(connection);
  --user_watches_[watcher.user];
  feed.watchers.erase(watcher.id);
  watchers_.remove(index);
}

void WatchHub::set_future(std::uint32_t index) {
  watchers_[index].future = true;
  future_.insert({watchers_[index].next, index});
}

// Watches whose time has come.
void WatchHub::greet_future() {
  while (!future_.empty() && future_.begin()->first <= cursors_[kHead].at + 1) {
    Watcher& watcher = watchers_[future_.begin()->second];
    future_.erase(future_.begin());
    watcher.future = false;
    count_behind(watcher, true, watcher.place != kHead);
  }
}

void WatchHub::wait(std::uint32_t index, Revision next) {
  place(index, kWaiting);
  watchers_[index].next = next;
  waiting_.push_back(index);
}

// Its client takes nothing now.
void WatchHub::park(std::uint32_t index, Revision next) {
  place(index, kParked);
  Watcher& watcher = watchers_[index];
  watcher.next = next;
  feed_slots_[watcher.feed].parked.push_back(index);
}

// --- sweeps -------------------------------------------------------------------------

// As etcd has it: -1 before the first compaction.
Revision WatchHub::oldest_start(const Store& store) { return store.state_->mvcc.compacted(); }

// Lets those that wait into sweeps.
void WatchHub::admit(const Store& store) {
  std::size_t left = std::min(waiting_.size(), limits_.tells * kAdmissionsPerTell);
  for (; left > 0; --left) {
    const std::uint32_t index = waiting_.front();
    if (watchers_[index].place != kWaiting || admit_one(store, index)) {
      waiting_.pop_front();
    } else {
      waiting_.push_back(index);
      waiting_.pop_front();
    }
  }
}

// False: no sweep will pass where it has to begin.
bool WatchHub::admit_one(const Store& store, std::uint32_t index) {
  Watcher& watcher = watchers_[index];
  if (watcher.range == nullptr) return true;  // it is gone
  if (watcher.next < oldest_start(store)) {
    const FeedId feed = feed_slots_[watcher.feed].id;
    const api::WatchId id = watcher.id;
    remove(index);
    tell_(feed, 0, api::WatchCompacted{id, oldest_start(store)});
    return true;
  }
  if (watcher.next > cursors_[kHead].end) {
    place(index, kHead);
    return true;
  }
  const std::uint8_t sweep = sweep_for(watcher.next);
  if (sweep == kHead) return false;
  place(index, static_cast<Place>(sweep));
  cursors_[sweep].members.push_back(index);
  return true;
}

bool WatchHub::is_near(Revision next) const {
  return next > cursors_[kHead].end - static_cast<Revision>(limits_.changes * kNearSteps);
}

// The sweep that comes to `next` first and soon, or a new one; kHead if there is none. The last
// that is free is for watches near the head, the one before for all others; each begins where all
// those that wait can join it.
std::uint8_t WatchHub::sweep_for(Revision next) {
  const bool near = is_near(next);
  std::uint8_t best = kHead;
  std::uint8_t free = kHead;
  std::size_t free_sweeps = 0;
  bool has_near_sweep = false;
  for (std::uint8_t i = 1; i <= kSweeps; ++i) {
    const Cursor& sweep = cursors_[i];
    if (sweep.present == 0) {
      free = i;
      ++free_sweeps;
    } else if (sweep.end < next && (best == kHead || sweep.end > cursors_[best].end)) {
      best = i;
    }
    has_near_sweep = has_near_sweep || (sweep.present > 0 && is_near(sweep.end + 1));
  }
  const bool is_far = near && best != kHead && !is_near(cursors_[best].end + 1);
  if (is_far && (free != kHead || has_near_sweep)) best = kHead;
  if (best != kHead || free == kHead) return best;
  if (free_sweeps == 1 && !near) return kHead;
  if (free_sweeps <= (near ? 1 : 2)) {
    for (const std::uint32_t index : waiting_) {
      const Watcher& other = watchers_[index];
      if (other.place != kWaiting || other.range == nullptr) continue;
      if (is_near(other.next) == near) next = std::min(next, other.next);
    }
  }
  next = std::max<Revision>(next, 1);  // a client may name any
  Cursor& sweep = cursors_[free];
  abandon_slice(sweep);
  sweep.members.clear();
  sweep.at = sweep.end = next - 1;
  return free;
}

// A sweep that has reached the head gives it its watchers.
void WatchHub::hand_over(std::uint8_t number, Budget& budget) {
  Cursor& sweep = cursors_[number];
  std::size_t left = budget.tells * kAdmissionsPerTell;
  for (; left > 0 && !sweep.members.empty(); --left) {
    const std::uint32_t index = sweep.members.back();
    sweep.members.pop_back();
    if (watchers_[index].place == number) place(index, kHead);
  }
}

// What the cursor would have to read next is no more: each watcher finds out for itself whether it
// needs that.
void WatchHub::dissolve(std::uint8_t number, Revision dropped) {
  Cursor& cursor = cursors_[number];
  const Revision next = cursor.at + 1;
  abandon_slice(cursor);
  for (std::uint32_t i = 0; i < watchers_.end() && cursor.present > 0; ++i) {
    Watcher& watcher = watchers_[i];
    if (watcher.range == nullptr || watcher.place != number) continue;
    const bool is_unharmed = watcher.future && watcher.next > dropped;
    if (is_unharmed) continue;
    if (watcher.future) future_.erase({watcher.next, i});
    wait(i, std::max(watcher.next, next));
    watcher.future = false;
  }
  cursor.members.clear();
}

void WatchHub::abandon_slice(Cursor& cursor) {
  for (std::size_t i = cursor.next_touched; i < cursor.touched.size(); ++i) {
    Watcher& watcher = watchers_[cursor.touched[i]];
    if (watcher.place < WatchIndex::kLists && &cursors_[watcher.place] == &cursor) {
      watcher.first_match = watcher.last_match = kNone;
    }
  }
  cursor.matches.clear();
  cursor.touched.clear();
  cursor.next_touched = 0;
  cursor.end = cursor.at;
}

void WatchHub::store_replaced(const Store& store) {
  for (Cursor& cursor : cursors_) abandon_slice(cursor);
  CHECK(store.revision() >= cursors_[kHead].at);
}

Revision WatchHub::told() const {
  Revision told = cursors_[kHead].at;
  for (const Cursor& cursor : cursors_) {
    if (cursor.end > cursor.at) told = std::min(told, cursor.at);
  }
  return told;
}

std::size_t WatchHub::events_pending() const {
  std::size_t pending = 0;
  for (const Cursor& cursor : cursors_) pending += cursor.matches.size();
  return pending;
}

// --- a step -------------------------------------------------------------------------

bool WatchHub::step(const Store& store) {
  look_at_rights(store);
  const Mvcc& mvcc = store.state_->mvcc;
  for (std::uint8_t i = 0; i < WatchIndex::kLists; ++i) {
    if (cursors_[i].present > 0 && cursors_[i].at < mvcc.dropped()) {
      dissolve(i, mvcc.dropped());
      if (i == kHead) cursors_[i].at = cursors_[i].end = mvcc.dropped();
    }
  }
  const Budget whole{limits_.changes, limits_.matches, limits_.tells, limits_.bytes};
  Budget budget = whole;
  const Cursor& head = cursors_[kHead];
  bool more = run(store, kHead, store.revision(), budget);
  greet_future();
  admit(store);
  for (std::uint8_t i = 1; i <= kSweeps; ++i) {
    if (cursors_[i].present == 0) continue;
    Budget share{whole.changes / kSweeps, whole.matches / kSweeps, whole.tells / kSweeps,
                 whole.bytes / kSweeps};
    if (!run(store, i, head.end, share)) hand_over(i, share);
    more = more || cursors_[i].present > 0;
  }
  budget = whole;
  tell_alone(store, budget);
  if (head.at == head.end) {
    tell_progress(budget);
    answer_progress();
  }
  return more || !waiting_.empty() || !large_.empty() || progress_at_.has_value();
}

// Goes on up to `until`. True: not there yet.
bool WatchHub::run(const Store& store, std::uint8_t number, Revision until, Budget& budget) {
  Cursor& cursor = cursors_[number];
  for (;;) {
    if (cursor.at < cursor.end) tell_slice(store, cursor, budget);
    if (cursor.at < cursor.end) return true;
    if (cursor.at >= until) return false;
    if (budget.is_spent()) return true;
    if (cursor.present == 0) {
      cursor.at = cursor.end = until;
    } else {
      collect(store, number, until, budget);
    }
  }
}

// Makes the next slice: the matches of the next revisions. False: it ends before the revision that
// was to be its last, which has too many.
bool WatchHub::collect(const Store& store, std::uint8_t number, Revision until, Budget& budget) {
  const Mvcc& mvcc = store.state_->mvcc;
  const Mvcc::History& history = mvcc.history();
  Cursor& cursor = cursors_[number];
  std::size_t at = mvcc.first_change_after(cursor.at);
  while (at < history.size() && history[at]->mod <= until && !budget.is_spent()) {
    const Revision revision = history[at]->mod;
    if (collect_revision(store, number, at, budget)) {
      cursor.end = revision;
    } else if (cursor.end == cursor.at) {
      abandon_slice(cursor);
      set_alone(store, number, revision);
      return false;
    } else {
      abandon_slice(cursor);
      budget.changes = std::max<std::size_t>(budget.changes, 1);
      budget.matches = std::max<std::size_t>(budget.matches, 1);
      return collect(store, number, revision - 1, budget);
    }
  }
  const bool is_all = at == history.size() || history[at]->mod > until;
  if (is_all) cursor.end = until;
  if (cursor.touched.empty()) cursor.at = cursor.end;
  return true;
}

// Matches the changes of the revision that begins at `at` in the history. False: too many matches.
bool WatchHub::collect_revision(const Store& store, std::uint8_t number, std::size_t& at,
                                Budget& budget) {
  const Mvcc::History& history = store.state_->mvcc.history();
  const std::vector<Match>& matches = cursors_[number].matches;
  const Revision revision = history[at]->mod;
  const std::size_t before = matches.size();
  for (; at < history.size() && history[at]->mod == revision; ++at) {
    take_off(budget.matches, match(number, *history[at]));
    take_off(budget.changes, 1);
    if (matches.size() - before > limits_.matches * kMatchesOfOneRevision) return false;
  }
  return true;
}

bool WatchHub::wants(const Watcher& watcher, const Record& change) {
  if (watcher.next > change.mod) return false;
  return change.tombstone ? !watcher.no_delete : !watcher.no_put;
}

// How many watches it has looked at.
std::size_t WatchHub::match(std::uint8_t number, const Record& change) {
  if (change.keyspace != Keyspace::kEtcd) return 0;
  Cursor& cursor = cursors_[number];
  std::size_t visits = 0;
  index_.visit(change.key(), [&](const WatchIndex::Range& range) {
    for (std::uint32_t i = range.first[number]; i != kNone; i = watchers_[i].after) {
      Watcher& watcher = watchers_[i];
      ++visits;
      if (!wants(watcher, change)) continue;
      const auto added = static_cast<std::uint32_t>(cursor.matches.size());
      cursor.matches.push_back({&change, kNone});
      if (watcher.first_match == kNone) {
        watcher.first_match = added;
        cursor.touched.push_back(i);
      } else {
        cursor.matches[watcher.last_match].next = added;
      }
      watcher.last_match = added;
    }
  });
  return visits;
}

// A revision with more matches than fit in memory: each watcher it concerns is told by itself.
void WatchHub::set_alone(const Store& store, std::uint8_t number, Revision revision) {
  const Mvcc& mvcc = store.state_->mvcc;
  const Mvcc::History& history = mvcc.history();
  for (std::size_t at = mvcc.first_change_after(revision - 1);
       at < history.size() && history[at]->mod == revision; ++at) {
    if (history[at]->keyspace != Keyspace::kEtcd) continue;
    index_.visit(history[at]->key(), [&](const WatchIndex::Range& range) {
      for (std::uint32_t i = range.first[number]; i != kNone;) {
        const std::uint32_t after = watchers_[i].after;
        if (wants(watchers_[i], *history[at])) {
          place(i, kAlone);
          watchers_[i].next = revision;
          large_.push_back(i);
        }
        i = after;
      }
    });
  }
  cursors_[number].at = cursors_[number].end = revision;
}

void WatchHub::tell_slice(const Store& store, Cursor& cursor, Budget& budget) {
  for (; cursor.next_touched < cursor.touched.size(); ++cursor.next_touched) {
    if (budget.tells == 0 || budget.bytes == 0) return;
    const std::uint32_t index = cursor.touched[cursor.next_touched];
    Watcher& watcher = watchers_[index];
    const bool is_here = watcher.place < WatchIndex::kLists && &cursors_[watcher.place] == &cursor;
    if (!is_here || watcher.first_match == kNone) continue;
    bool told = true;
    for (std::uint32_t i = watcher.first_match; i != kNone && told; i = cursor.matches[i].next) {
      const Record& record = *cursor.matches[i].record;
      const bool ends =
          event_bytes_ >= limits_.answer_bytes && record.mod != events_.back().kv.mod_revision;
      if (ends) told = tell_events(index, events_.back().kv.mod_revision, budget);
      if (told) gather(store, watcher, record);
    }
    if (told) told = tell_events(index, cursor.end, budget);
    if (told) watcher.first_match = watcher.last_match = kNone;
  }
  cursor.at = cursor.end;
  abandon_slice(cursor);
}

// Tells what was gathered; with it the watcher has been told everything up to `told_to`. False: the
// watcher is parked.
bool WatchHub::tell_events(std::uint32_t index, Revision told_to, Budget& budget) {
  Watcher& watcher = watchers_[index];
  const Revision first = events_.front().kv.mod_revision;
  const bool told =
      tell_(feed_slots_[watcher.feed].id, told_to,
            api::WatchEvents{.id = watcher.id, .fragment = watcher.fragment, .events = events_});
  if (told) {
    watcher.next = told_to + 1;
    watcher.quiet = false;
    events_told_ += events_.size();
    take_off(budget.bytes, event_bytes_);
  } else {
    park(index, first);
  }
  take_off(budget.tells, 1);
  events_.clear();
  event_bytes_ = 0;
  return told;
}

void WatchHub::gather(const Store& store, const Watcher& watcher, const Record& record) {
  api::Event event;
  event.is_delete = record.tombstone;
  event.kv = view_of(record);
  event_bytes_ += kEventBytes + record.key_size + record.value_size;
  const bool has_prev = watcher.prev_kv && record.mod - 1 >= store.state_->mvcc.compacted();
  if (const Record* prev = has_prev ? version_at(record.older, record.mod - 1) : nullptr) {
    event.prev_kv = view_of(*prev);
    event_bytes_ += kEventBytes + prev->key_size + prev->value_size;
  }
  events_.push_back(event);
}

void WatchHub::tell_alone(const Store& store, Budget& budget) {
  const Mvcc& mvcc = store.state_->mvcc;
  const Mvcc::History& history = mvcc.history();
  while (!large_.empty() && !budget.is_spent()) {
    const std::uint32_t index = large_.front();
    large_.pop_front();
    Watcher& watcher = watchers_[index];
    if (watcher.range == nullptr || watcher.place != kAlone) continue;
    const Revision revision = watcher.next;
    const bool is_there = revision > mvcc.dropped();
    for (std::size_t at = mvcc.first_change_after(revision - 1);
         is_there && at < history.size() && history[at]->mod == revision; ++at) {
      take_off(budget.changes, 1);
      const Record& change = *history[at];
      const bool fits = change.keyspace == Keyspace::kEtcd && wants(watcher, change) &&
                        index_.contains(*watcher.range, change.key());
      if (fits) gather(store, watcher, change);
    }
    if (events_.empty() || tell_events(index, revision, budget)) wait(index, watcher.next);
  }
}

// --- progress -----------------------------------------------------------------------

void WatchHub::notify_progress() {
  if (!progress_.empty()) progress_at_ = 0;
}

void WatchHub::tell_progress(Budget& budget) {
  if (!progress_at_) return;
  auto it = progress_.lower_bound(*progress_at_);
  for (; it != progress_.end() && budget.tells > 0; ++it) {
    Watcher& watcher = watchers_[*it];
    if (watcher.place != kHead || watcher.future) continue;
    const bool is_quiet = watcher.quiet;
    watcher.quiet = true;
    if (!is_quiet) continue;
    take_off(budget.tells, 1);
    tell_(feed_slots_[watcher.feed].id, cursors_[kHead].at, api::WatchProgress{watcher.id});
  }
  if (it == progress_.end()) {
    progress_at_.reset();
  } else {
    progress_at_ = *it;
  }
}

// Feeds that asked, and have no watch any more that is behind.
void WatchHub::answer_progress() {
  const Revision now = cursors_[kHead].at;
  for (auto it = progress_asked_.begin(); it != progress_asked_.end();) {
    const auto feed = feeds_.find(*it);
    CHECK(feed != feeds_.end());
    const Feed& asked = feed_slots_[feed->second];
    const bool is_due = asked.behind == 0 && *asked.progress_asked_at <= now;
    if (is_due && tell_(*it, now, api::WatchProgress{})) {
      it = progress_asked_.erase(it);
    } else {
      ++it;
    }
  }
}

}  // namespace conclave::store
