#include "sim/workloads/lock_judge.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace conclave::sim {
namespace {

std::int64_t number_of(const std::string& text) {
  std::int64_t number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

std::string LockJudge::key_of(const std::string& name, std::int64_t lease) {
  return fmt::format("{}/{:x}", name, lease);
}

const KeyLife& LockJudge::locked(const std::string& name, std::int64_t lease, std::int64_t asked,
                                 const v3lockpb::LockResponse& response) const {
  const std::int64_t revision = response.header().revision();
  fresh(name, asked, revision);
  const std::string key = key_of(name, lease);
  const KeyLife* holder = history().holder_at(name, revision);
  if (response.key() != key || holder == nullptr || holder->key != key)
    throw wrong("{} is granted to {} at revision {}, when {} held it", name, response.key(),
                revision, words(holder));
  return *holder;
}

void LockJudge::elected(const std::string& name, std::int64_t lease, std::int64_t asked,
                        const std::string& value,
                        const v3electionpb::CampaignResponse& response) const {
  fresh(name, asked, response.header().revision());
  const v3electionpb::LeaderKey& leader = response.leader();
  const KeyLife& own = life(name, leader.key(), leader.rev());
  const bool is_its = leader.key() == key_of(name, lease) && leader.name() == name &&
                      leader.lease() == lease && own.lease == lease;
  if (!is_its) throw wrong("lease {} leads {} as {}", lease, name, leader.ShortDebugString());
  if (!own.is_alive_at(response.header().revision()))
    throw wrong("{} campaigned at revision {}, when it was not there", words(&own),
                response.header().revision());
  if (!history().reign_of(name, own))
    throw wrong("{} is said to lead, and has never led", words(&own));
  const bool was_put =
      std::ranges::any_of(own.puts, [&value](const auto& put) { return put.second == value; });
  if (!was_put) throw wrong("{} leads without having said {}", words(&own), value);
}

void LockJudge::lost(const std::string& name, std::int64_t lease, std::int64_t asked) const {
  key_lost(name, key_of(name, lease), asked);
}

void LockJudge::gone(const std::string& name, const std::string& key, std::int64_t created) const {
  gone_at(name, key, created, history().newest());
}

void LockJudge::gone_at(const std::string& name, const std::string& key, std::int64_t created,
                        std::int64_t revision) const {
  const KeyLife& own = life(name, key, created);
  if (own.ended > revision)
    throw wrong("{} is said to be gone at revision {}, and is there", words(&own), revision);
}

void LockJudge::proclaimed(const std::string& name, const v3electionpb::LeaderKey& leader,
                           const std::string& value, std::int64_t revision) const {
  const KeyLife& own = life(name, leader.key(), leader.rev());
  const bool is_put =
      own.is_alive_at(revision) && own.put_at(revision) == std::pair(revision, value);
  if (!is_put)
    throw wrong("{} is said to have proclaimed {} at revision {}", words(&own), value, revision);
  if (history().holder_at(name, revision) != &own)
    throw wrong("{} proclaimed {} at revision {}, when {} led", words(&own), value, revision,
                words(history().holder_at(name, revision)));
}

void LockJudge::led_by(const std::string& name, std::int64_t asked,
                       const v3electionpb::LeaderResponse& response) const {
  const std::int64_t revision = response.header().revision();
  const mvccpb::KeyValue& kv = response.kv();
  fresh(name, asked, revision);
  const KeyLife* holder = history().holder_at(name, revision);
  const bool is_it = holder != nullptr && holder->key == kv.key() &&
                     holder->created == kv.create_revision() &&
                     holder->put_at(revision) == std::pair(kv.mod_revision(), kv.value());
  if (!is_it)
    throw wrong("{} of {} is said to lead {} at revision {} with {} of {}, and {} did", kv.key(),
                kv.create_revision(), name, revision, kv.value(), kv.mod_revision(), words(holder));
}

void LockJudge::led_by_nobody(const std::string& name, std::int64_t asked) const {
  if (history().holder_at(name, asked) == nullptr) return;
  for (const KeyLife& life : history().lives(name)) {
    if (life.is_alive() || life.ended <= asked) continue;
    if (history().holder_at(name, life.ended) == nullptr) return;
  }
  throw wrong("nobody is said to lead {}, and since {} somebody always has", name, asked);
}

void LockJudge::guarded(const std::string& name, const std::string& key, std::int64_t token,
                        bool is_written, std::int64_t revision) const {
  const KeyLife& own = life(name, key, token);
  if (is_written && history().holder_at(name, revision) != &own)
    throw wrong("{} wrote at revision {}, when {} held the lock", words(&own), revision,
                words(history().holder_at(name, revision)));
  if (!is_written && own.is_alive_at(revision))
    throw wrong("{} held the lock at revision {} and could not write", words(&own), revision);
}

void LockJudge::tokens_rise(const std::string& name, const std::string& key) const {
  std::int64_t highest = 0;
  for (const KeyLife& life : history().lives(name)) {
    if (life.key != key) continue;
    for (const auto& [revision, value] : life.puts) {
      if (number_of(value) < highest)
        throw wrong("{} was written with token {} at revision {}, after {}", key, value, revision,
                    highest);
      highest = number_of(value);
    }
  }
}

}  // namespace conclave::sim
