#include "store/state.h"

#include <algorithm>
#include <array>
#include <span>

#include "store/command_codec.h"

namespace conclave::store {

api::Alarm to_api(NodeId member, Alarm alarm) {
  return {.member = member,
          .type = alarm == Alarm::kNoSpace ? api::AlarmType::kNoSpace : api::AlarmType::kCorrupt};
}

bool ClusterFacts::set(const SetAlarm& alarm) {
  const std::pair entry(alarm.member, alarm.alarm);
  const bool changed = alarm.raised ? alarms.insert(entry).second : alarms.erase(entry) > 0;
  update_digest();
  return changed;
}

void ClusterFacts::update_digest() {
  Bytes bytes;
  Encoder out(bytes);
  out.varint(members.size());
  for (const api::Member& member : members) encode(out, member);
  out.varint(alarms.size());
  for (const auto& [member, alarm] : alarms) {
    out.fixed64(member.value);
    out.u8(static_cast<std::uint8_t>(alarm));
  }
  if (founded || !directories.empty()) encode_founding(out, *this);
  if (!zookeeper.empty()) encode_zookeeper(out, *this);
  digest = hash_bytes(bytes);
}

void StoreState::advance(LogIndex index) {
  applied_index = index;
  hash = compute_hash();
  hashes.add(index, hash);
}

std::uint64_t StoreState::compute_hash() const {
  std::array<std::uint64_t, 12> row{
      applied_index.value,
      applied_epoch.value,
      stamp.ms,
      static_cast<std::uint64_t>(mvcc.revision()),
      static_cast<std::uint64_t>(mvcc.compacted()),
      mvcc.written_sum(),
      request_ids.sum(),
      request_ids.uses(),
      facts.digest,
      leases.sum(),
      auth.digest(),
      mvcc.current_sum(),
  };
  // Builds that did not know the last words left them out, and so does a state without any of it.
  std::size_t words = row.size();
  if (!mvcc.has_current()) {
    --words;
    if (auth.is_blank()) words -= leases.count() == 0 ? 2u : 1u;
  }
  return hash_words(std::span(row).first(words));
}

}  // namespace conclave::store
