#pragma once
// ZooKeeper's messages from the client's side, as far as `conclave import zookeeper` reads a tree:
// what it asks, and what it is answered. (The server's side: messages.h.)

#include <cstdint>
#include <optional>
#include <variant>

#include "api/zookeeper.h"
#include "base/bytes.h"
#include "frontends/zookeeper/messages.h"

namespace conclave::zookeeper {

// Each appends a packet with its length.
void append(const ConnectRequest& request, Bytes& out);
void append_auth(BytesView scheme, BytesView credentials, Bytes& out);
// One of exists, getData, getAcl, getChildren2, getAllChildrenNumber, sync, which take a path; or
// closeSession, which takes none. No watch is left.
void append_question(std::int32_t xid, Opcode opcode, BytesView path, Bytes& out);

// Of a packet, without its length; nullopt: it cannot be read.
std::optional<ConnectResponse> decode_connected(BytesView packet);

struct AnswerHeader {
  std::int32_t xid = 0;
  api::zk::Zxid zxid = 0;
  api::zk::Code code = api::zk::Code::kOk;  // any number
};
std::optional<AnswerHeader> decode_answer_header(BytesView packet);

struct ClientAnswer {
  AnswerHeader header;
  // With a code but kOk: nothing.
  std::variant<std::monostate, api::zk::Changed, api::zk::Data, api::zk::Acls, api::zk::Names,
               api::zk::Count>
      what;
};
// To a question with this opcode.
std::optional<ClientAnswer> decode_answer(Opcode opcode, BytesView packet);

}  // namespace conclave::zookeeper
