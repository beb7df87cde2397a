// What a client of the workload `zookeeper` does. Part of zookeeper_actor.h.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "sim/workloads/zookeeper_actor.h"

namespace conclave::sim {
namespace {

constexpr std::int32_t kAnyVersion = -1;
constexpr std::int32_t kNoVersion = 1'000'000'000;  // which no node ever has

}  // namespace

void ZkActor::do_something() {
  if (!has_tree_) return create_tree();
  const Kind kind = rng().one_in(4) ? Kind::kFreshRead : Kind::kRead;
  const std::uint64_t dice = rng().below(24);
  if (dice < 4) return look_at_data(kind);
  if (dice < 7) return write_register();
  if (dice < 9) return move_token();
  if (dice < 11) return write_own();
  if (dice < 14) return create_child();
  if (dice < 16) return delete_child();
  if (dice < 18) return list(kind);
  if (dice < 19) return list_both(kind);
  if (dice < 22) return look_at_child(kind);
  if (dice < 23) return look_forward();
  change_session();
}

void ZkActor::create_tree() {
  const auto left = std::make_shared<std::size_t>(ZkTree::nodes().size() + 1);
  const auto create = [&](const std::string& path, const std::string& data) {
    Operation op;
    op.client = caller_.number();
    op.kind = OpKind::kCas;
    op.key = path;
    op.value = data;
    op.called_ns = caller_.now_ns();
    const bool is_register = ZkTree::is_register(path);
    const auto unheard = [this, op, is_register] {
      if (is_register) shared_.history.push_back(op);
    };
    ask(
        ZkOp::kCreate2, zk_create(path, data, ZkMode::kPersistent), Kind::kWrite,
        [this, op, is_register, left, path, data](const Reply& reply, const ZkMoment& at) mutable {
          if (reply.code == ZkCode::kQuotaExceeded) return;
          if (reply.code != ZkCode::kOk && reply.code != ZkCode::kNodeExists)
            wrong("znode writes", "{} cannot be created: {}", path, reply.code);
          op.succeeded = reply.code == ZkCode::kOk;
          op.returned_ns = at.heard_ns;
          if (is_register) shared_.history.push_back(op);
          if (op.succeeded && !data.empty()) {
            JuteReader reader(reply.body);
            if (reader.bytes() != path) wrong("znode writes", "{} is another path", path);
            learn(path, reader.stat(), data, at, false);
          }
          has_tree_ = --*left == 0;
        },
        unheard);
  };
  create(ZkTree::kTop, "");
  for (const auto& [path, data] : ZkTree::nodes()) create(path, data);
}

// --- data nodes ---------------------------------------------------------------------

void ZkActor::learn(const std::string& path, const ZkStat& stat, const std::string& data,
                    const ZkMoment& at, bool leaves_watch) {
  if (path == ZkConfigs::kPath) {
    shared_.configs.saw(stat, data, at);
  } else {
    ledger().saw(path, stat, data, at);
  }
  mirror_->on_node(path, &stat, leaves_watch);
  known_[path] = {stat.version, data};
  if (path.starts_with(ZkTree::kOwn)) judge_own(path, stat, data);
}

// What is written there says which version it is to be.
void ZkActor::judge_own(const std::string& path, const ZkStat& stat, const std::string& data) {
  if (data.ends_with(fmt::format("/v{}", stat.version))) return;
  const std::string lie = fmt::format("{} has version {} with {}: a write before it is missing",
                                      path, stat.version, data);
  // Others may see this before its client hears that one was refused.
  if (path != own_) {
    shared_.suspects.emplace(path, lie);
  } else if (!shared_.has_refusals.contains(path)) {
    found("session order", lie);
  }
}

void ZkActor::look_at_data(Kind kind) {
  const std::uint64_t dice = rng().below(8);
  std::string path = dice < 5   ? ZkTree::register_path(rng().below(ZkTree::kRegisters))
                     : dice < 7 ? ZkTree::token_path(rng().below(ZkTree::kTokens))
                                : ZkConfigs::kPath;
  if (dice == 7 && rng().one_in(2) && !shared_.own_paths.empty())
    path = shared_.own_paths[rng().below(shared_.own_paths.size())];
  if (kind == Kind::kRead) return get(path, kind);
  behind_sync([this, path] { get(path, Kind::kFreshRead); });
}

void ZkActor::get(const std::string& path, Kind kind) {
  const bool watch = arms();
  const std::int64_t called_ns = sync_told_ ? sync_asked_ns_ : caller_.now_ns();
  ask(ZkOp::kGetData, zk_watched(path, watch), kind,
      [this, path, watch, called_ns](const Reply& reply, const ZkMoment& at) {
        const bool is_own = path.starts_with(ZkTree::kOwn);
        if (reply.code == ZkCode::kNoNode && is_own) return;  // its creation may have failed
        if (reply.code != ZkCode::kOk) wrong("znode reads", "{} is {}", path, reply.code);
        JuteReader reader(reply.body);
        const std::string data = reader.bytes();
        learn(path, reader.stat(), data, at, watch);
        reader.end();
        if (!at.is_fresh || !ZkTree::is_register(path)) return;
        Operation op;
        op.client = caller_.number();
        op.kind = OpKind::kGet;
        op.key = path;
        op.value = data;
        op.called_ns = called_ns;
        op.returned_ns = at.heard_ns;
        shared_.history.push_back(std::move(op));
      });
}

void ZkActor::write_register() {
  const std::size_t number = rng().below(ZkTree::kRegisters);
  const std::string path = ZkTree::register_path(number);
  const auto known = known_.find(path);
  const std::string data = new_id();
  Operation op;
  op.client = caller_.number();
  op.kind = OpKind::kPut;
  op.key = path;
  op.value = data;
  op.called_ns = caller_.now_ns();
  std::int32_t version = kAnyVersion;
  if (known != known_.end() && rng().one_in(2)) {
    version = known->second.version;
    op.kind = OpKind::kCas;
    op.expect = known->second.data;
  }
  ask(
      ZkOp::kSetData, zk_set(path, data, version), Kind::kWrite,
      [this, op, path, data, version](const Reply& reply, const ZkMoment& at) mutable {
        wrote(path, data, version, reply, at);
        if (reply.code == ZkCode::kQuotaExceeded) return;
        op.succeeded = reply.code == ZkCode::kOk;
        op.returned_ns = at.heard_ns;
        shared_.history.push_back(op);
      },
      [this, op] { shared_.history.push_back(op); });
  if (rng().one_in(2)) get(path, Kind::kRead);  // right behind it
}

// A setData is answered.
void ZkActor::wrote(const std::string& path, const std::string& data, std::int32_t version,
                    const Reply& reply, const ZkMoment& at) {
  if (reply.code == ZkCode::kOk) {
    JuteReader reader(reply.body);
    const ZkStat stat = reader.stat();
    reader.end();
    if (stat.mzxid != at.zxid)
      wrong("znode writes", "{} of {} is of zxid {} and answered as of {}", data, path, stat.mzxid,
            at.zxid);
    if (version != kAnyVersion && stat.version != version + 1)
      wrong("znode versions", "{} was to be written over version {} of {}, and has {}", data,
            version, path, stat.version);
    return learn(path, stat, data, at, false);
  }
  ledger().refused(data);
  if (reply.code == ZkCode::kQuotaExceeded) return;
  if (reply.code != ZkCode::kBadVersion || version == kAnyVersion)
    wrong("znode writes", "{} cannot be written: {}", path, reply.code);
  ledger().saw_other_version(path, version, at);
}

// --- the token ----------------------------------------------------------------------

struct ZkActor::TokenMove {
  std::string id;
  // What is expected of which node, part by part; empty: a create.
  std::vector<std::pair<std::string, std::int32_t>> parts;
  std::map<std::string, std::string> data;  // that is written
  std::optional<Mine> child;
};

// By what was read just now, or some time ago, and then mostly in vain.
void ZkActor::move_token() {
  const auto send = [this] {
    const std::size_t first = rng().below(ZkTree::kTokens);
    for (std::size_t i = 0; i < ZkTree::kTokens; ++i) {
      const std::size_t from = (first + i) % ZkTree::kTokens;
      if (!ZkTree::holds_token(known_.at(ZkTree::token_path(from)).data)) continue;
      return send_token(from, (from + rng().between(1, ZkTree::kTokens - 1)) % ZkTree::kTokens);
    }
  };
  bool knows_all = true;
  for (std::size_t i = 0; i < ZkTree::kTokens; ++i)
    knows_all = knows_all && known_.contains(ZkTree::token_path(i));
  if (knows_all && rng().one_in(3)) return send();
  read_tokens(send);
}

void ZkActor::read_tokens(std::function<void()> then) {
  std::vector<std::pair<std::int32_t, Bytes>> wanted;
  for (std::size_t i = 0; i < ZkTree::kTokens; ++i)
    wanted.emplace_back(ZkOp::kGetData, zk_watched(ZkTree::token_path(i), false));
  ask(ZkOp::kMultiRead, zk_multi(wanted), Kind::kRead,
      [this, then = std::move(then)](const Reply& reply, const ZkMoment& at) {
        if (reply.code != ZkCode::kOk) wrong("znode reads", "a multiRead is {}", reply.code);
        const std::vector<ZkPart> parts = read_parts(reply.body, ZkTree::kTokens);
        std::size_t tokens = 0;
        for (std::size_t i = 0; i < parts.size(); ++i) {
          if (parts[i].opcode != ZkOp::kGetData)
            wrong("znode reads", "{} cannot be read: {}", ZkTree::token_path(i), parts[i].code);
          learn(ZkTree::token_path(i), parts[i].stat, parts[i].data, at, false);
          if (ZkTree::holds_token(parts[i].data)) ++tokens;
        }
        if (tokens != 1) wrong("znode multi", "{} have the token at zxid {}", tokens, at.zxid);
        then();
      });
}

void ZkActor::send_token(std::size_t from, std::size_t to) {
  if (!client_.is_connected()) return;
  TokenMove move;
  move.id = new_id();
  std::vector<std::pair<std::int32_t, Bytes>> parts;
  const auto add = [&](std::int32_t opcode, const std::string& path, Bytes body,
                       std::int32_t version) {
    parts.emplace_back(opcode, std::move(body));
    move.parts.emplace_back(path, version);
  };
  const auto set = [&](std::size_t number, const char* what) {
    const std::string path = ZkTree::token_path(number);
    const std::string data = move.id + "/" + what;
    const std::int32_t version = known_.at(path).version;
    move.data[path] = data;
    add(ZkOp::kSetData, path, zk_set(path, data, version), version);
  };
  if (rng().one_in(4)) {
    move.child = Mine{move.id, ZkTree::kEphemerals, move.id};
    ledger().creating(ZkTree::kEphemerals, move.id, client_.session().id, false);
    const std::string path = std::string(ZkTree::kEphemerals) + "/" + move.id;
    add(ZkOp::kCreate2, "", zk_create(path, move.id, ZkMode::kEphemeral), 0);
  }
  set(from, "empty");
  set(to, "token");
  const auto known = known_.find(ZkTree::register_path(0));
  if (known != known_.end() && rng().one_in(3)) {
    const std::int32_t version = rng().one_in(2) ? known->second.version : kNoVersion;
    add(ZkOp::kCheck, known->first, zk_versioned(known->first, version), version);
  }
  ask(ZkOp::kMulti, zk_multi(parts), Kind::kWrite,
      [this, move = std::move(move)](const Reply& reply, const ZkMoment& at) {
        token_moved(move, reply, at);
      });
}

void ZkActor::token_moved(const TokenMove& move, const Reply& reply, const ZkMoment& at) {
  if (reply.code == ZkCode::kQuotaExceeded) return ledger().refused(move.id);
  if (reply.code != ZkCode::kOk) wrong("znode multi", "it is refused by {}", reply.code);
  const std::vector<ZkPart> parts = read_parts(reply.body, move.parts.size());
  if (parts.front().opcode == -1) return token_stayed(move, parts, at);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& [path, version] = move.parts[i];
    if (parts[i].opcode == -1) wrong("znode multi", "a part of {} has failed", move.id);
    if (version == kNoVersion) wrong("znode multi", "{} was to fail", move.id);
    if (!move.data.contains(path)) continue;
    if (parts[i].stat.mzxid != at.zxid || parts[i].stat.version != version + 1)
      wrong("znode multi", "{} is of zxid {} and version {}, at {} over {}", path,
            parts[i].stat.mzxid, parts[i].stat.version, at.zxid, version);
    learn(path, parts[i].stat, move.data.at(path), at, false);
  }
  if (!move.child) return;
  ledger().created(move.id, move.child->name, at.zxid, -1);
  mirror_->on_own_child(move.child->parent, move.child->name, true);
  mine_.push_back(*move.child);
}

