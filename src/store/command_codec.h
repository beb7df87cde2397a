#pragma once
// Reading commands back from a log entry (command.h writes them; docs/formats/commands.md).

#include <optional>
#include <variant>

#include "store/codec.h"
#include "store/command.h"
#include "store/operations.h"

namespace conclave::store {

// A client's own name for a write, still in the entry.
struct RequestIdView {
  BytesView client;
  std::uint64_t sequence = 0;
};

// An api::Fence, still in the entry.
struct FenceView {
  BytesView key;
  api::Revision token = 0;
};

// A decoded command. What can be, borrows from the entry.
struct Command {
  using Body =
      std::variant<PutOp, api::DeleteRangeRequest, api::TxnRequest, api::CompactRequest,
                   api::LeaseGrantRequest, api::LeaseRevokeRequest, api::LeaseKeepAliveRequest,
                   api::AcquireRequest, api::ReleaseRequest, api::EnterRequest, api::LeaveRequest,
                   PublishMember, SetAlarm, CheckHash, ExpireLeases, FoundMembers, MemberChange,
                   api::AuthRequest, api::zk::WriteRequest, TouchSessions, ReapZnodes,
                   api::zk::ImportRequest, Reconfigure>;

  Origin origin;
  std::optional<RequestIdView> id;
  std::optional<FenceView> fence;
  api::Identity identity;
  bool is_owned = false;  // a lease that it grants is that user's
  Body body;
};

Result<Command> decode_command(BytesView bytes);

// The commands of an entry, one after the other.
class BatchReader {
 public:
  // kCorrupt: no batch begins here.
  static Result<BatchReader> open(BytesView entry);

  const BatchHeader& header() const { return header_; }
  bool at_end() const { return in_.at_end(); }
  // The next one, into `command`, which is a new one. REQUIRES: !at_end(). kCorrupt as soon as one
  // command is; do not go on then.
  Result<void> next(Command& command);

 private:
  BatchReader(BatchHeader header, Decoder in) : header_(header), in_(in) {}

  BatchHeader header_;
  Decoder in_;
};

// A member's descriptive data, as it stands in commands and snapshots.
void encode(Encoder& out, const api::Member& member);
api::Member decode_member(Decoder& in);
void encode(Encoder& out, const std::vector<api::Member>& members);
std::vector<api::Member> decode_members(Decoder& in);
// Then what encodes them has a version that older builds refuse.
bool has_witness(const std::vector<api::Member>& members);

}  // namespace conclave::store
