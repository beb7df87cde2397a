#pragma once
// What clients of locks and elections may be told, by the history of the keys (sim/key_history.h):
// of the keys of a name the one that was created first holds the lock, or leads. See HistoryJudge.

#include <cstdint>
#include <string>

#include "etcd_election.pb.h"
#include "etcd_lock.pb.h"
#include "sim/workloads/history_judge.h"

namespace conclave::sim {

class LockJudge : public HistoryJudge {
 public:
  explicit LockJudge(const KeyHistory& history) : HistoryJudge(history, "locks") {}

  // `<name>/<lease in hex>`
  static std::string key_of(const std::string& name, std::int64_t lease);

  // The lock is held, at the revision of the answer. Returns the holder's life.
  const KeyLife& locked(const std::string& name, std::int64_t lease, std::int64_t asked,
                        const v3lockpb::LockResponse& response) const;
  // Was elected, by now.
  void elected(const std::string& name, std::int64_t lease, std::int64_t asked,
               const std::string& value, const v3electionpb::CampaignResponse& response) const;
  // Whoever waited with the lease has lost its key meanwhile.
  void lost(const std::string& name, std::int64_t lease, std::int64_t asked) const;
  // The key that was created then is gone by now.
  void gone(const std::string& name, const std::string& key, std::int64_t created) const;
  // It was gone at `revision`.
  void gone_at(const std::string& name, const std::string& key, std::int64_t created,
               std::int64_t revision) const;
  void proclaimed(const std::string& name, const v3electionpb::LeaderKey& leader,
                  const std::string& value, std::int64_t revision) const;
  void led_by(const std::string& name, std::int64_t asked,
              const v3electionpb::LeaderResponse& response) const;
  void led_by_nobody(const std::string& name, std::int64_t asked) const;
  // A write that compares the key's create revision was carried out, or was not.
  void guarded(const std::string& name, const std::string& key, std::int64_t token, bool is_written,
               std::int64_t revision) const;
  // The values of `key`, each the token of whoever wrote it, only rise.
  void tokens_rise(const std::string& name, const std::string& key) const;
};

}  // namespace conclave::sim
