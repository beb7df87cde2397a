#pragma once
// Who may do what with a znode: ZooKeeper's access control lists, for the schemes world, auth,
// digest, ip and x509. A list is kept with its node as bytes; the list that lets everybody do
// everything, which most nodes have, as none.

#include <optional>
#include <vector>

#include "api/zookeeper.h"
#include "base/bytes.h"

namespace conclave::store {

using AclList = std::vector<api::zk::Acl>;

// The list that a node gets of `asked`: without duplicates, "auth" replaced by the ids that the
// caller has proved. nullopt: there is nothing of it, an id that its scheme does not allow, or more
// than limits::kMaxZnodeAcl entries or kMaxZnodeAclBytes.
std::optional<AclList> fix_acl(const AclList& asked, const std::vector<api::zk::Id>& caller);

// The same, encoded.
std::optional<Bytes> encode_fixed_acl(const AclList& asked, const std::vector<api::zk::Id>& caller);

// Empty: open to everybody.
Bytes encode_acl(const AclList& acl);
// nullopt: no bytes of encode_acl.
std::optional<AclList> decode_acl(BytesView bytes);

// Whether one of `caller`'s ids has any of `permissions`.
bool is_allowed(BytesView acl, std::int32_t permissions, const std::vector<api::zk::Id>& caller);

// With "x" in place of passwords.
AclList without_passwords(AclList acl);

}  // namespace conclave::store
