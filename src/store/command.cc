#include "store/command.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/zookeeper_limits.h"
#include "store/auth_codec.h"
#include "store/command_codec.h"
#include "store/request_codec.h"
#include "store/zookeeper_codec.h"

namespace conclave::store {
namespace {

// Versions of the two layers. A change that older builds cannot read gets a new number.
constexpr std::uint8_t kBatchVersion = 1;
constexpr std::uint8_t kCommandVersion = 1;
// Of what came with changes of the members: a publication with the data directory's id, and the
// kinds from kFoundMembers on.
constexpr std::uint8_t kMembersVersion = 2;
// Of the commands about leases.
constexpr std::uint8_t kLeaseVersion = 3;
// A founding that names a witness.
constexpr std::uint8_t kWitnessVersion = 3;
// A client's request that says who asks, or with a fence; and those about users and roles.
constexpr std::uint8_t kAskedVersion = 4;
// Of Conclave's own locks and barriers.
constexpr std::uint8_t kNativeVersion = 5;
// A grant of a lease by somebody with a name, whose lease it is; in version 4 it is nobody's.
constexpr std::uint8_t kOwnedVersion = 6;
// Of what ZooKeeper's clients ask for, and what is done for them.
constexpr std::uint8_t kZooKeeperVersion = 7;
// Of what an import of znodes does.
constexpr std::uint8_t kImportVersion = 8;
// What they ask for, with zk::Quotas; and a publication that says where they reach the member.
constexpr std::uint8_t kQuotasVersion = 8;
constexpr std::uint8_t kZooKeeperAddressVersion = 8;
// Of changes of the members that ZooKeeper's clients ask for.
constexpr std::uint8_t kReconfigVersion = 9;
// version, epoch, stamp: of fixed size, so that it is filled in when the batch is closed.
constexpr std::size_t kBatchHeaderBytes = 1 + 8 + 8;

// Stored: values never change meaning.
enum class CommandKind : std::uint8_t {
  kPut = 1,
  kDeleteRange = 2,
  kTxn = 3,
  kCompact = 4,
  kLeaseGrant = 5,
  kLeaseRevoke = 6,
  kLeaseKeepAlive = 7,
  kAcquire = 8,
  kRelease = 9,
  kEnter = 10,
  kLeave = 11,
  kAuth = 12,
  kZooKeeper = 13,
  kTouchSessions = 14,
  kReapZnodes = 15,
  kPublishMember = 16,
  kSetAlarm = 17,
  kCheckHash = 18,
  kImportZnodes = 19,
  kExpireLeases = 20,
  kFoundMembers = 24,
  kMemberChange = 25,
  kReconfigure = 26,
};

// Stored: values never change meaning.
enum class ReconfigStage : std::uint8_t { kAsked = 0, kRefused = 1, kGranted = 2 };

bool is_about_leases(CommandKind kind) {
  return kind == CommandKind::kLeaseGrant || kind == CommandKind::kLeaseRevoke ||
         kind == CommandKind::kLeaseKeepAlive || kind == CommandKind::kExpireLeases;
}

bool is_native(CommandKind kind) {
  return kind >= CommandKind::kAcquire && kind <= CommandKind::kLeave;
}

bool is_zookeepers(CommandKind kind) {
  return kind >= CommandKind::kZooKeeper && kind <= CommandKind::kReapZnodes;
}

bool may_be_fenced(CommandKind kind) {
  return is_native(kind) || (kind >= CommandKind::kPut && kind <= CommandKind::kLeaseRevoke);
}

bool is_version_of(std::uint8_t version, CommandKind kind) {
  if (kind == CommandKind::kZooKeeper && version == kQuotasVersion) return true;
  if (is_zookeepers(kind)) return version == kZooKeeperVersion;
  if (kind == CommandKind::kAuth) return version == kAskedVersion;
  if (kind == CommandKind::kImportZnodes) return version == kImportVersion;
  if (kind == CommandKind::kReconfigure) return version == kReconfigVersion;
  if (version == kAskedVersion) return kind < CommandKind::kAuth;
  if (version == kOwnedVersion) return kind == CommandKind::kLeaseGrant;
  if (is_about_leases(kind)) return version == kLeaseVersion;
  if (is_native(kind)) return version == kNativeVersion;
  if (kind == CommandKind::kFoundMembers && version == kWitnessVersion) return true;
  if (kind >= CommandKind::kFoundMembers) return version == kMembersVersion;
  if (kind == CommandKind::kPublishMember &&
      (version == kMembersVersion || version == kZooKeeperAddressVersion)) {
    return true;
  }
  return version == kCommandVersion;
}

bool is_of_kind(BytesView command, CommandKind kind) {
  return command.size() > 1 && static_cast<CommandKind>(command[1]) == kind;
}

// Of the byte that says what follows it.
constexpr std::uint8_t kHasId = 1;
constexpr std::uint8_t kHasIdentity = 2;
constexpr std::uint8_t kHasFence = 4;

void encode_head(Encoder& out, CommandKind kind, const Origin& origin,
                 const std::optional<api::RequestId>& id, std::uint8_t version = kCommandVersion,
                 const api::Identity& identity = {},
                 const std::optional<api::Fence>& fence = std::nullopt) {
  out.u8(version);
  out.u8(static_cast<std::uint8_t>(kind));
  out.fixed64(origin.member.value);
  out.fixed64(origin.incarnation);
  out.varint(origin.call);
  const bool has_identity = identity != api::Identity{};
  out.u8((id ? kHasId : 0) | (has_identity ? kHasIdentity : 0) | (fence ? kHasFence : 0));
  if (id) {
    out.bytes(id->client);
    out.varint(id->sequence);
  }
  if (has_identity) {
    out.bytes(identity.user);
    out.varint(identity.revision);
  }
  if (!fence) return;
  out.bytes(fence->key);
  out.number(fence->token);
}

FenceView decode_fence(Decoder& in) {
  FenceView fence;
  fence.key = in.bytes();
  fence.token = in.number();
  const bool is_good =
      !fence.key.empty() && fence.key.size() <= limits::kMaxFenceKeyBytes && fence.token > 0;
  if (!is_good) in.fail();
  return fence;
}

RequestIdView decode_id(Decoder& in) {
  RequestIdView id;
  id.client = in.bytes();
  id.sequence = in.varint();
  if (id.client.empty() || id.client.size() > limits::kMaxRequestIdBytes) in.fail();
  return id;
}

api::Identity decode_identity(Decoder& in) {
  api::Identity identity;
  identity.user = in.bytes();
  identity.revision = in.varint();
  if (identity == api::Identity{}) in.fail();
  return identity;
}

struct RequestEncoder {
  Bytes operator()(const api::PutRequest& put) const {
    return encoded(CommandKind::kPut, put, put.key.size() + put.value.size());
  }
  Bytes operator()(const api::DeleteRangeRequest& erase) const {
    return encoded(CommandKind::kDeleteRange, erase, erase.key.size() + erase.range_end.size());
  }
  Bytes operator()(const api::TxnRequest& txn) const { return encoded(CommandKind::kTxn, txn, 0); }
  Bytes operator()(const api::CompactRequest& compact) const {
    return encoded(CommandKind::kCompact, compact, 0);
  }
  Bytes operator()(const api::LeaseGrantRequest& grant) const {
    return encoded(CommandKind::kLeaseGrant, grant, 0);
  }
  Bytes operator()(const api::LeaseRevokeRequest& revoke) const {
    return encoded(CommandKind::kLeaseRevoke, revoke, 0);
  }
  Bytes operator()(const api::LeaseKeepAliveRequest& keep_alive) const {
    return encoded(CommandKind::kLeaseKeepAlive, keep_alive, 0);
  }
  Bytes operator()(const api::AuthRequest& auth) const {
    return encoded(CommandKind::kAuth, auth, 0);
  }
  Bytes operator()(const api::AcquireRequest& acquire) const {
    return encoded(CommandKind::kAcquire, acquire, acquire.name.size() + acquire.owner.size());
  }
  Bytes operator()(const api::ReleaseRequest& release) const {
    return encoded(CommandKind::kRelease, release, release.key.size());
  }
  Bytes operator()(const api::EnterRequest& enter) const {
    return encoded(CommandKind::kEnter, enter, enter.name.size());
  }
  Bytes operator()(const api::LeaveRequest& leave) const {
    return encoded(CommandKind::kLeave, leave, leave.name.size());
  }
  Bytes operator()(const api::zk::WriteRequest& request) const {
    const bool has_quotas = request.quotas != api::zk::Quotas::kNone;
    return encoded(CommandKind::kZooKeeper, has_quotas ? kQuotasVersion : kZooKeeperVersion,
                   request, content_bytes(request));
  }
  Bytes operator()(const api::zk::ImportRequest& request) const {
    return encoded(CommandKind::kImportZnodes, request, content_bytes(request));
  }
  Bytes operator()(const api::AlarmRequest& request) const {
    const Alarm alarm =
        request.type == api::AlarmType::kNoSpace ? Alarm::kNoSpace : Alarm::kCorrupt;
    const bool raised = request.action == api::AlarmRequest::Action::kActivate;
    return encode_command(origin, SetAlarm{request.member, alarm, raised});
  }
  Bytes operator()(const api::zk::ReconfigRequest& request) const {
    return encode_command(origin, Reconfigure{request});
  }
  template <class Other>
  Bytes operator()(const Other&) const {
    CHECK(false, "not a write");
    return {};
  }

