#include "paxos/phase_one.h"

#include <algorithm>

namespace conclave::paxos {

using consensus::Entry;
using consensus::EntryKind;
using consensus::is_same_entry;

namespace {

bool lacks_data(const Entry& value) { return value.kind == EntryKind::kWitnessed; }

// What is known of a slot with its data, in the highest ballot in which anybody accepted it.
struct Found {
  Epoch ballot;
  const Entry* value = nullptr;
};

Found best_in(const State& s, const PhaseOne& phase_one, LogIndex slot) {
  const Slot* own = s.log.find(slot);
  Found best;
  if (own) best = {own->ballot, &own->value};
  if (own && own->chosen) return best;
  const auto reported = phase_one.reported.find(slot);
  if (reported == phase_one.reported.end()) return best;
  for (const Pvalue& pvalue : reported->second) {
    if (pvalue.ballot <= best.ballot) continue;
    const bool is_own = own && is_same_entry(own->value, pvalue.value);
    if (lacks_data(pvalue.value) && !is_own) continue;
    best = {pvalue.ballot, is_own ? &own->value : &pvalue.value};
  }
  return best;
}

// The candidate can propose this value, or knows of one that comes before it.
bool is_supplied(const State& s, const PhaseOne& phase_one, const Pvalue& witnessed) {
  const LogIndex slot = witnessed.value.index;
  if (slot <= s.commit) return true;
  const Slot* own = s.log.find(slot);
  if (own && own->chosen) return true;
  return best_in(s, phase_one, slot).ballot >= witnessed.ballot;
}

}  // namespace

bool complete(const State& s, const PhaseOne& phase_one, Entry& value) {
  if (!lacks_data(value)) return true;
  const Slot* own = s.log.find(value.index);
  if (own && is_same_entry(own->value, value)) value = own->value;
  const auto reported = phase_one.reported.find(value.index);
  if (reported == phase_one.reported.end()) return !lacks_data(value);
  for (const Pvalue& pvalue : reported->second) {
    if (is_same_entry(pvalue.value, value) && !lacks_data(pvalue.value)) value = pvalue.value;
  }
  return !lacks_data(value);
}

void note_reported(PhaseOne& phase_one, NodeId from, Pvalue pvalue) {
  const LogIndex slot = pvalue.value.index;
  if (lacks_data(pvalue.value)) phase_one.reports.at(from).withheld.push_back(pvalue);
  std::vector<Pvalue>& values = phase_one.reported[slot];
  const auto same = std::find_if(values.begin(), values.end(), [&](const Pvalue& known) {
    return is_same_entry(known.value, pvalue.value);
  });
  if (same == values.end()) {
    values.push_back(std::move(pvalue));
    return;
  }
  same->ballot = std::max(same->ballot, pvalue.ballot);
  if (lacks_data(same->value)) same->value = std::move(pvalue.value);
}

void release_reports(const State& s, PhaseOne& phase_one) {
  for (auto& [id, report] : phase_one.reports) {
    std::erase_if(report.withheld,
                  [&](const Pvalue& pvalue) { return is_supplied(s, phase_one, pvalue); });
  }
}

bool has_reported(const PhaseOne& phase_one, NodeId id) {
  const auto report = phase_one.reports.find(id);
  if (report == phase_one.reports.end()) return false;
  return report->second.done && report->second.withheld.empty();
}

const Entry* found_in(const State& s, const PhaseOne& phase_one, LogIndex slot) {
  return best_in(s, phase_one, slot).value;
}

}  // namespace conclave::paxos
