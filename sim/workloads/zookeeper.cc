// Clients of ZooKeeper's protocol, with sessions that move from member to member, stay away, are
// closed or abandoned; that write and read single nodes, pass a token on in multis of which some
// must fail, create ephemeral and sequential children, and watch all of it in three ways. Judged
// while it goes on (zookeeper_ledger.h, zookeeper_mirror.h, sim/zookeeper_client.h), and in the
// end: all is there that was written, nothing that was refused, and no ephemeral outlives its
// session.
//
// Members answer reads with a barrier or, for some clusters, from their own state: then a read may
// be older than what others know, but not than what its session has seen, unless it follows a sync.

#include <fmt/core.h>

#include <string>
#include <utility>
#include <vector>

#include "sim/finding.h"
#include "sim/landlord.h"
#include "sim/linearizability.h"
#include "sim/workloads/kinds.h"
#include "sim/workloads/zookeeper_actor.h"
#include "sim/workloads/zookeeper_admin.h"

namespace conclave::sim {
namespace {

// By then each session has ended that nobody keeps alive, once no fault strikes any more.
constexpr Duration kLongEnough = seconds(120);
constexpr Duration kLooks = milliseconds(500);

// Reads everything once more, again and again until no ephemeral is left.
class LastLook {
 public:
  LastLook(Site& site, std::uint64_t seed, ZkShared& shared, std::function<void()> over)
      : site_(site),
        ledger_(shared.ledger),
        configs_(shared.configs),
        over_(std::move(over)),
        client_({.seed = seed, .members = &site.members, .timeout_ms = 4'000}, site.clock,
                site.fabric.host("zlast"),
                {.connected = [this](bool) { look(); },
                 .expired = [this](const auto&) { client_.begin(); },
                 .event = [](const ZkEvent&) {},
                 .kept_alive = [] {}}) {}
  ~LastLook() { site_.clock.cancel(wait_); }
  LastLook(const LastLook&) = delete;
  LastLook& operator=(const LastLook&) = delete;

  void begin() {
    since_ns_ = now_ns();
    client_.begin();
  }
  std::uint64_t answered() const { return client_.answered(); }

 private:
  using Reply = ZooKeeperClient::Reply;

  std::int64_t now_ns() const { return site_.clock.now().ns; }

  // Asks behind a sync. Without an answer it all begins again when there is a connection.
  void ask(std::int32_t opcode, Bytes body,
           std::function<void(const Bytes& body, const ZkMoment&)> heard) {
    const std::int64_t floor = ledger_.told();
    const std::int64_t asked_ns = now_ns();
    client_.ask(ZkOp::kSync, zk_sync(ZkTree::kTop), [](const Reply&) {});
    client_.ask(
        opcode, std::move(body),
        [this, floor, asked_ns, heard = std::move(heard)](const Reply& reply) {
          if (!reply.is_answered) return;
          if (reply.code != ZkCode::kOk)
            found("znode reads", fmt::format("the last look is {}", reply.code));
          const ZkMoment at{
              .zxid = reply.zxid, .asked_ns = asked_ns, .heard_ns = now_ns(), .is_fresh = true};
          ledger_.heard(floor, at);
          heard(reply.body, at);
        });
  }

  void look() {
    site_.clock.cancel(wait_);
    if (!client_.is_connected()) return;
    ask(ZkOp::kMultiRead,
        zk_multi({{ZkOp::kGetChildren, zk_watched(ZkTree::kQueue, false)},
                  {ZkOp::kGetChildren, zk_watched(ZkTree::kEphemerals, false)}}),
        [this](const Bytes& body, const ZkMoment& at) {
          const std::vector<ZkPart> parts = read_parts(body, 2);
          ledger_.listed({{ZkTree::kQueue, parts[0].names}, {ZkTree::kEphemerals, parts[1].names}},
                         at);
          const std::string left = ledger_.ephemerals_left();
          if (left.empty() && parts[1].names.empty()) return read_all();
          judge_time(left);
          wait_ = site_.clock.after(kLooks, [this] { look(); });
        });
  }

  void judge_time(const std::string& left) {
    if (!site_.healed_at) return;
    const std::int64_t since_ns = std::max(since_ns_, site_.healed_at->ns);
    if (now_ns() - since_ns > kLongEnough.ns)
      found("ephemerals", left + "left, long after nobody keeps a session alive");
  }

  void read_all() {
    std::vector<std::string> paths;
    std::vector<std::pair<std::int32_t, Bytes>> wanted;
    for (const auto& [path, data] : ZkTree::nodes()) {
      if (!data.empty()) paths.push_back(path);
    }
    paths.push_back(ZkConfigs::kPath);
    for (const std::string& path : paths)
      wanted.emplace_back(ZkOp::kGetData, zk_watched(path, false));
    ask(ZkOp::kMultiRead, zk_multi(wanted), [this, paths](const Bytes& body, const ZkMoment& at) {
      const std::vector<ZkPart> parts = read_parts(body, paths.size());
      for (std::size_t i = 0; i < paths.size(); ++i) {
        const ZkPart& part = parts[i];
        if (part.opcode != ZkOp::kGetData)
          found("znode reads", fmt::format("{} is {} in the end", paths[i], part.code));
        if (paths[i] == ZkConfigs::kPath) {
          configs_.saw(part.stat, part.data, at);
        } else {
          ledger_.saw(paths[i], part.stat, part.data, at);
        }
      }
      client_.close([this](const Reply&) {
        client_.vanish();
        over_();
      });
    });
  }

  Site& site_;
  ZkLedger& ledger_;
  ZkConfigs& configs_;
  std::function<void()> over_;
  ZooKeeperClient client_;
  std::int64_t since_ns_ = 0;
  io::Clock::TimerId wait_ = 0;
};

class ZooKeeper final : public Crowd<ZkActor, ZkShared> {
 public:
  ZooKeeper(Site& site, const WorkloadPlan& plan)
      : Crowd(site, plan), site_(site), last_(site, plan.seed, shared(), [this] { over(); }) {
    site.has_znodes = true;
    constexpr std::uint64_t kPurpose = 0x61646d696e;
    Rng rng(plan.seed ^ kPurpose);
    if (site.landlord == nullptr || rng.one_in(2)) return;
    for (std::size_t count = rng.between(1, 3); count > 0; --count) {
      admins_.push_back(
          std::make_unique<ZkAdmin>(site, rng.next(), count, shared().ledger, shared().configs));
    }
  }

