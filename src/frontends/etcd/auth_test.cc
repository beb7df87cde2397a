// The Auth service, and who asks: nghttp2's client on one side, a canned member on the other.

#include <gtest/gtest.h>

#include "etcd.pb.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/grpc_fixture.h"
#include "wire/grpc.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

namespace pb = ::etcdserverpb;

class AuthServiceTest : public GrpcFixture {
 protected:
  std::int32_t call(BytesView path, const google::protobuf::Message& message,
                    BytesView token_name = {}, BytesView token = {}) {
    Fields extra;
    if (!token_name.empty()) extra.push_back({Bytes(token_name), Bytes(token)});
    return GrpcFixture::call(path, message, extra);
  }
  const api::Request& asked() { return asked_.calls.back().request; }
  template <class Op>
  const Op& op() {
    return std::get<Op>(std::get<api::AuthRequest>(asked().body).op);
  }
  template <class Message>
  Message told(std::int32_t stream) {
    const auto front = wire::front_message(client_.answer(stream).body, SIZE_MAX);
    Message message;
    EXPECT_TRUE(
        message.ParseFromArray(front.payload.data(), static_cast<int>(front.payload.size())));
    return message;
  }
};

TEST_F(AuthServiceTest, Authenticate) {
  pb::AuthenticateRequest request;
  request.set_name("ann");
  request.set_password("secret");
  const auto stream = call("/etcdserverpb.Auth/Authenticate", request);
  EXPECT_EQ(op<api::Authenticate>().name, "ann");
  EXPECT_EQ(op<api::Authenticate>().password, "secret");
  respond(api::AuthResponse{"token.1", {}, {}});
  EXPECT_EQ(told<pb::AuthenticateResponse>(stream).token(), "token.1");
  EXPECT_EQ(told<pb::AuthenticateResponse>(stream).header().revision(), 33);
}

TEST_F(AuthServiceTest, UsersWithoutAPassword) {
  pb::AuthUserAddRequest request;
  request.set_name("cn");
  request.set_password("ignored");
  request.mutable_options()->set_no_password(true);
  call("/etcdserverpb.Auth/UserAdd", request);
  EXPECT_EQ(op<api::UserAdd>().name, "cn");
  EXPECT_TRUE(op<api::UserAdd>().no_password);
  EXPECT_EQ(op<api::UserAdd>().password, "");
}

TEST_F(AuthServiceTest, AHashInPlaceOfAPassword) {
  const Bytes hash = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
  pb::AuthUserAddRequest request;
  request.set_name("ann");
  wire::append_base64(hash, *request.mutable_hashedpassword());
  call("/etcdserverpb.Auth/UserAdd", request);
  EXPECT_EQ(op<api::UserAdd>().password_hash, hash);
  pb::AuthUserChangePasswordRequest change;
  change.set_name("ann");
  change.set_hashedpassword(request.hashedpassword());
  call("/etcdserverpb.Auth/UserChangePassword", change);
  EXPECT_EQ(op<api::UserChangePassword>().password_hash, hash);
  request.mutable_options()->set_no_password(true);
  call("/etcdserverpb.Auth/UserAdd", request);
  EXPECT_EQ(op<api::UserAdd>().password_hash, "");
}

TEST_F(AuthServiceTest, OnlyAHashOfBcrypt) {
  const Bytes good = "$2b$16$" + Bytes(53, 'x');
  const auto refusal_of = [&](Bytes hash, const char* password = "") {
    pb::AuthUserAddRequest request;
    request.set_name("ann");
    request.set_password(password);
    wire::append_base64(hash, *request.mutable_hashedpassword());
    return refusal(call("/etcdserverpb.Auth/UserAdd", request));
  };
  const std::size_t before = asked_.calls.size();
  for (const Bytes& hash : {Bytes("x"), good + "x", Bytes(60, 'x'), "$2x$10$" + Bytes(53, 'x'),
                            "$2b$17$" + Bytes(53, 'x'), "$2b$03$" + Bytes(53, 'x'),
                            "$2b$1:$" + Bytes(53, 'x'), "$2b$10$" + Bytes(52, 'x') + "\n"}) {
    EXPECT_EQ(refusal_of(hash),
              "3 auth: hashedPassword is no bcrypt hash in base64, or costs too much")
        << hash;
  }
  EXPECT_EQ(refusal_of(good, "secret"), "3 auth: both a password and hashedPassword were given");
  pb::AuthUserAddRequest request;
  request.set_hashedpassword("$2b$10$");
  EXPECT_EQ(refusal(call("/etcdserverpb.Auth/UserAdd", request)),
            "3 auth: hashedPassword is no bcrypt hash in base64, or costs too much");
  EXPECT_EQ(asked_.calls.size(), before);
}

