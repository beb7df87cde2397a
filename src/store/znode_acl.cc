#include "store/znode_acl.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "store/codec.h"

namespace conclave::store {
namespace {

using api::zk::Acl;
using api::zk::Id;

const Id kAnyone{"world", "anyone"};

std::optional<std::uint32_t> number_of(BytesView text, std::uint32_t most) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  return is_number && number <= most ? std::optional(number) : std::nullopt;
}

// An IPv4 address in four parts; others have no rules of this scheme, as in ZooKeeper.
std::optional<std::uint32_t> address_of(BytesView text) {
  std::uint32_t address = 0;
  for (int part = 0; part < 4; ++part) {
    const std::size_t end = part < 3 ? text.find('.') : text.size();
    if (end == BytesView::npos) return std::nullopt;
    const auto number = number_of(text.substr(0, end), 255);
    if (!number) return std::nullopt;
    address = address << 8 | *number;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return address;
}

struct Network {
  std::uint32_t address = 0;
  std::uint32_t bits = 32;
};

std::optional<Network> network_of(BytesView text) {
  const std::size_t slash = text.find('/');
  const auto address = address_of(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == BytesView::npos) return Network{*address, 32};
  const auto bits = number_of(text.substr(slash + 1), 32);
  if (!bits) return std::nullopt;
  return Network{*address, *bits};
}

bool is_in_network(BytesView address_text, BytesView network_text) {
  const auto address = address_of(address_text);
  const auto network = network_of(network_text);
  if (!address || !network) return false;
  if (network->bits == 0) return true;
  const std::uint32_t shift = 32 - network->bits;
  return *address >> shift == network->address >> shift;
}

bool is_valid(const Id& id) {
  if (id.scheme == "digest") {
    // A user and a password, or its hash; colons behind them are of no account.
    const BytesView text = BytesView(id.id).substr(0, id.id.find_last_not_of(':') + 1);
    const std::size_t colon = text.find(':');
    return colon != BytesView::npos && text.find(':', colon + 1) == BytesView::npos;
  }
  if (id.scheme == "ip") return network_of(id.id).has_value();
  if (id.scheme == "x509") return id.id.find('=') != Bytes::npos;
  return false;
}

// Whether an id of this scheme says who somebody is: an address does not.
bool is_proof(const Id& id) { return id.scheme == "digest" || id.scheme == "x509"; }

bool matches(BytesView scheme, BytesView id, const Id& has) {
  if (scheme != has.scheme) return false;
  return scheme == "ip" ? is_in_network(has.id, id) : id == has.id;
}

bool is_open(const AclList& acl) {
  return acl.size() == 1 && acl[0].permissions == api::zk::kAllPermissions && acl[0].id == kAnyone;
}

}  // namespace

std::optional<AclList> fix_acl(const AclList& asked, const std::vector<Id>& caller) {
  if (asked.empty() || asked.size() > limits::kMaxZnodeAcl) return std::nullopt;
  AclList fixed;
  std::size_t bytes = 0;
  std::set<std::pair<std::int32_t, Id>> known;
  const auto add = [&](std::int32_t permissions, const Id& id) {
    if (!known.emplace(permissions, id).second) return true;
    fixed.push_back({permissions, id});
    bytes += sizeof(std::int64_t) + id.scheme.size() + id.id.size();
    return fixed.size() <= limits::kMaxZnodeAcl && bytes <= limits::kMaxZnodeAclBytes;
  };
  for (const Acl& acl : asked) {
    if (acl.id.scheme == "auth") {
      bool has_proof = false;
      for (const Id& id : caller) {
        if (!is_proof(id)) continue;
        has_proof = true;
        if (!add(acl.permissions, id)) return std::nullopt;
      }
      if (!has_proof) return std::nullopt;
    } else if ((acl.id != kAnyone && !is_valid(acl.id)) || !add(acl.permissions, acl.id)) {
      return std::nullopt;
    }
  }
  return fixed;
}

std::optional<Bytes> encode_fixed_acl(const AclList& asked, const std::vector<Id>& caller) {
  if (is_open(asked)) return Bytes();  // as most are, and nothing is to be fixed
  const auto acl = fix_acl(asked, caller);
  if (!acl) return std::nullopt;
  return encode_acl(*acl);
}

Bytes encode_acl(const AclList& acl) {
  Bytes bytes;
  if (is_open(acl)) return bytes;
  Encoder out(bytes);
  out.varint(acl.size());
  for (const Acl& each : acl) {
    out.number(each.permissions);
    out.bytes(each.id.scheme);
    out.bytes(each.id.id);
  }
  return bytes;
}

std::optional<AclList> decode_acl(BytesView bytes) {
  if (bytes.empty()) return AclList{{api::zk::kAllPermissions, kAnyone}};
  AclList acl;
  Decoder in(bytes);
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    const auto permissions = static_cast<std::int32_t>(in.number());
    const BytesView scheme = in.bytes();
    acl.push_back({permissions, {Bytes(scheme), Bytes(in.bytes())}});
  }
  if (!in.finished() || acl.empty()) return std::nullopt;
  return acl;
}

bool is_allowed(BytesView acl, std::int32_t permissions, const std::vector<Id>& caller) {
  if (acl.empty()) return true;
  if (std::ranges::find(caller, "super", &Id::scheme) != caller.end()) return true;
  Decoder in(acl);
  for (std::size_t left = in.count(); left > 0 && in.ok(); --left) {
    const auto granted = static_cast<std::int32_t>(in.number());
    const BytesView scheme = in.bytes();
    const BytesView id = in.bytes();
    if ((granted & permissions) == 0) continue;
    if (scheme == kAnyone.scheme && id == kAnyone.id) return true;
    const auto is_theirs = [&](const Id& has) { return matches(scheme, id, has); };
    if (std::ranges::any_of(caller, is_theirs)) return true;
  }
  CHECK(in.ok(), "a znode's access control list cannot be decoded");
  return false;
}

AclList without_passwords(AclList acl) {
  for (Acl& each : acl) {
    if (each.id.scheme != "digest") continue;
    const std::size_t colon = each.id.id.find(':');
    if (colon != Bytes::npos) each.id.id = each.id.id.substr(0, colon) + ":x";
  }
  return acl;
}

}  // namespace conclave::store
