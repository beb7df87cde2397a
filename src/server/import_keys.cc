#include "server/import_keys.h"

#include <fmt/core.h>

#include <set>
#include <utility>

#include "base/check.h"

namespace conclave::server {

namespace {

namespace pb = etcdserverpb;
using wire::GrpcCode;
using wire::GrpcStatus;

constexpr const char* kRange = "/etcdserverpb.KV/Range";
constexpr const char* kTxn = "/etcdserverpb.KV/Txn";
constexpr std::size_t kTxnsAtOnce = 16;

// The leases that a transaction gives to keys.
std::set<std::int64_t> leases_of(const pb::TxnRequest& request) {
  std::set<std::int64_t> leases;
  for (const auto& op : request.success()) {
    if (op.request_put().lease() != 0) leases.insert(op.request_put().lease());
  }
  return leases;
}

// What became of the state, by the answer to a transaction that found another one.
std::string state_of(const pb::TxnResponse& response) {
  if (response.responses().empty() || response.responses(0).response_range().kvs().empty()) {
    return {};
  }
  return response.responses(0).response_range().kvs(0).value();
}

std::string largest_key(const pb::TxnRequest& request) {
  const pb::PutRequest* largest = nullptr;
  for (const auto& op : request.success()) {
    const auto& put = op.request_put();
    if (largest == nullptr || put.value().size() > largest->value().size()) largest = &put;
  }
  return largest == nullptr
             ? ""
             : fmt::format("; its largest value is of the key {}", printable(largest->key()));
}

}  // namespace

KeyReader::KeyReader(EtcdClient& client, KeySpan span, std::int64_t revision)
    : client_(client), span_(std::move(span)), revision_(revision), begin_(span_.begin()) {}

pb::RangeRequest KeyReader::request() const {
  pb::RangeRequest request;
  request.set_key(begin_);
  request.set_range_end(span_.end());
  request.set_revision(revision_);
  request.set_limit(limit_);
  return request;
}

Result<void> KeyReader::next_page_of_keys() {
  while (true) {
    auto page = client_.finish<pb::RangeResponse>(std::move(ahead_), kRange, request());
    ahead_.reset();
    if (page) {
      page_ = std::move(*page);
      break;
    }
    const GrpcStatus& status = page.error();
    const bool too_large = status.code == GrpcCode::kResourceExhausted &&
                           status.message.find("larger than max") != Bytes::npos;
    if (too_large && limit_ > 1) {
      limit_ = 1 + limit_ / 16;
      continue;
    }
    Error error = client_.error(status);
    if (status.code == GrpcCode::kOutOfRange) error.code = ErrorCode::kNotFound;
    return Failure(std::move(error));
  }
  at_ = 0;
  more_ = page_.more() && !page_.kvs().empty();
  if (!more_) return {};
  limit_ = next_page(limit_, static_cast<std::size_t>(page_.kvs_size()), page_.ByteSizeLong());
  begin_ = page_.kvs().rbegin()->key() + '\0';
  ahead_ = client_.begin(kRange, request());
  return {};
}

Result<const mvccpb::KeyValue*> KeyReader::peek() {
  while (true) {
    while (at_ < page_.kvs_size() && !span_.has(page_.kvs(at_).key())) ++at_;
    if (at_ < page_.kvs_size()) return &page_.kvs(at_);
    if (!more_) return nullptr;
    TRY(next_page_of_keys());
  }
}

// Those that the source does not have any more: what deletes their keys is still to come.
Result<void> TargetWriter::give_leases(std::vector<Change>& changes) {
  std::set<std::int64_t> wanted;
  for (const Change& change : changes) {
    if (change.lease != 0) wanted.insert(change.lease);
  }
  TRY(leases_.ensure(wanted));
  for (Change& change : changes) {
    if (!leases_.has(change.lease)) change.lease = 0;
  }
  return {};
}

Result<void> TargetWriter::step(std::vector<Change> changes, const std::string& state) {
  CHECK(changes_.empty());
  CHECK(sent_.empty());
  TRY(give_leases(changes));
  pb::TxnRequest request = guarded(changes, state_, state);
  auto call = target_.begin(kTxn, request);
  TRY(finish({std::move(request), std::move(call)}, state));
  state_ = state;
  return {};
}

Result<void> TargetWriter::add(Change change) {
  if (changes_.size() == kImportOps || bytes_ + change.bytes() > kImportTxnBytes) TRY(send());
  bytes_ += change.bytes();
  changes_.push_back(std::move(change));
  return {};
}

Result<void> TargetWriter::send() {
  if (changes_.empty()) return {};
  if (sent_.size() == kTxnsAtOnce) {
    Sent first = std::move(sent_.front());
    sent_.pop_front();
    TRY(finish(std::move(first), state_));
  }
  TRY(give_leases(changes_));
  pb::TxnRequest request = guarded(changes_, state_, state_);
  changes_.clear();
  bytes_ = 0;
  auto call = target_.begin(kTxn, request);
  sent_.push_back({std::move(request), std::move(call)});
  return {};
}

Result<void> TargetWriter::drain() {
  TRY(send());
  while (!sent_.empty()) {
    Sent first = std::move(sent_.front());
    sent_.pop_front();
    TRY(finish(std::move(first), state_));
  }
  return {};
}

Result<void> TargetWriter::finish(Sent sent, const std::string& after) {
  constexpr int kTries = 5;
  for (int tries = 1;; ++tries) {
    const auto answer = target_.finish<pb::TxnResponse>(std::move(sent.call), kTxn, sent.request);
    sent.call.reset();
    if (answer && answer->succeeded()) return {};
    if (answer) {
      // A first try of it, of which no answer came, may have been carried out.
      if (after != state_ && state_of(*answer) == after) return {};
      return fail(ErrorCode::kMismatch, fmt::format("{}: another import has gone on with it, or {} "
                                                    "was changed; this one stops",
                                                    target_.name(), kImportKey));
    }
    if (answer.error().code == GrpcCode::kNotFound && tries < kTries) {
      TRY(leases_.grant_again(leases_of(sent.request)));
      continue;
    }
    Error error = target_.error(answer.error());
    if (answer.error().code == GrpcCode::kInvalidArgument)
      error.message += largest_key(sent.request);
    return Failure(std::move(error));
  }
}

}  // namespace conclave::server