  template <class Body>
  Bytes encoded(CommandKind kind, const Body& body, std::size_t content_bytes) const {
    return encoded(kind, version_of(kind), body, content_bytes);
  }
  template <class Body>
  Bytes encoded(CommandKind kind, std::uint8_t version, const Body& body,
                std::size_t content_bytes) const {
    constexpr std::size_t kHeadBytes = 64;
    Bytes bytes;
    bytes.reserve(kHeadBytes + (id ? id->client.size() : 0) + identity.user.size() +
                  (fence ? fence->key.size() : 0) + content_bytes);
    Encoder out(bytes);
    encode_head(out, kind, origin, id, version, identity, fence);
    encode(out, body);
    return bytes;
  }

  std::uint8_t version_of(CommandKind kind) const {
    if (fence) CHECK(may_be_fenced(kind));
    if (kind == CommandKind::kImportZnodes) return kImportVersion;
    const bool is_asked = kind == CommandKind::kAuth || identity != api::Identity{};
    if (kind == CommandKind::kLeaseGrant && !identity.user.empty()) return kOwnedVersion;
    if (fence || is_asked) return kAskedVersion;
    if (is_native(kind)) return kNativeVersion;
    return is_about_leases(kind) ? kLeaseVersion : kCommandVersion;
  }

