#include "sim/workloads/zookeeper_admin.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "sim/cluster.h"
#include "sim/landlord.h"

namespace conclave::sim {
namespace {

constexpr std::int32_t kTimeoutMs = 5'000;
constexpr std::int64_t kAnyConfig = -1;

// As a member writes it: where clients reach it is known by its host.
std::string line_of(std::int64_t id, const ZkServer& server) {
  const std::string host = server.peer.substr(0, server.peer.find(':'));
  return fmt::format("server.{}={}:2381:{};{}:{}", id, server.peer,
                     server.is_observer ? "observer" : "participant", host,
                     Cluster::kZooKeeperPort);
}

std::string lines_of(const ZkServers& servers) {
  std::vector<std::string> lines;
  for (const auto& [id, server] : servers) lines.push_back(line_of(id, server));
  return fmt::format("{}", fmt::join(lines, ","));
}

Bytes body_of(const ZkReconfig& change) {
  const std::int64_t from = change.from ? change.from->zxid : kAnyConfig;
  if (change.is_whole) return zk_reconfig("", "", lines_of(change.joining), from);
  const std::string leaving = fmt::format("{}", fmt::join(change.leaving, ","));
  return zk_reconfig(lines_of(change.joining), leaving, "", from);
}

}  // namespace

ZkAdmin::ZkAdmin(Site& site, std::uint64_t seed, std::size_t number, ZkLedger& ledger,
                 ZkConfigs& configs)
    : site_(site),
      rng_(seed),
      name_(fmt::format("zadmin{}", number)),
      is_allowed_(!rng_.one_in(5)),
      pause_(milliseconds(static_cast<std::int64_t>(500ull << rng_.below(4)))),
      ledger_(ledger),
      configs_(configs),
      client_({.seed = rng_.next(),
               .members = &site.members,
               .timeout_ms = kTimeoutMs,
               .credentials = is_allowed_ ? Cluster::kZooKeeperSuper : ""},
              site.clock, site.fabric.host(name_),
              {.connected = [](bool) {},
               .expired =
                   [this](const auto&) {
                     if (!has_left_) client_.begin();
                   },
               .event = [](const ZkEvent&) {},
               .kept_alive = [] {}}) {
  wait_ = site.clock.after(pause_, [this] {
    client_.begin();
    next();
  });
}

ZkAdmin::~ZkAdmin() { site_.clock.cancel(wait_); }

void ZkAdmin::leave() {
  has_left_ = true;
  site_.clock.cancel(wait_);
  client_.vanish();
}

void ZkAdmin::note(const std::string& what) {
  if (site_.trace.wants(Trace::Kind::kClient)) site_.trace.note(Trace::Kind::kClient, name_, what);
}

void ZkAdmin::next() {
  site_.clock.cancel(wait_);
  const auto most = static_cast<std::uint64_t>(pause_.ms());
  const auto pause = milliseconds(static_cast<std::int64_t>(rng_.between(1, most)));
  wait_ = site_.clock.after(pause, [this] { act(); });
}

void ZkAdmin::act() {
  if (site_.healed_at) return leave();
  next();
  if (!client_.is_connected()) return;
  // By what it has just read, or what it has known for some time.
  if (known_ && rng_.one_in(4)) return reconfigure();
  read_config([this] { reconfigure(); });
}

void ZkAdmin::ask(std::int32_t opcode, Bytes body, bool is_fresh, Heard heard) {
  const std::int64_t floor = is_fresh ? ledger_.told() : client_.session().last_zxid;
  const std::int64_t asked_ns = site_.clock.now().ns;
  client_.ask(opcode, std::move(body), [=, this, heard = std::move(heard)](const Reply& reply) {
    if (!reply.is_answered) return note(fmt::format("is not answered {}", opcode));
    note(fmt::format("is answered {} with {} as of zxid {}", opcode, reply.code, reply.zxid));
    const ZkMoment at{.zxid = reply.zxid,
                      .asked_ns = asked_ns,
                      .heard_ns = site_.clock.now().ns,
                      .is_fresh = is_fresh};
    if (reply.code != ZkCode::kQuotaExceeded) ledger_.heard(floor, at);
    heard(reply, at);
  });
}

void ZkAdmin::read_config(std::function<void()> then) {
  ask(ZkOp::kGetData, zk_watched(ZkConfigs::kPath, false), !site_.local_zookeeper_reads,
      [this, then = std::move(then)](const Reply& reply, const ZkMoment& at) {
        if (reply.code != ZkCode::kOk) wrong("znode config", "it cannot be read: {}", reply.code);
        JuteReader reader(reply.body);
        const std::string data = reader.bytes();
        const ZkStat stat = reader.stat();
        reader.end();
        known_ = configs_.saw(stat, data, at);
        if (known_) then();
      });
}

void ZkAdmin::reconfigure() {
  if (!client_.is_connected() || site_.healed_at) return;
  const std::optional<ZkReconfig> change = draw_change(*known_);
  if (!change || !site_.landlord->may_change_members()) return;
  const std::size_t number = configs_.asked(*change);
  note(fmt::format("asks for {}{} without {} over {}", change->is_whole ? "only " : "",
                   lines_of(change->joining), fmt::join(change->leaving, ","),
                   change->from ? change->from->zxid : kAnyConfig));
  ask(ZkOp::kReconfig, body_of(*change), true,
      [this, number, leaving = change->leaving](const Reply& reply, const ZkMoment& at) {
        if (reply.code != ZkCode::kOk) return configs_.refused(number, reply.code, at);
        JuteReader reader(reply.body);
        const std::string data = reader.bytes();
        const ZkStat stat = reader.stat();
        reader.end();
        configs_.done(number, stat, data, at);
        std::vector<NodeId> gone;
        for (const std::int64_t id : leaving) gone.push_back({static_cast<std::uint64_t>(id)});
        if (rng_.one_in(2)) site_.landlord->let_go(gone);
      });
}

std::optional<ZkReconfig> ZkAdmin::draw_change(const ZkConfig& base) {
  ZkReconfig change;
  change.is_allowed = is_allowed_;
  if (!rng_.one_in(3)) change.from = base;
  draw_leaving(base, change);
  draw_joining(base, change);
  if (!rng_.one_in(3)) {
    if (change.joining.empty() && change.leaving.empty()) return std::nullopt;
    return change;
  }
  change.is_whole = true;
  for (const auto& [id, server] : base.servers) {
    if (!change.leaving.contains(id)) change.joining.emplace(id, server);
  }
  if (change.joining.empty()) return std::nullopt;
  return change;
}

// Mostly few, so that mostly some can decide.
void ZkAdmin::draw_leaving(const ZkConfig& base, ZkReconfig& change) {
  const std::size_t many = base.servers.size() > 3 ? 3 : 2;
  for (std::size_t count = rng_.below(many + 1); count > 0; --count) {
    const auto place = static_cast<std::ptrdiff_t>(rng_.below(base.servers.size()));
    change.leaving.insert(std::next(base.servers.begin(), place)->first);
  }
}

void ZkAdmin::draw_joining(const ZkConfig& base, ZkReconfig& change) {
  const std::size_t hosts = site_.landlord->provide_hosts();
  for (std::size_t count = rng_.below(3); count > 0; --count) {
    const std::string peer = Cluster::peer_address(rng_.below(hosts));
    const bool is_observer = rng_.one_in(4);
    const auto id = static_cast<std::int64_t>(rng_.next() >> 2);
    const auto has_it = [&](const auto& entry) { return entry.second.peer == peer; };
    const auto there = std::ranges::find_if(base.servers, has_it);
    const bool is_taken = std::ranges::any_of(change.joining, has_it);
    if (is_taken) continue;
    if (there == base.servers.end()) {
      change.newcomers.insert(id);
      change.joining.emplace(id, ZkServer{peer, is_observer});
    } else if (!change.leaving.contains(there->first)) {
      // A voter already, or to become one.
      change.joining.emplace(there->first, ZkServer{peer, false});
    }
  }
}

}  // namespace conclave::sim
