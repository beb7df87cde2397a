#pragma once
// The bounds of ZooKeeper's protocol, beside those in base/limits.h.

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace conclave::limits {

// A packet is no longer than ZooKeeper's jute.maxbuffer, so a znode's data is below 1 MiB.
inline constexpr std::size_t kMaxZooKeeperPacketBytes = 0xfffff;
// ZooKeeper's defaults: a session's timeout is so many ticks.
inline constexpr std::int64_t kZooKeeperTickMs = 2'000;
inline constexpr std::int64_t kZooKeeperMinSessionTicks = 2;
inline constexpr std::int64_t kZooKeeperMaxSessionTicks = 20;
// Requests of a connection that have not been answered. With so many, or so many bytes of them,
// nothing more is read from it.
inline constexpr std::size_t kMaxZooKeeperRequests = 1'000;
inline constexpr std::size_t kMaxZooKeeperRequestBytes = 8 * kMiB;
// Of one connection, by auth packets.
inline constexpr std::size_t kMaxZooKeeperIdentities = 64;

}  // namespace conclave::limits
