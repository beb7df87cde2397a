#include "paxos/codec.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "base/check.h"
#include "consensus/membership.h"
#include "paxos.pb.h"

namespace conclave::paxos {

namespace {

namespace v1 = conclave::paxos::v1;
using consensus::Entry;
using consensus::EntryKind;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr std::uint32_t kFormat = 1;

// --- encode --------------------------------------------------------------------------------------

// Mostly a value is accepted in the ballot in which it was first proposed: that is written as 0.
std::uint64_t origin_on_wire(Epoch origin, Epoch ballot) {
  return origin == ballot ? 0 : origin.value;
}

void put(v1::Pvalue& to, const Pvalue& from) {
  to.set_index(from.value.index.value);
  to.set_ballot(from.ballot.value);
  to.set_origin(origin_on_wire(from.value.epoch, from.ballot));
  to.set_kind(static_cast<std::uint32_t>(from.value.kind));
  to.set_data(from.value.data);
}

void put(v1::Range& to, const Range& from) {
  to.set_first(from.first.value);
  to.set_last(from.last.value);
}

void put(v1::Message& to, Epoch, const PrePrepare& from) {
  auto& body = *to.mutable_pre_prepare();
  body.set_question(from.question);
  body.set_commit(from.commit.value);
}

void put(v1::Message& to, Epoch, const PrePrepareReply& from) {
  auto& body = *to.mutable_pre_prepare_reply();
  body.set_question(from.question);
  body.set_granted(from.granted);
}

void put(v1::Message& to, Epoch, const Prepare& from) {
  auto& body = *to.mutable_prepare();
  body.set_from(from.from.value);
  body.set_handover(from.handover);
}

void put(v1::Message& to, Epoch, const Promise& from) {
  auto& body = *to.mutable_promise();
  body.set_from(from.from.value);
  body.set_next(from.next.value);
  body.set_commit(from.commit.value);
  for (const Pvalue& pvalue : from.accepted) put(*body.add_accepted(), pvalue);
}

void put(v1::Message& to, Epoch, const Refuse& from) {
  to.mutable_refuse()->set_behind(from.behind);
}

void put(v1::Message& to, Epoch ballot, const Accept& from) {
  auto& body = *to.mutable_accept();
  body.set_commit(from.commit.value);
  for (const Entry& value : from.values) {
    auto& out = *body.add_values();
    out.set_index(value.index.value);
    out.set_origin(origin_on_wire(value.epoch, ballot));
    out.set_kind(static_cast<std::uint32_t>(value.kind));
    out.set_data(value.data);
  }
}

void put(v1::Message& to, Epoch, const Accepted& from) {
  auto& body = *to.mutable_accepted();
  body.set_commit(from.commit.value);
  for (const Range& range : from.slots) put(*body.add_slots(), range);
}

void put(v1::Message& to, Epoch, const Heartbeat& from) {
  auto& body = *to.mutable_heartbeat();
  body.set_round(from.round);
  body.set_commit(from.commit.value);
  body.set_ask(from.ask);
}

void put(v1::Message& to, Epoch, const HeartbeatReply& from) {
  to.mutable_heartbeat_reply()->set_round(from.round);
}

void put(v1::Message& to, Epoch, const CommitNotice& from) {
  to.mutable_commit_notice()->set_commit(from.commit.value);
}

void put(v1::Message& to, Epoch, const CatchUp& from) {
  auto& body = *to.mutable_catch_up();
  for (const Range& range : from.missing) put(*body.add_missing(), range);
}

void put(v1::Message& to, Epoch, const Learn& from) {
  auto& body = *to.mutable_learn();
  for (const Pvalue& pvalue : from.chosen) put(*body.add_chosen(), pvalue);
}

void put(v1::Message& to, Epoch, const SnapshotChunk& from) {
  auto& body = *to.mutable_snapshot_chunk();
  body.set_index(from.meta.index.value);
  body.set_index_epoch(from.meta.epoch.value);
  body.set_membership(consensus::encode(from.meta.membership));
  body.set_offset(from.offset);
  body.set_data(from.data);
  body.set_last(from.last);
}

void put(v1::Message& to, Epoch, const SnapshotProgress& from) {
  auto& body = *to.mutable_snapshot_progress();
  body.set_index(from.index.value);
  body.set_next_offset(from.next_offset);
  body.set_refused(from.refused);
}

void put(v1::Message& to, Epoch, const TimeoutNow&) { to.mutable_timeout_now(); }

void put(v1::Message& to, Epoch, const ReadRequest& from) {
  to.mutable_read_request()->set_batch(from.batch);
}

void put(v1::Message& to, Epoch, const ReadReply& from) {
  auto& body = *to.mutable_read_reply();
  body.set_batch(from.batch);
  body.set_confirmed(from.index.has_value());
  if (from.index) body.set_index(from.index->value);
}

// --- decode --------------------------------------------------------------------------------------

Failure senseless(const char* what) {
  return fail(ErrorCode::kCorrupt, std::string("paxos message: ") + what);
}

bool is_ballot(std::uint64_t ballot) { return ballot != 0 && ballot <= kMaxOnWire; }
bool is_slot(std::uint64_t index) { return index != 0 && index <= kMaxOnWire; }

// A Value or Pvalue: what they have in common. REQUIRES: `in` is not used afterwards: its bytes
// move into the entry.
template <class Wire>
Result<Entry> take_value(Wire& in, Epoch ballot, LogIndex after) {
  if (!is_slot(in.index()) || in.index() <= after.value) return senseless("slots out of order");
  const Epoch origin{in.origin() == 0 ? ballot.value : in.origin()};
  if (!is_ballot(origin.value) || origin > ballot) return senseless("accepted before proposed");
  if (in.origin() == ballot.value) return senseless("not canonical");
  if (in.kind() > static_cast<std::uint32_t>(EntryKind::kWitnessed)) {
    return senseless("unknown kind of entry");
  }
  Entry out{LogIndex{in.index()}, origin, static_cast<EntryKind>(in.kind()),
            std::move(*in.mutable_data())};
  if (out.kind != EntryKind::kMembership) return out;
  const consensus::Membership membership = TRY(consensus::decode_membership(out.data));
  if (membership.is_changing()) return senseless("a membership that changes by itself");
  return out;
}

template <class Repeated>
Result<std::vector<Pvalue>> take_pvalues(Repeated& in, Epoch at_most) {
  std::vector<Pvalue> out;
  out.reserve(static_cast<std::size_t>(in.size()));
  LogIndex last;
  for (v1::Pvalue& pvalue : in) {
    const Epoch ballot{pvalue.ballot()};
    if (!ballot || ballot > at_most) return senseless("accepted in a ballot to come");
    out.push_back({ballot, TRY(take_value(pvalue, ballot, last))});
    last = out.back().value.index;
  }
  return out;
}

template <class Repeated>
Result<std::vector<Range>> take_ranges(const Repeated& in) {
  std::vector<Range> out;
  out.reserve(static_cast<std::size_t>(in.size()));
  std::uint64_t last = 0;
  for (const v1::Range& range : in) {
    const bool in_order = range.first() > last && range.last() >= range.first();
    if (!in_order || !is_slot(range.last())) return senseless("slots out of order");
    out.push_back({LogIndex{range.first()}, LogIndex{range.last()}});
    last = range.last();
  }
  return out;
}

Result<Body> take(const v1::PrePrepare& in, Epoch) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  return PrePrepare{in.question(), LogIndex{in.commit()}};
}

Result<Body> take(const v1::PrePrepareReply& in, Epoch) {
  return PrePrepareReply{in.question(), in.granted()};
}

Result<Body> take(const v1::Prepare& in, Epoch) {
  if (!is_slot(in.from())) return senseless("index out of range");
  return Prepare{LogIndex{in.from()}, in.handover()};
}

Result<Body> take(v1::Promise& in, Epoch ballot) {
  if (!is_slot(in.from())) return senseless("index out of range");
  if (in.next() != 0 && (in.next() <= in.from() || in.next() > kMaxOnWire)) {
    return senseless("an answer that does not go on");
  }
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  Promise out{LogIndex{in.from()}, LogIndex{in.next()}, LogIndex{in.commit()},
              TRY(take_pvalues(*in.mutable_accepted(), ballot))};
  if (out.accepted.empty()) return out;
  const bool before = out.accepted.front().value.index < out.from;
  const bool after = out.next && out.accepted.back().value.index >= out.next;
  if (before || after) return senseless("slots that were not asked for");
  return out;
}

Result<Body> take(const v1::Refuse& in, Epoch) { return Refuse{in.behind()}; }

Result<Body> take(v1::Accept& in, Epoch ballot) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  Accept out{LogIndex{in.commit()}, {}};
  out.values.reserve(static_cast<std::size_t>(in.values_size()));
  LogIndex last;
  for (v1::Value& value : *in.mutable_values()) {
    out.values.push_back(TRY(take_value(value, ballot, last)));
    last = out.values.back().index;
  }
  return out;
}

