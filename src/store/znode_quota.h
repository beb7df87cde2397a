#pragma once
// Quotas as ZooKeeper's clients set them: how many nodes there may be at and below a path, and how
// many bytes of data. The quota of /a is /zookeeper/quota/a/zookeeper_limits, and what there is now
// /zookeeper/quota/a/zookeeper_stats, both a line of text as in ZooKeeper:
//
//   count=5,bytes=-1=;byteHardLimit=1000;countHardLimit=20        -1: no limit
//
// The stats are kept by the store (ZnodeTree), for paths of which Keyspace::kZnodeQuota knows.
// Limits are held to only by writes that say so: zk::Quotas::kEnforced.

#include <cstdint>
#include <map>
#include <optional>

#include "api/zookeeper.h"
#include "base/bytes.h"

namespace conclave::store {

// Longer lines are none: each change below a quota reads them. Part of what the log means.
inline constexpr std::size_t kMaxQuotaBytes = 1024;

class QuotaNumbers {
 public:
  // nullopt: it is no such line.
  static std::optional<QuotaNumbers> parse(BytesView line);
  Bytes text() const;

  // -1 if the line does not name it.
  std::int64_t get(BytesView name) const;
  void set(BytesView name, std::int64_t number) { numbers_.insert_or_assign(Bytes(name), number); }

 private:
  std::map<Bytes, std::int64_t, std::less<>> numbers_;
};

inline constexpr BytesView kQuotaCount = "count";
inline constexpr BytesView kQuotaBytes = "bytes";
inline constexpr BytesView kQuotaCountHardLimit = "countHardLimit";
inline constexpr BytesView kQuotaByteHardLimit = "byteHardLimit";

Bytes quota_limits_path(BytesView path);
Bytes quota_stats_path(BytesView path);
// Of which path these are the limits, or the stats; nullopt: of none. The root has no quota.
std::optional<BytesView> path_of_limits(BytesView path);
std::optional<BytesView> path_of_stats(BytesView path);

// Whether it creates limits or stats: it has to be a command with zk::Quotas.
bool creates_quota(const api::zk::WriteRequest& write);

}  // namespace conclave::store
