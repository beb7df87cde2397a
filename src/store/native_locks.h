#pragma once
// Conclave's own locks and barriers (api/native.h) as procedures over the store's keys: each is one
// command. It is refused and changes nothing, or is done as a whole at one revision.
//
// Who waits for what comes of it is no business of theirs: store/native_waits.h.

#include "api/request.h"
#include "store/lock_queue.h"
#include "store/mvcc.h"

namespace conclave::store {

// The queue of the lock `name` as it is now. Borrows from the store.
LockQueue queue_of(const Mvcc& mvcc, BytesView name);

// How often the holder of a key with this value has to release it: once, unless it says more.
std::uint32_t times_of(BytesView value);

// kLeaseNotFound, kLockConflict.
api::Answer acquire(Mvcc& mvcc, const api::AcquireRequest& op);
api::Answer release(Mvcc& mvcc, const api::ReleaseRequest& op);

// Of somebody who has entered a barrier, or wants to.
Bytes barrier_key(BytesView name, api::LeaseId lease);
// The key that says that a barrier is open.
Bytes barrier_door(BytesView name);
// kLeaseNotFound.
api::Answer enter(Mvcc& mvcc, const api::EnterRequest& op);
api::Answer leave(Mvcc& mvcc, const api::LeaveRequest& op);

}  // namespace conclave::store
