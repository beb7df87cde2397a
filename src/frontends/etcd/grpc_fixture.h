#pragma once
// For tests of services: nghttp2's client on one side of a session; what the member is asked on the
// other, to be answered by the test.

#include <google/protobuf/message_lite.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "frontends/etcd/session.h"
#include "wire/http2_test_client.h"

namespace conclave::etcd {

inline constexpr api::Header kHeader{ClusterId{11}, NodeId{22}, 33, Epoch{44}};

class GrpcFixture : public ::testing::Test {
 protected:
  using Fields = wire::Http2TestClient::Fields;

  // A request whose body is `message`; what the member is asked is in `asked_` then.
  std::int32_t call(BytesView path, const google::protobuf::MessageLite& message,
                    const Fields& extra = {}) {
    const auto stream = client_.request(wire::grpc_headers(path, extra),
                                        wire::grpc_frame(message.SerializeAsString()));
    pump();
    return stream;
  }
  void pump() {
    for (;;) {
      const Bytes up = client_.take_output();
      if (!up.empty()) session_->on_bytes(up, asked_);
      EXPECT_TRUE(client_.receive(asked_.send));
      if (std::exchange(asked_.send, {}).empty() && up.empty()) return;
    }
  }
  // To what was asked last.
  void respond(api::Answer answer) {
    session_->on_response(asked_.calls.back().id, {kHeader, std::move(answer)}, asked_);
    pump();
  }
  std::string field(std::int32_t stream, const std::string& name) {
    const auto& fields = client_.answer(stream).headers;
    const auto found = fields.find(name);
    return found == fields.end() ? "none" : found->second;
  }
  std::string refusal(std::int32_t stream) {
    return field(stream, "grpc-status") + " " + field(stream, "grpc-message");
  }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  wire::Http2TestClient client_;
  api::Session::Effects asked_;
};

}  // namespace conclave::etcd