Result<Body> take(const v1::Accepted& in, Epoch) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  return Accepted{LogIndex{in.commit()}, TRY(take_ranges(in.slots()))};
}

Result<Body> take(const v1::Heartbeat& in, Epoch) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  return Heartbeat{in.round(), LogIndex{in.commit()}, in.ask()};
}

Result<Body> take(const v1::HeartbeatReply& in, Epoch) { return HeartbeatReply{in.round()}; }

Result<Body> take(const v1::CommitNotice& in, Epoch) {
  if (in.commit() > kMaxOnWire) return senseless("commit out of range");
  return CommitNotice{LogIndex{in.commit()}};
}

Result<Body> take(const v1::CatchUp& in, Epoch) {
  CatchUp out{TRY(take_ranges(in.missing()))};
  if (out.missing.empty()) return senseless("nothing is missing");
  return out;
}

Result<Body> take(v1::Learn& in, Epoch ballot) {
  return Learn{TRY(take_pvalues(*in.mutable_chosen(), ballot))};
}

Result<Body> take(v1::SnapshotChunk& in, Epoch ballot) {
  if (!is_slot(in.index())) return senseless("a snapshot of nothing");
  if (!is_ballot(in.index_epoch()) || in.index_epoch() > ballot.value) {
    return senseless("epoch out of order");
  }
  if (in.offset() > kMaxOnWire) return senseless("offset out of range");
  if (in.data().empty() && !in.last()) return senseless("an empty chunk in the middle");
  SnapshotChunk out;
  out.meta = {LogIndex{in.index()}, Epoch{in.index_epoch()},
              TRY(consensus::decode_membership(in.membership()))};
  const auto& successor = out.meta.membership.successor;
  if (out.meta.membership.is_joint()) return senseless("a joint membership");
  if (successor && (successor->from <= out.meta.index || successor->from.value > kMaxOnWire)) {
    return senseless("a successor that is in force already");
  }
  out.offset = in.offset();
  out.data = std::move(*in.mutable_data());
  out.last = in.last();
  return out;
}

