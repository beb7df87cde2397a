#pragma once
// ZooKeeper's vocabulary: what its front-end asks of a member, and what it hears back. Plain
// values. A zxid is a revision of the store. A session is a lease of the store, hidden from etcd's
// clients; what belongs to it goes with it.
//
// Order: writes of one connection are applied in the order in which they were asked for, whoever
// leads meanwhile, and are answered in that order. A read is answered from a state that has at
// least what had been answered when it was asked for; one that has to see a write of its own
// session is to be asked for when that has been answered.
//
// What an answer brings is never older than the events of watches that its connection has been
// told: a change is told (Session::on_zookeeper) before any answer that could show it.
//
// A request that has no zk::Reply gets an api::Error, as etcd's do: kTimeout (the fate of a write
// is unknown), kTooManyRequests, kNoLeader, kNoSpace (the leader's; the member's own
// is kQuotaExceeded), kRequestTooLarge, ... A connection that got
// one for a write has to be closed: what it asked for later might otherwise be done although an
// earlier write was not. The member drops its writes that it has not sent yet.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "api/kv.h"
#include "base/bytes.h"
#include "base/ids.h"

namespace conclave::api::zk {

using Zxid = Revision;
using SessionId = LeaseId;

inline constexpr std::size_t kPasswordBytes = 16;
inline constexpr std::int32_t kAnyVersion = -1;

// ZooKeeper's numbers.
enum class Code : std::int32_t {
  kOk = 0,
  kSystemError = -1,
  kRuntimeInconsistency = -2,  // in a multi: an operation after the one that failed
  kMarshallingError = -5,
  kUnimplemented = -6,
  kBadArguments = -8,
  kNewConfigNoQuorum = -13,
  kReconfigInProgress = -14,
  kNoNode = -101,
  kNoAuth = -102,
  kBadVersion = -103,
  kNoChildrenForEphemerals = -108,
  kNodeExists = -110,
  kNotEmpty = -111,
  kSessionExpired = -112,
  kInvalidAcl = -114,
  kAuthFailed = -115,
  kSessionMoved = -118,
  kNoWatcher = -121,
  kReconfigDisabled = -123,
  kQuotaExceeded = -125,  // of a path; or no space: in the store (what does not grow it is taken)
                          // or on the disk
};

// Permissions, as bits of Acl::permissions.
inline constexpr std::int32_t kRead = 1;
inline constexpr std::int32_t kWrite = 2;
inline constexpr std::int32_t kCreate = 4;
inline constexpr std::int32_t kDelete = 8;
inline constexpr std::int32_t kAdmin = 16;
inline constexpr std::int32_t kAllPermissions = 31;

struct Id {
  Bytes scheme;
  Bytes id;

  auto operator<=>(const Id&) const = default;
};
struct Acl {
  std::int32_t permissions = 0;
  Id id;

  bool operator==(const Acl&) const = default;
};

struct Stat {
  Zxid czxid = 0;
  Zxid mzxid = 0;
  std::int64_t ctime_ms = 0;  // since 1970, by the clock of the member that was asked
  std::int64_t mtime_ms = 0;
  std::int32_t version = 0;
  std::int32_t cversion = 0;
  std::int32_t aversion = 0;
  SessionId ephemeral_owner = 0;  // 0 of containers and TTL nodes, too
  std::int32_t data_length = 0;
  std::int32_t num_children = 0;
  Zxid pzxid = 0;

  bool operator==(const Stat&) const = default;
};

// Who asks: what the answer to OpenSession or Reconnect named, and what the client has proved to
// be: "ip" always, "digest" with the hashed password (never the password), "x509", "super".
struct Caller {
  SessionId session = 0;
  std::uint64_t generation = 0;
  std::vector<Id> ids;

  bool operator==(const Caller&) const = default;
};

// --- writes -------------------------------------------------------------------------

// ZooKeeper's numbers.
enum class Mode : std::uint8_t {
  kPersistent = 0,
  kEphemeral = 1,
  kPersistentSequential = 2,
  kEphemeralSequential = 3,
  kContainer = 4,
  kPersistentTtl = 5,
  kPersistentSequentialTtl = 6,
  kNone = 7,  // whatever else a client has asked for: kBadArguments
};

struct Create {
  Bytes path;
  Bytes data;
  std::vector<Acl> acl;
  Mode mode = Mode::kPersistent;
  std::int64_t ttl_ms = -1;  // above 0 in a mode with one, below in the others: else kBadArguments

