#pragma once
// Every bound of the server, by name. Nothing is unbounded: a queue, batch or message beyond its
// limit is answered with a clear error (or, between members, cut into smaller pieces). Flags change
// those an operator may want to move.

#include <cstddef>
#include <cstdint>

namespace conclave::limits {

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;

// Clients. The first two are etcd's defaults (--max-request-bytes, --max-txn-ops).
inline constexpr std::size_t kMaxRequestBytes = 3 * kMiB / 2;
inline constexpr std::size_t kMaxTxnOps = 128;
// Above this a request is refused while it is still arriving: etcd adds the same slack for gRPC
// overhead.
inline constexpr std::size_t kRequestOverheadBytes = 512 * kKiB;
inline constexpr std::size_t kMaxClientConnections = 20'000;
// Open files that a member keeps for itself: log, snapshots, peers. Clients get the rest of what
// the system allows.
inline constexpr std::size_t kOwnFiles = 128;
// TLS handshakes under way, each for at most so long. They have part of the connections above;
// one more ends the oldest.
inline constexpr std::size_t kMaxHandshakes = 2'000;
inline constexpr std::int64_t kHandshakeMs = 10'000;
// Of a snapshot file that is written.
inline constexpr std::size_t kSnapshotWriteBytes = 256 * kKiB;
// A file of certificates, keys or revoked certificates.
inline constexpr std::size_t kMaxCertificateFileBytes = 64 * kMiB;
// Handshakes that are taken a step further in one turn of the loop: a step may cost a signature,
// which with RSA is a millisecond.
inline constexpr std::size_t kHandshakeStepsPerTurn = 2;
// Their requests wait in memory; their reads are carried out as the answers are taken, see below.
inline constexpr std::size_t kMaxStreamsPerConnection = 512;
// Answers that the client of a connection has not taken. Above it no read is carried out for it, so
// it may hold this and one answer more.
inline constexpr std::size_t kMaxUnsentBytes = 16 * kMiB;
// What each connection may always hold of events, however much the others hold.
inline constexpr std::size_t kLittleUnsentBytes = 64 * kKiB;
// The same for all connections of a member. Above it a read is carried out only for a connection
// that has taken everything, and only if the answer is a small one (kReadSliceBytes, or one value).
inline constexpr std::size_t kMaxAllUnsentBytes = 512 * kMiB;
// Of these, what is handed to the connection ahead of what it has sent; the rest waits in its
// session. A connection that has that much to send is not read from.
inline constexpr std::size_t kSendAheadBytes = 4 * kMiB;
// A larger answer is refused: a gRPC client takes no more (grpc-go's limit).
inline constexpr std::size_t kMaxAnswerBytes = 0x7fff'ffff;

// A large Range is answered in slices of so many keys looked at and bytes copied, one in a turn of
// the loop: a few milliseconds. All small reads of a turn together get a few of them.
inline constexpr std::size_t kReadSliceKeys = 4'096;
inline constexpr std::size_t kReadSliceBytes = 512 * kKiB;
inline constexpr std::size_t kReadSlicesPerTurn = 4;
// A connection that has not completed a request's bytes in this time is closed.
inline constexpr std::int64_t kClientIdleHeaderMs = 30'000;

// Writes waiting in one member for the log; beyond it: "etcdserver: too many requests".
inline constexpr std::size_t kMaxInflightWrites = 50'000;
inline constexpr std::size_t kMaxInflightWriteBytes = 256 * kMiB;
inline constexpr std::size_t kMaxInflightReads = 100'000;

// One log entry carries many commands; a batch is closed at this size.
inline constexpr std::size_t kMaxEntryBytes = 1 * kMiB;
// Leases and keys of theirs that one log entry revokes when their time is over: a few milliseconds.
inline constexpr std::size_t kExpiryWork = 3'000;
// ZooKeeper's sessions that one command keeps alive, and containers and TTL nodes that one deletes.
// A command with more is not accepted: also part of what the log means.
inline constexpr std::size_t kTouchedSessions = 10'000;
inline constexpr std::size_t kReapedZnodes = 1'000;
// Of those, how many are looked at in a second.
inline constexpr std::size_t kReapLooks = 10'000;
// Pings of theirs that wait for such a command, in one member.
inline constexpr std::size_t kMaxWaitingPings = 100'000;
// Watches of ZooKeeper's clients: of a connection, and of a member; and the bytes of their paths.
inline constexpr std::size_t kMaxConnectionZnodeWatches = 200'000;
inline constexpr std::size_t kMaxZnodeWatches = 2'000'000;
inline constexpr std::size_t kMaxConnectionZnodeWatchBytes = 16 * kMiB;
inline constexpr std::size_t kMaxZnodeWatchBytes = 256 * kMiB;
// Of a znode's path. Part of what the log means, like the next five: whoever changes it has
// members that disagree.
inline constexpr std::size_t kMaxZnodePathBytes = 16 * kKiB;
// Of the list that says who may do what with a znode: its entries, and their bytes.
inline constexpr std::size_t kMaxZnodeAcl = 1'000;
inline constexpr std::size_t kMaxZnodeAclBytes = 64 * kKiB;
// Operations of a multi or a multiRead.
inline constexpr std::size_t kMaxZnodeOperations = 10'000;
// What a client of ZooKeeper's may have proved to be: how many ids, and their bytes.
inline constexpr std::size_t kMaxCallerIds = 128;
inline constexpr std::size_t kMaxCallerIdBytes = 16 * kKiB;
// Above it an answer to one is refused.
inline constexpr std::size_t kMaxZnodeAnswerBytes = 64 * kMiB;
// One append to a follower carries at most this many bytes of entries (or one larger entry).
inline constexpr std::size_t kMaxAppendBytes = 1 * kMiB;
inline constexpr std::size_t kMaxInflightAppends = 64;
inline constexpr std::size_t kSnapshotChunkBytes = 512 * kKiB;
// Chunks on their way to a follower before the first of them is stored there.
inline constexpr std::size_t kMaxSnapshotWindow = 4;
// Entries that a leader keeps in memory because a snapshot that ends before them is on its way to a
// follower. If the transfer takes longer, it begins again with a newer snapshot.
inline constexpr std::size_t kMaxTransferLogBytes = 256 * kMiB;
// A witness has no data that would be worth its log's: it writes a snapshot after so many bytes of
// entries, each counted with its share of a block on the disk, and its log's segments are small.
inline constexpr std::size_t kWitnessLogBytes = 4 * kMiB;
inline constexpr std::size_t kEntryPlaceBytes = 1 * kKiB;
inline constexpr std::size_t kWitnessSegmentBytes = 4 * kMiB;
// Frames between members; larger ones are a protocol violation.
inline constexpr std::size_t kMaxPeerFrameBytes = 8 * kMiB;
// The largest that --max-request-bytes may be: one such request and what shares its entry fit into
// a frame.
inline constexpr std::size_t kLargestMaxRequestBytes = kMaxPeerFrameBytes - kMaxEntryBytes;
// Before a connection has said whose it is: its frames, and how many such connections there may be.
inline constexpr std::size_t kMaxHelloBytes = 4 * kKiB;
inline constexpr std::size_t kMaxUngreetedPeers = 64;
// Unsent bytes to one peer before new messages to it are dropped: engines resend.
inline constexpr std::size_t kMaxPeerUnsentBytes = 64 * kMiB;

// Members. One learner at a time is etcd's limit; removed ids are remembered so that they cannot
// come back, the newest ones.
inline constexpr std::size_t kMaxLearners = 1;
inline constexpr std::size_t kMaxRemovedMembers = 1'000;
// Members that may be connected to one.
inline constexpr std::size_t kMaxPeerCallers = 100;
// Changes of the members that wait at the leader for the one under way.
inline constexpr std::size_t kMaxWaitingChanges = 64;

// Idempotency: answers kept per client, and clients kept in all (least recently used go first).
inline constexpr std::size_t kRequestIdsPerClient = 64;
inline constexpr std::size_t kRequestIdClients = 10'000;
inline constexpr std::size_t kMaxRequestIdBytes = 128;

// Fences: how long the name of a lock may be in one, and of how many locks a member remembers who
// is first, so as not to look for it with each write.
inline constexpr std::size_t kMaxFenceKeyBytes = 1'024;
inline constexpr std::size_t kFencedLocks = 10'000;

// Copies of everything that clients read: snapshot files that stay for them, those who wait for one
// to be written, and how long a file stays after the last piece that was read of it.
inline constexpr std::size_t kMaxBackups = 4;
inline constexpr std::size_t kMaxWaitingBackups = 1'000;
inline constexpr std::int64_t kBackupPatienceMs = 60'000;
inline constexpr std::uint32_t kMaxBackupPieceBytes = kMiB;

// Hashes of the history that are being computed, and what they look at in a turn.
inline constexpr std::size_t kMaxHistoryHashes = 16;
inline constexpr std::size_t kHistoryHashSlice = 4'096;

// Passwords that wait to be hashed or compared; each takes some tens of milliseconds.
inline constexpr std::size_t kMaxWaitingPasswords = 256;
// Tokens whose last use a member knows. Beyond, one lasts from when it was issued.
inline constexpr std::size_t kMaxKnownTokens = 100'000;

}  // namespace conclave::limits
