#include "sim/workloads/zookeeper_actor.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace conclave::sim {
// --- the tree -----------------------------------------------------------------------

std::string ZkTree::register_path(std::size_t number) {
  return fmt::format("{}/r{}", kTop, number);
}
bool ZkTree::is_register(const std::string& path) {
  return path.starts_with(fmt::format("{}/r", kTop));
}
std::string ZkTree::token_path(std::size_t number) { return fmt::format("{}/t{}", kTop, number); }

std::vector<std::pair<std::string, std::string>> ZkTree::nodes() {
  std::vector<std::pair<std::string, std::string>> nodes{
      {kQueue, ""}, {kEphemerals, ""}, {kOwn, ""}};
  for (std::size_t i = 0; i < kRegisters; ++i)
    nodes.emplace_back(register_path(i), fmt::format("init:r{}", i));
  for (std::size_t i = 0; i < kTokens; ++i)
    nodes.emplace_back(token_path(i), fmt::format("init:t{}/{}", i, i == 0 ? "token" : "empty"));
  return nodes;
}

bool ZkTree::holds_token(const std::string& data) { return data.ends_with("/token"); }

// --- sessions -----------------------------------------------------------------------

ZkActor::ZkActor(Site& site, const WorkloadPlan& plan, std::size_t number, ZkShared& shared)
    : site_(site),
      caller_(site, plan, "z", number),
      shared_(shared),
      name_(fmt::format("z{}", number)),
      client_({.seed = rng().next(),
               .members = &site.members,
               .timeout_ms = static_cast<std::int32_t>(rng().between(3'000, 6'000))},
              site.clock, site.fabric.host(name_),
              {.connected = [this](bool is_new) { connected(is_new); },
               .expired = [this](const auto& session) { expired(session); },
               .event =
                   [this](const ZkEvent& event) {
                     note("is told: " + describe(event));
                     mirror_->on_event(event);
                   },
               .kept_alive =
                   [this] {
                     ledger().kept_alive(client_.session().id, client_.session().safe_until_ns());
                   }}) {}

ZkActor::~ZkActor() { site_.clock.cancel(stream_); }

void ZkActor::note(const std::string& what) {
  if (site_.trace.wants(Trace::Kind::kClient)) site_.trace.note(Trace::Kind::kClient, name_, what);
}

void ZkActor::connected(bool is_new) {
  note(fmt::format("has session {:#x}{}", client_.session().id, is_new ? "" : " again"));
  is_ready_ = false;
  ++connection_;
  own_version_.reset();
  if (is_new) {
    own_.clear();
    std::erase_if(mine_, [](const Mine& mine) { return mine.parent == ZkTree::kEphemerals; });
    std::vector<std::string> watched{ZkTree::kQueue, ZkTree::kEphemerals};
    for (std::size_t i = 0; i < ZkTree::kRegisters; ++i)
      watched.push_back(ZkTree::register_path(i));
    const auto way = rng().one_in(2)   ? ZkMirror::Way::kOnce
                     : rng().one_in(2) ? ZkMirror::Way::kRecursive
                                       : ZkMirror::Way::kPersistent;
    mirror_.emplace(way, ZkTree::kTop, std::move(watched));
  } else {
    mirror_->reconnected();
  }
  watch_again(is_new);
}

void ZkActor::watch_again(bool is_new) {
  const auto ready = [this](const Reply& reply, const ZkMoment&) {
    if (reply.code != ZkCode::kOk) wrong("znode watches", "a watch is refused by {}", reply.code);
    if (under_way_ == 0) go_on();
  };
  if (is_new) {
    const bool is_recursive = mirror_->way() == ZkMirror::Way::kRecursive;
    const std::vector<std::string> paths = mirror_->to_add();
    if (paths.empty()) return go_on();
    for (const std::string& path : paths)
      ask(ZkOp::kAddWatch, zk_add_watch(path, is_recursive), Kind::kRead, ready);
    return;
  }
  const auto body = mirror_->to_set(client_.session().last_zxid);
  if (!body) return go_on();
  const bool is_old = mirror_->way() == ZkMirror::Way::kOnce;
  ask(is_old ? ZkOp::kSetWatches : ZkOp::kSetWatches2, *body, Kind::kRead, ready);
}

void ZkActor::expired(const ZooKeeperClient::Session& session) {
  note(fmt::format("hears that session {:#x} has expired", session.id));
  ledger().expired(session.id, caller_.now_ns());
  is_ready_ = false;
  if (!has_left_) client_.begin();
}

void ZkActor::go_on() {
  is_ready_ = true;
  if (!std::exchange(is_waiting_, false)) return;
  do_something();
  settle();
}