  bool operator==(const Create&) const = default;
};
struct Delete {
  Bytes path;
  std::int32_t version = kAnyVersion;

  bool operator==(const Delete&) const = default;
};
// The node must have no children and be no ephemeral one. (What the opcode deleteContainer asks
// for.)
struct DeleteContainer {
  Bytes path;

  bool operator==(const DeleteContainer&) const = default;
};
struct SetData {
  Bytes path;
  Bytes data;
  std::int32_t version = kAnyVersion;

  bool operator==(const SetData&) const = default;
};
struct SetAcl {
  Bytes path;
  std::vector<Acl> acl;
  std::int32_t version = kAnyVersion;  // compared with aversion

  bool operator==(const SetAcl&) const = default;
};
struct Check {
  Bytes path;
  std::int32_t version = kAnyVersion;

  bool operator==(const Check&) const = default;
};
using Operation = std::variant<Create, Delete, SetData, Check>;
// All or nothing, at one zxid. Later operations see what earlier ones did.
struct Multi {
  std::vector<Operation> operations;

  bool operator==(const Multi&) const = default;
};

// `timeout_ms` is as it was negotiated. The member that takes the request draws the rest.
struct OpenSession {
  std::int64_t timeout_ms = 0;
  std::int64_t ttl_s = 0;  // of its lease: at least the timeout
  SessionId id = 0;
  Bytes password;

  bool operator==(const OpenSession&) const = default;
};
// The session goes on with this connection: any older one's requests are refused with kSessionMoved
// from then on, and that connection is told. kSessionExpired: there is none, or the password is
// wrong. kBadArguments: the client has seen more than there is, as after a restore; nothing was
// done.
struct Reconnect {
  SessionId id = 0;
  Bytes password;
  Zxid last_zxid = 0;  // that the client has seen

  bool operator==(const Reconnect&) const = default;
};
// Of the caller. Its ephemeral nodes go in the same step.
struct CloseSession {
  bool operator==(const CloseSession&) const = default;
};

// What a write does about quotas. Quotas that were created by a write with kNone are none.
enum class Quotas : std::uint8_t {
  kNone = 0,
  kCounted = 1,   // the quotas that it creates count from then on
  kEnforced = 2,  // that, and kQuotaExceeded beyond a hard limit
};

// A write. Answered by zk::Reply. OpenSession and Reconnect need no caller.
struct WriteRequest {
  Caller caller;
  std::int64_t time_ms = 0;  // since 1970; the member that takes the request says it
  std::variant<Create, Delete, DeleteContainer, SetData, SetAcl, Check, Multi, OpenSession,
               Reconnect, CloseSession>
      op;
  Quotas quotas = Quotas::kNone;  // at least kCounted is the member's business

  bool operator==(const WriteRequest&) const = default;
};

// Whether it may make the store larger: creates and new data, alone or in a multi. Not sessions,
// which are small, and without which nobody could delete.
bool may_grow(const WriteRequest& write);

// The caller's session has all of its time again once this is answered (others of its requests do
// that too, sooner or later). Many sessions of a member share a command. Reply: kOk,
// kSessionExpired, kSessionMoved.
struct PingRequest {
  Caller caller;
};

// --- who the members are ------------------------------------------------------------

// A member as reconfig names it. An observer is a learner.
struct Server {
  NodeId id;
  std::string peer;  // "host:port"; where the other members reach it
  bool is_observer = false;
  std::string client;  // "host:port"; empty: not said

  bool operator==(const Server&) const = default;
};

// A change of the members, all or nothing. Answered, by zk::Reply with Configured, when the new
// members alone decide; an api::Error if that is not known in time. Who is there already keeps its
// place: another peer address is where it is reached from now on, and an observer becomes a voter.
// kSessionExpired, kSessionMoved; kBadVersion: `from` is another; kBadArguments: no such change
// (a voter as an observer, another client address than the member itself tells, an address of
// another member, an id that is 0 or was removed); kNoAuth: the caller has no right to write
// /zookeeper/config; kNewConfigNoQuorum: too few of the voters would be there, or a learner is too
// far behind; kReconfigInProgress: ask again.
struct ReconfigRequest {
  Caller caller;
  Zxid from = kAnyConfig;       // the version of /zookeeper/config that it is to replace
  bool is_whole = false;        // nobody stays but `joining`
  std::vector<NodeId> leaving;  // who is not there is no mistake
  std::vector<Server> joining;  // each id once

