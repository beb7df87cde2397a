#pragma once
// The users and roles of an import. The source's Auth service tells everything but passwords, so
// they are read from a snapshot of its database; the target takes the hashes as they are.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/etcd_client.h"
#include "server/import_display.h"
#include "server/import_plan.h"
#include "server/import_users_plan.h"

namespace conclave::server {

class UserCopier {
 public:
  UserCopier(Pump& pump, EtcdClient& source, EtcdClient& target, ImportDisplay& display)
      : pump_(pump), source_(source), target_(target), display_(display) {}

  // Whether an import copies users, which holds from its beginning (`before`: what one that goes on
  // remembers) to its end: meanwhile the target has no users but those. kInvalid: it has some of
  // its own that would be lost, or cannot take hashes.
  Result<bool> decide(bool without_users, const std::optional<ImportState>& before);

  // Those of the source, as of now; a snapshot is loaded only if there are any. kInvalid: once they
  // are enabled at the target, it would not let this import in.
  Result<ImportedUsers> find();
  // Makes the target's the same, whatever they were, and says so with `verb`. kMismatch: they do
  // not become it.
  Result<void> copy(const ImportedUsers& source, std::string_view verb);
  // From here on the target wants a user for everything: the one that its client has to name.
  Result<void> enable();

 private:
  Result<bool> any_in(EtcdClient& client);
  Result<std::vector<std::string>> users_of(EtcdClient& client);
  Result<std::vector<std::string>> roles_of(EtcdClient& client);
  Result<void> prepare_target();
  Result<void> probe_target();
  Result<ImportedUsers> read_database();
  Result<ImportedUsers> read_target();
  Result<void> make_same(const ImportedUsers& source);
  Result<void> remove(const UserChanges& changes);
  Result<void> add_roles(const std::vector<std::string>& names, const ImportedUsers& source);
  Result<void> add_users(const std::vector<std::string>& names, const ImportedUsers& source);
  template <class Response, class Item, class Make, class Done>
  Result<void> change_each(std::string_view method, const std::vector<Item>& items, Make&& make,
                           Done&& done);

  Pump& pump_;
  EtcdClient& source_;
  EtcdClient& target_;
  ImportDisplay& display_;
  bool prepared_ = false;
  bool has_copied_ = false;
  std::map<std::string, ImportedPassword> given_;  // to users of the target, by this
  std::string refusal_;                            // the last one by the target
};

}  // namespace conclave::server
