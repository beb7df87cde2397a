#pragma once
// What a member counts about itself, as values: the server turns them into metrics, tests read
// them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

#include "api/request.h"
#include "base/ids.h"
#include "base/time.h"
#include "consensus/engine.h"
#include "store/lease_counts.h"
#include "wal/log.h"

namespace conclave::node {

// Durations in buckets of powers of two, from 64 us to 2 s and beyond.
struct Histogram {
  static constexpr std::size_t kBuckets = 16;
  // Upper bound of bucket `i`, in microseconds; the last one has none.
  static constexpr std::int64_t upper_us(std::size_t i) { return std::int64_t{64} << i; }

  void add(Duration duration) {
    const std::int64_t us = duration.ns / 1000;
    std::size_t i = 0;
    while (i + 1 < kBuckets && us > upper_us(i)) ++i;
    ++counts[i];
    ++count;
    sum_us += us;
  }

  std::array<std::uint64_t, kBuckets> counts{};
  std::uint64_t count = 0;
  std::int64_t sum_us = 0;
};

struct Stats {
  consensus::EngineStatus engine;
  wal::Log::Stats log;
  bool disk_full = false;
  LogIndex applied;
  LogIndex snapshot;  // newest durable one
  api::Revision revision = 0;
  api::Revision compact_revision = 0;
  std::uint64_t keys = 0;
  std::uint64_t store_bytes = 0;
  std::uint64_t store_bytes_in_use = 0;
  std::uint64_t quota_bytes = 0;  // 0: none
  bool corrupt = false;

  std::uint64_t writes_received = 0;
  std::uint64_t writes_applied = 0;  // commands of this member's clients
  std::uint64_t writes_failed = 0;   // refused or timed out
  std::uint64_t writes_waiting = 0;
  std::uint64_t writes_queued = 0;     // of those that wait, kept back so that all get their share
  std::uint64_t write_window = 0;      // of those that are not kept back, by cost
  std::uint64_t requests_refused = 0;  // told "too many requests" on arrival
  std::uint64_t disk_hand_overs = 0;   // of leadership, since this member's disk took nothing
  std::uint64_t reads_served = 0;
  std::uint64_t reads_failed = 0;
  std::uint64_t barriers = 0;
  std::uint64_t entries_proposed = 0;
  std::uint64_t leader_changes = 0;
  std::uint64_t snapshots_taken = 0;
  std::uint64_t snapshots_installed = 0;
  std::uint64_t client_connections = 0;
  std::uint64_t client_bytes_received = 0;
  std::uint64_t client_bytes_sent = 0;
  std::uint64_t peers_connected = 0;
  std::uint64_t peer_messages_sent = 0;
  std::uint64_t peer_bytes_sent = 0;  // frames as they are sent; TCP's own are not counted
  // The same by member, and what came.
  struct PeerBytes {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    bool connected = false;
  };
  std::map<NodeId, PeerBytes> peer_bytes;
  Histogram persist;  // log append handed over until durable

  std::uint64_t watches = 0;
  std::uint64_t watches_late = 0;  // that have missed something
  std::uint64_t watch_feeds = 0;
  std::uint64_t watch_events = 0;  // told
  std::uint64_t watch_events_pending = 0;

  std::uint64_t leases = 0;
  store::LeaseCounts lease_counts;
};

}  // namespace conclave::node
