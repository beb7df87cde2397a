#pragma once
// What became of the keys under a prefix, revision by revision: when each was created, what was
// written to it, and when it ended. Read off the stores of the members after every step, at every
// revision that one of them is the first to have, so that no compaction can come in between.
//
// Of the keys `<name>/...` the one that was created first holds the lock `name`, or leads the
// election; and of a lock of conclave.v1 those that may share it with those before them. Who did at
// any revision follows from this history and from nothing else.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"
#include "store/store.h"

namespace conclave::sim {

class Cluster;

// From a key's creation to its deletion.
struct KeyLife {
  static constexpr std::int64_t kNotEnded = std::numeric_limits<std::int64_t>::max();

  std::string key;
  std::int64_t created = 0;  // revision
  std::int64_t ended = kNotEnded;
  std::int64_t lease = 0;                                    // of the first write
  std::vector<std::pair<std::int64_t, std::string>> puts{};  // revision and value
  Instant created_at{};  // when the first member had that revision
  Instant ended_at{};
  bool ended_with_lease = false;  // or its lease ended soon after it

  bool is_alive_at(std::int64_t revision) const { return created <= revision && revision < ended; }
  bool is_alive() const { return ended == kNotEnded; }
  // The newest at `revision`. REQUIRES: is_alive_at(revision).
  const std::pair<std::int64_t, std::string>& put_at(std::int64_t revision) const;
};

class KeyHistory {
 public:
  // `cluster` outlives it.
  KeyHistory(const Cluster& cluster, std::string prefix);

  // To be called after every step of the cluster.
  void look();

  // The newest revision that any member has applied.
  std::int64_t newest() const { return newest_; }
  // When a member stopped or crashed last, or began or ceased to lead.
  Instant disturbed_at() const { return disturbed_at_; }

  // Of keys `<name>/...`, in the order of their creation.
  const std::deque<KeyLife>& lives(const std::string& name) const;
  // nullptr: there is none that was created then.
  const KeyLife* life(const std::string& name, const std::string& key, std::int64_t created) const;
  // nullptr: no key of the name was there.
  const KeyLife* holder_at(const std::string& name, std::int64_t revision) const;

  // In which way the holder of a key wants the lock: "shared", "of-<permits>"; empty: alone.
  static std::string_view mode_of(std::string_view key);
  // Of the keys of the name that were there, how many had to go before one that was created at
  // `created` would have held the lock. 0: it did.
  std::size_t ahead_at(const std::string& name, const std::string& key, std::int64_t created,
                       std::int64_t revision) const;
  bool holds_at(const std::string& name, const KeyLife& life, std::int64_t revision) const;

  // Since when it has held the lock. nullopt: it never did.
  struct Reign {
    std::int64_t from = 0;
    Instant since;
  };
  std::optional<Reign> reign_of(const std::string& name, const KeyLife& life) const;

 private:
  void note_disturbances();
  void read(const store::Store& store, std::int64_t revision);

  const Cluster& cluster_;
  std::string prefix_;
  std::int64_t newest_ = 1;
  std::vector<std::uint64_t> runs_;  // of each member; 0: it does not run
  std::optional<std::size_t> leader_;
  Instant disturbed_at_;
  std::map<std::string, std::deque<KeyLife>> lives_;  // by name
  std::map<std::string, KeyLife*> alive_;
};

}  // namespace conclave::sim
