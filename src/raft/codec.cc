#include "raft/codec.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "base/check.h"
#include "consensus/membership.h"
#include "raft.pb.h"

namespace conclave::raft {

namespace {

namespace v1 = conclave::raft::v1;
using consensus::Entry;
using consensus::EntryKind;
using consensus::Position;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr std::uint32_t kFormat = 1;

// --- encode --------------------------------------------------------------------------------------

void put(v1::Message& to, const PreVote& from) {
  auto& body = *to.mutable_pre_vote();
  body.set_last_index(from.last.index.value);
  body.set_last_term(from.last.epoch.value);
}

void put(v1::Message& to, const PreVoteReply& from) {
  auto& body = *to.mutable_pre_vote_reply();
  body.set_for_term(from.for_term.value);
  body.set_granted(from.granted);
}

void put(v1::Message& to, const RequestVote& from) {
  auto& body = *to.mutable_request_vote();
  body.set_last_index(from.last.index.value);
  body.set_last_term(from.last.epoch.value);
  body.set_handover(from.handover);
}

void put(v1::Message& to, const VoteReply& from) {
  to.mutable_vote_reply()->set_granted(from.granted);
}

void put(v1::Message& to, const Append& from) {
  auto& body = *to.mutable_append();
  body.set_prev_index(from.prev.index.value);
  body.set_prev_term(from.prev.epoch.value);
  body.set_commit(from.commit.value);
  for (const Entry& entry : from.entries) {
    auto& out = *body.add_entries();
    out.set_term(entry.epoch.value);
    out.set_kind(static_cast<std::uint32_t>(entry.kind));
    out.set_data(entry.data);
  }
}

void put(v1::Message& to, const AppendAck& from) {
  to.mutable_append_ack()->set_match(from.match.value);
}

void put(v1::Message& to, const AppendReject& from) {
  auto& body = *to.mutable_append_reject();
  body.set_prev_index(from.prev.value);
  body.set_hint_index(from.hint.index.value);
  body.set_hint_term(from.hint.epoch.value);
}

void put(v1::Message& to, const Heartbeat& from) {
  auto& body = *to.mutable_heartbeat();
  body.set_round(from.round);
  body.set_commit(from.commit.value);
}

void put(v1::Message& to, const HeartbeatReply& from) {
  to.mutable_heartbeat_reply()->set_round(from.round);
}

void put(v1::Message& to, const CommitNotice& from) {
  to.mutable_commit_notice()->set_commit(from.commit.value);
}

void put(v1::Message& to, const SnapshotChunk& from) {
  auto& body = *to.mutable_snapshot_chunk();
  body.set_index(from.meta.index.value);
  body.set_index_term(from.meta.epoch.value);
  body.set_membership(consensus::encode(from.meta.membership));
  body.set_offset(from.offset);
  body.set_data(from.data);
  body.set_last(from.last);
}

void put(v1::Message& to, const SnapshotProgress& from) {
  auto& body = *to.mutable_snapshot_progress();
  body.set_index(from.index.value);
  body.set_next_offset(from.next_offset);
  body.set_refused(from.refused);
}

void put(v1::Message& to, const TimeoutNow&) { to.mutable_timeout_now(); }

void put(v1::Message& to, const ReadRequest& from) {
  to.mutable_read_request()->set_batch(from.batch);
}

void put(v1::Message& to, const ReadReply& from) {
  auto& body = *to.mutable_read_reply();
  body.set_batch(from.batch);
  body.set_confirmed(from.index.has_value());
  if (from.index) body.set_index(from.index->value);
}

// --- decode --------------------------------------------------------------------------------------

Failure senseless(const char* what) {
  return fail(ErrorCode::kCorrupt, std::string("raft message: ") + what);
}

// A place in a log: either the beginning, or an index and an epoch.
bool is_position(std::uint64_t index, std::uint64_t epoch) {
  if (index > kMaxOnWire || epoch > kMaxOnWire) return false;
  return (index == 0) == (epoch == 0);
}

Position position(std::uint64_t index, std::uint64_t epoch) {
  return {LogIndex{index}, Epoch{epoch}};
}

Result<Body> take(const v1::PreVote& in, Epoch) {
  if (!is_position(in.last_index(), in.last_term())) return senseless("no place in a log");
  return PreVote{position(in.last_index(), in.last_term())};
}

Result<Body> take(const v1::PreVoteReply& in, Epoch) {
  if (in.for_term() > kMaxOnWire) return senseless("term out of range");
  return PreVoteReply{Epoch{in.for_term()}, in.granted()};
}

Result<Body> take(const v1::RequestVote& in, Epoch) {
  if (!is_position(in.last_index(), in.last_term())) return senseless("no place in a log");
  return RequestVote{position(in.last_index(), in.last_term()), in.handover()};
}

Result<Body> take(const v1::VoteReply& in, Epoch) { return VoteReply{in.granted()}; }

// REQUIRES: `in` is not used afterwards: its bytes move into `out`.
Result<Entry> take_entry(v1::Entry& in, LogIndex index, Epoch at_least, Epoch at_most) {
  Entry out{index, Epoch{in.term()}, static_cast<EntryKind>(in.kind()),
            std::move(*in.mutable_data())};
  if (out.epoch < at_least || out.epoch > at_most || !out.epoch)
    return senseless("epoch out of order");
  if (in.kind() > static_cast<std::uint32_t>(EntryKind::kWitnessed)) {
    return senseless("unknown kind of entry");
  }
  if (out.kind == EntryKind::kMembership) TRY(consensus::decode_membership(out.data));
  return out;
}

Result<Body> take(v1::Append& in, Epoch term) {
  if (!is_position(in.prev_index(), in.prev_term())) return senseless("no place in a log");
  if (in.prev_term() > term.value) return senseless("epoch out of order");
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  Append out{position(in.prev_index(), in.prev_term()), LogIndex{in.commit()}, {}};
  out.entries.reserve(static_cast<std::size_t>(in.entries_size()));
  Position last = out.prev;
  for (v1::Entry& entry : *in.mutable_entries()) {
    out.entries.push_back(TRY(take_entry(entry, last.index.next(), last.epoch, term)));
    last = {out.entries.back().index, out.entries.back().epoch};
  }
  return out;
}

Result<Body> take(const v1::AppendAck& in, Epoch) {
  if (in.match() > kMaxOnWire) return senseless("index out of range");
  return AppendAck{LogIndex{in.match()}};
}

Result<Body> take(const v1::AppendReject& in, Epoch) {
  if (in.prev_index() == 0) return senseless("the beginning cannot be rejected");
  if (in.prev_index() > kMaxOnWire) return senseless("index out of range");
  if (!is_position(in.hint_index(), in.hint_term())) return senseless("no place in a log");
  if (in.hint_index() >= in.prev_index()) return senseless("a hint not before what it is about");
  return AppendReject{LogIndex{in.prev_index()}, position(in.hint_index(), in.hint_term())};
}

Result<Body> take(const v1::Heartbeat& in, Epoch) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  return Heartbeat{in.round(), LogIndex{in.commit()}};
}

Result<Body> take(const v1::HeartbeatReply& in, Epoch) { return HeartbeatReply{in.round()}; }

Result<Body> take(const v1::CommitNotice& in, Epoch) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  return CommitNotice{LogIndex{in.commit()}};
}

