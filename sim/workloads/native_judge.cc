#include "sim/workloads/native_judge.h"

#include <algorithm>
#include <charconv>

namespace conclave::sim {
namespace {

using AcquireRequest = conclave::v1::AcquireRequest;
using AcquireResponse = conclave::v1::AcquireResponse;

constexpr std::string_view kDoor = "!open";

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('/') + 1); }
bool is_door(const KeyLife& life) { return last_part(life.key) == kDoor; }

// Its lease, and who of those that use it.
std::pair<std::string_view, std::string_view> owner_of(std::string_view key) {
  const std::string_view last = last_part(key);
  const std::size_t dot = last.find('.');
  if (dot == std::string_view::npos) return {last, {}};
  const std::size_t second = last.find('.', dot + 1);
  const bool has_owner = second != std::string_view::npos;
  return {last.substr(0, dot), has_owner ? last.substr(second + 1) : std::string_view()};
}

// How often a holder has to give back, as its key says.
std::uint32_t times_in(const std::string& value) {
  std::uint32_t times = 1;
  std::from_chars(value.data(), value.data() + value.size(), times);
  return times;
}

}  // namespace

std::string NativeJudge::key_of(const std::string& name, std::int64_t lease,
                                const AcquireRequest& request) {
  std::string key = fmt::format("{}/{:x}", name, lease);
  std::string mode;
  if (request.mode() == AcquireRequest::SHARED) mode = "shared";
  if (request.mode() == AcquireRequest::SEMAPHORE) mode = fmt::format("of-{}", request.permits());
  if (mode.empty() && request.owner().empty()) return key;
  key += "." + mode;
  return request.owner().empty() ? key : key + "." + request.owner();
}

std::string NativeJudge::barrier_key(const std::string& name, std::int64_t lease) {
  return fmt::format("{}/{:x}", name, lease);
}

// --- locks --------------------------------------------------------------------------

void NativeJudge::acquired(const AcquireRequest& request, const std::string& key,
                           std::int64_t asked, const AcquireResponse& response) const {
  const std::string& name = request.name();
  const std::int64_t revision = response.revision();
  fresh(name, asked, revision);
  const auto odd = [&](std::string_view why) {
    return wrong("{} is told of {}: {} ({})", key, name, response.ShortDebugString(), why);
  };
  if (response.held() != (response.ahead() == 0)) throw odd("it is held if nobody is before it");
  if (response.key().empty()) {
    const auto is_own = [&](const KeyLife& life) {
      return life.key == key && life.is_alive_at(revision);
    };
    if (std::ranges::any_of(history().lives(name), is_own)) throw odd("its key is there");
    // Had it come to wait, it would be behind all others.
    const std::size_t ahead = history().ahead_at(name, key, KeyLife::kNotEnded, revision);
    if (request.wait() != AcquireRequest::NOT_AT_ALL || ahead == 0)
      throw odd("it could have had it");
    if (response.ahead() != ahead) throw odd(fmt::format("{} were before it", ahead));
    return;
  }
  if (request.wait() == AcquireRequest::UNTIL_HELD && !response.held()) throw odd("it is to wait");
  if (response.key() != key) throw odd("it is another's key");
  const KeyLife& own = life(name, key, response.token());
  if (!own.is_alive_at(revision)) throw odd("its key was not there");
  const std::size_t ahead = history().ahead_at(name, key, own.created, revision);
  if (response.ahead() != ahead) throw odd(fmt::format("{} were before it", ahead));
  const std::string fence = response.held() ? fmt::format("{}/{}", name, own.created) : "";
  if (response.fence() != fence) throw odd("the fence is " + fence);
  if (times_in(own.put_at(revision).second) != response.times())
    throw odd("it was not acquired so often");
}

const KeyLife& NativeJudge::locked(const std::string& name, const std::string& key,
                                   std::int64_t asked, std::int64_t revision) const {
  fresh(name, asked, revision);
  for (const KeyLife& life : history().lives(name)) {
    if (life.key == key && history().holds_at(name, life, revision)) return life;
  }
  throw wrong("{} is granted at revision {}, when it did not hold the lock", key, revision);
}

void NativeJudge::in_conflict(const std::string& name, const std::string& key,
                              std::int64_t asked) const {
  const std::string_view mode = KeyHistory::mode_of(key);
  const bool is_semaphore = mode.starts_with("of-");
  for (const KeyLife& life : history().lives(name)) {
    const std::string_view other = KeyHistory::mode_of(life.key);
    if (life.ended <= asked || other == mode) continue;
    if (owner_of(life.key) == owner_of(key)) return;
    if (is_semaphore && other.starts_with("of-")) return;
  }
  throw wrong("{} is said to be wanted in another way, and has not been since {}", key, asked);
}

