// What an import does about users and roles, and the database it reads them from.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/etcd_snapshot.h"
#include "server/import_users_plan.h"

namespace conclave::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

etcdserverpb::Permission right(int type, const Bytes& key, const Bytes& end) {
  etcdserverpb::Permission made;
  made.set_permtype(static_cast<etcdserverpb::Permission::Type>(type));
  made.set_key(key);
  made.set_range_end(end);
  return made;
}

TEST(ImportedRoles, GiveTheUnionOfWhatIsThereTwice) {
  constexpr int kRead = 0;
  constexpr int kWrite = 1;
  constexpr int kBoth = 2;
  constexpr int kOther = 7;  // gives no right
  const auto together = [](int first, int second) {
    ImportedRole role;
    add_right(role, right(first, "a", "b"));
    add_right(role, right(second, "a", "b"));
    EXPECT_EQ(role.size(), 1U);
    return role.begin()->second;
  };
  EXPECT_EQ(together(kRead, kRead), kRead);
  EXPECT_EQ(together(kRead, kWrite), kBoth);
  EXPECT_EQ(together(kBoth, kRead), kBoth);
  EXPECT_EQ(together(kOther, kRead), kRead);
  EXPECT_EQ(together(kWrite, kOther), kWrite);
  EXPECT_EQ(together(kOther, kOther), kOther);
  ImportedRole role;
  add_right(role, right(kRead, "a", "b"));
  add_right(role, right(kRead, "a", ""));
  EXPECT_EQ(role.size(), 2U);
}

ImportedUsers two_users() {
  ImportedUsers all;
  all.roles["app"] = {{{"a", "b"}, 2}};
  all.roles["other"] = {};
  all.users["ann"] = {.password = ImportedPassword{.hash = "h1", .none = false},
                      .roles = {"app", "root"}};
  all.users["bob"] = {.password = ImportedPassword{.hash = {}, .none = true}, .roles = {"other"}};
  return all;
}

TEST(UserChanges, NoneBetweenEquals) {
  EXPECT_TRUE(changes_between(two_users(), two_users()).empty());
  EXPECT_TRUE(changes_between({}, {}).empty());
}

TEST(UserChanges, AllIntoAnEmptyCluster) {
  const UserChanges changes = changes_between(two_users(), {});
  EXPECT_THAT(changes.remove_users, IsEmpty());
  EXPECT_THAT(changes.remove_roles, IsEmpty());
  EXPECT_THAT(changes.add_roles, ElementsAre("app", "other"));
  EXPECT_THAT(changes.add_users, ElementsAre("ann", "bob"));
  const UserChanges back = changes_between({}, two_users());
  EXPECT_THAT(back.remove_users, ElementsAre("ann", "bob"));
  EXPECT_THAT(back.remove_roles, ElementsAre("app", "other"));
  EXPECT_THAT(back.add_users, IsEmpty());
}

TEST(UserChanges, OfAPasswordAndOfRoles) {
  const auto changed = [](auto change) {
    ImportedUsers source = two_users();
    change(source.users.at("bob"));
    return changes_between(source, two_users());
  };
  const UserChanges bob{
      .remove_users = {"bob"}, .remove_roles = {}, .add_roles = {}, .add_users = {"bob"}};
  EXPECT_EQ(changed([](ImportedUser& user) {
              user.password = ImportedPassword{.hash = "h", .none = false};
            }),
            bob);
  EXPECT_EQ(changed([](ImportedUser& user) { user.roles.insert("app"); }), bob);
  EXPECT_EQ(changed([](ImportedUser& user) { user.roles.clear(); }), bob);
  ImportedUsers target = two_users();
  target.users.at("bob").password.reset();  // of another run
  EXPECT_EQ(changes_between(two_users(), target), bob);
}

TEST(UserChanges, ARoleIsMadeAnewWithItsUsers) {
  ImportedUsers source = two_users();
  source.roles["app"][{"c", ""}] = 0;
  const UserChanges changes = changes_between(source, two_users());
  EXPECT_THAT(changes.remove_roles, ElementsAre("app"));
  EXPECT_THAT(changes.add_roles, ElementsAre("app"));
  EXPECT_THAT(changes.remove_users, ElementsAre("ann"));
  EXPECT_THAT(changes.add_users, ElementsAre("ann"));
}

TEST(CheckLogin, WantsAUserOfTheSourceWhoMayDoEverything) {
  ImportedUsers source = two_users();
  const auto is_good = [&](const char* user, const char* certificate = "") {
    return check_login(source, {.endpoints = {},
                                .tls = {.trusted_ca = {}, .certificate = certificate, .key = {}},
                                .user = user})
        .has_value();
  };
  EXPECT_TRUE(is_good(""));
  source.enabled = true;
  EXPECT_TRUE(is_good("ann:x"));
  EXPECT_FALSE(is_good("bob:x"));
  EXPECT_FALSE(is_good("zoe:x"));
  EXPECT_FALSE(is_good("bob:x", "cert"));
  EXPECT_FALSE(is_good(""));
  EXPECT_TRUE(is_good("", "cert"));
}

Result<std::unique_ptr<NamelessFile>> received(const std::vector<Bytes>& pieces) {
  EtcdSnapshot snapshot(NamelessFile::create().value());
  for (const Bytes& piece : pieces) {
    EXPECT_TRUE(snapshot.add(piece));
  }
  return snapshot.finish();
}

TEST(EtcdSnapshot, EndsWithItsChecksum) {
  wire::Sha256 hash;
  hash.add("content");
  const Bytes sum = hash.finish();
  const auto file = received({"cont", "ent" + sum.substr(0, 5), sum.substr(5)});
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->size(), 7U);
  EXPECT_EQ((*file)->read(0, 100).value(), "content");
  EXPECT_EQ((*file)->read(3, 2).value(), "te");
  EXPECT_EQ((*file)->read(7, 2).value(), "");
  EXPECT_FALSE(received({"content" + sum.substr(1)}));
  EXPECT_FALSE(received({"contenT" + sum}));
  EXPECT_FALSE(received({"content"}));
  EXPECT_FALSE(received({}));
}

}  // namespace
}  // namespace conclave::server
