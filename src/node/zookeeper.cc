// ZooKeeper's clients (Group in group.h): which sessions this member's connections have, what they
// are told, and how sessions are kept alive. The store has the rules (store/znodes.h).

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "node/group.h"
#include "node/request_size.h"
#include "store/znode_quota.h"

namespace conclave::node {
namespace {

namespace zk = api::zk;
using Why = zk::ConnectionOver::Why;
using Kind = store::ZnodeWatches::Kind;

// A session that was heard of is kept alive so much later at most, unless a ping wants it sooner:
// its lease is longer by that.
constexpr Duration kTouchDelay = seconds(1);

std::int64_t whole_seconds(std::int64_t ms) { return ms / 1000 + (ms % 1000 == 0 ? 0 : 1); }

// What leaves a one-shot watch behind, if the read that was asked for is answered with `code`.
struct LeftWatch {
  BytesView path;
  Kind kind = Kind::kData;
};

struct WatchLeftBy {
  std::optional<LeftWatch> operator()(const zk::Exists& op) const {
    const bool leaves = op.watch && (code == zk::Code::kOk || code == zk::Code::kNoNode);
    return leaves ? std::optional(LeftWatch{op.path, Kind::kData}) : std::nullopt;
  }
  std::optional<LeftWatch> operator()(const zk::GetData& op) const {
    const bool leaves = op.watch && code == zk::Code::kOk;
    return leaves ? std::optional(LeftWatch{op.path, Kind::kData}) : std::nullopt;
  }
  std::optional<LeftWatch> operator()(const zk::GetChildren& op) const {
    const bool leaves = op.watch && code == zk::Code::kOk;
    return leaves ? std::optional(LeftWatch{op.path, Kind::kChildren}) : std::nullopt;
  }
  template <class Other>
  std::optional<LeftWatch> operator()(const Other&) const {
    return std::nullopt;
  }

