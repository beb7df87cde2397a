#pragma once
// Watches: what a front-end asks for, and what it is told. A client's stream of watches is a feed:
// any number of watches that are told in one order. Plain values, and views that are good during
// the call that brings them.

#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "api/kv.h"
#include "api/request.h"
#include "base/bytes.h"

namespace conclave::api {

// Of a watch within its feed.
using WatchId = std::int64_t;
inline constexpr WatchId kNoWatch = -1;

// --- asked --------------------------------------------------------------------------

// Answered by WatchCreated or WatchRefused.
struct WatchCreate {
  Bytes key = {};
  Bytes range_end = {};
  Revision start_revision = 0;  // the first one of interest; 0: the next to come
  WatchId id = 0;               // 0: the feed chooses
  bool no_put = false;          // leave those events out
  bool no_delete = false;
  bool prev_kv = false;
  bool progress_notify = false;  // WatchProgress now and then while there are no events
  bool fragment = false;         // a large answer may come in pieces
};
// Answered by WatchCanceled; not at all if there is no such watch.
struct WatchCancel {
  WatchId id = 0;
};
// Answered by WatchProgress for kNoWatch, once every watch of the feed has been told everything up
// to the newest revision.
struct WatchProgressAsked {};
// The feed ends, with all its watches.
struct WatchFeedClosed {};
// Instead of watches: the feed is told who leads the election `name` (api/lock.h), by an
// ElectionLeader for whoever leads now and for each change of leader or value. Leaders that come
// and go while the client does not take what it is told may be left out. Only as a feed's first
// request, and its only one but for WatchFeedClosed.
struct ObserveElection {
  Bytes name = {};
};

using WatchRequest =
    std::variant<WatchCreate, WatchCancel, WatchProgressAsked, WatchFeedClosed, ObserveElection>;

// --- told; with each comes a Header -------------------------------------------------

struct KeyValueView {
  BytesView key = {};
  BytesView value = {};
  Revision create_revision = 0;
  Revision mod_revision = 0;
  std::int64_t version = 0;
  LeaseId lease = 0;
};

struct Event {
  bool is_delete = false;  // kv has key and mod_revision then, and nothing else
  KeyValueView kv;
  std::optional<KeyValueView> prev_kv;  // if the watch asked for it, and it is not compacted
};

// Header: the newest revision. Events of later ones follow.
struct WatchCreated {
  WatchId id = 0;
};
struct WatchRefused {
  enum class Reason : std::uint8_t { kIdInUse, kEmptyRange, kTooMany, kCorrupt };
  WatchId id = kNoWatch;
  Reason reason = Reason::kIdInUse;
};
// In the order of revisions; all events of a revision that the watch is interested in come
// together. Header: a revision up to which everything has been told with this.
struct WatchEvents {
  WatchId id = 0;
  bool fragment = false;  // as asked
  std::span<const Event> events;
};
struct WatchCanceled {
  WatchId id = 0;
};
// The watch is over: what it would have to be told next is compacted. Header: no revision.
struct WatchCompacted {
  WatchId id = 0;
  Revision compact_revision = 0;
};
// Everything up to the header's revision has been told.
struct WatchProgress {
  WatchId id = kNoWatch;
};
// Header: the revision at which it was found, or said so.
struct ElectionLeader {
  KeyValueView kv;
};
// The feed is over.
struct WatchFeedEnded {
  Error error;
};

using WatchNews = std::variant<WatchCreated, WatchRefused, WatchEvents, WatchCanceled,
                               WatchCompacted, WatchProgress, WatchFeedEnded, ElectionLeader>;

// News that a client may be told later, when it has taken what it was sent before; the rest is
// little, and answers something.
inline bool may_wait(const WatchNews& news) {
  return std::holds_alternative<WatchEvents>(news) || std::holds_alternative<WatchProgress>(news) ||
         std::holds_alternative<ElectionLeader>(news);
}

}  // namespace conclave::api