// Before the part that failed there is none that did, and after it none that was tried.
void ZkActor::token_stayed(const TokenMove& move, const std::vector<ZkPart>& parts,
                           const ZkMoment& at) {
  bool has_failed = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& [path, version] = move.parts[i];
    const std::int32_t code = parts[i].code;
    if (parts[i].opcode != -1) wrong("znode multi", "{} is done in part", move.id);
    if (has_failed && code != ZkCode::kInconsistency)
      wrong("znode multi", "part {} of {} after the one that failed is {}", i, move.id, code);
    if (has_failed || code == ZkCode::kOk) continue;
    if (code != ZkCode::kBadVersion || path.empty())
      wrong("znode multi", "part {} of {} is refused by {}", i, move.id, code);
    has_failed = true;
    if (version != kNoVersion) ledger().saw_other_version(path, version, at);
  }
  if (!has_failed) wrong("znode multi", "{} is undone, and nothing of it failed", move.id);
  ledger().refused(move.id);
}

// --- a node of the session's own ----------------------------------------------------

void ZkActor::create_own(const std::string& path) {
  const std::string data = fmt::format("{}/v0", new_id());
  ask(ZkOp::kCreate2, zk_create(path, data, ZkMode::kPersistent), Kind::kWrite,
      [this, path, data](const Reply& reply, const ZkMoment& at) {
        if (reply.code != ZkCode::kOk) return;
        JuteReader reader(reply.body);
        reader.bytes();
        learn(path, reader.stat(), data, at, false);
        shared_.own_paths.push_back(path);
        own_ = path;
        own_version_ = 0;
      });
}