  const Origin& origin;
  const std::optional<api::RequestId>& id;
  const api::Identity& identity;
  const std::optional<api::Fence>& fence;
};

void encode(Encoder& out, const std::vector<std::string>& texts) {
  out.varint(texts.size());
  for (const std::string& text : texts) out.bytes(text);
}

std::vector<std::string> decode_texts(Decoder& in) {
  std::vector<std::string> texts;
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) texts.emplace_back(in.bytes());
  return texts;
}

PublishMember decode_publish(Decoder& in, std::uint8_t version) {
  PublishMember publish;
  publish.member = decode_member(in);
  if (publish.member.is_witness) in.fail();  // a founding says so
  if (version != kCommandVersion) {
    publish.directory = in.fixed64();
    if (publish.directory == 0) in.fail();
  }
  if (version == kZooKeeperAddressVersion) {
    publish.zookeeper = in.bytes();
    if (publish.zookeeper.empty()) in.fail();
  }
  return publish;
}

FoundMembers decode_found(Decoder& in, std::uint8_t version) {
  FoundMembers found{decode_members(in)};
  if (found.members.empty()) in.fail();
  if (has_witness(found.members) != (version == kWitnessVersion)) in.fail();
  for (std::size_t i = 1; i < found.members.size(); ++i) {
    if (found.members[i - 1].id >= found.members[i].id) in.fail();
  }
  return found;
}

MemberChange decode_change(Decoder& in) {
  MemberChange change;
  change.kind = in.enumerator(MemberChange::Kind::kPromote);
  if (change.kind < MemberChange::Kind::kAdd) in.fail();
  change.verdict = in.enumerator(MemberChange::Verdict::kTooManyRequests);
  change.id = NodeId{in.fixed64()};
  change.replaces = NodeId{in.fixed64()};
  change.is_learner = in.flags(1) != 0;
  change.peer_urls = decode_texts(in);
  return change;
}

void encode(Encoder& out, const MemberChange& change) {
  out.u8(static_cast<std::uint8_t>(change.kind));
  out.u8(static_cast<std::uint8_t>(change.verdict));
  out.fixed64(change.id.value);
  out.fixed64(change.replaces.value);
  out.u8(change.is_learner ? 1 : 0);
  encode(out, change.peer_urls);
}

struct StageEncoder {
  void operator()(const api::zk::ReconfigRequest& asked) const {
    stage(ReconfigStage::kAsked);
    encode(out, asked);
  }
  void operator()(const Reconfigure::Refused& refused) const {
    stage(ReconfigStage::kRefused);
    out.varint(static_cast<std::uint32_t>(refused.why));
  }
  void operator()(const Reconfigure::Granted& granted) const {
    stage(ReconfigStage::kGranted);
    out.varint(granted.at.value);
    out.varint(granted.steps.size());
    for (const ReconfigStep& step : granted.steps) {
      encode(out, step.change);
      out.bytes(step.zookeeper);
    }
  }

