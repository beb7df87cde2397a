#pragma once
// etcd's Range and Compare over one revision of the store.

#include <expected>
#include <vector>

#include "api/kv.h"
#include "api/request.h"
#include "store/mvcc.h"

namespace conclave::store {

// A Range that is answered in slices, so that a large one does not keep its thread from everything
// else: its keys are collected first, then they are copied out in the order that was asked for. The
// store may be written meanwhile; what is current at revision() must not be reclaimed.
class RangeScan {
 public:
  // What a slice may cost; step() takes off what it used.
  struct Budget {
    std::size_t keys = SIZE_MAX;   // looked at, or copied out
    std::size_t bytes = SIZE_MAX;  // copied out
  };

  // In a state whose newest revision is `now`. kFutureRevision, kCompacted.
  static std::expected<RangeScan, api::ErrorCode> begin(const Mvcc& mvcc,
                                                        const api::RangeRequest& request,
                                                        Revision now);
  Revision revision() const { return at_; }

  // Appends the next keys to response.kvs; goes over the budget by one key at most. True at the
  // end: `more` and `count` are set then.
  bool step(const Mvcc& mvcc, Budget& budget, api::RangeResponse& response);

 private:
  RangeScan(api::RangeRequest request, Revision at);
  bool collect(const Mvcc& mvcc, Budget& budget);
  void end_collecting();
  void note(const Record& record);
  const Record* take_next();
  bool comes_later(const Record* a, const Record* b) const;

  api::RangeRequest request_;
  Revision at_;
  std::size_t wanted_ = SIZE_MAX;  // how many to collect; the rest is only counted
  bool is_ordered_ = true;         // the index's order, or its reverse, is what is asked for
  Bytes from_;                     // where collecting goes on
  bool is_collected_ = false;
  std::int64_t count_ = 0;
  std::vector<const Record*> found_;  // by key; a heap whose top comes first, if not is_ordered_
  std::size_t taken_ = 0;
  std::size_t to_take_ = 0;
};

// Answers `request` in a state whose newest revision is `now`, at once. kFutureRevision,
// kCompacted.
std::expected<api::RangeResponse, api::ErrorCode> range(const Mvcc& mvcc,
                                                        const api::RangeRequest& request,
                                                        Revision now);

// Whether all of `compares` hold at the newest revision. A compare over keys of which none exists
// is made with a key of all zeros, except that a value compare is false then.
bool all_hold(const Mvcc& mvcc, const std::vector<api::Compare>& compares);

}  // namespace conclave::store