Result<Body> take(v1::SnapshotChunk& in, Epoch term) {
  if (in.index() == 0) return senseless("a snapshot of nothing");
  if (!is_position(in.index(), in.index_term())) return senseless("no place in a log");
  if (in.index_term() > term.value) return senseless("epoch out of order");
  if (in.offset() > kMaxOnWire) return senseless("offset out of range");
  if (in.data().empty() && !in.last()) return senseless("an empty chunk in the middle");
  SnapshotChunk out;
  out.meta = {LogIndex{in.index()}, Epoch{in.index_term()},
              TRY(consensus::decode_membership(in.membership()))};
  out.offset = in.offset();
  out.data = std::move(*in.mutable_data());
  out.last = in.last();
  return out;
}

Result<Body> take(const v1::SnapshotProgress& in, Epoch) {
  if (in.index() == 0 || in.index() > kMaxOnWire) return senseless("index out of range");
  if (in.next_offset() > kMaxOnWire) return senseless("offset out of range");
  return SnapshotProgress{LogIndex{in.index()}, in.next_offset(), in.refused()};
}

Result<Body> take(const v1::ReadReply& in, Epoch) {
  if (in.index() > kMaxOnWire) return senseless("index out of range");
  if (!in.confirmed() && in.index() != 0) return senseless("an index that nobody confirmed");
  ReadReply out{in.batch(), std::nullopt};
  if (in.confirmed()) out.index = LogIndex{in.index()};
  return out;
}

Result<Body> take_body(v1::Message& in, Epoch term) {
  switch (in.body_case()) {
    case v1::Message::kPreVote:
      return take(in.pre_vote(), term);
    case v1::Message::kPreVoteReply:
      return take(in.pre_vote_reply(), term);
    case v1::Message::kRequestVote:
      return take(in.request_vote(), term);
    case v1::Message::kVoteReply:
      return take(in.vote_reply(), term);
    case v1::Message::kAppend:
      return take(*in.mutable_append(), term);
    case v1::Message::kAppendAck:
      return take(in.append_ack(), term);
    case v1::Message::kAppendReject:
      return take(in.append_reject(), term);
    case v1::Message::kHeartbeat:
      return take(in.heartbeat(), term);
    case v1::Message::kHeartbeatReply:
      return take(in.heartbeat_reply(), term);
    case v1::Message::kCommitNotice:
      return take(in.commit_notice(), term);
    case v1::Message::kSnapshotChunk:
      return take(*in.mutable_snapshot_chunk(), term);
    case v1::Message::kSnapshotProgress:
      return take(in.snapshot_progress(), term);
    case v1::Message::kTimeoutNow:
      return TimeoutNow{};
    case v1::Message::kReadRequest:
      return ReadRequest{in.read_request().batch()};
    case v1::Message::kReadReply:
      return take(in.read_reply(), term);
    case v1::Message::BODY_NOT_SET:
      return senseless("no body");
  }
  return senseless("no body");
}