  void stage(ReconfigStage stage) const { out.u8(static_cast<std::uint8_t>(stage)); }

  Encoder& out;
};

Reconfigure::Granted decode_granted(Decoder& in) {
  Reconfigure::Granted granted;
  granted.at = LogIndex{in.varint()};
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    MemberChange change = decode_change(in);
    const bool is_plain = change.verdict == MemberChange::Verdict::kGranted && !change.replaces;
    std::string zookeeper(in.bytes());
    if (!is_plain || zookeeper.size() > limits::kMaxServerAddressBytes) in.fail();
    if (!zookeeper.empty() && change.kind != MemberChange::Kind::kAdd) in.fail();
    granted.steps.push_back({std::move(change), std::move(zookeeper)});
  }
  return granted;
}

Reconfigure decode_reconfigure(Decoder& in) {
  switch (in.enumerator(ReconfigStage::kGranted)) {
    case ReconfigStage::kAsked:
      return {decode_reconfig(in)};
    case ReconfigStage::kRefused: {
      const auto why = static_cast<api::zk::Code>(in.u32());
      if (why == api::zk::Code::kOk) in.fail();
      return {Reconfigure::Refused{why}};
    }
    case ReconfigStage::kGranted:
      return {decode_granted(in)};
  }
  in.fail();
  return {};
}

SetAlarm decode_alarm(Decoder& in) {
  SetAlarm set;
  set.member = NodeId{in.fixed64()};
  set.alarm = in.enumerator(Alarm::kCorrupt);
  if (set.alarm != Alarm::kNoSpace && set.alarm != Alarm::kCorrupt) in.fail();
  set.raised = in.flags(1) != 0;
  return set;
}

ExpireLeases decode_expire(Decoder& in) {
  ExpireLeases expire;
  expire.max_work = in.varint();
  return expire;
}

TouchSessions decode_touch(Decoder& in) {
  TouchSessions touched;
  const std::size_t count = in.count();
  if (count == 0 || count > limits::kTouchedSessions) in.fail();
  for (std::size_t i = 0; i < count && in.ok(); ++i) touched.sessions.push_back(in.number());
  return touched;
}

ReapZnodes decode_reap(Decoder& in) {
  ReapZnodes reaped{decode_texts(in)};
  if (reaped.paths.empty() || reaped.paths.size() > limits::kReapedZnodes) in.fail();
  return reaped;
}

CheckHash decode_check(Decoder& in) {
  CheckHash check;
  check.index = LogIndex{in.varint()};
  check.hash = in.fixed64();
  return check;
}

