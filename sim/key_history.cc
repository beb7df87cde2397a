#include "sim/key_history.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <span>

#include "node/group.h"
#include "sim/cluster.h"
#include "sim/finding.h"

namespace conclave::sim {
namespace {

// How many that want it in this way may hold it together.
std::size_t most_of(std::string_view mode) {
  if (mode == "shared") return std::numeric_limits<std::size_t>::max();
  std::size_t permits = 1;
  if (mode.starts_with("of-")) std::from_chars(mode.data() + 3, mode.data() + mode.size(), permits);
  return permits;
}

bool has_lease(const store::Store& store, std::int64_t lease) {
  api::LeaseTimeToLiveRequest request;
  request.id = lease;
  const api::Response response = store.read({request, std::nullopt, std::nullopt});
  return std::get<api::LeaseTimeToLiveResponse>(response.answer).ttl_s >= 0;
}

}  // namespace

const std::pair<std::int64_t, std::string>& KeyLife::put_at(std::int64_t revision) const {
  const auto later =
      std::ranges::upper_bound(puts, revision, {}, [](const auto& p) { return p.first; });
  return *std::prev(later);
}

KeyHistory::KeyHistory(const Cluster& cluster, std::string prefix)
    : cluster_(cluster), prefix_(std::move(prefix)) {}

void KeyHistory::note_disturbances() {
  runs_.resize(cluster_.size());
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    const std::uint64_t run = cluster_.running(i) ? cluster_.run(i) : 0;
    if (runs_[i] != 0 && runs_[i] != run) disturbed_at_ = cluster_.clock().now();
    runs_[i] = run;
  }
  const std::optional<std::size_t> leader = cluster_.leader();
  if (leader != leader_) disturbed_at_ = cluster_.clock().now();
  leader_ = leader;
}

void KeyHistory::look() {
  note_disturbances();
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
    known->second->ended_with_lease = !has_lease(store, known->second->lease);
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

std::string_view KeyHistory::mode_of(std::string_view key) {
  const std::string_view last = key.substr(key.rfind('/') + 1);
  const std::size_t dot = last.find('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view rest = last.substr(dot + 1);
  return rest.substr(0, rest.find('.'));
}

std::size_t KeyHistory::ahead_at(const std::string& name, const std::string& key,
                                 std::int64_t created, std::int64_t revision) const {
  std::vector<std::string_view> before;
  for (const KeyLife& life : lives(name)) {
    if (life.created >= created) break;
    if (life.is_alive_at(revision)) before.push_back(mode_of(life.key));
  }
  const std::string_view mode = mode_of(key);
  const auto may_join = [mode](std::span<const std::string_view> others) {
    return others.size() < most_of(mode) &&
           std::ranges::all_of(others, [mode](std::string_view other) { return other == mode; });
  };
  std::size_t ahead = 0;
  while (!may_join(std::span(before).subspan(ahead))) ++ahead;
  return ahead;
}

bool KeyHistory::holds_at(const std::string& name, const KeyLife& life,
                          std::int64_t revision) const {
  return life.is_alive_at(revision) && ahead_at(name, life.key, life.created, revision) == 0;
}

std::optional<KeyHistory::Reign> KeyHistory::reign_of(const std::string& name,
                                                      const KeyLife& life) const {
  const std::string_view mode = mode_of(life.key);
  const std::size_t most = most_of(mode);
  Reign reign{.from = life.created, .since = life.created_at};
  const auto wait_for = [&reign](const KeyLife& before) {
    if (before.ended > reign.from) reign = {.from = before.ended, .since = before.ended_at};
  };
  std::vector<const KeyLife*> alike;
  for (const KeyLife& before : lives(name)) {
    if (before.created >= life.created) break;
    mode_of(before.key) == mode ? alike.push_back(&before) : wait_for(before);
  }
  // Of those alike so many have to go that one less than `most` is left.
  if (alike.size() >= most) {
    const auto last = alike.end() - static_cast<std::ptrdiff_t>(most);
    std::ranges::nth_element(alike, last, {}, &KeyLife::ended);
    wait_for(**last);
  }
  if (reign.from == KeyLife::kNotEnded || reign.from >= life.ended) return std::nullopt;
  return reign;
}

}  // namespace conclave::sim
