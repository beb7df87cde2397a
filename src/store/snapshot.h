#pragma once
// The store's state as a sequence of byte pieces (docs/formats/snapshot.md), written in small steps
// while the store goes on changing, and read back into an empty store.

#include <memory>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/store.h"

namespace conclave::store {

class SnapshotWriter {
 public:
  explicit SnapshotWriter(Store& store);
  ~SnapshotWriter();
  SnapshotWriter(const SnapshotWriter&) = delete;
  SnapshotWriter& operator=(const SnapshotWriter&) = delete;

  // A whole snapshot as a witness would have written it at the same index, from the begin of a full
  // one: who the members are, and nothing of the data. kCorrupt if that does not hold the head.
  static Result<Bytes> witnessed(BytesView begin);

  // The state that is being written: as it was when the writer was made.
  LogIndex index() const;
  // The next piece, of about `max_bytes`; empty at the end.
  Bytes next(std::size_t max_bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class SnapshotLoader {
 public:
  explicit SnapshotLoader(Limits limits);
  ~SnapshotLoader();

  // Takes the written pieces back in order, cut in any way.
  Result<void> feed(BytesView bytes);
  // The store. kCorrupt if bytes are missing, or if the state does not have the hash it was written
  // with.
  Result<Store> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace conclave::store