Result<Body> take(const v1::SnapshotProgress& in, Epoch) {
  if (!is_slot(in.index())) return senseless("index out of range");
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

Result<Body> take_body(v1::Message& in, Epoch ballot) {
  switch (in.body_case()) {
    case v1::Message::kPrePrepare:
      return take(in.pre_prepare(), ballot);
    case v1::Message::kPrePrepareReply:
      return take(in.pre_prepare_reply(), ballot);
    case v1::Message::kPrepare:
      return take(in.prepare(), ballot);
    case v1::Message::kPromise:
      return take(*in.mutable_promise(), ballot);
    case v1::Message::kRefuse:
      return take(in.refuse(), ballot);
    case v1::Message::kAccept:
      return take(*in.mutable_accept(), ballot);
    case v1::Message::kAccepted:
      return take(in.accepted(), ballot);
    case v1::Message::kHeartbeat:
      return take(in.heartbeat(), ballot);
    case v1::Message::kHeartbeatReply:
      return take(in.heartbeat_reply(), ballot);
    case v1::Message::kCommitNotice:
      return take(in.commit_notice(), ballot);
    case v1::Message::kCatchUp:
      return take(in.catch_up(), ballot);
    case v1::Message::kLearn:
      return take(*in.mutable_learn(), ballot);
    case v1::Message::kSnapshotChunk:
      return take(*in.mutable_snapshot_chunk(), ballot);
    case v1::Message::kSnapshotProgress:
      return take(in.snapshot_progress(), ballot);
    case v1::Message::kTimeoutNow:
      return TimeoutNow{};
    case v1::Message::kReadRequest:
      return ReadRequest{in.read_request().batch()};
    case v1::Message::kReadReply:
      return take(in.read_reply(), ballot);
    case v1::Message::BODY_NOT_SET:
      return senseless("no body");
  }
  return senseless("no body");
}

// --- the accept, straight from the log -----------------------------------------------------------

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

std::size_t value_size(const Entry& value, Epoch ballot) {
  return varint_field_size(value.index.value) +
         varint_field_size(origin_on_wire(value.epoch, ballot)) +
         varint_field_size(static_cast<std::uint64_t>(value.kind)) +
         (value.data.empty() ? 0 : delimited_size(value.data.size()));
}

void write_value(CodedOutputStream& out, const Entry& value, Epoch ballot) {
  open_delimited(out, v1::Accept::kValuesFieldNumber, value_size(value, ballot));
  write_varint_field(out, v1::Value::kIndexFieldNumber, value.index.value);
  write_varint_field(out, v1::Value::kOriginFieldNumber, origin_on_wire(value.epoch, ballot));
  write_varint_field(out, v1::Value::kKindFieldNumber, static_cast<std::uint64_t>(value.kind));
  if (value.data.empty()) return;
  open_delimited(out, v1::Value::kDataFieldNumber, value.data.size());
  out.WriteRaw(value.data.data(), static_cast<int>(value.data.size()));
}

// --- records -------------------------------------------------------------------------------------

// The last byte of a record's data. Stored: values never change meaning.
constexpr char kProposedInThisBallot = 0;
constexpr char kProposedEarlier = 1;  // the eight bytes before it say when, little-endian
constexpr std::size_t kOriginBytes = 8;

Failure bad_record(const char* what) {
  return fail(ErrorCode::kCorrupt, std::string("paxos record: ") + what);
}

}  // namespace

