#include "frontends/etcd/request_id.h"

#include <charconv>

#include "base/limits.h"

namespace conclave::etcd {
namespace {

std::unexpected<api::Error> invalid(std::string why) {
  return std::unexpected(api::Error{api::ErrorCode::kInvalidRequestId, std::move(why)});
}

// A lock that is not waited for. (Whoever waits may ask again as it is; what its member does when
// it goes would undo what it has asked for elsewhere.)
bool is_placed_at_once(const api::Body& body) {
  const auto* acquire = std::get_if<api::AcquireRequest>(&body);
  return acquire != nullptr && acquire->wait != api::LockWait::kUntilHeld;
}

}  // namespace

std::expected<api::RequestId, api::Error> parse_request_id(BytesView text) {
  const std::size_t slash = text.rfind('/');
  if (slash == BytesView::npos) return invalid("expected <client>/<sequence>");
  const BytesView client = text.substr(0, slash);
  const BytesView number = text.substr(slash + 1);
  if (client.empty()) return invalid("the client is empty");
  if (client.size() > limits::kMaxRequestIdBytes) return invalid("the client is too long");
  if (client.find('\0') != BytesView::npos) return invalid("the client has a NUL");

  api::RequestId id;
  const char* end_of_number = number.data() + number.size();
  const auto [end, error] = std::from_chars(number.data(), end_of_number, id.sequence);
  if (error != std::errc{} || end != end_of_number) {
    return invalid("the sequence is not a number of up to 64 bits");
  }
  id.client = client;
  return id;
}

bool takes_id(const api::Request& request) {
  const api::Body& body = request.body;
  if (request.fence) return false;
  return std::holds_alternative<api::PutRequest>(body) ||
         std::holds_alternative<api::DeleteRangeRequest>(body) ||
         std::holds_alternative<api::TxnRequest>(body) ||
         std::holds_alternative<api::CompactRequest>(body) ||
         std::holds_alternative<api::LeaseGrantRequest>(body) ||
         std::holds_alternative<api::LeaseRevokeRequest>(body) ||
         std::holds_alternative<api::ReleaseRequest>(body) || is_placed_at_once(body);
}

}  // namespace conclave::etcd
