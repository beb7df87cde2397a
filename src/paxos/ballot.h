#pragma once
// Ballots as epochs. A ballot is a round and the member that owns it, so that two members never
// share one: what Lamport asks of ballot numbers, and what lets everybody outside the engine
// compare the epochs of leaders as plain numbers.
//
// The upper 40 bits are the round, which decides which of two ballots is higher; the lower 24 are
// the owner's *seat*, a short form of its id. Ids are 64 bits wide, so two of them can have one
// seat: a membership in which they do is refused (seats_are_distinct). Should a member that has
// left share its seat with one that came later, acceptors keep them apart: they give a ballot to
// one owner only (HardState::owner), and as election and write quorums meet, at most one of the two
// can get anything chosen in it.
//
// 2^38 rounds fit below the codec's bound: ten elections a second for 800 years.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "consensus/membership.h"

namespace conclave::paxos {

inline constexpr int kSeatBits = 24;
inline constexpr std::uint64_t kSeatMask = (std::uint64_t{1} << kSeatBits) - 1;

// Ids of members are hashes: any bits are as good as any others. Small ones keep their number.
constexpr std::uint64_t seat_of(NodeId id) {
  return (id.value ^ (id.value >> kSeatBits) ^ (id.value >> (2 * kSeatBits))) & kSeatMask;
}

constexpr std::uint64_t round_of(Epoch ballot) { return ballot.value >> kSeatBits; }

constexpr Epoch make_ballot(std::uint64_t round, NodeId owner) {
  return Epoch{(round << kSeatBits) | seat_of(owner)};
}

constexpr bool owns(NodeId id, Epoch ballot) {
  return ballot && (ballot.value & kSeatMask) == seat_of(id);
}

// The lowest round above `highest`, for `owner`.
constexpr Epoch next_ballot(Epoch highest, NodeId owner) {
  return make_ballot(round_of(highest) + 1, owner);
}

// Everybody in it, also those to come, can be told apart by seat.
inline bool seats_are_distinct(const consensus::Membership& membership) {
  std::vector<std::uint64_t> seats;
  for (const NodeId id : membership.all()) seats.push_back(seat_of(id));
  std::sort(seats.begin(), seats.end());
  return std::adjacent_find(seats.begin(), seats.end()) == seats.end();
}

}  // namespace conclave::paxos
