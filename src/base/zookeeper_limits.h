#pragma once
// The bounds of ZooKeeper's protocol, beside those in base/limits.h.

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace conclave::limits {

// A packet is no longer than ZooKeeper's jute.maxbuffer, so a znode's data is below 1 MiB. An
// import's step is held to it when it is applied: part of what the log means.
inline constexpr std::size_t kMaxZooKeeperPacketBytes = 0xfffff;
// ZooKeeper's defaults: a session's timeout is so many ticks.
inline constexpr std::int64_t kZooKeeperTickMs = 2'000;
inline constexpr std::int64_t kZooKeeperMinSessionTicks = 2;
inline constexpr std::int64_t kZooKeeperMaxSessionTicks = 20;
// Requests of a connection that have not been answered. With so many, or so many bytes of them,
// nothing more is read from it.
inline constexpr std::size_t kMaxZooKeeperRequests = 1'000;
inline constexpr std::size_t kMaxZooKeeperRequestBytes = 8 * kMiB;
// The first packet, which asks for a session.
inline constexpr std::size_t kMaxZooKeeperConnectBytes = 1 * kKiB;
// What a connection says by auth packets that it is: each of its requests carries all of it.
inline constexpr std::size_t kMaxZooKeeperIdentityBytes = 4 * kKiB;
// Of the tree as a whole, in one answer to `conclave import zookeeper`: nodes that are looked at,
// and about how many bytes of them.
inline constexpr std::size_t kExportedZnodes = 1'000;
inline constexpr std::size_t kExportedZnodeBytes = 1 * kMiB;
// Of a znode's times, imported or of a write: some 8,900 years, so that what is added to them stays
// in range. A write with another is no command: part of what the log means.
inline constexpr std::int64_t kMaxZnodeTimeMs = std::int64_t{1} << 48;
// Servers that one reconfig may name, those that leave and those that join. Part of what the log
// means, like the next one.
inline constexpr std::size_t kMaxReconfiguredServers = 256;
// Of an address that it names.
inline constexpr std::size_t kMaxServerAddressBytes = 512;
// What an empty buffer may keep of the memory that it once needed.
inline constexpr std::size_t kKeptZooKeeperInputBytes = 64 * kKiB;

}  // namespace conclave::limits
