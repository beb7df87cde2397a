#pragma once
// The bounds of watches, beside those in base/limits.h.

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace conclave::limits {

// Watches of a member.
inline constexpr std::size_t kMaxWatches = 4'000'000;
// Creations, cancellations and the like that have not been looked at; beyond it a stream ends with
// "too many requests".
inline constexpr std::size_t kMaxWaitingWatchRequests = 100'000;
inline constexpr std::size_t kMaxWaitingWatchBytes = 64 * kMiB;
inline constexpr std::size_t kWatchRequestsPerTurn = 500;
// Of one connection, a share of the member's.
inline constexpr std::size_t kMaxConnectionWatches = 1'000'000;
inline constexpr std::size_t kMaxUserWatches = 2'000'000;
// Events that a stream, or the connection below all its streams, has not taken. Beyond it a watch
// falls behind, and is told from the history later.
inline constexpr std::size_t kMaxUnsentStreamEvents = 256 * kKiB;
inline constexpr std::size_t kMaxUnsentEvents = 1 * kMiB;

// Clients of a member that wait for a lock or an election, and longer than anybody waits.
inline constexpr std::size_t kMaxLockWaiters = 1'000'000;
// Of their names and values; while it is reached only those wait who bring little.
inline constexpr std::size_t kMaxLockWaiterBytes = 256 * kMiB;
inline constexpr std::size_t kMaxConnectionLockWaiterBytes = 16 * kMiB;
// In the queue of one of Conclave's own locks: each command about it passes over all of them.
inline constexpr std::size_t kMaxLockQueue = 16'384;
// Of what is given back for clients that are gone: submitted together, until it is done.
inline constexpr std::size_t kMaxUndosAtOnce = 256;
inline constexpr std::uint64_t kMaxLockTimeoutMs = std::uint64_t{100} * 365 * 24 * 3600 * 1000;

}  // namespace conclave::limits
