#pragma once
// Counters of injected faults, and how a set of them is added up and listed. A struct of counters
// names each of its fields once, in kFields; the rest follows.

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::sim {

// A field of Counts and what a summary calls it.
template <typename Counts>
struct CountField {
  std::string_view name;
  std::uint64_t Counts::*field;
};

using CountRows = std::vector<std::pair<std::string_view, std::uint64_t>>;

template <typename Counts>
Counts& add_counts(Counts& to, const Counts& more) {
  for (const auto& [name, field] : Counts::kFields) to.*field += more.*field;
  return to;
}

template <typename Counts>
CountRows rows_of(const Counts& counts) {
  CountRows rows;
  for (const auto& [name, field] : Counts::kFields) rows.emplace_back(name, counts.*field);
  return rows;
}

}  // namespace conclave::sim
