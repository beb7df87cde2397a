#pragma once
// What `conclave import` decides, apart from the asking: which events go into one transaction,
// what differs between two clusters, what the import remembers in its target, and what a person is
// shown. No sockets, no clock.

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/time.h"
#include "etcd.pb.h"
#include "etcd_kv.pb.h"
#include "wire/sha256.h"

namespace conclave::server {

// The key in the target that says how far an import is. A key of this name is never copied.
inline constexpr std::string_view kImportKey = "conclave.import/state";

// A transaction takes so many keys, beside the import's own, and closes at so many bytes.
inline constexpr std::size_t kImportOps = limits::kMaxTxnOps - 8;
inline constexpr std::size_t kImportTxnBytes = 512 * limits::kKiB;

// The keys that are imported: all, or those with a prefix.
struct KeySpan {
  Bytes prefix;

  Bytes begin() const;  // as etcd's requests have it
  Bytes end() const;
  // Whether an import of this span copies the key.
  bool has(BytesView key) const;
};

// What the target remembers of an import under way.
struct ImportState {
  enum class Phase : std::uint8_t { kCopying, kFollowing };

  std::uint64_t source_cluster = 0;
  std::uint64_t run = 0;   // the process that writes: another one that goes on ends the first
  std::uint64_t step = 0;  // of the run; no two writes of it are equal
  Phase phase = Phase::kCopying;
  std::int64_t revision = 0;  // of the source: what was deleted there up to it is not in the target
  bool merge = false;
  bool users = false;  // are copied
  Bytes prefix;

  bool operator==(const ImportState&) const = default;
};
std::string encode(const ImportState& state);
// kCorrupt if it is none.
Result<ImportState> parse_import_state(std::string_view text);

// What one transaction does to the target.
struct Change {
  Bytes key;
  bool remove = false;
  Bytes value;
  std::int64_t lease = 0;

  std::size_t bytes() const { return key.size() + value.size() + 32; }
  bool operator==(const Change&) const = default;
};

// Changes that are carried out together, and the source's revision up to which all is then there.
struct Batch {
  std::vector<Change> changes;
  std::int64_t revision = 0;
};

// Events as a watch sends them, made into batches: each holds whole revisions, and of a key the
// last event only. A revision that is too large for one batch takes several, and all but
// the last of them have the number of the one before it.
class EventBatches {
 public:
  // `applied`: the revision up to which the target has everything.
  EventBatches(KeySpan span, std::int64_t applied)
      : span_(std::move(span)), whole_(applied), applied_(applied) {}

  void add(const etcdserverpb::WatchResponse& response);
  // The next one, of revisions up to `last`; nullopt if there is none (yet).
  std::optional<Batch> next(std::int64_t last);
  // The revision up to which batches were given out.
  std::int64_t applied() const { return applied_; }
  // All events that wait, and roughly what they take.
  std::size_t waiting() const { return events_.size(); }
  std::size_t waiting_bytes() const { return bytes_; }

 private:
  struct Waiting {
    std::int64_t revision = 0;
    std::optional<Change> change;  // none: a key that is not imported
  };
  // The events of one revision, as far as a batch could take them.
  struct Extent {
    std::size_t end = 0;  // where the next revision begins
    std::size_t changes = 0;
    std::size_t bytes = 0;
  };
  Extent extent_of_revision(std::size_t begin) const;
  Batch part_of_revision();
  void drop(std::size_t count);

  KeySpan span_;
  std::deque<Waiting> events_;
  std::size_t bytes_ = 0;
  std::int64_t whole_ = 0;  // every event of revisions up to this has come
  std::int64_t applied_ = 0;
};

// How two clusters' next keys relate, when both are read in order.
enum class Relation : std::uint8_t { kSame, kOnlySource, kOnlyTarget, kDiffers };
// nullptr: there are no more. REQUIRES: not both are nullptr.
Relation compare(const mvccpb::KeyValue* source, const mvccpb::KeyValue* target);

// The request that carries out `changes` if the target's state is `before`, and leaves it at
// `after`; otherwise it answers with the state there is.
etcdserverpb::TxnRequest guarded(const std::vector<Change>& changes, const std::string& before,
                                 const std::string& after);

// The keys, values and leases of one side, in the order of the keys, as 64 hexadecimal digits.
class Fingerprint {
 public:
  void add(const mvccpb::KeyValue& kv);
  std::uint64_t keys() const { return keys_; }
  std::string finish();

 private:
  wire::Sha256 hash_;
  std::uint64_t keys_ = 0;
};

// How many keys to ask for next, after `keys` of `bytes` in all came when `asked` were asked for.
std::int64_t next_page(std::int64_t asked, std::size_t keys, std::size_t bytes);

// Progress.
std::string with_commas(std::uint64_t number);
// "1 key", "1,234 keys"
std::string count_of(std::uint64_t number, std::string_view what);
// "copying  412,345 of 1,000,000 keys (41%), 38,211 keys/s, about 15 s left"
std::string copy_progress(std::string_view verb, std::uint64_t done, std::uint64_t all,
                          Duration elapsed, std::string_view what = "keys");
// "following  revision 1,234, 12 behind, 345 events/s, 7 leases"
std::string follow_progress(std::int64_t applied, std::int64_t source, double events_per_second,
                            std::size_t leases);
// A key for a person: what cannot be printed is \x.., quotes around it.
std::string printable(BytesView key);

}  // namespace conclave::server
