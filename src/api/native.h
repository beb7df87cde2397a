#pragma once
// Conclave's own locks and barriers, beside etcd's (api/lock.h). What is asked for is one command
// of the log, so that a lock that is free is taken, or a place in its queue, in one step.
//
// A lock is exclusive, shared, or a semaphore, as each who wants it says; all wait in one queue,
// first come first served. It stands in the keys of `<name>/`, one for each who holds or waits:
//
//   <name>/<lease in hex>          exclusive: the key that etcd's Lock service would create
//   <name>/<lease in hex>.shared   with others that are shared
//   <name>/<lease in hex>.of-<n>   a semaphore: with up to n - 1 others of the same n
//
// and behind that `.<owner>` if an owner within the lease is named (`..<owner>` of an exclusive
// one). Whoever asks again for what it has, by lease and owner, has it once more (reentrance); the
// key's value is how many times, if it is more than once. A key goes when it is released as often,
// or with its lease.
//
// The revision that created a key is its token (api/fence.h).

#include <cstdint>
#include <optional>
#include <vector>

#include "api/kv.h"
#include "base/bytes.h"

namespace conclave::api {

enum class LockMode : std::uint8_t { kExclusive, kShared, kSemaphore };

// What is done if the lock cannot be granted at once.
enum class LockWait : std::uint8_t {
  kUntilHeld,  // a place in the queue, and no answer before it is held or the deadline is over
  kNotAtAll,   // no place in the queue
  kInQueue,  // a place that stays. Who has one, or the lock, is told so and counted no second time
};

struct AcquireRequest {
  Bytes name;
  LeaseId lease = 0;
  Bytes owner;  // may be empty; without slashes
  LockMode mode = LockMode::kExclusive;
  std::uint32_t permits = 0;  // of a semaphore: how many may hold it
  LockWait wait = LockWait::kUntilHeld;

  bool operator==(const AcquireRequest&) const = default;
};
// kLeaseNotFound; kLockConflict: the same owner has or wants it in another mode, and would wait for
// itself, or it is a semaphore of another number. Of those that wait also kLockLost, when the lease
// ended meanwhile, and kDeadlineExceeded.
struct AcquireResponse {
  Bytes key;                // empty: it is not held, and has no place in the queue
  Revision token = 0;       // of `key`
  std::uint32_t ahead = 0;  // how many stand in its way in the queue; 0: it is held
  std::uint32_t times = 0;  // it was asked for by this owner, and not released

  bool operator==(const AcquireResponse&) const = default;
};

// Gives it back, once or altogether; or gives up a place in the queue.
struct ReleaseRequest {
  Bytes key;
  Revision token = 0;
  bool altogether = false;
  // If not 0: only if nobody has written the key since that revision, so that it may be repeated.
  Revision unless_after = 0;

  bool operator==(const ReleaseRequest&) const = default;
};
struct ReleaseResponse {
  bool was_there = false;   // false: it had gone before, with its lease or by another release
  std::uint32_t times = 0;  // it has to be released still

  bool operator==(const ReleaseResponse&) const = default;
};

// A double barrier: `count` enter together, and none leaves before all want to. It stands in the
// keys of `<name>/`, one for each that has entered or waits to, `<name>/<lease in hex>`, and in
// `<name>/!open` from when `count` are there until the last one leaves.
struct EnterRequest {
  Bytes name;
  LeaseId lease = 0;
  std::uint32_t count = 0;
  bool wait = false;  // answered once it is open

  bool operator==(const EnterRequest&) const = default;
};
// kLeaseNotFound. Of those that wait also kLockLost, when the lease ended meanwhile, and
// kDeadlineExceeded.
struct EnterResponse {
  bool open = false;
  std::uint32_t present = 0;  // those there, with this one

  bool operator==(const EnterResponse&) const = default;
};
struct LeaveRequest {
  Bytes name;
  LeaseId lease = 0;
  bool wait = false;  // answered once all have left that it was opened for
  // If not 0: only if nobody has entered with this lease since that revision, so that it may be
  // repeated.
  Revision unless_after = 0;

  bool operator==(const LeaveRequest&) const = default;
};
struct LeaveResponse {
  std::uint32_t present = 0;  // those still there
  Revision opened = 0;        // when it was; 0: it is not open, so nobody has to be waited for

  bool operator==(const LeaveResponse&) const = default;
};

}  // namespace conclave::api