// Into `body`: what most writes of ZooKeeper's clients are is not moved on its way.
void decode_body(CommandKind kind, std::uint8_t version, Decoder& in, Command::Body& body) {
  switch (kind) {
    case CommandKind::kPut:
      body = decode_put(in);
      return;
    case CommandKind::kDeleteRange:
      body = decode_delete_range(in);
      return;
    case CommandKind::kTxn:
      body = decode_txn(in);
      return;
    case CommandKind::kCompact:
      body = decode_compact(in);
      return;
    case CommandKind::kLeaseGrant:
      body = decode_lease_grant(in);
      return;
    case CommandKind::kLeaseRevoke:
      body = decode_lease_revoke(in);
      return;
    case CommandKind::kLeaseKeepAlive:
      body = decode_lease_keep_alive(in);
      return;
    case CommandKind::kAcquire:
      body = decode_acquire(in);
      return;
    case CommandKind::kRelease:
      body = decode_release(in);
      return;
    case CommandKind::kEnter:
      body = decode_enter(in);
      return;
    case CommandKind::kLeave:
      body = decode_leave(in);
      return;
    case CommandKind::kAuth:
      body = decode_auth(in);
      return;
    case CommandKind::kZooKeeper:
      return decode_zookeeper(in, version == kQuotasVersion, body.emplace<api::zk::WriteRequest>());
    case CommandKind::kTouchSessions:
      body = decode_touch(in);
      return;
    case CommandKind::kReapZnodes:
      body = decode_reap(in);
      return;
    case CommandKind::kImportZnodes:
      body = decode_import(in);
      return;
    case CommandKind::kPublishMember:
      body = decode_publish(in, version);
      return;
    case CommandKind::kSetAlarm:
      body = decode_alarm(in);
      return;
    case CommandKind::kCheckHash:
      body = decode_check(in);
      return;
    case CommandKind::kExpireLeases:
      body = decode_expire(in);
      return;
    case CommandKind::kFoundMembers:
      body = decode_found(in, version);
      return;
    case CommandKind::kMemberChange:
      body = decode_change(in);
      return;
    case CommandKind::kReconfigure:
      body = decode_reconfigure(in);
      return;
  }
  in.fail();
}

// `command` is a new one: decoded where it stays, as it is large, and each write's.
Result<void> decode_command(BytesView bytes, Command& command) {
  Decoder in(bytes);
  const std::uint8_t version = in.u8();
  const std::uint8_t kind = in.u8();
  if (in.ok() && !is_version_of(version, static_cast<CommandKind>(kind))) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("a command of kind {} has version {}, which this build does not know: "
                            "it was written by a newer build, or is damaged",
                            kind, version));
  }
  command.origin.member = NodeId{in.fixed64()};
  command.origin.incarnation = in.fixed64();
  command.origin.call = in.varint();
  command.is_owned = version == kOwnedVersion;
  const bool is_import = static_cast<CommandKind>(kind) == CommandKind::kImportZnodes;
  const bool is_asked = version == kAskedVersion || command.is_owned || is_import;
  const std::uint8_t has = in.flags(is_asked ? kHasId | kHasIdentity | kHasFence : kHasId);
  if ((has & kHasId) != 0) command.id = decode_id(in);
  if ((has & kHasIdentity) != 0) command.identity = decode_identity(in);
  // Changes of users and the members' own commands have no answers to keep.
  if (command.id && kind >= static_cast<std::uint8_t>(CommandKind::kAuth)) in.fail();
  if ((has & kHasFence) != 0) command.fence = decode_fence(in);
  const bool may_be_plain = static_cast<CommandKind>(kind) == CommandKind::kAuth || is_import;
  if (is_asked && (has & (kHasIdentity | kHasFence)) == 0 && !may_be_plain) in.fail();
  if (command.is_owned && command.identity.user.empty()) in.fail();
  if (command.fence && !may_be_fenced(static_cast<CommandKind>(kind))) in.fail();
  if (in.ok()) decode_body(static_cast<CommandKind>(kind), version, in, command.body);
  if (!in.finished()) {
    return fail(ErrorCode::kCorrupt, fmt::format("a command of kind {} cannot be decoded", kind));
  }
  return {};
}

}  // namespace