  zk::Code code;
};

// How many nodes a read looks at, beside those that it brings.
struct Looks {
  std::size_t operator()(const zk::SetWatches& op) const {
    return op.data.size() + op.exist.size() + op.child.size() + op.persistent.size() +
           op.persistent_recursive.size();
  }
  std::size_t operator()(const zk::MultiRead& op) const { return op.operations.size(); }
  template <class Other>
  std::size_t operator()(const Other&) const {
    return 0;
  }
};

api::Error too_many_watches() {
  return {api::ErrorCode::kTooManyRequests, "the connection, or the member, has too many watches"};
}

}  // namespace

// --- writes -------------------------------------------------------------------------

void Group::complete(zk::WriteRequest& write) {
  // Within what a command may carry.
  constexpr std::uint64_t kLastTimeMs = std::uint64_t{1} << 47;
  write.time_ms = static_cast<std::int64_t>(std::min(shared_.clock.wall_ms(), kLastTimeMs));
  if (store::creates_quota(write)) write.quotas = std::max(write.quotas, zk::Quotas::kCounted);
  auto* open = std::get_if<zk::OpenSession>(&write.op);
  if (open == nullptr) return;
  open->timeout_ms = std::max<std::int64_t>(open->timeout_ms, 1);
  api::LeaseGrantRequest lease{.ttl_s = whole_seconds(open->timeout_ms + kTouchDelay.ms())};
  complete(lease);
  open->ttl_s = lease.ttl_s;
  open->id = lease.id;
  if (shared_.options.auth.random_bytes) {
    open->password = shared_.options.auth.random_bytes(zk::kPasswordBytes);
    return;
  }
  open->password.clear();
  while (open->password.size() < zk::kPasswordBytes) {
    open->password.push_back(static_cast<char>(session_ids_.next() & 0xff));
  }
}

bool Group::is_refused_after_failure(ClientCall client) {
  if (!failed_connections_.contains(client.connection)) return false;
  answer(client, api::Error{api::ErrorCode::kTimeout, "an earlier request was not carried out"});
  return true;
}

// What needs no log, or must not get into it.
bool Group::is_answered_at_once(ClientCall client, const zk::WriteRequest& write) {
  if (is_refused_after_failure(client)) return true;
  const auto* reconnect = std::get_if<zk::Reconnect>(&write.op);
  if (reconnect == nullptr || reconnect->password.size() == zk::kPasswordBytes) return false;
  answer(client, zk::Reply{zk::Code::kSessionExpired, store_.revision(), {}});
  return true;
}

// A store that is full is an answer like others, and the connection goes on.
void Group::refuse_znodes(ClientCall client, api::Error error) {
  if (error.code == api::ErrorCode::kNoSpace) {
    return answer(client, zk::Reply{zk::Code::kQuotaExceeded, store_.revision(), {}});
  }
  failed_connections_.insert(client.connection);
  writes_.drop_after_failure(client.connection);
  answer(client, std::move(error));
}

// What a connection of ZooKeeper's asked for later must not be done if this was not.
void Group::fail_write(ClientCall client, api::ErrorCode code) {
  if (session_of_.contains(client.connection)) {
    failed_connections_.insert(client.connection);
    writes_.drop_after_failure(client.connection);
  }
  answer(client, api::Error{code, {}});
}

// --- what connections are told ------------------------------------------------------

// Before the answer of this outcome, and of any read after it.
void Group::tell_znode_changes(ZnodeNewsReader& reader, std::size_t outcome) {
  for (; reader.changes < reader.news.size(); ++reader.changes) {
    const store::ZnodeNews& news = reader.news[reader.changes];
    if (news.outcome > outcome) return;
    const auto* change = std::get_if<store::ZnodeChange>(&news.what);
    if (change != nullptr) znode_watches_.on_change(*change, news.zxid);
  }
}

// After it: `asker`, who was answered, may have closed its own session.
void Group::tell_session_changes(ZnodeNewsReader& reader, std::size_t outcome,
                                 std::uint64_t asker) {
  using ChangeKind = store::ZnodeSessionChange::Kind;
  for (; reader.sessions < reader.news.size(); ++reader.sessions) {
    const store::ZnodeNews& news = reader.news[reader.sessions];
    if (news.outcome > outcome) return;
    const auto* change = std::get_if<store::ZnodeSessionChange>(&news.what);
    if (change == nullptr) continue;
    const auto found = sessions_.find(change->session);
    if (found == sessions_.end()) continue;
    const LocalSession local = found->second;
    if (change->kind == ChangeKind::kMoved) {
      if (local.generation < change->generation) {
        end_connection(local.connection, Why::kSessionMoved);
      }
    } else if (change->kind == ChangeKind::kClosed && local.connection == asker) {
      forget_connection(asker);
    } else {
      const bool is_closed = change->kind == ChangeKind::kClosed;
      end_connection(local.connection, is_closed ? Why::kSessionClosed : Why::kSessionExpired);
    }
  }
}

// A connection has been given a session: from now on it is told what becomes of it. It may have
// gone on elsewhere by the same entry of the log.
void Group::note_session(ClientCall client, const api::Answer& answer) {
  const auto* reply = std::get_if<zk::Reply>(&answer);
  if (reply == nullptr || client.connection == 0) return;
  const auto* session = std::get_if<zk::Session>(&reply->result);
  if (session == nullptr) return;
  const auto known = sessions_.find(session->id);
  if (known != sessions_.end() && known->second.connection != client.connection) {
    end_connection(known->second.connection, Why::kSessionMoved);
  }
  sessions_[session->id] = {client.connection, session->generation};
  session_of_[client.connection] = session->id;
  store_.want_znode_news(true);
  if (store_.check_session({session->id, session->generation, {}}) != zk::Code::kOk) {
    end_connection(client.connection, Why::kSessionMoved);
  }
}

void Group::end_connection(std::uint64_t connection, Why why) {
  forget_connection(connection);
  shared_.zookeeper_news(connection, zk::ConnectionOver{why});
}

void Group::forget_connection(std::uint64_t connection) {
  znode_reads_.forget(connection);
  znode_watches_.close_connection(connection);
  const auto found = session_of_.find(connection);
  if (found == session_of_.end()) return;
  sessions_.erase(found->second);
  session_of_.erase(found);
  if (sessions_.empty()) store_.want_znode_news(false);
}

// The state has jumped: what the watches have missed is not known.
void Group::check_sessions() {
  std::vector<std::pair<std::uint64_t, Why>> over;
  for (const auto& [id, local] : sessions_) {
    const zk::Code code = store_.check_session({id, local.generation, {}});
    if (code == zk::Code::kSessionExpired) {
      over.emplace_back(local.connection, Why::kSessionExpired);
    } else if (code != zk::Code::kOk) {
      over.emplace_back(local.connection, Why::kSessionMoved);
    } else if (znode_watches_.has_watches(local.connection)) {
      over.emplace_back(local.connection, Why::kStateReplaced);
    }
  }
  for (const auto& [connection, why] : over) end_connection(connection, why);
  store_.want_znode_news(!sessions_.empty());
}

// --- keeping sessions alive ---------------------------------------------------------

// It asks for something: its session lives, and what it has proved to be counts for its watches.
void Group::hear_of(ClientCall client, const zk::Caller& caller) {
  touch_session(caller.session);
  znode_watches_.identify(client.connection, caller.ids);
}

void Group::touch_session(zk::SessionId session) {
  if (session != 0 && sessions_.contains(session)) touched_.insert(session);
}

void Group::ping(ClientCall client, api::Request request) {
  auto& caller = std::get<zk::PingRequest>(request.body).caller;
  if (is_corrupt()) return answer(client, api::Error{api::ErrorCode::kCorrupt, {}});
  if (pings_.size() + pings_under_way_ >= limits::kMaxWaitingPings) {
    ++counters_.requests_refused;
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  touched_.insert(caller.session);
  znode_watches_.identify(client.connection, caller.ids);
  const Instant until = shared_.clock.now() + shared_.options.request_timeout;
  const zk::SessionId session = caller.session;
  pings_.emplace(session, Ping{client, {session, caller.generation, {}}, until});
}

// Commands for all that were heard of, several times a second if a ping waits for it.
void Group::touch_sessions() {
  const Instant now = shared_.clock.now();
  if (touched_.empty() || (pings_.empty() && now < touch_again_)) return;
  touch_again_ = now + kTouchDelay;
  while (!touched_.empty()) {
    Touch& touch = touches_[next_touch_];
    while (!touched_.empty() && touch.sessions.size() < limits::kTouchedSessions) {
      touch.sessions.push_back(touched_.extract(touched_.begin()).value());
    }
    const auto end = pings_.upper_bound(touch.sessions.back());
    for (auto it = pings_.begin(); it != end; ++it) touch.pings.push_back(std::move(it->second));
    pings_.erase(pings_.begin(), end);
    pings_under_way_ += touch.pings.size();
    const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
    writes_.add(ClientCall{kSessionsConnection, next_touch_++},
                store::encode_command(origin, store::TouchSessions{touch.sessions}), false,
                now + shared_.options.request_timeout);
  }
  want_turn();
}

// What could not be done is tried again, as it does no harm to have it done twice; pings wait for
// it as long as other requests would.
void Group::answer_pings(std::uint64_t number, const api::Response& response) {
  auto found = touches_.extract(number);
  if (found.empty()) return;
  Touch touch = std::move(found.mapped());
  pings_under_way_ -= touch.pings.size();
  const auto* error = std::get_if<api::Error>(&response.answer);
  if (error != nullptr) {
    for (const zk::SessionId session : touch.sessions) touch_session(session);
  }
  const Instant now = shared_.clock.now();
  for (Ping& ping : touch.pings) {
    if (error == nullptr) {
      const zk::Code code = store_.check_session(ping.caller);
      answer(ping.client, zk::Reply{code, response.header.revision, {}});
    } else if (now >= ping.until) {
      answer(ping.client, *error);
    } else {
      touched_.insert(ping.caller.session);
      const zk::SessionId session = ping.caller.session;
      pings_.emplace(session, std::move(ping));
    }
  }
}

// --- containers and TTL nodes -------------------------------------------------------

void Group::reap_znodes() {
  if (!engine_.is_leader() || is_corrupt() || !store_.has_timed_znodes()) return;
  if (no_space_ || shared_.log.is_full() || writes_.is_waiting(reaping_)) return;
  store::ReapZnodes found = store_.find_reapable(store_.stamp(), limits::kReapLooks, reap_from_);
  for (std::size_t at = 0; at < found.paths.size(); at += limits::kReapedZnodes) {
    const std::size_t end = std::min(found.paths.size(), at + limits::kReapedZnodes);
    const auto first = found.paths.begin();
    const store::ReapZnodes some{
        {first + static_cast<std::ptrdiff_t>(at), first + static_cast<std::ptrdiff_t>(end)}};
    reaping_ = writes_.next_call();
    submit_internal(
        store::encode_command({shared_.options.self, shared_.incarnation, reaping_}, some));
  }
}

// --- reads and watches --------------------------------------------------------------

void Group::serve_in_order(Reads::Read read, store::RangeReader::Budget& budget) {
  if (!znode_reads_.is_next(read)) return;
  const std::uint64_t connection = read.client.connection;
  serve_znodes(read, budget);
  // In their order, and when it is their connection's turn again.
  for (Reads::Read& next : znode_reads_.take_early(connection)) reads_.add_due(std::move(next));
}

void Group::serve_znodes(const Reads::Read& read, store::RangeReader::Budget& budget) {
  znode_reads_.done(read.client);
  ++counters_.reads_served;
  api::Response response{.header = header(), .answer = read_znodes(read.client, read.request)};
  const std::size_t cost = cost_of(response.answer);
  if (cost > budget.bytes) reads_.charge(flow_of(read.client), cost - budget.bytes);
  budget.bytes -= std::min(budget.bytes, cost);
  const auto& op = std::get<zk::ReadRequest>(read.request.body).op;
  budget.keys -= std::min(budget.keys, std::visit(Looks{}, op));
  answer(read.client, std::move(response));
}

api::Answer Group::read_znodes(ClientCall client, const api::Request& request) {
  const auto& read = std::get<zk::ReadRequest>(request.body);
  zk::Reply reply{.code = zk::Code::kOk, .zxid = store_.revision(), .result = {}};
  if (std::holds_alternative<zk::GetCounts>(read.op)) {
    zk::Counts counts = store_.znode_counts();
    counts.watches = znode_watches_.watches();
    counts.watched_paths = znode_watches_.paths();
    counts.watchers = znode_watches_.connections();
    reply.result = counts;
    return reply;
  }
  if (std::holds_alternative<zk::DumpSessions>(read.op)) {
    reply.result = store_.dump_sessions();
    return reply;
  }
  if (std::holds_alternative<zk::DumpWatches>(read.op)) {
    zk::WatchDump dump;
    znode_watches_.for_each([&](const Bytes& path, std::uint64_t connection) {
      if (dump.paths.empty() || dump.paths.back().path != path) dump.paths.push_back({path, {}});
      const auto session = session_of_.find(connection);
      if (session != session_of_.end()) dump.paths.back().sessions.push_back(session->second);
    });
    reply.result = std::move(dump);
    return reply;
  }
  reply.code = store_.check_session(read.caller);
  if (reply.code != zk::Code::kOk) return reply;
  if (const auto* wanted = std::get_if<zk::SetWatches>(&read.op)) {
    if (auto error = set_watches(client, read, *wanted)) return *std::move(error);
    return reply;
  }
  if (const auto* wanted = std::get_if<zk::AddWatch>(&read.op)) {
    const bool is_recursive = wanted->mode == zk::WatchMode::kPersistentRecursive;
    const Kind kind = is_recursive ? Kind::kRecursive : Kind::kPersistent;
    if (!watch_znode(client, read, wanted->path, kind)) return too_many_watches();
    return reply;
  }
  if (const auto* unwanted = std::get_if<zk::RemoveWatches>(&read.op)) {
    const bool is_there =
        unwanted->only_check
            ? znode_watches_.has(client.connection, unwanted->path, unwanted->type)
            : znode_watches_.remove(client.connection, unwanted->path, unwanted->type);
    if (!is_there) reply.code = zk::Code::kNoWatcher;
    return reply;
  }
  api::Answer answer = store_.read(request).answer;
  const auto left = std::visit(WatchLeftBy{std::get<zk::Reply>(answer).code}, read.op);
  if (left && !watch_znode(client, read, left->path, left->kind)) return too_many_watches();
  return answer;
}

bool Group::watch_znode(ClientCall client, const zk::ReadRequest& request, BytesView path,
                        Kind kind) {
  return znode_watches_.add(client.connection, path, kind, request.caller.ids);
}

// What has changed since is told now, and needs no watch; but for persistent ones, as in ZooKeeper.
std::optional<api::Error> Group::set_watches(ClientCall client, const zk::ReadRequest& request,
                                             const zk::SetWatches& wanted) {
  bool has_room = true;
  const auto set = [&](const Bytes& path, Kind kind, std::optional<zk::EventType> missed) {
    if (!missed) {
      has_room = has_room && watch_znode(client, request, path, kind);
      return;
    }
    shared_.zookeeper_news(client.connection, zk::Event{*missed, path, store_.revision()});
  };
  using Missed = std::optional<zk::EventType>;
  const zk::Zxid since = wanted.relative_zxid;
  for (const Bytes& path : wanted.data) {
    const auto stat = store_.find_znode(path);
    const Missed changed =
        stat && stat->mzxid > since ? Missed(zk::EventType::kDataChanged) : std::nullopt;
    set(path, Kind::kData, stat ? changed : zk::EventType::kDeleted);
  }
  for (const Bytes& path : wanted.exist) {
    set(path, Kind::kData,
        store_.find_znode(path) ? Missed(zk::EventType::kCreated) : std::nullopt);
  }
  for (const Bytes& path : wanted.child) {
    const auto stat = store_.find_znode(path);
    const Missed changed =
        stat && stat->pzxid > since ? Missed(zk::EventType::kChildrenChanged) : std::nullopt;
    set(path, Kind::kChildren, stat ? changed : zk::EventType::kDeleted);
  }
  for (const Bytes& path : wanted.persistent) set(path, Kind::kPersistent, std::nullopt);
  for (const Bytes& path : wanted.persistent_recursive) set(path, Kind::kRecursive, std::nullopt);
  if (!has_room) return too_many_watches();
  return std::nullopt;
}

}  // namespace conclave::node
