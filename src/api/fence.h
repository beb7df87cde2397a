#pragma once
// Fences. Who holds a lock may be paused, cut off, or simply slow, and not know that its lease has
// ended and somebody else holds the lock. So each grant has a token, and a write may name the lock
// and the token under which it is meant: it is refused once that token is not the highest any more.
// The store decides when the write is applied, in the order of the log (store/fences.h).
//
// The token is the revision that created the holder's key (api/lock.h): of one lock, each grant's
// is greater than that of every grant before it.

#include <expected>
#include <optional>
#include <string>

#include "api/kv.h"
#include "base/bytes.h"

namespace conclave::api {

struct Fence {
  // The name of a lock or an election. Or the key with which it is held, `<name>/<lease in hex>`,
  // which is what a client of etcd's Lock service has.
  Bytes key;
  Revision token = 0;

  bool operator==(const Fence&) const = default;
};

// How it is carried: a field of a request's header, `conclave-fence: <key>/<token>`.
inline constexpr BytesView kFenceHeader = "conclave-fence";

// The key is what stands before the last slash: up to limits::kMaxFenceKeyBytes of printable ASCII.
// The token is a decimal number above 0. On failure: what is wrong, for people.
std::expected<Fence, std::string> parse_fence(BytesView text);
// The reverse; nullopt: the key is empty, or cannot be carried in a header.
std::optional<Bytes> to_text(const Fence& fence);

}  // namespace conclave::api