TEST_F(AuthServiceTest, PermissionsGivenAndTold) {
  pb::AuthRoleGrantPermissionRequest grant;
  grant.set_name("r");
  call("/etcdserverpb.Auth/RoleGrantPermission", grant);
  EXPECT_FALSE(op<api::RoleGrantPermission>().permission.has_value());
  grant.mutable_perm()->set_permtype(pb::Permission::READWRITE);
  grant.mutable_perm()->set_key("a");
  grant.mutable_perm()->set_range_end("b");
  call("/etcdserverpb.Auth/RoleGrantPermission", grant);
  EXPECT_EQ(op<api::RoleGrantPermission>().permission, (api::Permission{2, "a", "b"}));
  pb::AuthRoleGetRequest get;
  get.set_role("r");
  const auto stream = call("/etcdserverpb.Auth/RoleGet", get);
  respond(api::AuthResponse{{}, {}, {{1, "a", "b"}, {7, "c", ""}}});
  const auto role = told<pb::AuthRoleGetResponse>(stream);
  ASSERT_EQ(role.perm_size(), 2);
  EXPECT_EQ(role.perm(0).permtype(), pb::Permission::WRITE);
  EXPECT_EQ(role.perm(0).range_end(), "b");
  EXPECT_EQ(static_cast<int>(role.perm(1).permtype()), 7);
}

TEST_F(AuthServiceTest, Names) {
  const auto users = call("/etcdserverpb.Auth/UserList", pb::AuthUserListRequest());
  respond(api::AuthResponse{{}, {"ann", "bob"}, {}});
  EXPECT_EQ(told<pb::AuthUserListResponse>(users).users_size(), 2);
  const auto status = call("/etcdserverpb.Auth/AuthStatus", pb::AuthStatusRequest());
  respond(api::AuthResponse{{}, {}, {}, true, 9});
  EXPECT_TRUE(told<pb::AuthStatusResponse>(status).enabled());
  EXPECT_EQ(told<pb::AuthStatusResponse>(status).authrevision(), 9U);
}

TEST_F(AuthServiceTest, TheTokenComesWithTheMetadata) {
  pb::PutRequest put;
  put.set_key("k");
  call("/etcdserverpb.KV/Put", put);
  EXPECT_EQ(asked().token, std::nullopt);
  call("/etcdserverpb.KV/Put", put, "token", "t.1");
  EXPECT_EQ(asked().token, "t.1");
  call("/etcdserverpb.KV/Put", put, "authorization", "t.2");
  EXPECT_EQ(asked().token, "t.2");
}

TEST_F(AuthServiceTest, AWatchHasTheTokenOfItsStream) {
  pb::WatchRequest request;
  request.mutable_create_request()->set_key("k");
  call("/etcdserverpb.Watch/Watch", request, "token", "t.1");
  ASSERT_EQ(asked_.watches.size(), 1U);
  EXPECT_EQ(std::get<api::WatchCreate>(asked_.watches[0].request).token, "t.1");
}

TEST_F(AuthServiceTest, ANameOfACertificateIsWhoAsks) {
  SessionOptions options;
  options.common_name = "cn";
  session_ = make_session(options, "test");
  pb::PutRequest put;
  put.set_key("k");
  call("/etcdserverpb.KV/Put", put);
  EXPECT_EQ(asked().identity.user, "cn");
}

// As a real etcd 3.4: Maintenance passes on what its auth store said.
TEST_F(AuthServiceTest, Refusals) {
  const auto put = call("/etcdserverpb.KV/Put", pb::PutRequest());
  respond(api::Error{api::ErrorCode::kPermissionDenied, ""});
  EXPECT_EQ(refusal(put), "7 etcdserver: permission denied");
  const auto hash = call("/etcdserverpb.Maintenance/Hash", pb::HashRequest());
  respond(api::Error{api::ErrorCode::kUserEmpty, ""});
  EXPECT_EQ(refusal(hash), "2 auth: user name is empty");
  EXPECT_EQ(reason_of(api::ErrorCode::kInvalidAuthToken),
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token");
}

}  // namespace
}  // namespace conclave::etcd
