// Reads (Group in group.h): a barrier for those that wait, and answers within the bounds of a turn.
// Who is next is for reads.h to say.

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/fair_limits.h"
#include "base/limits.h"
#include "node/group.h"
#include "node/request_size.h"

namespace conclave::node {
namespace {

void take_off(std::size_t& left, std::size_t used) { left -= std::min(left, used); }

}  // namespace

void Group::read(ClientCall client, api::Request&& request) {
  if (auto error = store::Store::validate(
          request, store::Limits{.max_txn_ops = shared_.options.max_txn_ops})) {
    ++counters_.reads_failed;
    return answer(client, std::move(*error));
  }
  const bool is_backup = std::holds_alternative<api::SnapshotRequest>(request.body);
  if (is_corrupt() && !is_backup && !std::holds_alternative<api::AlarmRequest>(request.body)) {
    ++counters_.reads_failed;
    return answer(client, api::Error{api::ErrorCode::kCorrupt, {}});
  }
  client.user = user_of(request);
  if (!reads_.has_room(client)) {
    ++counters_.requests_refused;
    ++counters_.reads_failed;
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  bool is_local = api::route_of(request) == api::Route::kLocalRead;
  if (const auto* znodes = std::get_if<api::zk::ReadRequest>(&request.body)) {
    // Who hears of no leader does not know what has become of his session.
    if (znodes->caller.session != 0 && !engine_.leader()) is_local = false;
    hear_of(client, znodes->caller);
    znode_reads_.add(client);
  }
  const Instant until = deadline(request);
  const std::size_t bytes = bytes_of(request);
  Reads::Read read{
      .client = client, .request = std::move(request), .deadline = until, .bytes = bytes};
  if (is_local) {
    reads_.add_due(std::move(read));
  } else {
    reads_.add(std::move(read));
  }
  want_turn();
}

void Group::begin_barrier() {
  if (const std::optional<ReadId> id = reads_.begin_barrier()) {
    ++counters_.barriers;
    engine_.read_barrier(*id);
  }
}

// Answers what is due, within bounds: what a turn may cost, and what clients have not taken.
void Group::serve_reads() {
  reads_.make_due(store_.applied_index());
  store::RangeReader::Budget budget{
      .keys = limits::kReadSlicesPerTurn * limits::kReadSliceKeys,
      .bytes = limits::kReadSlicesPerTurn * limits::kReadSliceBytes,
  };
  std::size_t left = limits::kReadCostPerTurn;
  while (left > 0 && budget.keys > 0 && budget.bytes > 0) {
    std::optional<Reads::Read> read = reads_.next_due();
    if (!read) break;
    const Flow flow = flow_of(read->client);
    const store::RangeReader::Budget before = budget;
    serve(*std::move(read), budget);
    const std::size_t used =
        before.bytes - budget.bytes + (before.keys - budget.keys) * limits::kKeyCost;
    reads_.charge(flow, used);
    take_off(left, limits::kRequestCost + used);
  }
  go_on_with_long_read();
  if (reads_.has_due() || reads_.has_postponed() || long_read_) want_turn();
}

void Group::serve(Reads::Read read, store::RangeReader::Budget& budget) {
  if (!has_room(read) || !may_read(read)) return;
  take_off(budget.keys, 1);
  if (auto* auth = std::get_if<api::AuthRequest>(&read.request.body)) {
    if (auto* asked = std::get_if<api::Authenticate>(&auth->op)) {
      return check_password(read.client, std::move(*asked));
    }
  }
  if (read.request.token) {
    const api::Route route = api::route_of(read.request);
    const bool is_read = route == api::Route::kLinearizableRead || route == api::Route::kLocalRead;
    read.request.token.reset();  // whose it is, is known now
    if (!is_read) return shared_.submit(read.client, std::move(read.request));
  }
  const auto* range = std::get_if<api::RangeRequest>(&read.request.body);
  if (std::holds_alternative<api::HealthRequest>(read.request.body)) {
    return answer(read.client, api::HealthResponse{.healthy = true, .reason = {}});
  }
  if (std::holds_alternative<api::SnapshotRequest>(read.request.body)) {
    return begin_backup(read.client);
  }
  if (const auto* piece = std::get_if<api::SnapshotPieceRequest>(&read.request.body)) {
    return read_backup(read.client, *piece);
  }
  if (std::holds_alternative<api::zk::ReadRequest>(read.request.body)) {
    return serve_in_order(std::move(read), budget);
  }
  if (range != nullptr && !range->range_end.empty()) {
    const api::RangeRequest wanted = *range;
    return serve_range(std::move(read), wanted, budget);
  }
  ++counters_.reads_served;
  api::Response response = store_.read(read.request);
  const std::size_t cost = cost_of(response.answer);
  if (cost > budget.bytes) reads_.charge(flow_of(read.client), cost - budget.bytes);
  take_off(budget.bytes, cost);
  answer(read.client, std::move(response));
}

// False: it waits for room, or nobody waits for it.
bool Group::has_room(Reads::Read& read) {
  const Room room = shared_.room_for(read.client.connection);
  if (room == Room::kAny || (room == Room::kSmall && !read.is_long)) return true;
  if (room != Room::kGone) reads_.hold(std::move(read));
  return false;
}

// Answers a range that fits into a slice; a longer one waits for its time.
void Group::serve_range(Reads::Read read, const api::RangeRequest& range,
                        store::RangeReader::Budget& budget) {
  if (read.is_long) return reads_.postpone(std::move(read));
  auto reader = store_.begin_range(range);
  if (!reader) {
    ++counters_.reads_failed;
    return answer(read.client, std::move(reader.error()));
  }
  store::RangeReader::Budget slice{limits::kReadSliceKeys, limits::kReadSliceBytes};
  api::RangeResponse response;
  const bool is_whole = (*reader)->step(slice, response);
  take_off(budget.keys, limits::kReadSliceKeys - slice.keys);
  take_off(budget.bytes, limits::kReadSliceBytes - slice.bytes);
  if (!is_whole) {
    read.is_long = true;
    return reads_.postpone(std::move(read));
  }
  ++counters_.reads_served;
  const api::Header header{.cluster = {}, .member = {}, .revision = store_.revision(), .epoch = {}};
  answer(read.client, api::Response{header, std::move(response)});
}

// One at a time: each has a whole answer in memory before any of it can be sent.
bool Group::begin_long_read() {
  while (std::optional<Reads::Read> read = reads_.next_postponed()) {
    if (!has_room(*read) || !may_read(*read)) continue;
    const auto* range = std::get_if<api::RangeRequest>(&read->request.body);
    CHECK(range != nullptr);
    auto reader = store_.begin_range(*range);
    if (reader) {
      long_read_ = LongRead{read->client, std::move(*reader)};
      return true;
    }
    ++counters_.reads_failed;
    answer(read->client, std::move(reader.error()));
  }
  return false;
}

void Group::go_on_with_long_read() {
  if (!long_read_ && !begin_long_read()) return;
  const ClientCall client = long_read_->client;
  // The procedures of locks and elections take an answer as a whole.
  const bool takes_parts = !is_of_a_procedure(client.connection);
  store::RangeReader::Budget slice{limits::kLongReadKeys, limits::kLongReadBytes};
  api::RangeResponse& part = long_read_->part;
  const bool is_whole = long_read_->reader->step(slice, part);
  reads_.charge_long(flow_of(client), limits::kLongReadBytes);
  api::Header names = header();
  names.revision = long_read_->reader->store_revision();
  if (is_whole) {
    api::RangeResponse rest = std::move(part);
    long_read_.reset();
    ++counters_.reads_served;
    return answer(client, api::Response{names, std::move(rest)});
  }
  if (!takes_parts) return;
  const bool is_wanted = part.kvs.empty()
                             ? shared_.room_for(client.connection) != Room::kGone
                             : shared_.reply_part(client, names, std::exchange(part.kvs, {}));
  if (!is_wanted) long_read_.reset();
}

void Group::on_room(std::uint64_t connection) {
  reads_.on_room(connection);
  want_turn();
}

}  // namespace conclave::node
