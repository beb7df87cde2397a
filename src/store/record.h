#pragma once
// One version of one key: a single allocation that holds its numbers, the key and the value.
// Written once; only the link to the version before it changes, when that one is reclaimed.
//
// The key is in every version: a key with one version (most of them) then costs one allocation and
// one pointer in the index, and a change can be told to a watcher from its record alone.

#include <cstddef>
#include <cstdint>
#include <span>

#include "api/kv.h"
#include "base/bytes.h"

namespace conclave::store {

using api::LeaseId;
using api::Revision;

// Each protocol has keys of its own in the one store, under the one revision counter. Stored in
// snapshots and part of the state hash: values never change meaning.
enum class Keyspace : std::uint8_t {
  kEtcd = 0,
  // ZooKeeper's (store/znodes.h).
  kZnode = 1,
  kZnodeChildren = 2,
  kZnodeSession = 3,
  kZnodeTimed = 4,
  kZnodeQuota = 5,
};
inline constexpr std::size_t kKeyspaces = 6;
inline constexpr Keyspace kLastKeyspace = Keyspace::kZnodeQuota;

// Whether old versions can be read, and changes watched from a revision. In the other keyspaces
// nothing is left of a key's older versions: not in the state, its hash or snapshots.
constexpr bool has_history(Keyspace keyspace) { return keyspace == Keyspace::kEtcd; }

struct Record {
  Record* older = nullptr;  // the version before this one, if it has not been reclaimed

  // From here to the end of the value: what the record's hash covers.
  Revision mod = 0;
  Revision create = 0;  // 0 in a tombstone, like the next two
  std::int64_t version = 0;
  LeaseId lease = 0;
  std::uint32_t sub = 0;  // order among the changes of revision `mod`
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  Keyspace keyspace = Keyspace::kEtcd;
  bool tombstone = false;
  std::uint16_t unused = 0;  // no padding: its bytes would be hashed

  BytesView key() const { return {bytes(), key_size}; }
  BytesView value() const { return {bytes() + key_size, value_size}; }
  std::uint64_t hash() const;
  // Memory it takes, with the allocator's overhead and its place in the history, about.
  std::uint64_t footprint() const;
  api::KeyValue to_api(bool with_value = true) const;

 private:
  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
};
static_assert(sizeof(Record) == 56);

// A value, in pieces that stand behind one another.
using Pieces = std::span<const BytesView>;

// A record with the numbers of `head` (its sizes are set here), `key` and `value`. Freed by
// free_record.
Record* make_record(const Record& head, BytesView key, Pieces value);
void free_record(Record* record);

}  // namespace conclave::store
