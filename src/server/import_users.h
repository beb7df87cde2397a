#pragma once
// The users and roles of an import. The source's Auth service tells everything but passwords, so
// they are read from a snapshot of its database; the target takes the hashes as they are.
//
// The target's are those of the source when copy() returns, whatever they were. It has users of its
// own to lose only if they were not looked for before.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/etcd_client.h"
#include "server/etcd_snapshot.h"
#include "server/import_users_plan.h"

namespace conclave::server {

class UserCopier {
 public:
  UserCopier(Pump& pump, EtcdClient& source, EtcdClient& target)
      : pump_(pump), source_(source), target_(target) {}

  // Whether a cluster has users or roles.
  Result<bool> any_in(EtcdClient& client);
  // Before the first copy() of any: sees to it that nobody needs to be a user of the target, and
  // says whether that was so. kInvalid: it cannot take hashes.
  Result<bool> prepare_target();

  // Those of the source, as of now; a snapshot is loaded only if there are any.
  Result<ImportedUsers> read_source(const SnapshotProgress& show);
  // kMismatch: the target's do not become like them.
  Result<void> copy(const ImportedUsers& source);
  // From here on the target wants a user for everything: the one that its client has to name.
  Result<void> enable();

 private:
  Result<std::vector<std::string>> users_of(EtcdClient& client);
  Result<std::vector<std::string>> roles_of(EtcdClient& client);
  Result<void> probe_target();
  Result<ImportedUsers> read_target();
  Result<void> remove(const UserChanges& changes);
  Result<void> add_roles(const std::vector<std::string>& names, const ImportedUsers& source);
  Result<void> add_users(const std::vector<std::string>& names, const ImportedUsers& source);
  template <class Response, class Item, class Make, class Done>
  Result<void> change_each(std::string_view method, const std::vector<Item>& items, Make&& make,
                           Done&& done);

  Pump& pump_;
  EtcdClient& source_;
  EtcdClient& target_;
  bool prepared_ = false;
  std::map<std::string, ImportedPassword> given_;  // to users of the target, by this
  std::string refusal_;                            // the last one by the target
};

}  // namespace conclave::server
