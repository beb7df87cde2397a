// Answering reads (Store::read and Store::begin_range in store.h).

#include "base/check.h"
#include "store/lease.h"
#include "store/operations.h"
#include "store/range.h"
#include "store/range_reader.h"
#include "store/state.h"
#include "store/znode_import.h"
#include "store/znodes.h"

namespace conclave::store {
namespace {

struct Reader {
  api::Answer operator()(const api::RangeRequest& request) const {
    auto response = range(state.mvcc, request, state.mvcc.revision());
    if (!response) return api::Error{response.error(), {}};
    return *std::move(response);
  }
  api::Answer operator()(const api::TxnRequest& request) const {
    return read_txn(state.mvcc, request);
  }
  api::Answer operator()(const api::LeaseTimeToLiveRequest& request) const {
    return time_to_live(state, request);
  }
  api::Answer operator()(const api::LeaseLeasesRequest&) const { return list_leases(state); }
  api::Answer operator()(const api::AuthRequest& request) const { return state.auth.read(request); }
  api::Answer operator()(const api::zk::ReadRequest& request) const {
    return store::read(state, request);
  }
  api::Answer operator()(const api::zk::ExportRequest& request) const {
    return export_znodes(state, request);
  }
  // As etcd: whose alarms, is not asked.
  api::Answer operator()(const api::AlarmRequest& request) const {
    api::AlarmResponse response;
    for (const auto& [member, raised] : state.facts.alarms) {
      const api::Alarm alarm = to_api(member, raised);
      const bool is_wanted = request.type == api::AlarmType::kNone || request.type == alarm.type;
      if (is_wanted) response.alarms.push_back(alarm);
    }
    return response;
  }
  template <class Other>
  api::Answer operator()(const Other&) const {
    CHECK(false, "not a read of the store");
    return {};
  }

  const StoreState& state;
};

}  // namespace

api::Response Store::read(const api::Request& request) const {
  api::Response response;
  response.header.revision = state_->mvcc.revision();
  response.answer = std::visit(Reader{*state_}, request.body);
  return response;
}

std::expected<std::unique_ptr<RangeReader>, api::Error> Store::begin_range(
    const api::RangeRequest& request) {
  auto scan = RangeScan::begin(state_->mvcc, request, state_->mvcc.revision());
  if (!scan) return std::unexpected(api::Error{scan.error(), {}});
  return std::make_unique<RangeReader>(*state_, *std::move(scan));
}

RangeReader::RangeReader(StoreState& state, RangeScan scan)
    : state_(state), scan_(std::move(scan)), store_revision_(state.mvcc.revision()) {
  state_.read_revisions.insert(scan_.revision());
}

RangeReader::~RangeReader() {
  state_.read_revisions.erase(state_.read_revisions.find(scan_.revision()));
}

bool RangeReader::step(Budget& budget, api::RangeResponse& response) {
  return scan_.step(state_.mvcc, budget, response);
}

}  // namespace conclave::store
