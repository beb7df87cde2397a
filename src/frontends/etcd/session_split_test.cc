// One recorded exchange, cut and damaged in every place.

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

#include "frontends/etcd/grpc_fixture.h"
#include "frontends/etcd/session.h"
#include "frontends/etcd/test_messages.h"
#include "wire/http2_frames.h"
#include "wire/http2_test_client.h"

namespace conclave::etcd {
namespace {

using wire::grpc_frame;
using wire::grpc_headers;
using wire::Http2TestClient;

// A recorded exchange gives the same calls and answers wherever its bytes are cut.
class SplitTest : public ::testing::Test {
 protected:
  static Bytes record(Http2TestClient& client) {
    client.request(grpc_headers(kPutPath, {{"conclave-request-id", "c/1"}}),
                   grpc_frame(put_message("k", "v")));
    client.request(grpc_headers(kRangePath), grpc_frame(range_message("k")));
    client.request(grpc_headers(kPutPath), "\1\2\3");
    client.request(grpc_headers("/x.Y/Z"), "");
    Bytes bytes = client.take_output();
    const auto cancelled = client.request(grpc_headers(kRangePath), grpc_frame(range_message("z")));
    bytes += client.take_output();
    client.reset(cancelled);
    return bytes + client.take_output();
  }

  // Everything that happened, as text: calls and decoded answers. Calls are answered at the end.
  static std::string outcome(const std::vector<BytesView>& pieces) {
    Http2TestClient client;
    record(client);
    auto session = make_session({}, "test");
    api::Session::Effects effects;
    for (const BytesView piece : pieces) session->on_bytes(piece, effects);
    std::multiset<std::string> seen;  // requests on one connection are not ordered
    std::set<api::CallId> cancelled(effects.cancelled.begin(), effects.cancelled.end());
    for (auto& call : std::exchange(effects.calls, {})) {
      if (cancelled.contains(call.id))
        continue;  // the call may not even be seen when cut otherwise
      seen.insert("call " + std::to_string(call.request.body.index()) +
                  (call.request.id ? call.request.id->client : "") + "; ");
      api::Answer answer = call.request.body.index() == 0 ? api::Answer(api::RangeResponse{})
                                                          : api::Answer(api::PutResponse{});
      session->on_response(call.id, {kHeader, std::move(answer)}, effects);
    }
    EXPECT_TRUE(client.receive(effects.send));
    std::string text;
    for (const std::string& call : seen) text += call;
    for (std::int32_t id = 1; id <= 9; id += 2) {
      const auto& answer = client.answer(id);
      for (const auto& [name, value] : answer.headers) text += name + "=" + value + " ";
      for (const auto& [name, value] : answer.trailers) text += name + "=" + value + " ";
      text += std::to_string(answer.body.size()) + "; ";
    }
    return text + (effects.close ? "closed" : "open");
  }
};

TEST_F(SplitTest, EachPositionGivesTheSame) {
  Http2TestClient client;
  const Bytes bytes = record(client);
  const std::string whole = outcome({bytes});
  EXPECT_EQ(whole.find("closed"), std::string::npos);
  EXPECT_NE(whole.find("call 0; call 1c; "), std::string::npos) << whole;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    const BytesView all = bytes;
    ASSERT_EQ(outcome({all.substr(0, cut), all.substr(cut)}), whole) << cut;
  }
  std::vector<BytesView> single;
  for (std::size_t i = 0; i < bytes.size(); ++i) single.push_back(BytesView(bytes).substr(i, 1));
  EXPECT_EQ(outcome(single), whole);
}

// A flipped byte anywhere never brings the session down, and a connection it breaks is closed.
TEST_F(SplitTest, DamageIsSurvived) {
  Http2TestClient client;
  const Bytes bytes = record(client);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    Bytes damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    auto session = make_session({}, "test");
    api::Session::Effects effects;
    session->on_bytes(damaged, effects);
    session->on_tick(Instant{} + seconds(1), effects);
    session->on_tick(Instant{} + seconds(40), effects);
    if (i < wire::kHttp2Preface.size()) {
      EXPECT_TRUE(effects.close) << i;
    }
  }
}

}  // namespace
}  // namespace conclave::etcd
