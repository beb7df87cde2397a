#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "node/group.h"
#include "raft/describe.h"
#include "raft/invariants.h"
#include "sim/engine_check.h"
#include "sim/finding.h"

namespace conclave::sim {
namespace {

// What is compared of an entry. A witness has the kind and not the data.
struct Content {
  consensus::EntryKind kind = consensus::EntryKind::kNoop;
  std::size_t hash = 0;
};

Content content_of(const consensus::Entry& entry) {
  return {consensus::full_kind(entry.kind), std::hash<std::string_view>{}(entry.data)};
}

bool is_witnessed(const consensus::Entry& entry) {
  return entry.kind == consensus::EntryKind::kWitnessed;
}

bool is_same(const Content& known, const consensus::Entry& entry) {
  const Content content = content_of(entry);
  return known.kind == content.kind && (is_witnessed(entry) || known.hash == content.hash);
}

// A witness has no data, and nobody else lacks any.
void check_data(const raft::State& state, const consensus::Entry& entry) {
  if (state.config.is_witness) CHECK(entry.kind != consensus::EntryKind::kCommand);
  if (!state.config.is_witness) CHECK(!is_witnessed(entry));
}

class RaftCheck final : public EngineCheck {
 public:
  RaftCheck(const Cluster& cluster, Trace& trace) : cluster_(cluster), trace_(trace) {}

  void look_at(std::size_t number) override;
  void on_message(std::size_t from, std::size_t to, BytesView message) override;
  std::size_t largest_promise() const override { return 128; }  // what carries entries is larger
  void forgive(std::size_t number) override;
  std::uint64_t committed() const override { return committed_.size(); }
  std::uint64_t elections() const override { return leaders_.size(); }

 private:
  using Position = consensus::Position;

  // What a member's disk has acknowledged.
  struct Durable {
    raft::HardState hard_state;
    Position last;
  };
  // What the others were told, of each kind the newest.
  struct Promises {
    Epoch vote_term;
    NodeId vote;
    Epoch ack_term;
    LogIndex ack;
  };
  // A log, as checked.
  struct Entries {
    LogIndex base;
    std::vector<Epoch> epochs;  // the first is of base + 1

    std::optional<Epoch> epoch_at(LogIndex index) const {
      if (index <= base || index.value - base.value > epochs.size()) return std::nullopt;
      return epochs[index.value - base.value - 1];
    }
    bool has(Position at) const { return at.index <= base || epoch_at(at.index) == at.epoch; }
  };
  struct Member {
    std::uint64_t run = 0;  // of which the rest is; 0: never seen
    NodeId id;              // whom the host is a member as
    raft::Mark mark;
    Epoch followed;  // the newest term in which it knew a leader
    NodeId leader;   // and whom
    Entries log;
    LogIndex committed;
    // These survive runs.
    std::optional<Durable> durable;
    Promises promises;
    bool forgiven = false;
    // What it had when its disk was damaged: it may have said so, and that may be on its way yet.
    std::vector<Entries> lost;
  };
  struct Known {
    Content content;
    Epoch previous;  // of the entry before
  };
  struct Committed {
    Epoch epoch;
    Content content;
    Epoch seen_in;  // the term of who first called it committed
  };

  Member& member(std::size_t number) {
    members_.resize(std::max(members_.size(), number + 1));
    return members_[number];
  }
  void begin_run(std::size_t number, const raft::State& state);
  void check_durability(std::size_t number, const raft::State& state) const;
  static bool replaces_log(const Member& member, consensus::Position base);
  void check_promises(std::size_t number, const raft::State& state) const;
  void check_quorum(const consensus::Membership& membership, Position committed) const;
  void check_log(Member& member, const raft::State& state);
  void check_commit(Member& member, const raft::State& state);
  void check_leader(std::size_t number, const raft::State& state);
  void check_followed(Member& member, const raft::State& state);
  void note_leader(Epoch term, NodeId leader);
  void note_durable(Member& member, const raft::State& state);

