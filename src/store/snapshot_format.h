#pragma once
// The grammar of a snapshot's content, shared by its writer and its loader
// (docs/formats/snapshot.md, "Content").
//
//   content = frame*        frame = length:varint kind:u8 body
//   order   = head (client answer*)* lease* base* change* end, with nothing-frames anywhere after
//   the head

#include <cstdint>
#include <vector>

#include "api/request.h"
#include "store/codec.h"
#include "store/command.h"
#include "store/record.h"
#include "store/request_ids.h"
#include "store/state.h"

namespace conclave::store {

// Version 2 has what came with changes of the members, and is written once there is any of it.
inline constexpr std::uint8_t kSnapshotVersion = 1;
inline constexpr std::uint8_t kSnapshotMembersVersion = 2;
// Has the members of version 2, of which some are witnesses.
inline constexpr std::uint8_t kSnapshotWitnessVersion = 3;
// Has leases, and among the bases deletions by the compacted revision; with witnesses or without.
inline constexpr std::uint8_t kSnapshotLeasesVersion = 4;
// Has users and roles, and whatever of the above there is.
inline constexpr std::uint8_t kSnapshotAuthVersion = 5;
// Has leases that users asked for.
inline constexpr std::uint8_t kSnapshotLeaseUsersVersion = 6;
// Has keys in keyspaces without history, as bases.
inline constexpr std::uint8_t kSnapshotCurrentVersion = 7;
// May have them in Keyspace::kZnodeQuota, too; and has the addresses for ZooKeeper's clients.
inline constexpr std::uint8_t kSnapshotQuotasVersion = 8;
// Far above any record; a longer frame is damage and must not be waited for.
inline constexpr std::uint64_t kMaxFrameBytes = 256ull << 20;

// Stored: values never change meaning.
enum class FrameKind : std::uint8_t {
  kHead = 1,
  kClient = 2,  // a client with request ids
  kAnswer = 3,  // one of its answers
  // The version of a key that is current at the compacted revision, or its deletion by that very
  // revision; where there is no history the version that is current. In order of keyspaces and
  // keys.
  kBase = 4,
  kChange = 5,  // a later change; in order of revisions
  kEnd = 6,
  kNothing = 7,  // the writer looked at many keys and had nothing to write
  kLease = 8,    // in order of ids
};

struct SnapshotHead {
  LogIndex index;
  Epoch epoch;
  Stamp stamp;
  Revision revision = 0;
  Revision compacted = 0;
  std::uint64_t hash = 0;
  std::uint64_t request_id_uses = 0;
  ClusterFacts facts;
  std::uint64_t leases = 0;  // how many follow
  bool has_lease_users = false;
  bool has_current = false;  // keys in keyspaces without history
  bool has_quotas = false;   // in Keyspace::kZnodeQuota
  Auth auth;
};

struct SnapshotEnd {
  // The sum of the hashes of all records that were written once and are not here: compacted ones.
  std::uint64_t dead_sum = 0;
  std::uint64_t clients = 0;
  std::uint64_t bases = 0;
  std::uint64_t changes = 0;
};

// Bodies of frames, without length and kind.
void encode(Encoder& out, const SnapshotHead& head);
void encode(Encoder& out, const Bytes& client_name, const RequestIds::Client& client);
void encode(Encoder& out, const RequestIds::Answer& answer);
void encode(Encoder& out, const LeaseTerm& lease);
void encode(Encoder& out, const Record& record);
void encode(Encoder& out, const SnapshotEnd& end);

SnapshotHead decode_head(Decoder& in);
std::pair<Bytes, RequestIds::Client> decode_client(Decoder& in);
RequestIds::Answer decode_answer(Decoder& in);
LeaseTerm decode_lease(Decoder& in);
SnapshotEnd decode_end(Decoder& in);

// Borrows key and value.
struct RecordView {
  Record head;
  BytesView key;
  BytesView value;
};
RecordView decode_record(Decoder& in);

}  // namespace conclave::store