void ZkActor::leave() {
  has_left_ = true;
  const bool may_close = client_.is_connected() && rng().one_in(2);
  may_close ? close_session() : client_.vanish();
}

// --- asking -------------------------------------------------------------------------

void ZkActor::act() {
  is_acting_ = true;
  if (!std::exchange(is_begun_, true)) client_.begin();
  if (!is_ready_ || !client_.is_connected()) {
    is_waiting_ = true;
    return;
  }
  do_something();
  settle();
}

// All that an act has asked for is over.
void ZkActor::settle() {
  if (under_way_ > 0 || is_waiting_ || !is_acting_) return;
  is_acting_ = false;
  sync_told_.reset();
  if (!has_left_) caller_.next();
}

void ZkActor::ask(std::int32_t opcode, Bytes body, Kind kind, Heard heard,
                  std::function<void()> unheard) {
  if (!client_.is_connected()) return;
  const bool is_local = site_.local_zookeeper_reads && kind == Kind::kRead;
  const bool is_synced = sync_told_ && kind != Kind::kWrite && opcode != ZkOp::kSync;
  std::int64_t floor = is_local ? client_.session().last_zxid : ledger().told();
  if (is_synced) floor = std::max(client_.session().last_zxid, *sync_told_);
  const std::int64_t asked_ns = is_synced ? sync_asked_ns_ : caller_.now_ns();
  ++under_way_;
  note(fmt::format("asks {} with {} bytes", opcode, body.size()));
  client_.ask(opcode, std::move(body), [=, this, heard = std::move(heard)](const Reply& reply) {
    --under_way_;
    if (reply.is_answered) {
      note(fmt::format("is answered {} with {} as of zxid {}", opcode, reply.code, reply.zxid));
      const ZkMoment at{.zxid = reply.zxid,
                        .asked_ns = asked_ns,
                        .heard_ns = caller_.now_ns(),
                        .is_fresh = !is_local};
      // What a member refuses by itself is of no state.
      if (reply.code != ZkCode::kQuotaExceeded) ledger().heard(floor, at);
      if (reply.code != ZkCode::kQuotaExceeded) mirror_->on_answer(ledger(), reply.zxid);
      heard(reply, at);
    } else if (unheard) {
      unheard();
    }
    settle();
  });
}

void ZkActor::behind_sync(std::function<void()> then) {
  if (!site_.local_zookeeper_reads) return then();
  const std::int64_t told = ledger().told();
  const std::int64_t asked_ns = caller_.now_ns();
  ask(ZkOp::kSync, zk_sync(ZkTree::kTop), Kind::kFreshRead,
      [this, told, asked_ns, then = std::move(then)](const Reply& reply, const ZkMoment&) {
        if (reply.code != ZkCode::kOk) wrong("znode reads", "a sync is answered {}", reply.code);
        sync_told_ = told;
        sync_asked_ns_ = asked_ns;
        then();
        sync_told_.reset();
      });
}

std::string ZkActor::new_id() { return fmt::format("{}.{}", name_, ++ids_); }

bool ZkActor::arms() { return mirror_->leaves_watches() && rng().one_in(2); }

// --- other sessions, and other connections -------------------------------------------

void ZkActor::change_session() {
  const std::uint64_t dice = rng().below(10);
  const auto timeout_ms = static_cast<std::uint64_t>(client_.session().timeout_ms);
  if (dice < 6) return move_within(300, 2);
  if (dice < 8) {
    note("stays away");
    const std::uint64_t most = timeout_ms * 3 / 2;
    return move_within(most, 4);
  }
  if (dice < 9) return close_session();
  note("vanishes");
  is_ready_ = false;
  client_.vanish();
  client_.begin();
}

// One draw after the other: the order in which arguments are evaluated is the compiler's.
void ZkActor::move_within(std::uint64_t most_ms, std::uint64_t one_in) {
  const auto pause = milliseconds(static_cast<std::int64_t>(rng().below(most_ms)));
  client_.move(pause, rng().one_in(one_in));
}

void ZkActor::close_session() {
  const std::int64_t id = client_.session().id;
  note("closes its session");
  ledger().closing(id);
  ++under_way_;
  client_.close([this, id](const Reply& reply) {
    --under_way_;
    if (reply.is_answered && reply.code != ZkCode::kQuotaExceeded) {
      if (reply.code != ZkCode::kOk) wrong("zookeeper session", "closing it is {}", reply.code);
      ledger().closed(id, reply.zxid);
      is_ready_ = false;
      client_.vanish();
      if (!has_left_) client_.begin();
    } else if (has_left_) {
      client_.vanish();
    }
    settle();
  });
}

}  // namespace conclave::sim
