#include "store/snapshot_format.h"

#include "store/command_codec.h"

namespace conclave::store {

namespace {

// The lowest that can say it all, for the sake of older builds.
std::uint8_t version_of(const SnapshotHead& head) {
  if (head.has_quotas || !head.facts.zookeeper.empty()) return kSnapshotQuotasVersion;
  if (head.has_current) return kSnapshotCurrentVersion;
  if (head.has_lease_users) return kSnapshotLeaseUsersVersion;
  if (!head.auth.is_blank()) return kSnapshotAuthVersion;
  if (head.leases > 0 || head.compacted > 0) return kSnapshotLeasesVersion;
  if (has_witness(head.facts.members)) return kSnapshotWitnessVersion;
  const bool has_founding = head.facts.founded || !head.facts.directories.empty();
  return has_founding ? kSnapshotMembersVersion : kSnapshotVersion;
}

}  // namespace

void encode(Encoder& out, const SnapshotHead& head) {
  const ClusterFacts& facts = head.facts;
  const std::uint8_t version = version_of(head);
  out.u8(version);
  out.varint(head.index.value);
  out.varint(head.epoch.value);
  out.varint(head.stamp.ms);
  out.number(head.revision);
  out.number(head.compacted);
  out.fixed64(head.hash);
  out.varint(head.request_id_uses);
  encode(out, facts.members);
  out.varint(facts.alarms.size());
  for (const auto& [member, alarm] : facts.alarms) {
    out.fixed64(member.value);
    out.u8(static_cast<std::uint8_t>(alarm));
  }
  if (version >= kSnapshotMembersVersion) encode_founding(out, facts);
  if (version >= kSnapshotLeasesVersion) out.varint(head.leases);
  const bool has_auth = version >= kSnapshotAuthVersion && !head.auth.is_blank();
  if (version >= kSnapshotCurrentVersion) out.u8(has_auth ? 1 : 0);
  if (has_auth) head.auth.encode(out);
  if (version >= kSnapshotQuotasVersion) encode_zookeeper(out, facts);
}

SnapshotHead decode_head(Decoder& in) {
  SnapshotHead head;
  const std::uint8_t version = in.u8();
  if (version < kSnapshotVersion || version > kSnapshotQuotasVersion) in.fail();
  head.index = LogIndex{in.varint()};
  head.epoch = Epoch{in.varint()};
  head.stamp = Stamp{in.varint()};
  head.revision = in.number();
  head.compacted = in.number();
  head.hash = in.fixed64();
  head.request_id_uses = in.varint();
  head.facts.members = decode_members(in);
  const std::size_t alarms = in.count();
  for (std::size_t i = 0; i < alarms && in.ok(); ++i) {
    const NodeId member{in.fixed64()};
    const auto alarm = in.enumerator(Alarm::kCorrupt);
    head.facts.alarms.emplace(member, alarm);
  }
  if (version >= kSnapshotMembersVersion) decode_founding(in, head.facts);
  if (version >= kSnapshotLeasesVersion) head.leases = in.varint();
  bool has_auth = version >= kSnapshotAuthVersion;
  if (version >= kSnapshotCurrentVersion) has_auth = in.flags(1) != 0;
  if (has_auth) head.auth = Auth::decode(in);
  if (version >= kSnapshotQuotasVersion) decode_zookeeper(in, head.facts);
  head.has_lease_users = version >= kSnapshotLeaseUsersVersion;
  head.has_current = version >= kSnapshotCurrentVersion;
  head.has_quotas = version >= kSnapshotQuotasVersion;
  const bool may_have_witness = version >= kSnapshotWitnessVersion;
  const bool must_have_witness = version == kSnapshotWitnessVersion;
  const bool has = has_witness(head.facts.members);
  if ((has && !may_have_witness) || (!has && must_have_witness)) in.fail();
  return head;
}

void encode(Encoder& out, const Bytes& client_name, const RequestIds::Client& client) {
  out.bytes(client_name);
  out.varint(client.last_use);
  out.u8(client.forgotten ? 1 : 0);
  if (client.forgotten) out.varint(*client.forgotten);
}

std::pair<Bytes, RequestIds::Client> decode_client(Decoder& in) {
  Bytes name(in.bytes());
  RequestIds::Client client;
  client.last_use = in.varint();
  if (in.flags(1) != 0) client.forgotten = in.varint();
  return {std::move(name), std::move(client)};
}

void encode(Encoder& out, const RequestIds::Answer& answer) {
  out.varint(answer.sequence);
  out.u8(answer.response ? 1 : 0);
  if (answer.response) out.bytes(*answer.response);
}

RequestIds::Answer decode_answer(Decoder& in) {
  RequestIds::Answer answer;
  answer.sequence = in.varint();
  if (in.flags(1) != 0) answer.response = Bytes(in.bytes());
  return answer;
}

void encode(Encoder& out, const LeaseTerm& lease) {
  out.number(lease.id);
  out.number(lease.ttl_s);
  out.varint(lease.deadline.ms);
  if (!lease.user.empty()) out.bytes(lease.user);
}

LeaseTerm decode_lease(Decoder& in) {
  LeaseTerm lease;
  lease.id = in.number();
  lease.ttl_s = in.number();
  lease.deadline = Stamp{in.varint()};
  if (!in.finished()) lease.user = Bytes(in.bytes());
  return lease;
}

void encode(Encoder& out, const Record& record) {
  out.u8(record.tombstone ? 1 : 0);
  out.u8(static_cast<std::uint8_t>(record.keyspace));
  out.number(record.mod);
  out.varint(record.sub);
  out.number(record.create);
  out.number(record.version);
  out.number(record.lease);
  out.bytes(record.key());
  out.bytes(record.value());
}

RecordView decode_record(Decoder& in) {
  RecordView view;
  view.head.tombstone = in.flags(1) != 0;
  view.head.keyspace = in.enumerator(kLastKeyspace);
  view.head.mod = in.number();
  const std::uint64_t sub = in.varint();
  if (sub > UINT32_MAX) in.fail();
  view.head.sub = static_cast<std::uint32_t>(sub);
  view.head.create = in.number();
  view.head.version = in.number();
  view.head.lease = in.number();
  view.key = in.bytes();
  view.value = in.bytes();
  return view;
}

void encode(Encoder& out, const SnapshotEnd& end) {
  out.fixed64(end.dead_sum);
  out.varint(end.clients);
  out.varint(end.bases);
  out.varint(end.changes);
}

SnapshotEnd decode_end(Decoder& in) {
  SnapshotEnd end;
  end.dead_sum = in.fixed64();
  end.clients = in.varint();
  end.bases = in.varint();
  end.changes = in.varint();
  return end;
}

}  // namespace conclave::store