  static constexpr Zxid kAnyConfig = -1;
  bool operator==(const ReconfigRequest&) const = default;
};

// --- the tree as a whole, for `conclave import zookeeper` ----------------------------

// A node that is not ephemeral: all of it but its zxids.
struct TreeNode {
  Bytes path;
  Bytes data;
  std::vector<Acl> acl;  // taken as it is: nobody asks who may do what
  std::int64_t ctime_ms = 0;
  std::int64_t mtime_ms = 0;
  std::int32_t version = 0;
  std::int32_t aversion = 0;
  std::int32_t created = 0;  // children, ever: the number of the next sequential one
  bool is_plain = true;      // no container and no TTL node; what is imported is none of these

  bool operator==(const TreeNode&) const = default;
};

// One step of an import, at one revision, whatever ACLs and versions say. Its mark is the key
// kImportMark of etcd's clients: it says how far an import is, and is there while it is under way.
// A step is done if the mark is `before` and makes it `after` (empty: it is not there); where it is
// `after` already nothing is done, so that a step may be repeated. Answered by zk::Reply, with
// Names of the one path that is wrong, if one is, and nothing done: kBadArguments, kNoNode (it has
// no parent), kNotEmpty, kNoChildrenForEphemerals, kInvalidAcl, kNodeExists (an ephemeral node,
// whose session alone may end it), and unless `merge` kBadVersion (no import wrote it last).
// kFenced: the mark is another.
struct ImportRequest {
  Bytes before;
  Bytes after;                  // differs
  bool merge = false;           // counters of children never go back
  std::vector<Bytes> removed;   // at first, in this order; what is not there is no mistake
  std::vector<TreeNode> nodes;  // created, or made these; parents before their children

  bool operator==(const ImportRequest&) const = default;
};
inline constexpr BytesView kImportMark = "conclave.import/zookeeper";

// All nodes but ephemeral ones, a part at a time. Answered by zk::Reply with a Tree.
struct ExportRequest {
  Bytes from;  // Tree::next of the part before; empty: the first
};

// --- reads --------------------------------------------------------------------------

// `watch`: a one-shot watch is left with the read, as of the state that is answered. Exists leaves
// one if there is no such node, too; the others only if the read is answered with kOk.
struct Exists {
  Bytes path;
  bool watch = false;
};
struct GetData {
  Bytes path;
  bool watch = false;
};
struct GetAcl {
  Bytes path;
};
// Children sorted by name; with the node's stat.
struct GetChildren {
  Bytes path;
  bool watch = false;
};
// The caller's, those that begin with `prefix`.
struct GetEphemerals {
  Bytes prefix;
};
// Of the whole tree below the path.
struct CountChildren {
  Bytes path;
};
struct MultiRead {
  std::vector<std::variant<GetData, GetChildren>> operations;  // their `watch` is ignored
};
struct Sync {
  Bytes path;
};

// Watches, for this connection. What has changed since `relative_zxid`, the last one the client has
// seen, is told before the answer.
struct SetWatches {
  Zxid relative_zxid = 0;
  std::vector<Bytes> data;
  std::vector<Bytes> exist;
  std::vector<Bytes> child;
  std::vector<Bytes> persistent;
  std::vector<Bytes> persistent_recursive;
};
enum class WatchMode : std::uint8_t { kPersistent = 0, kPersistentRecursive = 1 };
struct AddWatch {
  Bytes path;
  WatchMode mode = WatchMode::kPersistent;
};
// ZooKeeper's numbers.
enum class WatcherType : std::uint8_t { kChildren = 1, kData = 2, kAny = 3 };
// kNoWatcher if there is none.
struct RemoveWatches {
  Bytes path;
  WatcherType type = WatcherType::kAny;
  bool only_check = false;
};

// For the four-letter words, of this member; they need no caller.
struct GetCounts {};
struct DumpSessions {};
struct DumpWatches {};

// A read. Answered by zk::Reply. `local`: from this member's state as it is, without a barrier. It
// never goes back within a session: Reconnect waits for what the session has seen elsewhere.
struct ReadRequest {
  Caller caller;
  bool local = false;
  std::variant<Exists, GetData, GetAcl, GetChildren, GetEphemerals, CountChildren, MultiRead, Sync,
               SetWatches, AddWatch, RemoveWatches, GetCounts, DumpSessions, DumpWatches>
      op;
};

// --- answers ------------------------------------------------------------------------

// Create.
struct Created {
  Bytes path;  // with its sequence number
  Stat stat;