void NativeJudge::released(const Fenced& place, std::int64_t asked,
                           const conclave::v1::ReleaseResponse& response) const {
  fresh(place.name, asked, response.revision());
  const KeyLife& own = life(place.name, place.key, place.token);
  const bool is_there = own.is_alive_at(response.revision());
  bool is_so = !is_there && response.times() == 0;
  if (response.was_there() && response.times() == 0) {
    is_so = own.ended == response.revision();
  } else if (response.was_there() && is_there) {
    const auto& [revision, value] = own.put_at(response.revision());
    is_so = revision == response.revision() && times_in(value) == response.times();
  }
  if (!is_so)
    throw wrong("{} is released: {}, and ended at {}", words(&own), response.ShortDebugString(),
                own.ended);
}

void NativeJudge::miscounted(const std::string& key, std::uint32_t told, std::uint32_t least,
                             std::uint32_t most) const {
  throw wrong("{} is said to be held {} times, and was acquired {} to {} times", key, told, least,
              most);
}

void NativeJudge::gone_at(const Fenced& place, std::int64_t revision) const {
  const KeyLife& own = life(place.name, place.key, place.token);
  if (own.ended > revision)
    throw wrong("{} is said to be gone at revision {}, and is there", words(&own), revision);
}

// --- fences -------------------------------------------------------------------------

void NativeJudge::written(const Fenced& fence, std::int64_t asked, std::int64_t revision) const {
  fresh(fence.name, asked, revision);
  const KeyLife& own = life(fence.name, fence.key, fence.token);
  if (!history().holds_at(fence.name, own, revision))
    throw wrong("{} wrote at revision {}, when it did not hold the lock", words(&own), revision);
}

// Who holds a lock does so until its key goes.
void NativeJudge::fenced_off(const Fenced& fence, std::int64_t asked) const {
  const KeyLife& own = life(fence.name, fence.key, fence.token);
  if (own.is_alive() && history().holds_at(fence.name, own, asked))
    throw wrong("{} is fenced off, and has held the lock since before revision {}", words(&own),
                asked);
}

void NativeJudge::validated(const Fenced& fence, std::int64_t asked,
                            const conclave::v1::ValidateResponse& response) const {
  fresh(fence.name, asked, response.revision());
  const KeyLife& own = life(fence.name, fence.key, fence.token);
  if (response.valid() != history().holds_at(fence.name, own, response.revision()))
    throw wrong("{} is said to {} at revision {}: {}", words(&own),
                response.valid() ? "hold" : "hold no more", response.revision(), response.reason());
}

// --- barriers -----------------------------------------------------------------------

std::size_t NativeJudge::present_at(const std::string& name, std::int64_t revision) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      history().lives(name),
      [revision](const KeyLife& life) { return !is_door(life) && life.is_alive_at(revision); }));
}

const KeyLife* NativeJudge::door_at(const std::string& name, std::int64_t revision) const {
  const auto& lives = history().lives(name);
  const auto door = std::ranges::find_if(lives, [revision](const KeyLife& life) {
    return is_door(life) && life.is_alive_at(revision);
  });
  return door == lives.end() ? nullptr : &*door;
}

// Whether nobody was there at some revision from `from` to `to`.
bool NativeJudge::was_empty(const std::string& name, std::int64_t from, std::int64_t to) const {
  if (present_at(name, from) == 0) return true;
  return std::ranges::any_of(history().lives(name), [&](const KeyLife& life) {
    return life.ended > from && life.ended <= to && present_at(name, life.ended) == 0;
  });
}

void NativeJudge::entered(const std::string& name, std::int64_t lease, std::uint32_t count,
                          std::int64_t asked, const conclave::v1::EnterResponse& response) const {
  const std::int64_t revision = response.revision();
  fresh(name, asked, revision);
  const std::string key = barrier_key(name, lease);
  const bool is_there = std::ranges::any_of(history().lives(name), [&](const KeyLife& life) {
    return life.key == key && life.is_alive_at(revision);
  });
  const KeyLife* door = door_at(name, revision);
  if (!is_there || door == nullptr)
    throw wrong("{} enters at revision {}, when its key was{} there and the door {}", key, revision,
                is_there ? "" : " not", door == nullptr ? "closed" : "open");
  if (response.present() != present_at(name, revision))
    throw wrong("{} enters at revision {} as one of {}, and {} were there", key, revision,
                response.present(), present_at(name, revision));
  if (count > 1 && was_empty(name, door->created, revision))
    throw wrong("{} enters at revision {} by a door of {}, behind which nobody was left", key,
                revision, door->created);
}