  std::uint64_t answered() const override {
    std::uint64_t sum = last_.answered();
    for (const auto& client : clients()) sum += client->answered();
    return sum;
  }

  std::optional<Finding> judge() const override {
    try {
      shared().ledger.close_books();
      judge_members();
    } catch (Finding& finding) {
      return std::move(finding);
    }
    for (const auto& [path, lie] : shared().suspects) {
      if (!shared().has_refusals.contains(path)) return Finding{"session order", lie, {}};
    }
    const Verdict verdict = check_linearizable(shared().history);
    if (!verdict.violation) return std::nullopt;
    Finding finding{
        "znode linearizability", verdict.violation->key + ": " + verdict.violation->what, {}};
    for (const Operation& op : verdict.violation->around) finding.around.push_back(to_json(op));
    return finding;
  }
  std::string history() const override { return to_json_lines(shared().history); }

 private:
  void judge_members() const {
    if (site_.landlord == nullptr) return;
    shared().configs.close_books([this](std::int64_t id) {
      return site_.landlord->has_asked_to_remove({static_cast<std::uint64_t>(id)});
    });
    const std::optional<Tenants> now = site_.landlord->members_now();
    if (!now) return;
    ZkServers members;
    for (const auto& [id, peer, is_learner] : now->members)
      members.emplace(static_cast<std::int64_t>(id.value), ZkServer{peer, is_learner});
    shared().configs.judge_truth(now->version, members);
  }

  void last_look(Caller&) override {
    for (const auto& client : clients()) client->leave();
    for (const auto& admin : admins_) admin->leave();
    last_.begin();
  }

  Site& site_;
  LastLook last_;
  std::vector<std::unique_ptr<ZkAdmin>> admins_;
};

}  // namespace

std::unique_ptr<Workload> make_zookeeper(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<ZooKeeper>(site, plan);
}

}  // namespace conclave::sim
