#include "sim/key_history.h"

#include <fmt/core.h>

#include <algorithm>

#include "sim/finding.h"

namespace conclave::sim {

const std::pair<std::int64_t, std::string>& KeyLife::put_at(std::int64_t revision) const {
  const auto later =
      std::ranges::upper_bound(puts, revision, {}, [](const auto& p) { return p.first; });
  return *std::prev(later);
}

KeyHistory::KeyHistory(const Cluster& cluster, std::string prefix)
    : cluster_(cluster), prefix_(std::move(prefix)) {}

void KeyHistory::look() {
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.running(i) || cluster_.is_witness(i)) continue;
    const store::Store& store = cluster_.node(i).group().store();
    while (newest_ < store.revision()) read(store, ++newest_);
  }
}

void KeyHistory::read(const store::Store& store, std::int64_t revision) {
  api::RangeRequest range;
  range.key = prefix_;
  range.range_end = prefix_ + "\xff";
  range.revision = revision;
  const api::Response response = store.read({std::move(range), std::nullopt, std::nullopt});
  const auto* there = std::get_if<api::RangeResponse>(&response.answer);
  if (there == nullptr) {
    found("key history", fmt::format("nobody has revision {} when it is new", revision));
  }
  const Instant now = cluster_.clock().now();
  auto known = alive_.begin();
  const auto end_known = [&] {
    known->second->ended = revision;
    known->second->ended_at = now;
    known = alive_.erase(known);
  };
  for (const api::KeyValue& kv : there->kvs) {
    while (known != alive_.end() && known->first < kv.key) end_known();
    const bool is_known = known != alive_.end() && known->first == kv.key;
    if (is_known && known->second->created == kv.create_revision) {
      if (kv.mod_revision == revision) known->second->puts.emplace_back(revision, kv.value);
      ++known;
      continue;
    }
    if (is_known) end_known();
    auto& lives = lives_[kv.key.substr(0, kv.key.rfind('/'))];
    lives.push_back({.key = kv.key, .created = kv.create_revision, .lease = kv.lease});
    lives.back().puts.emplace_back(revision, kv.value);
    lives.back().created_at = now;
    known = std::next(alive_.emplace_hint(known, kv.key, &lives.back()));
  }
  while (known != alive_.end()) end_known();
}

const std::deque<KeyLife>& KeyHistory::lives(const std::string& name) const {
  static const std::deque<KeyLife> kNone;
  const auto found = lives_.find(name);
  return found == lives_.end() ? kNone : found->second;
}

const KeyLife* KeyHistory::life(const std::string& name, const std::string& key,
                                std::int64_t created) const {
  const auto& all = lives(name);
  const auto found = std::ranges::lower_bound(all, created, {}, &KeyLife::created);
  const bool is_it = found != all.end() && found->created == created && found->key == key;
  return is_it ? &*found : nullptr;
}

const KeyLife* KeyHistory::holder_at(const std::string& name, std::int64_t revision) const {
  const auto& all = lives(name);
  const auto found = std::ranges::find_if(
      all, [revision](const KeyLife& life) { return life.is_alive_at(revision); });
  return found == all.end() ? nullptr : &*found;
}

std::optional<KeyHistory::Reign> KeyHistory::reign_of(const std::string& name,
                                                      const KeyLife& life) const {
  Reign reign{.from = life.created, .since = life.created_at};
  for (const KeyLife& before : lives(name)) {
    if (before.created >= life.created) break;
    if (before.ended <= reign.from) continue;
    if (before.is_alive()) return std::nullopt;
    reign = {.from = before.ended, .since = before.ended_at};
  }
  if (reign.from >= life.ended) return std::nullopt;
  return reign;
}

}  // namespace conclave::sim
