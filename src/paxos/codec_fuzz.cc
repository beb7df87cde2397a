// Bytes from the network: nothing may crash the decoder or the engine. The input is cut into
// messages, each with a byte for its sender in front, which a follower, a candidate and a leader,
// that the same bytes may depose, take in turn.

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "paxos/ballot.h"
#include "paxos/codec.h"
#include "paxos/invariants.h"
#include "paxos/paxos.h"

namespace {

using namespace conclave;
using paxos::Paxos;

consensus::Saved saved() {
  return {
      std::nullopt,
      {LogIndex{}, Epoch{}, consensus::Membership::of_majority({NodeId{1}, NodeId{2}, NodeId{3}})},
      {}};
}

consensus::EngineConfig config() {
  consensus::EngineConfig config;
  config.self = NodeId{1};
  return config;
}

void say(Paxos& engine, paxos::Message message) {
  (void)engine.step({GroupId{}, NodeId{2}, NodeId{1}, paxos::encode(message)});
}

void finish_turn(Paxos& engine) {
  paxos::check_state(engine.state());
  consensus::Output out = engine.take_output();
  if (out.ticket) engine.persisted(out.ticket);
  for (const auto& wanted : out.snapshot_reads) engine.snapshot_unavailable(wanted);
  for (const auto& write : out.snapshot_writes) {
    engine.snapshot_stored(write.meta.index, write.offset + write.data.size(), true);
  }
  paxos::check_state(engine.state());
}

Paxos candidate() {
  Paxos engine(config(), saved(), 1, 4);
  for (std::uint64_t question = engine.state().next_batch; !engine.state().candidate();) {
    engine.tick();
    if (!engine.state().candidate()) continue;
    finish_turn(engine);
    say(engine, {Epoch{0}, paxos::PrePrepareReply{question, true}});
  }
  finish_turn(engine);
  CHECK(!engine.state().candidate()->pre);
  return engine;
}

Paxos leader() {
  Paxos engine = candidate();
  say(engine, {engine.epoch(), paxos::Promise{LogIndex{1}, {}, {}, {}}});
  finish_turn(engine);
  CHECK(engine.is_leader());
  (void)engine.propose("x");
  engine.read_barrier(ReadId{1});
  finish_turn(engine);
  return engine;
}

Paxos follower() {
  Paxos engine(config(), saved(), 1, 4);
  const Epoch ballot = paxos::make_ballot(1, NodeId{2});
  const auto value = [&](std::uint64_t slot) {
    return consensus::Entry{LogIndex{slot}, ballot, consensus::EntryKind::kCommand, "x"};
  };
  say(engine, {ballot, paxos::Accept{LogIndex{1}, {value(1), value(3)}}});
  finish_turn(engine);
  return engine;
}

void feed(Paxos engine, BytesView input) {
  while (input.size() > 2) {
    const NodeId sender{static_cast<std::uint8_t>(input[0]) % 5u};
    const std::size_t size =
        std::min<std::size_t>(static_cast<std::uint8_t>(input[1]), input.size() - 2);
    const Bytes message(input.substr(2, size));
    input.remove_prefix(2 + size);
    // What decodes has one meaning: encoded again and decoded, it is the same.
    if (const auto decoded = paxos::decode(message)) {
      CHECK(*paxos::decode(paxos::encode(*decoded)) == *decoded);
    }
    const paxos::Mark before = paxos::mark(engine.state());
    (void)engine.step({GroupId{}, sender, NodeId{1}, message});
    paxos::check_step(before, engine.state());
    finish_turn(engine);
    engine.tick();
  }
}

void decode_records(BytesView input) {
  const consensus::Entry record{LogIndex{1}, Epoch{9}, consensus::EntryKind::kCommand,
                                Bytes(input)};
  const auto pvalue = paxos::decode_record(record);
  if (!pvalue) return;
  const paxos::Slot slot{.ballot = pvalue->ballot, .value = pvalue->value, .settled = {}};
  CHECK(paxos::encode_record(slot) == record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView input(reinterpret_cast<const char*>(data), size);
  feed(follower(), input);
  feed(candidate(), input);
  feed(leader(), input);
  (void)paxos::decode_hard_state(input);
  decode_records(input);
  if (const auto membership = consensus::decode_membership(input)) {
    CHECK(consensus::encode(*membership) == input);
  }
  return 0;
}