// --- the append, straight from the log -----------------------------------------------------------

// A varint field as proto3 writes it: zero is left out.
std::size_t varint_field_size(std::uint64_t value) {
  return value == 0 ? 0 : 1 + CodedOutputStream::VarintSize64(value);
}

void write_varint_field(CodedOutputStream& out, int field, std::uint64_t value) {
  if (value != 0) WireFormatLite::WriteUInt64(field, value, &out);
}

// A length-delimited field of `size` bytes, tag and length included. Every field number here is
// below 16.
std::size_t delimited_size(std::size_t size) {
  return 1 + CodedOutputStream::VarintSize64(size) + size;
}

void open_delimited(CodedOutputStream& out, int field, std::size_t size) {
  out.WriteTag(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  out.WriteVarint64(size);
}

std::size_t entry_size(const Entry& entry) {
  return varint_field_size(entry.epoch.value) +
         varint_field_size(static_cast<std::uint64_t>(entry.kind)) +
         (entry.data.empty() ? 0 : delimited_size(entry.data.size()));
}

void write_entry(CodedOutputStream& out, const Entry& entry) {
  open_delimited(out, v1::Append::kEntriesFieldNumber, entry_size(entry));
  write_varint_field(out, v1::Entry::kTermFieldNumber, entry.epoch.value);
  write_varint_field(out, v1::Entry::kKindFieldNumber, static_cast<std::uint64_t>(entry.kind));
  if (entry.data.empty()) return;
  open_delimited(out, v1::Entry::kDataFieldNumber, entry.data.size());
  out.WriteRaw(entry.data.data(), static_cast<int>(entry.data.size()));
}

}  // namespace

Bytes encode(const Message& message) {
  v1::Message out;
  out.set_format(kFormat);
  out.set_term(message.term.value);
  std::visit([&out](const auto& body) { put(out, body); }, message.body);
  return out.SerializeAsString();
}

Bytes encode_append(Epoch term, Position prev, LogIndex commit, const Log& log, LogIndex last) {
  std::size_t body_size = varint_field_size(prev.index.value) +
                          varint_field_size(prev.epoch.value) + varint_field_size(commit.value);
  for (LogIndex i = prev.index.next(); i <= last; i = i.next()) {
    body_size += delimited_size(entry_size(log.at(i)));
  }
  const std::size_t size =
      varint_field_size(kFormat) + varint_field_size(term.value) + delimited_size(body_size);

  Bytes bytes;
  bytes.reserve(size);
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    CodedOutputStream out(&stream);
    write_varint_field(out, v1::Message::kFormatFieldNumber, kFormat);
    write_varint_field(out, v1::Message::kTermFieldNumber, term.value);
    open_delimited(out, v1::Message::kAppendFieldNumber, body_size);
    write_varint_field(out, v1::Append::kPrevIndexFieldNumber, prev.index.value);
    write_varint_field(out, v1::Append::kPrevTermFieldNumber, prev.epoch.value);
    write_varint_field(out, v1::Append::kCommitFieldNumber, commit.value);
    for (LogIndex i = prev.index.next(); i <= last; i = i.next()) write_entry(out, log.at(i));
  }
  CHECK(bytes.size() == size);
  return bytes;
}

Result<Message> decode(BytesView bytes) {
  v1::Message in;
  if (bytes.size() > INT32_MAX ||
      !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return senseless("not a message");
  }
  if (in.format() != kFormat) return senseless("unknown format");
  if (in.term() > kMaxOnWire) return senseless("term out of range");
  const Epoch term{in.term()};
  Body body = TRY(take_body(in, term));
  // Everybody starts in term 0; all that can be said there is whether somebody may campaign.
  const bool about_pre_vote =
      std::holds_alternative<PreVote>(body) || std::holds_alternative<PreVoteReply>(body);
  if (!term && !about_pre_vote) return senseless("term 0");
  return Message{term, std::move(body)};
}

Bytes encode(const HardState& state) {
  v1::HardState out;
  out.set_format(kFormat);
  out.set_term(state.term.value);
  out.set_vote(state.vote.value);
  out.set_commit(state.commit.value);
  return out.SerializeAsString();
}

Result<HardState> decode_hard_state(BytesView bytes) {
  v1::HardState in;
  if (bytes.size() > INT32_MAX ||
      !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(ErrorCode::kCorrupt, "raft hard state: not a message");
  }
  if (in.format() != kFormat) return fail(ErrorCode::kCorrupt, "raft hard state: unknown format");
  return HardState{Epoch{in.term()}, NodeId{in.vote()}, LogIndex{in.commit()}};
}

}  // namespace conclave::raft
