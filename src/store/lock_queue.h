#pragma once
// The queue of a lock, as its keys have it (api/native.h): who holds it, who waits and behind how
// many. A pure function of the keys and the revisions that created them, for whoever looks: the
// commands, fences, and the members at which clients wait.

#include <optional>
#include <vector>

#include "api/native.h"
#include "base/bytes.h"

namespace conclave::store {

// Of the lock `name`. REQUIRES: the owner has no slash; permits > 0 for a semaphore.
Bytes lock_key(const api::AcquireRequest& request);
// Whether both are of one owner, in whatever mode.
bool is_same_owner(BytesView key, BytesView other);
// Whether its holder may not be the only one.
bool may_share(BytesView key);
// Whether both are of semaphores, of another number of permits each.
bool is_other_semaphore(BytesView key, BytesView other);

class LockQueue {
 public:
  struct Place {
    BytesView key;
    api::Revision created = 0;
  };

  // `places`: the keys of `name/`, in any order. They are borrowed.
  explicit LockQueue(std::vector<Place> places);

  const std::vector<Place>& places() const { return places_; }  // the first come first
  // The place of the key that was created then; nullopt: it is not there.
  std::optional<std::size_t> find(BytesView key, api::Revision created) const;
  // How many hold the lock: they are the first in the queue. Who holds it does so until its key
  // goes, as who comes is behind it.
  std::size_t holders() const;
  // Of the place at `at`: how many in the queue have to go before it holds; 0: it does. Never
  // grows.
  std::size_t ahead_of(std::size_t at) const;

 private:
  std::vector<Place> places_;
};

}  // namespace conclave::store