  bool operator==(const Created&) const = default;
};
// SetData, SetAcl, Exists.
struct Changed {
  Stat stat;

  bool operator==(const Changed&) const = default;
};
// GetData.
struct Data {
  Bytes data;
  Stat stat;

  bool operator==(const Data&) const = default;
};
// ReconfigRequest: /zookeeper/config after it.
struct Configured {
  Bytes data;
  Stat stat;

  bool operator==(const Configured&) const = default;
};
// GetAcl. As in ZooKeeper, who may not administer the node gets "x" in place of the passwords of
// digest ids.
struct Acls {
  std::vector<Acl> acl;
  Stat stat;

  bool operator==(const Acls&) const = default;
};
// GetChildren; GetEphemerals (whole paths, no stat).
struct Names {
  std::vector<Bytes> names;
  Stat stat;

  bool operator==(const Names&) const = default;
};
// CountChildren.
struct Count {
  std::int64_t count = 0;

  bool operator==(const Count&) const = default;
};
// OpenSession, Reconnect.
struct Session {
  SessionId id = 0;
  Bytes password;
  std::int64_t timeout_ms = 0;
  std::uint64_t generation = 0;  // for Caller

  bool operator==(const Session&) const = default;
};
// Multi, MultiRead: one for each operation. If one of a Multi failed none was done: those before it
// have kOk and nothing else, those after it kRuntimeInconsistency. The Reply's own code is kOk
// then, too.
struct Results {
  struct One {
    Code code = Code::kOk;
    std::variant<std::monostate, Created, Changed, Data, Names> result;

    bool operator==(const One&) const = default;
  };
  std::vector<One> results;

  bool operator==(const Results&) const = default;
};
struct Counts {
  std::uint64_t nodes = 0;
  std::uint64_t ephemerals = 0;
  std::uint64_t data_bytes = 0;  // of paths and data, about
  std::uint64_t sessions = 0;    // of the cluster
  std::uint64_t watches = 0;     // of this member's connections, like the next two
  std::uint64_t watched_paths = 0;
  std::uint64_t watchers = 0;  // connections with watches

  bool operator==(const Counts&) const = default;
};
struct SessionDump {
  struct One {
    SessionId id = 0;
    std::int64_t timeout_ms = 0;
    std::vector<Bytes> ephemerals;

    bool operator==(const One&) const = default;
  };
  std::vector<One> sessions;

  bool operator==(const SessionDump&) const = default;
};
struct WatchDump {
  struct One {
    Bytes path;
    std::vector<SessionId> sessions;

    bool operator==(const One&) const = default;
  };
  std::vector<One> paths;

  bool operator==(const WatchDump&) const = default;
};

// ExportRequest.
struct Tree {
  Bytes mark;  // of an import under way
  std::vector<TreeNode> nodes;
  Bytes next;  // empty: there are no more

  bool operator==(const Tree&) const = default;
};

// Zxid: of the state it was answered from; of a write that changed something, the change's.
// (Header::revision is the same number.) What else an error brings: nothing.
struct Reply {
  Code code = Code::kOk;
  Zxid zxid = 0;
  std::variant<std::monostate, Created, Changed, Data, Acls, Names, Count, Session, Results, Counts,
               SessionDump, WatchDump, Tree, Configured>
      result;

  bool operator==(const Reply&) const = default;
};

// --- told without being asked (api::Session::on_zookeeper) ---------------------------

// ZooKeeper's numbers.
enum class EventType : std::int32_t {
  kCreated = 1,
  kDeleted = 2,
  kDataChanged = 3,
  kChildrenChanged = 4,
};
struct Event {
  EventType type = EventType::kCreated;
  Bytes path;
  Zxid zxid = 0;  // of the change

  bool operator==(const Event&) const = default;
};
// The connection is to be closed.
struct ConnectionOver {
  enum class Why : std::uint8_t {
    kSessionExpired,
    kSessionMoved,
    kSessionClosed,  // by another connection of it
    // This member got its state from a snapshot, and cannot tell what its watches should have been
    // told: the client comes back, with its watches.
    kStateReplaced,
  };
  Why why = Why::kSessionExpired;

  bool operator==(const ConnectionOver&) const = default;
};
using News = std::variant<Event, ConnectionOver>;

}  // namespace conclave::api::zk
