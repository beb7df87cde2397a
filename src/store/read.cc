// Answering reads (Store::read in store.h).

#include "base/check.h"
#include "store/operations.h"
#include "store/range.h"
#include "store/state.h"

namespace conclave::store {
namespace {

struct Reader {
  api::Answer operator()(const api::RangeRequest& request) const {
    auto response = range(mvcc, request, mvcc.revision());
    if (!response) return api::Error{response.error(), {}};
    return *std::move(response);
  }
  api::Answer operator()(const api::TxnRequest& request) const { return read_txn(mvcc, request); }
  template <class Other>
  api::Answer operator()(const Other&) const {
    CHECK(false, "not a read of the store");
    return {};
  }

  const Mvcc& mvcc;
};

}  // namespace

api::Response Store::read(const api::Request& request) const {
  api::Response response;
  response.header.revision = state_->mvcc.revision();
  response.answer = std::visit(Reader{state_->mvcc}, request.body);
  return response;
}

}  // namespace conclave::store
