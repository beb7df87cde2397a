// Runs the scripts in golden/*.txt: a line of input, then what it led to, messages and writes, one
// a line. Comments start with #. CONCLAVE_REWRITE=1 writes what happens now into the files.
//
// clang-format off
//   > cluster 3 [voters 1,2,3] [learners 4] [witnesses 3] [max_append_bytes N]
//             [max_inflight_appends N] [window N] [election N write N]
//   > tick ID N            > campaign ID   (ticks until it asks to prepare)
//   > propose ID TEXT...      > read ID       > transfer ID TARGET    > lost ID PEER
//   > members ID 1,2 [learners 3]
//   > persist ID [N]       > crash ID [N writes survive]           > restart ID
//   > compact ID KEEP      > release ID KEEP
//   > job ID [fail]        (of the snapshot lane)
//   > deliver 1->2 [N]     > again 1->2    (a copy stays)          > last 1->2    (out of order)
//   > drop 1->2 [N]        > clear         (everything undelivered is lost)
//   > settle               persists, runs jobs and delivers until nothing is left to do
//   > state [ID]           > queue
//   > quiet COMMAND        the same, without printing what happens
// clang-format on

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "paxos/describe.h"
#include "paxos/test_cluster.h"

namespace conclave::paxos {
namespace {

using Words = std::vector<std::string>;

Words split(const std::string& line, char separator = ' ') {
  Words words;
  std::istringstream in(line);
  for (std::string word; std::getline(in, word, separator);) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

std::uint64_t number(const std::string& word) { return std::stoull(word); }

std::vector<NodeId> nodes(const std::string& word) {
  std::vector<NodeId> ids;
  for (const std::string& id : split(word, ',')) ids.push_back(NodeId{number(id)});
  return ids;
}

TestCluster::Link link(const std::string& word) {
  const std::size_t arrow = word.find("->");
  CHECK(arrow != std::string::npos, "not a link: {}", word);
  return {NodeId{number(word.substr(0, arrow))}, NodeId{number(word.substr(arrow + 2))}};
}

class Script {
 public:
  // What `command` led to, one line each.
  Words run(Words command) {
    happened_.clear();
    const bool quiet = command.front() == "quiet";
    if (quiet) command.erase(command.begin());
    if (command.front() == "cluster") {
      start(command);
    } else {
      one(command);
    }
    // A script that names a message that is not there is wrong: that is never quiet.
    if (quiet)
      std::erase_if(happened_, [](const std::string& s) { return !s.starts_with("nothing"); });
    return happened_;
  }

 private:
  void start(const Words& command) {
    const std::uint64_t size = number(command.at(1));
    std::vector<NodeId> voters;
    for (std::uint64_t id = 1; id <= size; ++id) voters.push_back(NodeId{id});
    consensus::EngineConfig config;
    config.heartbeat_ticks = 2;
    config.election_ticks = 10;
    config.snapshot_chunk_bytes = 30;
    std::vector<NodeId> learners;
    witnesses_.clear();
    std::uint64_t window = 4;
    std::uint64_t election = 0;
    std::uint64_t write = 0;
    for (std::size_t i = 2; i + 1 < command.size(); i += 2) {
      const std::string& value = command[i + 1];
      if (command[i] == "voters") voters = nodes(value);
      if (command[i] == "learners") learners = nodes(value);
      if (command[i] == "witnesses") witnesses_ = nodes(value);
      if (command[i] == "max_append_bytes") config.max_append_bytes = number(value);
      if (command[i] == "max_inflight_appends") config.max_inflight_appends = number(value);
      if (command[i] == "window") window = number(value);
      if (command[i] == "election") election = number(value);
      if (command[i] == "write") write = number(value);
    }
    Membership membership = Membership::of_majority(voters);
    membership.learners = learners;
    if (election != 0) {
      membership.voters = *consensus::Quorum::flexible(membership.voters.votes(), election, write);
    }
    cluster_.emplace(size, membership, config, 1, window, witnesses_);
    cluster_->trace = [this](const std::string& line) { happened_.push_back(line); };
  }

  void one(const Words& command) {
    const std::string& verb = command.front();
    if (verb == "settle") return settle();
    if (verb == "state") return state(command);
    if (verb == "queue") return queue();
    if (verb == "clear") return cluster_->network().clear();
    if (verb == "deliver" || verb == "again" || verb == "last" || verb == "drop") {
      return message(verb, link(command.at(1)), command.size() > 2 ? number(command[2]) : 1);
    }
    const NodeId id{number(command.at(1))};
    const Words rest(command.begin() + 2, command.end());
    if (engine(verb, id, rest)) return;
    around(verb, id, rest);
  }

  // Calls of the engine; false if `verb` is none.
  bool engine(const std::string& verb, NodeId id, const Words& rest) {
    const auto act = [&](const std::function<void(Paxos&)>& action) {
      cluster_->act(id, action);
      return true;
    };
    if (verb == "campaign") return campaign(id);
    if (verb == "read") return cluster_->read(id, ReadId{++reads_}), true;
    if (verb == "lost") return act([&](Paxos& r) { r.peer_lost(NodeId{number(rest.at(0))}); });
    if (verb == "tick") {
      for (std::uint64_t n = number(rest.at(0)); n > 0; --n) act([](Paxos& r) { r.tick(); });
      return true;
    }
    if (verb == "propose") return propose(id, rest);
    if (verb == "transfer")
      return act([&](Paxos& r) { refused(r.transfer(NodeId{number(rest.at(0))})); });
    if (verb == "members") {
      Membership target = Membership::of_majority(nodes(rest.at(0)));
      if (rest.size() > 2) target.learners = nodes(rest[2]);
      target.merge_witnesses(witnesses_);
      return act([&](Paxos& r) { refused(r.change_membership(target).has_value()); });
    }
    return false;
  }

  // What happens around the engine.
  void around(const std::string& verb, NodeId id, const Words& rest) {
    const auto count = [&](std::size_t otherwise) {
      return rest.empty() ? otherwise : static_cast<std::size_t>(number(rest[0]));
    };
    if (verb == "persist") return cluster_->persist(id, count(SIZE_MAX));
    if (verb == "crash") return cluster_->crash(id, count(0));
    if (verb == "restart") return cluster_->restart(id);
    if (verb == "compact") return cluster_->compact(id, count(0));
    if (verb == "release") return cluster_->release(id, count(0));
    if (verb == "job" && cluster_->member(id).jobs.empty()) {
      return happened_.push_back("nothing to do");
    }
    if (verb == "job") return cluster_->run_job(id, rest.empty());
    CHECK(false, "no such command: {}", verb);
  }

  bool propose(NodeId id, const Words& commands) {
    for (const std::string& command : commands) {
      cluster_->act_quietly(id, [&](Paxos& r) { refused(r.propose(command).has_value()); });
    }
    cluster_->act(id, [](Paxos&) {});
    return true;
  }

  void refused(bool accepted) {
    if (!accepted) happened_.push_back("refused");
  }

  bool campaign(NodeId id) {
    const auto is_silent = [&] {
      return cluster_->member(id).engine->state().follower() != nullptr;
    };
    constexpr int kMost = 90;  // the longest election timeout
    int ticks = 0;
    do {
      cluster_->act(id, [](Paxos& r) { r.tick(); });
    } while (is_silent() && ++ticks < kMost);
    if (is_silent()) happened_.push_back("does not campaign");
    return true;
  }

  void message(const std::string& verb, TestCluster::Link between, std::uint64_t count) {
    auto& waiting = cluster_->network()[between];
    for (; count > 0; --count) {
      if (waiting.empty()) return happened_.push_back("nothing to " + verb);
      if (verb == "drop") {
        waiting.pop_front();
      } else {
        cluster_->deliver(between, verb == "last" ? waiting.size() - 1 : 0, verb == "again");
      }
    }
  }

  void settle() {
    for (bool busy = true; busy;) {
      busy = false;
      for (auto& [id, member] : cluster_->members()) {
        if (!member.engine) continue;
        busy = busy || !member.writes.empty() || !member.jobs.empty();
        if (!member.writes.empty()) cluster_->persist(id);
        if (!member.jobs.empty()) cluster_->run_job(id);
      }
      for (auto& [between, waiting] : cluster_->network()) {
        busy = busy || !waiting.empty();
        while (!waiting.empty()) cluster_->deliver(between);
      }
    }
  }

  void state(const Words& command) {
    for (const auto& [id, member] : cluster_->members()) {
      if (command.size() > 1 && number(command[1]) != id.value) continue;
      const std::string line = member.engine ? describe(member.engine->state()) : "down";
      for (const std::string& part : split(std::to_string(id.value) + " " + line, '\n')) {
        happened_.push_back(part);
      }
    }
  }

  void queue() {
    for (const auto& [between, waiting] : cluster_->network()) {
      for (const auto& envelope : waiting) {
        const auto message = decode(envelope.message);
        happened_.push_back(std::to_string(between.first.value) + "->" +
                            std::to_string(between.second.value) + " " + describe(*message));
      }
    }
  }

  std::optional<TestCluster> cluster_;
  std::vector<NodeId> witnesses_;
  Words happened_;
  std::uint64_t reads_ = 0;
};

// The script with what happens now in the place of what the file says happened.
std::string replay(const std::string& text) {
  Script script;
  std::string out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const bool is_result = line.starts_with("  ");
    if (is_result) continue;
    out += line + "\n";
    if (!line.starts_with("> ")) continue;
    for (const std::string& happened : script.run(split(line.substr(2))))
      out += "  " + happened + "\n";
  }
  return out;
}

std::vector<std::filesystem::path> scripts() {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : std::filesystem::directory_iterator("golden"))
    paths.push_back(file.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

class Golden : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Golden, HappensAsWritten) {
  std::ostringstream text;
  text << std::ifstream(GetParam()).rdbuf();
  ASSERT_FALSE(text.str().empty());
  const std::string now = replay(text.str());
  if (std::getenv("CONCLAVE_REWRITE")) {
    std::ofstream(GetParam()) << now;
  } else {
    EXPECT_EQ(now, text.str());
  }
}

std::string name_of(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name = info.param.stem().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Paxos, Golden, testing::ValuesIn(scripts()), name_of);

}  // namespace
}  // namespace conclave::paxos