// Some at a time: those that are carried out are the first ones.
void ZkActor::write_own() {
  const std::string path = fmt::format("{}/{:x}", ZkTree::kOwn, client_.session().id);
  if (own_.empty()) return create_own(path);
  if (!own_version_) {
    return ask(ZkOp::kGetData, zk_watched(path, false), Kind::kRead,
               [this, path](const Reply& reply, const ZkMoment& at) {
                 JuteReader reader(reply.body);
                 const std::string data = reader.bytes();
                 const ZkStat stat = reader.stat();
                 learn(path, stat, data, at, false);
                 own_version_ = stat.version;
               });
  }
  const std::int32_t first = *std::exchange(own_version_, std::nullopt) + 1;
  const bool is_stream = rng().one_in(2);
  const std::uint64_t writes = rng().between(1, is_stream ? 40 : 12);
  if (is_stream) {
    ++under_way_;
    return stream_own(connection_, first, writes);
  }
  for (std::uint64_t i = 0; i < writes; ++i)
    write_own_version(first + static_cast<std::int32_t>(i), i + 1 == writes);
  if (rng().one_in(3)) client_.move(milliseconds(20), rng().one_in(2));
}

// One after the other, and none waits for the one before.
void ZkActor::stream_own(std::uint64_t connection, std::int32_t version, std::uint64_t left) {
  const bool goes_on = left > 0 && connection == connection_ && client_.is_connected();
  if (!goes_on) {
    --under_way_;
    return settle();
  }
  write_own_version(version, left == 1);
  const auto gap = microseconds(static_cast<std::int64_t>(rng().below(4'000)));
  stream_ = site_.clock.after(gap, [=, this] { stream_own(connection, version + 1, left - 1); });
}

void ZkActor::write_own_version(std::int32_t version, bool is_last) {
  const std::string data = fmt::format("{}/v{}", new_id(), version);
  ask(ZkOp::kSetData, zk_set(own_, data, kAnyVersion), Kind::kWrite,
      [=, this, path = own_](const Reply& reply, const ZkMoment& at) {
        // Then those behind it may be done all the same.
        if (reply.code == ZkCode::kQuotaExceeded) shared_.has_refusals.insert(path);
        wrote(path, data, kAnyVersion, reply, at);
        if (is_last && reply.code == ZkCode::kOk) own_version_ = version;
      });
}

// --- lists --------------------------------------------------------------------------

void ZkActor::create_child() {
  for (std::uint64_t left = rng().between(1, 3); left > 0; --left) {
    if (!client_.is_connected()) return;
    const bool is_sequential = rng().one_in(2);
    const bool is_ephemeral = !is_sequential || rng().one_in(2);
    const Mine mine{new_id(), is_sequential ? ZkTree::kQueue : ZkTree::kEphemerals, ""};
    const ZkMode mode = !is_sequential ? ZkMode::kEphemeral
                        : is_ephemeral ? ZkMode::kEphemeralSequential
                                       : ZkMode::kSequential;
    ledger().creating(mine.parent, mine.id, is_ephemeral ? client_.session().id : 0, is_sequential);
    const std::int32_t floor_number = ledger().last_number(mine.parent);
    const std::string path = mine.parent + "/" + mine.id + (is_sequential ? "-" : "");
    ask(ZkOp::kCreate2, zk_create(path, mine.id, mode), Kind::kWrite,
        [this, mine, floor_number](const Reply& reply, const ZkMoment& at) {
          child_created(mine, floor_number, reply, at);
        });
  }
}

void ZkActor::child_created(const Mine& mine, std::int32_t floor_number, const Reply& reply,
                            const ZkMoment& at) {
  if (reply.code == ZkCode::kQuotaExceeded) return ledger().refused(mine.id);
  if (reply.code != ZkCode::kOk)
    wrong("znode writes", "{} cannot be created: {}", mine.id, reply.code);
  JuteReader reader(reply.body);
  const std::string path = reader.bytes();
  const ZkStat stat = reader.stat();
  reader.end();
  const std::string before = mine.parent + "/" + mine.id;
  if (!path.starts_with(before)) wrong("znode writes", "{} is created as {}", mine.id, path);
  if (stat.czxid != at.zxid || stat.version != 0)
    wrong("znode writes", "{} is of zxid {} and version {}, and answered as of {}", path,
          stat.czxid, stat.version, at.zxid);
  Mine made = mine;
  made.name = path.substr(mine.parent.size() + 1);
  ledger().created(made.id, made.name, at.zxid, floor_number);
  ledger().looked(made.id, &stat, at);
  mirror_->on_own_child(made.parent, made.name, true);
  mirror_->on_node(path, &stat, false);
  mine_.push_back(std::move(made));
}

void ZkActor::delete_child() {
  if (mine_.empty()) return create_child();
  const std::size_t which = rng().below(mine_.size());
  const Mine mine = mine_[which];
  mine_.erase(mine_.begin() + static_cast<std::ptrdiff_t>(which));
  ledger().deleting(mine.id);
  const std::int32_t version = rng().one_in(2) ? 0 : kAnyVersion;
  ask(ZkOp::kDelete, zk_versioned(mine.parent + "/" + mine.name, version), Kind::kWrite,
      [this, mine](const Reply& reply, const ZkMoment& at) {
        if (reply.code == ZkCode::kQuotaExceeded) return;
        // An earlier session's ephemerals are gone.
        if (reply.code == ZkCode::kNoNode) return ledger().looked(mine.id, nullptr, at);
        if (reply.code != ZkCode::kOk)
          wrong("znode writes", "{} cannot be deleted: {}", mine.name, reply.code);
        ledger().deleted(mine.id, at.zxid);
        mirror_->on_own_child(mine.parent, mine.name, false);
        mirror_->on_node(mine.parent + "/" + mine.name, nullptr, false);
      });
}

void ZkActor::list(Kind kind) {
  if (kind == Kind::kFreshRead && !sync_told_ && site_.local_zookeeper_reads)
    return behind_sync([this] { list(Kind::kFreshRead); });
  const std::string parent = rng().one_in(2) ? ZkTree::kQueue : ZkTree::kEphemerals;
  const bool watch = arms();
  ask(ZkOp::kGetChildren2, zk_watched(parent, watch), kind,
      [this, parent, watch](const Reply& reply, const ZkMoment& at) {
        if (reply.code != ZkCode::kOk) wrong("znode reads", "{} is {}", parent, reply.code);
        JuteReader reader(reply.body);
        const std::vector<std::string> names = reader.list();
        const ZkStat stat = reader.stat();
        reader.end();
        ledger().listed({{parent, names}}, at);
        mirror_->on_children(parent, names, stat, watch);
      });
}

void ZkActor::list_both(Kind kind) {
  if (kind == Kind::kFreshRead && !sync_told_ && site_.local_zookeeper_reads)
    return behind_sync([this] { list_both(Kind::kFreshRead); });
  ask(ZkOp::kMultiRead,
      zk_multi({{ZkOp::kGetChildren, zk_watched(ZkTree::kQueue, false)},
                {ZkOp::kGetChildren, zk_watched(ZkTree::kEphemerals, false)}}),
      kind, [this](const Reply& reply, const ZkMoment& at) {
        const std::vector<ZkPart> parts = read_parts(reply.body, 2);
        ledger().listed({{ZkTree::kQueue, parts[0].names}, {ZkTree::kEphemerals, parts[1].names}},
                        at);
      });
}

void ZkActor::look_at_child(Kind kind) {
  if (ledger().known_children() == 0) return;
  if (kind == Kind::kFreshRead && !sync_told_ && site_.local_zookeeper_reads)
    return behind_sync([this] { look_at_child(Kind::kFreshRead); });
  const std::size_t recent = std::min<std::size_t>(ledger().known_children(), 12);
  const auto child = ledger().known_child(ledger().known_children() - 1 - rng().below(recent));
  const std::string& path = child.second;
  const bool watch = arms();
  ask(ZkOp::kExists, zk_watched(path, watch), kind,
      [this, id = child.first, path, watch](const Reply& reply, const ZkMoment& at) {
        if (reply.code != ZkCode::kOk && reply.code != ZkCode::kNoNode)
          wrong("znode reads", "{} is {}", path, reply.code);
        JuteReader reader(reply.body);
        const bool is_there = reply.code == ZkCode::kOk;
        const ZkStat stat = is_there ? reader.stat() : ZkStat();
        ledger().looked(id, is_there ? &stat : nullptr, at);
        mirror_->on_node(path, is_there ? &stat : nullptr, watch);
      });
}

// A watch for what is not there yet, and then it comes.
void ZkActor::look_forward() {
  const Mine mine{new_id(), ZkTree::kEphemerals, ""};
  const std::string path = mine.parent + "/" + mine.id;
  const bool watch = mirror_->leaves_watches();
  ask(ZkOp::kExists, zk_watched(path, watch), Kind::kRead,
      [this, path, watch](const Reply& reply, const ZkMoment&) {
        if (reply.code != ZkCode::kNoNode) wrong("znode reads", "{} is {}", path, reply.code);
        mirror_->on_node(path, nullptr, watch);
      });
  if (!client_.is_connected()) return;
  ledger().creating(mine.parent, mine.id, client_.session().id, false);
  ask(ZkOp::kCreate2, zk_create(path, mine.id, ZkMode::kEphemeral), Kind::kWrite,
      [this, mine](const Reply& reply, const ZkMoment& at) { child_created(mine, -1, reply, at); });
}

}  // namespace conclave::sim
