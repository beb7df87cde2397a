// Bytes from the network: nothing may crash the decoder or the engine. The input is cut into
// messages, each with a byte for its sender in front, which a follower, and a leader that the same
// bytes may depose, take in turn.

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "raft/codec.h"
#include "raft/invariants.h"
#include "raft/raft.h"

namespace {

using namespace conclave;
using raft::Raft;

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

void say(Raft& engine, raft::Message message) {
  (void)engine.step({GroupId{}, NodeId{2}, NodeId{1}, raft::encode(message)});
}

void finish_turn(Raft& engine) {
  raft::check_state(engine.state());
  consensus::Output out = engine.take_output();
  if (out.ticket) engine.persisted(out.ticket);
  for (const auto& wanted : out.snapshot_reads) engine.snapshot_unavailable(wanted);
  for (const auto& write : out.snapshot_writes) {
    engine.snapshot_stored(write.meta.index, write.offset + write.data.size(), true);
  }
  raft::check_state(engine.state());
}

Raft leader() {
  Raft engine(config(), saved(), 1);
  while (!engine.state().candidate()) engine.tick();
  finish_turn(engine);
  say(engine, {Epoch{0}, raft::PreVoteReply{Epoch{1}, true}});
  finish_turn(engine);
  say(engine, {Epoch{1}, raft::VoteReply{true}});
  finish_turn(engine);
  CHECK(engine.is_leader());
  (void)engine.propose("x");
  engine.read_barrier(ReadId{1});
  finish_turn(engine);
  return engine;
}

Raft follower() {
  Raft engine(config(), saved(), 1);
  const consensus::Entry entry{LogIndex{1}, Epoch{1}, consensus::EntryKind::kCommand, "x"};
  say(engine, {Epoch{1}, raft::Append{{}, LogIndex{1}, {entry}}});
  finish_turn(engine);
  return engine;
}

void feed(Raft engine, BytesView input) {
  while (input.size() > 2) {
    const NodeId sender{static_cast<std::uint8_t>(input[0]) % 5u};
    const std::size_t size =
        std::min<std::size_t>(static_cast<std::uint8_t>(input[1]), input.size() - 2);
    const Bytes message(input.substr(2, size));
    input.remove_prefix(2 + size);
    // What decodes has one meaning: encoded again and decoded, it is the same.
    if (const auto decoded = raft::decode(message)) {
      CHECK(*raft::decode(raft::encode(*decoded)) == *decoded);
    }
    const raft::Mark before = raft::mark(engine.state());
    (void)engine.step({GroupId{}, sender, NodeId{1}, message});
    raft::check_step(before, engine.state());
    finish_turn(engine);
    engine.tick();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView input(reinterpret_cast<const char*>(data), size);
  feed(follower(), input);
  feed(leader(), input);
  (void)raft::decode_hard_state(input);
  if (const auto membership = consensus::decode_membership(input)) {
    CHECK(consensus::encode(*membership) == input);
  }
  return 0;
}
