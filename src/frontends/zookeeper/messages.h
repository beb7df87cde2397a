#pragma once
// ZooKeeper's messages: what a packet asks for, and the packets that answer it.

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "api/zookeeper.h"
#include "base/bytes.h"
#include "frontends/zookeeper/reconfig.h"

namespace conclave::zookeeper {

enum class Opcode : std::int32_t {
  kCreate = 1,
  kDelete = 2,
  kExists = 3,
  kGetData = 4,
  kSetData = 5,
  kGetAcl = 6,
  kSetAcl = 7,
  kGetChildren = 8,
  kSync = 9,
  kPing = 11,
  kGetChildren2 = 12,
  kCheck = 13,
  kMulti = 14,
  kCreate2 = 15,
  kReconfig = 16,
  kCheckWatches = 17,
  kRemoveWatches = 18,
  kCreateContainer = 19,
  kDeleteContainer = 20,
  kCreateTtl = 21,
  kMultiRead = 22,
  kAuth = 100,
  kSetWatches = 101,
  kSasl = 102,
  kGetEphemerals = 103,
  kGetAllChildrenNumber = 104,
  kSetWatches2 = 105,
  kAddWatch = 106,
  kWhoAmI = 107,
  kCloseSession = -11,
};

// What `xid` is instead of a request's number.
inline constexpr std::int32_t kWatchXid = -1;
inline constexpr std::int32_t kPingXid = -2;
inline constexpr std::int32_t kAuthXid = -4;

// What is in the header of what has no zxid.
inline constexpr std::int64_t kNoZxid = -1;

// --- asked --------------------------------------------------------------------------

struct ConnectRequest {
  api::zk::Zxid last_zxid_seen = 0;
  std::int32_t timeout_ms = 0;
  api::zk::SessionId session = 0;  // 0: a new one
  Bytes password;
  bool has_read_only = false;  // clients before 3.4 do not say whether they would do with that
};
// nullopt: it is none.
std::optional<ConnectRequest> decode_connect(BytesView packet);

struct RequestHeader {
  std::int32_t xid = 0;
  std::int32_t opcode = 0;
};

using Write = decltype(api::zk::WriteRequest::op);
using Read = decltype(api::zk::ReadRequest::op);

// What is answered without the store.
struct Ping {};
struct Auth {
  Bytes scheme;
  Bytes credentials;
};
struct WhoAmI {};
// A request that cannot be read, or that there is not.
struct Refused {
  api::zk::Code code = api::zk::Code::kUnimplemented;
};

struct Request {
  std::int32_t xid = 0;
  std::int32_t opcode = 0;  // any number, of kUnimplemented
  // The session makes of a Reconfig a zk::ReconfigRequest, or Refused.
  std::variant<Refused, Write, Read, Ping, Auth, WhoAmI, Reconfig, api::zk::ReconfigRequest> what;
  // Of multi and multiRead: of each part, as which it is answered.
  std::vector<Opcode> parts;
  Bytes path;  // of sync, whose answer has it, too
};

// `packet` is what follows its length. nullopt: it has not even a header.
std::optional<Request> decode_request(BytesView packet);

// --- answered; each appends a packet with its length -------------------------------

struct ConnectResponse {
  std::int64_t timeout_ms = 0;  // 0: the session has expired
  api::zk::SessionId session = 0;
  Bytes password;
  bool has_read_only = false;
};
void append(const ConnectResponse& response, Bytes& out);

// An answer without a body.
void append_answer(std::int32_t xid, api::zk::Zxid zxid, api::zk::Code code, Bytes& out);
// The answer to a request that is a Write, a Read or a WhoAmI.
void append_answer(const Request& request, const api::zk::Reply& reply, Bytes& out);
void append_who_i_am(std::int32_t xid, api::zk::Zxid zxid, const std::vector<api::zk::Id>& ids,
                     Bytes& out);
void append(const api::zk::Event& event, Bytes& out);

}  // namespace conclave::zookeeper
