#pragma once
// What clients of conclave.v1's locks and barriers, and of fenced writes, may be told, by the
// history of the keys (sim/key_history.h): who holds a lock at any revision is counted anew from
// the keys that were there. See HistoryJudge.
//
// What was asked is kept in NativeRecords, so that in the end everything that became of the keys
// has a reason: none goes but with its lease or because its owner gave it back or up, a lock's
// count changes one by one, and what a fence refused was never written.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "conclave.pb.h"
#include "sim/workloads/history_judge.h"

namespace conclave::sim {

// A lock, and the key and token under which something is written.
struct Fenced {
  std::string name;
  std::string key;
  std::int64_t token = 0;
};

// Of all clients of a workload.
struct NativeRecords {
  struct Write {
    Fenced fence;
    bool is_refused = false;
  };
  struct Removal {
    std::string key;
    Fenced fence;
    bool is_refused = false;
    std::int64_t revision = 0;  // of the answer; 0: none yet
  };
  // How often a place, by key and token, was given back, or may have been.
  std::map<std::pair<std::string, std::int64_t>, std::uint32_t> releases;
  // Attempts with a key of which nothing was heard: each may count, and be undone once.
  std::map<std::string, std::uint32_t> unknown;
  std::set<std::string> left;           // keys of barriers with which somebody left, or went away
  std::map<std::string, Write> writes;  // by value
  std::vector<Removal> removals;
  std::uint64_t about = 0;  // names the workload among others
};

class NativeJudge : public HistoryJudge {
 public:
  NativeJudge(const KeyHistory& history, const NativeRecords& records)
      : HistoryJudge(history, "native"), records_(records) {}

  // `<lease in hex>` of the owner's key, with its mode and name behind dots.
  static std::string key_of(const std::string& name, std::int64_t lease,
                            const conclave::v1::AcquireRequest& request);
  static std::string barrier_key(const std::string& name, std::int64_t lease);

  // --- locks ---

  void acquired(const conclave::v1::AcquireRequest& request, const std::string& key,
                std::int64_t asked, const conclave::v1::AcquireResponse& response) const;
  // By etcd's Lock. Returns the holder's life.
  const KeyLife& locked(const std::string& name, const std::string& key, std::int64_t asked,
                        std::int64_t revision) const;
  // The same owner had a place in another way, or somebody one for another number of permits.
  void in_conflict(const std::string& name, const std::string& key, std::int64_t asked) const;
  void released(const Fenced& place, std::int64_t asked,
                const conclave::v1::ReleaseResponse& response) const;
  // Always throws: by what the client was told, it has acquired it from `least` to `most` times.
  [[noreturn]] void miscounted(const std::string& key, std::uint32_t told, std::uint32_t least,
                               std::uint32_t most) const;
  void gone_at(const Fenced& place, std::int64_t revision) const;

  // --- fences ---

  // `revision`: of the answer; the write's own if it has one.
  void written(const Fenced& fence, std::int64_t asked, std::int64_t revision) const;
  void fenced_off(const Fenced& fence, std::int64_t asked) const;
  void validated(const Fenced& fence, std::int64_t asked,
                 const conclave::v1::ValidateResponse& response) const;

  // --- barriers ---

  void entered(const std::string& name, std::int64_t lease, std::uint32_t count, std::int64_t asked,
               const conclave::v1::EnterResponse& response) const;
  void left(const std::string& name, std::int64_t lease, bool at_once, std::int64_t asked,
            const conclave::v1::LeaveResponse& response) const;
  std::size_t present_at(const std::string& name, std::int64_t revision) const;
  // nullptr: it was closed.
  const KeyLife* door_at(const std::string& name, std::int64_t revision) const;

  // --- in the end ---

  // Counts change one by one, and fall no more often than was asked for.
  void places_have_reasons(const std::string& lock) const;
  // `data`: a key that is written with fences alone; its name: up to the last slash.
  void writes_were_fenced(const std::string& name, const std::string& data) const;
  void doors_were_opened(const std::string& barrier, std::uint32_t count) const;

 private:
  const KeyLife& holder(const Fenced& fence, std::int64_t revision) const;
  bool was_empty(const std::string& name, std::int64_t from, std::int64_t to) const;

  const NativeRecords& records_;
};

}  // namespace conclave::sim
