#include "node/tokens.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "store/codec.h"
#include "wire/sha256.h"

namespace conclave::node {
namespace {

constexpr std::size_t kMacBytes = 16;
constexpr std::size_t kHashBlockBytes = 64;
constexpr BytesView kHexDigits = "0123456789abcdef";

Bytes sha256(BytesView first, BytesView second) {
  wire::Sha256 hash;
  hash.add(first);
  hash.add(second);
  return hash.finish();
}

Bytes to_hex(BytesView bytes) {
  Bytes hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex.push_back(kHexDigits[byte >> 4]);
    hex.push_back(kHexDigits[byte & 15]);
  }
  return hex;
}

std::optional<Bytes> from_hex(BytesView hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  Bytes bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const std::size_t high = kHexDigits.find(hex[i]);
    const std::size_t low = kHexDigits.find(hex[i + 1]);
    if (high == BytesView::npos || low == BytesView::npos) return std::nullopt;
    bytes.push_back(static_cast<char>(high << 4 | low));
  }
  return bytes;
}

// In the same time, however much of it is equal.
bool same(BytesView a, BytesView b) {
  if (a.size() != b.size()) return false;
  unsigned char different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    different |= static_cast<unsigned char>(a[i] ^ b[i]);
  }
  return different == 0;
}

Bytes mac_of(const store::Auth& auth, BytesView content) {
  return hmac_sha256(auth.token_key(), content).substr(0, kMacBytes);
}

}  // namespace

Bytes hmac_sha256(BytesView key, BytesView message) {
  Bytes block = key.size() > kHashBlockBytes ? sha256(key, {}) : Bytes(key);
  block.resize(kHashBlockBytes, '\0');
  Bytes inner = block;
  Bytes outer = std::move(block);
  for (char& c : inner) c = static_cast<char>(c ^ 0x36);
  for (char& c : outer) c = static_cast<char>(c ^ 0x5c);
  return sha256(outer, sha256(inner, message));
}

Bytes Tokens::issue(const store::Auth& auth, const std::string& user, std::uint64_t wall_s,
                    BytesView nonce) {
  Bytes content;
  store::Encoder out(content);
  out.varint(auth.find(user)->since);
  out.varint(wall_s);
  out.bytes(nonce);
  out.bytes(user);
  return to_hex(content) + "." + to_hex(mac_of(auth, content));
}

std::optional<Tokens::Known> Tokens::read(BytesView token, const store::Auth& auth,
                                          const Now& now) const {
  const std::size_t dot = token.find('.');
  if (dot == BytesView::npos || auth.token_key().empty()) return std::nullopt;
  const auto content = from_hex(token.substr(0, dot));
  const auto mac = from_hex(token.substr(dot + 1));
  if (!content || !mac || !same(*mac, mac_of(auth, *content))) return std::nullopt;
  store::Decoder in(*content);
  Known known;
  known.since = in.varint();
  const std::uint64_t issued_s = in.varint();
  in.bytes();
  known.user = in.bytes();
  if (!in.finished()) return std::nullopt;
  const std::uint64_t age_s = now.wall_s > issued_s ? now.wall_s - issued_s : 0;
  const auto lasts_s = static_cast<std::uint64_t>(lasts_.ms() / 1000);
  if (age_s > lasts_s) return std::nullopt;
  known.key = auth.token_key();
  return known;
}

std::optional<std::string> Tokens::user_of(BytesView token, const store::Auth& auth,
                                           const Now& now) {
  const auto is_of_now = [&](const Known& known) {
    const store::Auth::User* user = auth.find(known.user);
    return user != nullptr && user->since == known.since && known.key == auth.token_key();
  };
  if (const auto seen = known_.find(token); seen != known_.end()) {
    Known& known = seen->second;
    const bool is_valid = is_of_now(known) && now.instant - known.used <= lasts_;
    if (is_valid) {
      known.used = now.instant;
      return known.user;
    }
    // One that is too old here is not made younger by what it says itself.
    return std::nullopt;
  }
  std::optional<Known> known = read(token, auth, now);
  if (!known || !is_of_now(*known)) return std::nullopt;
  known->used = now.instant;
  std::string user = known->user;
  if (known_.size() < limits::kMaxKnownTokens) known_.emplace(Bytes(token), *std::move(known));
  return user;
}

// What is forgotten is known to be too old by the time of day, unless that was set back.
void Tokens::expire(Instant now) {
  absl::erase_if(known_, [&](const auto& entry) { return now - entry.second.used > lasts_; });
}

}  // namespace conclave::node
