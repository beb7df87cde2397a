#pragma once
// Strong integer ids: a LogIndex cannot be passed where an Epoch is wanted.
//
// An Id is a 64-bit value with an ordering and nothing else. 0 is "none" for every kind: logs start
// at index 1, epochs at 1, and no member has id 0.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace conclave {

template <class Tag>
struct Id {
  std::uint64_t value = 0;

  constexpr auto operator<=>(const Id&) const = default;

  constexpr explicit operator bool() const { return value != 0; }
  constexpr Id next() const { return Id{value + 1}; }
  // REQUIRES: value > 0.
  constexpr Id prev() const { return Id{value - 1}; }
  constexpr Id plus(std::uint64_t n) const { return Id{value + n}; }
};

using GroupId = Id<struct GroupTag>;      // one consensus group; 0 is the coordination group
using NodeId = Id<struct NodeTag>;        // one member
using ClusterId = Id<struct ClusterTag>;  // one cluster, fixed at bootstrap
using LogIndex = Id<struct IndexTag>;     // a place in a group's log
using Epoch = Id<struct EpochTag>;        // Raft's term, Paxos's ballot: who was allowed to write
using Ticket = Id<struct TicketTag>;      // one engine output's claim on durability, growing by one
using ReadId = Id<struct ReadTag>;        // one read barrier, unique per asking member

inline constexpr GroupId kCoordinationGroup{0};

}  // namespace conclave

template <class Tag>
struct std::hash<conclave::Id<Tag>> {
  std::size_t operator()(const conclave::Id<Tag>& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.value);
  }
};
