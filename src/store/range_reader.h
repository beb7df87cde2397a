#pragma once
// A Range over a store, answered in slices while the store goes on changing (Store::begin_range).
// What it reads is not reclaimed before it goes.

#include "api/kv.h"
#include "api/request.h"
#include "store/range.h"
#include "store/store.h"

namespace conclave::store {

class RangeReader {
 public:
  using Budget = RangeScan::Budget;

  // Internal: see Store::begin_range.
  RangeReader(StoreState& state, RangeScan scan);
  ~RangeReader();
  RangeReader(const RangeReader&) = delete;
  RangeReader& operator=(const RangeReader&) = delete;

  // The store's newest revision when it began: what the answer's header names.
  api::Revision store_revision() const { return store_revision_; }
  // The next keys, within `budget`. True at the end: `more` and `count` are set then.
  bool step(Budget& budget, api::RangeResponse& response);

 private:
  StoreState& state_;
  RangeScan scan_;
  api::Revision store_revision_;
};

}  // namespace conclave::store