void NativeJudge::left(const std::string& name, std::int64_t lease, bool at_once,
                       std::int64_t asked, const conclave::v1::LeaveResponse& response) const {
  const std::int64_t revision = response.revision();
  fresh(name, asked, revision);
  const std::string key = barrier_key(name, lease);
  // When its key went. Later it may come back, by a question whose fate is unknown, and go again.
  const auto& lives = history().lives(name);
  const auto own = std::ranges::find_if(lives, [&](const KeyLife& life) {
    return life.key == key && life.ended > asked && life.ended <= revision;
  });
  const std::int64_t left = own == lives.end() ? asked : own->ended;
  const std::size_t present = present_at(name, revision);
  if ((at_once || response.present() > 0) && response.present() != present)
    throw wrong("{} leaves at revision {}, and is told that {} are there, and {} were", key,
                revision, response.present(), present);
  if (at_once) return;
  if (response.present() > 0 && door_at(name, revision) != nullptr)
    throw wrong("{} has left at revision {}, though {} are behind the open door", key, revision,
                present);
  if (response.present() == 0 && !was_empty(name, left, revision))
    throw wrong("{} has left at revision {}, and since {} somebody was always there", key, revision,
                left);
}

// --- in the end ---------------------------------------------------------------------

void NativeJudge::places_have_reasons(const std::string& lock) const {
  std::map<std::string, std::uint32_t> undone;
  for (const KeyLife& life : history().lives(lock)) {
    std::uint32_t times = 0;
    std::uint32_t falls = !life.is_alive() && !life.ended_with_lease ? 1 : 0;
    for (const auto& [revision, value] : life.puts) {
      const std::uint32_t now = times_in(value);
      if (now != times + 1 && now + 1 != times)
        throw wrong("{} is held {} times at revision {}, after {}", words(&life), now, revision,
                    times);
      if (now < times) ++falls;
      times = now;
    }
    const auto released = records_.releases.find({life.key, life.created});
    const std::uint32_t releases = released == records_.releases.end() ? 0 : released->second;
    if (falls > releases) undone[life.key] += falls - releases;
  }
  for (const auto& [key, count] : undone) {
    const auto unknown = records_.unknown.find(key);
    const std::uint32_t attempts = unknown == records_.unknown.end() ? 0 : unknown->second;
    if (count > attempts)
      throw wrong(
          "{}, whose lease lives on, was given back {} times more than its owner has asked for, "
          "who "
          "went away {} times",
          key, count, attempts);
  }
}

void NativeJudge::writes_were_fenced(const std::string& name, const std::string& data) const {
  std::set<std::string> seen;
  for (const KeyLife& life : history().lives(name)) {
    if (life.key != data) continue;
    for (const auto& [revision, value] : life.puts) {
      const auto write = records_.writes.find(value);
      if (write == records_.writes.end() || write->second.is_refused)
        throw wrong("{} is {} at revision {}, though that was refused", data, value, revision);
      if (!seen.insert(value).second)
        throw wrong("{} is written {} again at revision {}", data, value, revision);
      written(write->second.fence, 0, revision);
    }
    if (life.is_alive()) continue;
    const bool has_reason = std::ranges::any_of(records_.removals, [&](const auto& removal) {
      if (removal.key != data || removal.is_refused) return false;
      if (removal.revision != 0) return removal.revision == life.ended;
      const Fenced& fence = removal.fence;
      const KeyLife& own = this->life(fence.name, fence.key, fence.token);
      return history().holds_at(fence.name, own, life.ended);
    });
    if (!has_reason)
      throw wrong("{} is deleted at revision {}, and nobody who held the lock asked for it", data,
                  life.ended);
  }
}

void NativeJudge::doors_were_opened(const std::string& barrier, std::uint32_t count) const {
  for (const KeyLife& life : history().lives(barrier)) {
    if (!is_door(life)) {
      const bool has_reason =
          life.is_alive() || life.ended_with_lease || records_.left.contains(life.key);
      if (!has_reason)
        throw wrong("{} goes at revision {}; its lease lives on, and nobody has left", words(&life),
                    life.ended);
      continue;
    }
    if (present_at(barrier, life.created) < count)
      throw wrong("{} opens for {}, and {} were there", words(&life), count,
                  present_at(barrier, life.created));
    const bool was_left = life.is_alive() || was_empty(barrier, life.ended - 1, life.ended);
    if (!was_left)
      throw wrong("{} is closed at revision {}, with somebody behind it", words(&life), life.ended);
  }
}

}  // namespace conclave::sim
