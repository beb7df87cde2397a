#pragma once
// ZooKeeper's operations as procedures over the store: its rules, its errors, in its order. Each
// either is refused and changes nothing, or is done as a whole at one revision, its zxid.

#include "api/request.h"
#include "store/command.h"
#include "store/state.h"

namespace conclave::store {

// Of all, as a lease and a key each take memory. Part of what the log means: whoever changes it has
// members that disagree.
inline constexpr std::uint64_t kMaxZnodeSessions = 1'000'000;
// What a TTL node may have: as ZooKeeper's, which keeps it in 40 bits.
inline constexpr std::int64_t kMaxZnodeTtlMs = (std::int64_t{1} << 40) - 1;

// The nodes that are there from the beginning, with ZooKeeper's numbers, if they are not.
void found_tree(Mvcc& mvcc, Mvcc::Write& write);
// api::zk::Reply; kTooManyRequests if there are too many sessions. If nobody `wants_answer` the
// reply may lack what it brings.
api::Answer apply(StoreState& state, const api::zk::WriteRequest& request, bool wants_answer);
// Sessions that are there, and not over, have all of their time again.
void touch(StoreState& state, const TouchSessions& touched);
// Deletes those of the nodes that are to go: containers that had children and have none, TTL nodes
// without children whose time is over. Each at a revision of its own.
void reap(StoreState& state, const ReapZnodes& reaped);
// What goes with a lease that has ended just now: nodes, and the session itself.
void end_session(StoreState& state, const LeaseTable::Keys& keys, Mvcc::Write& write,
                 ZnodeSessionChange::Kind why);
// Whether a lease is a session. etcd's clients do not see those.
bool is_session(const Mvcc& mvcc, LeaseId id);

// All but what is about watches and this member (SetWatches, AddWatch, RemoveWatches, GetCounts,
// DumpSessions, DumpWatches: none of these): the answer, whoever keeps watches.
api::zk::Reply read(const StoreState& state, const api::zk::ReadRequest& request);
// kOk, kSessionExpired, kSessionMoved.
api::zk::Code check_session(const StoreState& state, const api::zk::Caller& caller);
api::zk::Counts counts(const StoreState& state);
api::zk::SessionDump dump_sessions(const StoreState& state);

// Nodes that reap() would delete at `now`, of the `max_looks` paths of containers and TTL nodes
// from `from` on, which then says where to go on (empty: from the beginning).
ReapZnodes find_reapable(const StoreState& state, Stamp now, std::size_t max_looks, Bytes& from);

}  // namespace conclave::store
