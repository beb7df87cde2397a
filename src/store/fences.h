#pragma once
// Whether a write's fence (api/fence.h) holds, by what the store has when the write is applied.
//
// The holder of the lock `name` is the key of `<name>/` that was created first, and its create
// revision is the lock's highest token: who waits has a higher create revision and was granted
// nothing yet, and who held it before has no key any more. So the fence `name/token` holds as long
// as the first key of `<name>/` was created at `token`. A lock that nobody holds has no token that
// holds: one that was released stays refused. Nothing has to be kept for all that but the keys.
//
// A client that has the key of its lock and not the name may name that: the fence `key/token` holds
// as long as `key` is the first one of its lock and was created at `token`.
//
// Of a lock that several hold together (api/native.h) the tokens of all of them hold.
//
// As in etcd, the lock `a` has all keys of `a/` in its queue, those of a lock `a/b` too.
//
// Not thread-safe.

#include <absl/container/btree_map.h>

#include <functional>
#include <optional>

#include "api/request.h"
#include "store/mvcc.h"

namespace conclave::store {

// The lock that a key would hold; nullopt: none.
std::optional<BytesView> lock_of(BytesView key);

class Fences {
 public:
  // nullopt: the fence holds. kFenced, with a text that names the key, the token and the highest.
  // REQUIRES: key is not empty and token > 0.
  //
  // Looks at all keys of the lock when it has another holder than the last time, else at one; and
  // at all for those who hold it together with the first.
  std::optional<api::Error> refusal(const Mvcc& mvcc, BytesView key, Revision token);

 private:
  // The token of who holds the lock; 0: nobody.
  Revision holder(const Mvcc& mvcc, BytesView name);
  bool holds(const Mvcc& mvcc, BytesView key, Revision token);
  bool holds_lock(const Mvcc& mvcc, BytesView name, Revision token);

  struct First {
    Bytes key;
    Revision token = 0;
  };
  // Who was first of a lock is first for as long as it is there: keys that come are younger. So
  // what is remembered changes no answer, only the time that it takes.
  absl::btree_map<Bytes, First, std::less<>> first_;
};

}  // namespace conclave::store