Bytes encode(const Message& message) {
  v1::Message out;
  out.set_format(kFormat);
  out.set_ballot(message.ballot.value);
  std::visit([&](const auto& body) { put(out, message.ballot, body); }, message.body);
  return out.SerializeAsString();
}

Bytes encode_accept(Epoch ballot, LogIndex commit, const Log& log,
                    const std::vector<LogIndex>& slots) {
  std::size_t body_size = varint_field_size(commit.value);
  for (const LogIndex slot : slots) {
    body_size += delimited_size(value_size(log.at(slot).value, ballot));
  }
  const std::size_t size =
      varint_field_size(kFormat) + varint_field_size(ballot.value) + delimited_size(body_size);

  Bytes bytes;
  bytes.reserve(size);
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    CodedOutputStream out(&stream);
    write_varint_field(out, v1::Message::kFormatFieldNumber, kFormat);
    write_varint_field(out, v1::Message::kBallotFieldNumber, ballot.value);
    open_delimited(out, v1::Message::kAcceptFieldNumber, body_size);
    write_varint_field(out, v1::Accept::kCommitFieldNumber, commit.value);
    for (const LogIndex slot : slots) write_value(out, log.at(slot).value, ballot);
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
  if (in.ballot() > kMaxOnWire) return senseless("ballot out of range");
  const Epoch ballot{in.ballot()};
  Body body = TRY(take_body(in, ballot));
  // Everybody starts without a promise; all that can be said then is whether somebody may prepare.
  const bool about_pre_prepare =
      std::holds_alternative<PrePrepare>(body) || std::holds_alternative<PrePrepareReply>(body);
  if (!ballot && !about_pre_prepare) return senseless("ballot 0");
  return Message{ballot, std::move(body)};
}

Entry encode_record(const Slot& slot) {
  Entry record{slot.value.index, slot.ballot, slot.value.kind, {}};
  const bool is_own = slot.value.epoch == slot.ballot;
  record.data.reserve(slot.value.data.size() + (is_own ? 1 : 1 + kOriginBytes));
  record.data += slot.value.data;
  if (!is_own) {
    for (std::size_t i = 0; i < kOriginBytes; ++i) {
      record.data.push_back(static_cast<char>((slot.value.epoch.value >> (8 * i)) & 0xff));
    }
  }
  record.data.push_back(is_own ? kProposedInThisBallot : kProposedEarlier);
  return record;
}

Result<Pvalue> decode_record(Entry record) {
  if (!record.index || !record.epoch || record.data.empty())
    return bad_record("no place or no end");
  const char end = record.data.back();
  record.data.pop_back();
  Pvalue out{record.epoch, std::move(record)};
  if (end == kProposedInThisBallot) return out;
  Bytes& data = out.value.data;
  if (end != kProposedEarlier || data.size() < kOriginBytes) return bad_record("unknown end");
  std::uint64_t origin = 0;
  for (std::size_t i = 0; i < kOriginBytes; ++i) {
    const char byte = data[data.size() - kOriginBytes + i];
    origin |= std::uint64_t{static_cast<std::uint8_t>(byte)} << (8 * i);
  }
  if (origin == 0 || origin >= out.ballot.value) return bad_record("accepted before proposed");
  data.resize(data.size() - kOriginBytes);
  out.value.epoch = Epoch{origin};
  return out;
}

Bytes encode(const HardState& state) {
  v1::HardState out;
  out.set_format(kFormat);
  out.set_promised(state.promised.value);
  out.set_owner(state.owner.value);
  out.set_commit(state.commit.value);
  return out.SerializeAsString();
}

Result<HardState> decode_hard_state(BytesView bytes) {
  v1::HardState in;
  if (bytes.size() > INT32_MAX ||
      !in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(ErrorCode::kCorrupt, "paxos hard state: not a message");
  }
  if (in.format() != kFormat) return fail(ErrorCode::kCorrupt, "paxos hard state: unknown format");
  return HardState{Epoch{in.promised()}, NodeId{in.owner()}, LogIndex{in.commit()}};
}

}  // namespace conclave::paxos
