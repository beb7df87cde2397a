#include "frontends/etcd/fence.h"

#include "base/check.h"

namespace conclave::etcd {
namespace {

// As a gateway names the metadata of gRPC.
constexpr BytesView kGatewayFenceHeader = "grpc-metadata-conclave-fence";

std::optional<api::Error> invalid(std::string why) {
  return api::Error{api::ErrorCode::kInvalidFence, std::move(why)};
}

bool is_fence(BytesView name) { return name == api::kFenceHeader || name == kGatewayFenceHeader; }

bool changes_something(const api::Request& request) {
  const api::Route route = api::route_of(request);
  const auto* auth = std::get_if<api::AuthRequest>(&request.body);
  if (auth != nullptr && route == api::Route::kAuth) {
    return !std::holds_alternative<api::Authenticate>(auth->op);
  }
  return route == api::Route::kWrite || route == api::Route::kMemberChange ||
         std::holds_alternative<api::MoveLeaderRequest>(request.body);
}

}  // namespace

std::optional<api::Error> take_fence(const wire::HeaderList& headers, api::Request& request) {
  std::optional<BytesView> text;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const wire::HeaderField field = headers[i];
    if (!is_fence(field.name)) continue;
    if (text) return invalid("there are two");
    text = field.value;
  }
  if (!text || request.fence) return std::nullopt;  // what asks about a fence, has that one
  if (!api::may_be_fenced(request.body)) {
    if (changes_something(request)) return invalid("a request of this kind takes none");
    return std::nullopt;
  }
  auto fence = api::parse_fence(*text);
  if (!fence) return invalid(std::move(fence.error()));
  request.fence = *std::move(fence);
  return std::nullopt;
}

std::optional<Bytes> granted_fence(const api::Answer& answer) {
  if (const auto* won = std::get_if<api::CampaignResponse>(&answer)) {
    return api::to_text({won->leader.name, won->leader.revision});
  }
  const auto* lock = std::get_if<api::LockResponse>(&answer);
  if (lock == nullptr) return std::nullopt;
  const std::size_t slash = lock->key.rfind('/');
  CHECK(slash != Bytes::npos, "a lock's key without a name");
  return api::to_text({lock->key.substr(0, slash), lock->token});
}

}  // namespace conclave::etcd