  const Cluster& cluster_;
  Trace& trace_;
  std::vector<Member> members_;
  std::map<Epoch, NodeId> leaders_;
  std::unordered_map<LogIndex, std::map<Epoch, Known>> entries_;
  std::vector<Committed> committed_;  // entry i at i - 1
};

void RaftCheck::look_at(std::size_t number) {
  const raft::State& state = cluster_.node(number).group().engine().raft()->state();
  Member& member = this->member(number);
  if (member.run != cluster_.run(number)) begin_run(number, state);
  const raft::Mark now = raft::mark(state);
  raft::check_step(member.mark, state);
  raft::check_state(state);
  if (state.term != member.mark.term) {
    trace_.note(Trace::Kind::kMember, Cluster::host(number), raft::describe(state));
  }
  const bool new_leader = state.leader() && (!member.mark.leads || member.mark.term != state.term);
  member.mark = now;
  check_log(member, state);
  note_durable(member, state);
  check_commit(member, state);
  if (new_leader) check_leader(number, state);
  check_followed(member, state);
}

void RaftCheck::forgive(std::size_t number) {
  Member& member = this->member(number);
  member.forgiven = true;
  Entries& lost = member.lost.emplace_back(member.log);
  const LogIndex durable = member.durable ? member.durable->last.index : LogIndex{};
  const std::uint64_t count = std::max(durable, lost.base).value - lost.base.value;
  if (count < lost.epochs.size()) lost.epochs.resize(count);
}

void RaftCheck::begin_run(std::size_t number, const raft::State& state) {
  Member& member = members_[number];
  if (member.id != state.self()) member = Member{};  // an earlier one's promises were its own
  if (!member.forgiven) {
    check_durability(number, state);
    check_promises(number, state);
  }
  Member fresh;
  fresh.run = cluster_.run(number);
  fresh.id = state.self();
  fresh.mark = raft::mark(state);
  fresh.log.base = state.log.base().index;
  fresh.promises = member.promises;
  fresh.forgiven = member.forgiven;
  fresh.lost = std::move(member.lost);
  member = std::move(fresh);
}

void RaftCheck::check_durability(std::size_t number, const raft::State& state) const {
  const std::optional<Durable>& durable = members_[number].durable;
  if (!durable) return;
  const raft::HardState& before = durable->hard_state;
  const bool lost_vote = state.term == before.term && before.vote && state.vote != before.vote;
  if (state.term < before.term || lost_vote) {
    found(
        "durability",
        fmt::format("{} had stored term {} and a vote for {}, and restarts in term {} with a vote "
                    "for {}",
                    Cluster::host(number), before.term.value, before.vote.value, state.term.value,
                    state.vote.value));
  }
  const consensus::Position base = state.log.base();
  const bool compacted = durable->last.index < base.index;
  if (!compacted && !replaces_log(members_[number], base) &&
      state.log.epoch_at(durable->last.index) != durable->last.epoch) {
    found("durability",
          fmt::format("{} had stored its log up to {} (term {}), and restarts with {} to {}",
                      Cluster::host(number), durable->last.index.value, durable->last.epoch.value,
                      state.log.first().value, state.log.last().value));
  }
}

// Whether a snapshot up to `base` contradicts the log as it was last seen: then no entry of it is
// kept (Raft paper, section 7), also if power went between the snapshot's write and the log's.
bool RaftCheck::replaces_log(const Member& member, consensus::Position base) {
  const std::optional<Epoch> known = member.log.epoch_at(base.index);
  return known && *known != base.epoch;
}

void RaftCheck::check_promises(std::size_t number, const raft::State& state) const {
  const Promises& promises = members_[number].promises;
  const bool forgot_vote =
      state.term < promises.vote_term ||
      (state.term == promises.vote_term && promises.vote && state.vote != promises.vote);
  if (forgot_vote) {
    found("promises",
          fmt::format("{} voted for {} in term {}, and restarts in term {} with a vote for {}",
                      Cluster::host(number), promises.vote.value, promises.vote_term.value,
                      state.term.value, state.vote.value));
  }
  const bool forgot_entries = state.term < promises.ack_term ||
                              (state.term == promises.ack_term && state.log.last() < promises.ack);
  if (forgot_entries) {
    found(
        "promises",
        fmt::format("{} acknowledged the log up to {} in term {}, and restarts in term {} with {}",
                    Cluster::host(number), promises.ack.value, promises.ack_term.value,
                    state.term.value, state.log.last().value));
  }
}

void RaftCheck::on_message(std::size_t from, std::size_t to, BytesView bytes) {
  const Result<raft::Message> message = raft::decode(bytes);
  if (!message) return;
  if (trace_.wants(Trace::Kind::kMessage)) {
    trace_.note(Trace::Kind::kMessage, Cluster::host(from),
                "to " + Cluster::host(to) + ": " + raft::describe(*message));
  }
  Promises& promises = member(from).promises;
  if (const auto* vote = std::get_if<raft::VoteReply>(&message->body)) {
    if (!vote->granted || message->term < promises.vote_term) return;
    promises.vote_term = message->term;
    promises.vote = member(to).id;
  } else if (const auto* ack = std::get_if<raft::AppendAck>(&message->body)) {
    if (message->term < promises.ack_term) return;
    promises.ack =
        message->term == promises.ack_term ? std::max(promises.ack, ack->match) : ack->match;
    promises.ack_term = message->term;
  }
}

// Compares what is new in the log with what anybody ever had at the same index and term.
void RaftCheck::check_log(Member& member, const raft::State& state) {
  const raft::Log& log = state.log;
  auto& [base, epochs] = member.log;
  if (log.base().index > base) {
    const std::uint64_t dropped = log.base().index.value - base.value;
    const std::size_t gone = std::min<std::size_t>(dropped, epochs.size());
    epochs.erase(epochs.begin(), epochs.begin() + static_cast<std::ptrdiff_t>(gone));
    base = log.base().index;
  }
  const std::size_t size = log.last().value - base.value;
  std::size_t same = std::min(size, epochs.size());
  while (same > 0 && epochs[same - 1] != log.epoch_at(base.plus(same))) --same;
  epochs.resize(same);
  for (std::size_t i = same; i < size; ++i) {
    const consensus::Entry& entry = log.at(base.plus(i + 1));
    check_data(state, entry);
    const Known known{content_of(entry), *log.epoch_at(base.plus(i))};
    const auto [first, is_new] = entries_[entry.index].emplace(entry.epoch, known);
    if (is_new && is_witnessed(entry)) {
      found("log matching", fmt::format("a witness has entry {} of term {}, and nobody had it",
                                        entry.index.value, entry.epoch.value));
    }
    if (!is_same(first->second.content, entry) || first->second.previous != known.previous) {
      found("log matching", fmt::format("two different entries at index {} of term {}",
                                        entry.index.value, entry.epoch.value));
    }
    epochs.push_back(entry.epoch);
  }
}

void RaftCheck::check_commit(Member& member, const raft::State& state) {
  if (state.commit == member.committed) return;
  CHECK(state.log.base().index <= std::max(member.committed, state.snapshot.index),
        "entries have left the memory before they were looked at");
  // What only a snapshot holds was committed by somebody who had the entries.
  if (state.log.base().index.value > committed_.size()) {
    found("state machine safety",
          fmt::format("a snapshot up to {}, but only {} entries were ever committed",
                      state.log.base().index.value, committed_.size()));
  }
  const Position base = state.log.base();
  if (base.index.value > 0 && committed_[base.index.value - 1].epoch != base.epoch) {
    found("state machine safety",
          fmt::format("a snapshot up to {} of term {}, which was committed with term {}",
                      base.index.value, base.epoch.value,
                      committed_[base.index.value - 1].epoch.value));
  }
  for (LogIndex i = std::max(member.committed, base.index).next(); i <= state.commit;
       i = i.next()) {
    const consensus::Entry& entry = state.log.at(i);
    const Committed now{entry.epoch, content_of(entry), state.term};
    if (i.value == committed_.size() + 1) {
      CHECK(!is_witnessed(entry), "a witness is the first to know that {} is committed", i.value);
      check_quorum(state.membership(), {entry.index, entry.epoch});
      committed_.push_back(now);
      continue;
    }
    const Committed& before = committed_[i.value - 1];
    if (before.epoch != now.epoch || !is_same(before.content, entry)) {
      found("state machine safety",
            fmt::format("entry {} was committed with term {}, and again, as another, with term {}",
                        i.value, before.epoch.value, now.epoch.value));
    }
  }
  member.committed = state.commit;
}

// The members as they were last seen, running or not.
void RaftCheck::check_quorum(const consensus::Membership& membership, Position committed) const {
  const bool on_disk = membership.reached([&](NodeId id) {
    const auto found = std::ranges::find(members_, id, &Member::id);
    if (found == members_.end()) return false;
    const auto has = [&](const Entries& entries) { return entries.has(committed); };
    const bool is_durable = found->durable && committed.index <= found->durable->last.index;
    return (is_durable && has(found->log)) || std::ranges::any_of(found->lost, has);
  });
  if (on_disk) return;
  found("quorum on disk",
        fmt::format("entry {} of term {} is called committed before a quorum has it "
                    "on disk",
                    committed.index.value, committed.epoch.value));
}

void RaftCheck::check_leader(std::size_t number, const raft::State& state) {
  trace_.note(Trace::Kind::kMember, Cluster::host(number),
              fmt::format("leads term {}, log up to {}", state.term.value, state.log.last().value));
  note_leader(state.term, state.self());
  for (std::uint64_t i = state.log.base().index.value; i < committed_.size(); ++i) {
    const Committed& entry = committed_[i];
    if (entry.seen_in >= state.term) continue;
    if (state.log.epoch_at(LogIndex{i + 1}) == entry.epoch) continue;
    found(
        "leader completeness",
        fmt::format("{} leads term {} without entry {} of term {}, which was committed by term {}",
                    Cluster::host(number), state.term.value, i + 1, entry.epoch.value,
                    entry.seen_in.value));
  }
}

// Whoever is followed leads: nobody else may send what only a leader sends.
void RaftCheck::check_followed(Member& member, const raft::State& state) {
  const raft::Follower* follower = state.follower();
  if (!follower || !follower->leader) return;
  if (member.followed == state.term && member.leader == follower->leader) return;
  member.followed = state.term;
  member.leader = follower->leader;
  note_leader(state.term, follower->leader);
}

void RaftCheck::note_leader(Epoch term, NodeId leader) {
  const auto [first, is_new] = leaders_.emplace(term, leader);
  if (first->second == leader) return;
  found("election safety", fmt::format("members {} and {} both lead term {}", leader.value,
                                       first->second.value, term.value));
}

void RaftCheck::note_durable(Member& member, const raft::State& state) {
  member.durable = Durable{state.durable_hard_state,
                           Position{state.durable, *state.log.epoch_at(state.durable)}};
}

}  // namespace

std::unique_ptr<EngineCheck> make_raft_check(const Cluster& cluster, Trace& trace) {
  return std::make_unique<RaftCheck>(cluster, trace);
}

}  // namespace conclave::sim
