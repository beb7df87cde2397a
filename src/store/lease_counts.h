#pragma once
// What a member has seen happen to leases while it ran. For metrics alone: not replicated.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace conclave::store {

struct LeaseCounts {
  // Of the times to live that were granted: up to 1 s, 2 s, 4 s ... 2^23 s, and beyond.
  static constexpr std::size_t kTtlBuckets = 25;

  void grant(std::int64_t ttl_s) {
    ++granted;
    const auto bucket = static_cast<std::size_t>(
        std::bit_width(static_cast<std::uint64_t>(ttl_s) - 1));  // of 0 and 1: the first
    ++ttls[bucket < kTtlBuckets ? bucket : kTtlBuckets - 1];
    ttl_sum_s += static_cast<double>(ttl_s);
  }
  LeaseCounts& operator+=(const LeaseCounts& other) {
    granted += other.granted;
    renewed += other.renewed;
    revoked += other.revoked;
    expired += other.expired;
    for (std::size_t i = 0; i < kTtlBuckets; ++i) ttls[i] += other.ttls[i];
    ttl_sum_s += other.ttl_sum_s;
    return *this;
  }

  std::uint64_t granted = 0;
  std::uint64_t renewed = 0;
  std::uint64_t revoked = 0;  // those that expired, too
  std::uint64_t expired = 0;
  std::array<std::uint64_t, kTtlBuckets> ttls{};
  double ttl_sum_s = 0;
};

}  // namespace conclave::store