void encode(Encoder& out, const api::Member& member) {
  out.fixed64(member.id.value);
  out.bytes(member.name);
  encode(out, member.peer_urls);
  encode(out, member.client_urls);
  out.u8((member.is_learner ? 1 : 0) | (member.is_witness ? 2 : 0));
}

api::Member decode_member(Decoder& in) {
  api::Member member;
  member.id = NodeId{in.fixed64()};
  member.name = in.bytes();
  member.peer_urls = decode_texts(in);
  member.client_urls = decode_texts(in);
  const std::uint8_t flags = in.flags(3);
  member.is_learner = (flags & 1) != 0;
  member.is_witness = (flags & 2) != 0;
  return member;
}

bool has_witness(const std::vector<api::Member>& members) {
  return std::ranges::find(members, true, &api::Member::is_witness) != members.end();
}

void encode(Encoder& out, const std::vector<api::Member>& members) {
  out.varint(members.size());
  for (const api::Member& member : members) encode(out, member);
}

std::vector<api::Member> decode_members(Decoder& in) {
  std::vector<api::Member> members;
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) members.push_back(decode_member(in));
  return members;
}

Bytes encode_command(const Origin& origin, const api::Request& request) {
  return std::visit(RequestEncoder{origin, request.id, request.identity, request.fence},
                    request.body);
}

Bytes encode_command(const Origin& origin, const PublishMember& publish) {
  Bytes bytes;
  Encoder out(bytes);
  std::uint8_t version = publish.directory == 0 ? kCommandVersion : kMembersVersion;
  if (!publish.zookeeper.empty()) version = kZooKeeperAddressVersion;
  encode_head(out, CommandKind::kPublishMember, origin, std::nullopt, version);
  encode(out, publish.member);
  if (publish.directory != 0) out.fixed64(publish.directory);
  if (publish.zookeeper.empty()) return bytes;
  CHECK(publish.directory != 0);
  out.bytes(publish.zookeeper);
  return bytes;
}

Bytes encode_command(const Origin& origin, const FoundMembers& found) {
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kFoundMembers, origin, std::nullopt,
              has_witness(found.members) ? kWitnessVersion : kMembersVersion);
  encode(out, found.members);
  return bytes;
}

Bytes encode_command(const Origin& origin, const MemberChange& change) {
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kMemberChange, origin, std::nullopt, kMembersVersion);
  encode(out, change);
  return bytes;
}

Bytes encode_command(const Origin& origin, const Reconfigure& change) {
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kReconfigure, origin, std::nullopt, kReconfigVersion);
  std::visit(StageEncoder{out}, change.stage);
  return bytes;
}

bool is_member_change(BytesView command) {
  return is_of_kind(command, CommandKind::kMemberChange) ||
         is_of_kind(command, CommandKind::kReconfigure);
}

std::optional<AskedChange> decode_member_change(BytesView bytes) {
  if (!is_member_change(bytes)) return std::nullopt;
  Result<Command> command = decode_command(bytes);
  if (!command) return std::nullopt;
  if (auto* several = std::get_if<Reconfigure>(&command->body)) {
    return AskedChange{command->origin, std::move(*several)};
  }
  return AskedChange{command->origin, std::get<MemberChange>(std::move(command->body))};
}

Bytes encode_command(const Origin& origin, const SetAlarm& alarm) {
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kSetAlarm, origin, std::nullopt);
  out.fixed64(alarm.member.value);
  out.u8(static_cast<std::uint8_t>(alarm.alarm));
  out.u8(alarm.raised ? 1 : 0);
  return bytes;
}

Bytes encode_command(const Origin& origin, const CheckHash& check) {
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kCheckHash, origin, std::nullopt);
  out.varint(check.index.value);
  out.fixed64(check.hash);
  return bytes;
}

Bytes encode_command(const Origin& origin, const ExpireLeases& expire) {
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kExpireLeases, origin, std::nullopt, kLeaseVersion);
  out.varint(expire.max_work);
  return bytes;
}

Bytes encode_command(const Origin& origin, const TouchSessions& touched) {
  CHECK(touched.sessions.size() <= limits::kTouchedSessions);
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kTouchSessions, origin, std::nullopt, kZooKeeperVersion);
  out.varint(touched.sessions.size());
  for (const api::zk::SessionId session : touched.sessions) out.number(session);
  return bytes;
}

Bytes encode_command(const Origin& origin, const ReapZnodes& reaped) {
  CHECK(reaped.paths.size() <= limits::kReapedZnodes);
  Bytes bytes;
  Encoder out(bytes);
  encode_head(out, CommandKind::kReapZnodes, origin, std::nullopt, kZooKeeperVersion);
  encode(out, reaped.paths);
  return bytes;
}

void BatchEncoder::add(BytesView command) {
  if (bytes_.empty()) bytes_.resize(kBatchHeaderBytes);
  Encoder(bytes_).bytes(command);
  ++count_;
}

Bytes BatchEncoder::finish(Epoch epoch, Stamp stamp) {
  Bytes header;
  Encoder out(header);
  out.u8(kBatchVersion);
  out.fixed64(epoch.value);
  out.fixed64(stamp.ms);
  CHECK(header.size() == kBatchHeaderBytes);
  if (bytes_.empty()) bytes_.resize(kBatchHeaderBytes);
  bytes_.replace(0, kBatchHeaderBytes, header);
  count_ = 0;
  return std::exchange(bytes_, {});
}

Result<BatchReader> BatchReader::open(BytesView entry) {
  Decoder in(entry);
  const std::uint8_t version = in.u8();
  if (in.ok() && version != kBatchVersion) {
    return fail(
        ErrorCode::kCorrupt,
        fmt::format(
            "a log entry's batch has version {}, this build knows version {}: it was written by a "
            "newer build, or is damaged",
            version, kBatchVersion));
  }
  BatchHeader header;
  header.epoch = Epoch{in.fixed64()};
  header.stamp = Stamp{in.fixed64()};
  if (!in.ok()) return fail(ErrorCode::kCorrupt, "a log entry ends inside the header of its batch");
  return BatchReader(header, in);
}

Result<Command> decode_command(BytesView bytes) {
  Result<Command> decoded(std::in_place);
  TRY(decode_command(bytes, *decoded));
  return decoded;
}

Result<void> BatchReader::next(Command& command) {
  CHECK(!at_end());
  const BytesView bytes = in_.bytes();
  if (!in_.ok()) return fail(ErrorCode::kCorrupt, "a log entry ends inside a command");
  return decode_command(bytes, command);
}

Result<BatchHeader> decode_batch_header(BytesView entry) {
  const BatchReader reader = TRY(BatchReader::open(entry));
  return reader.header();
}

std::vector<std::pair<NodeId, std::uint64_t>> told_directories(BytesView entry) {
  std::vector<std::pair<NodeId, std::uint64_t>> told;
  if (entry.size() < kBatchHeaderBytes) return told;
  Decoder in(entry.substr(kBatchHeaderBytes));
  while (!in.at_end()) {
    const BytesView bytes = in.bytes();
    if (!in.ok()) break;
    if (!is_of_kind(bytes, CommandKind::kPublishMember)) continue;
    const Result<Command> command = decode_command(bytes);
    if (!command) break;
    const auto& publish = std::get<PublishMember>(command->body);
    if (publish.directory != 0) told.emplace_back(publish.member.id, publish.directory);
  }
  return told;
}

Bytes witnessed_part(BytesView entry) {
  const Result<BatchHeader> header = decode_batch_header(entry);
  if (!header) return {};
  BatchEncoder kept;
  Decoder in(entry.substr(kBatchHeaderBytes));
  while (!in.at_end()) {
    const BytesView command = in.bytes();
    if (!in.ok()) return {};
    const bool about_members = is_of_kind(command, CommandKind::kPublishMember) ||
                               is_of_kind(command, CommandKind::kFoundMembers) ||
                               is_member_change(command);
    if (about_members) kept.add(command);
  }
  return kept.finish(header->epoch, header->stamp);
}

bool is_valid_command(BytesView command) { return decode_command(command).has_value(); }

}  // namespace conclave::store
