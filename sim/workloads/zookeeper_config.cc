#include "sim/workloads/zookeeper_config.h"

#include <fmt/core.h>

#include <charconv>
#include <string_view>
#include <utility>

namespace conclave::sim {
namespace {

constexpr const char* kCheck = "znode config";

template <class Number>
Number number_in(std::string_view digits, int base, const std::string& data) {
  Number number = 0;
  const char* const end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, number, base);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != end)
    wrong(kCheck, "no number is {} of {}", digits, data);
  return number;
}

// "server.1=m0:2380:2381:participant;m0:2181"
void read_line(std::string_view line, const std::string& data, ZkServers& servers) {
  constexpr std::string_view kServer = "server.";
  constexpr std::size_t kParts = 4;
  const std::size_t equals = line.find('=');
  if (!line.starts_with(kServer) || equals == line.npos)
    wrong(kCheck, "nobody can read {} of {}", line, data);
  const auto id =
      number_in<std::int64_t>(line.substr(kServer.size(), equals - kServer.size()), 10, data);
  std::string_view rest = line.substr(equals + 1);
  rest = rest.substr(0, rest.find(';'));
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t colon = rest.find(':');
    parts.push_back(rest.substr(0, colon));
    if (colon == rest.npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (parts.size() != kParts) wrong(kCheck, "nobody can read {} of {}", line, data);
  ZkServer server{.peer = fmt::format("{}:{}", parts[0], parts[1]),
                  .is_observer = parts[3] == "observer"};
  if (!server.is_observer && parts[3] != "participant") wrong(kCheck, "{} is a {}", id, parts[3]);
  if (!servers.emplace(id, std::move(server)).second) wrong(kCheck, "{} is there twice", id);
}

// As the node of `stat` has it.
ZkConfig read_config(const ZkStat& stat, const std::string& data) {
  constexpr std::string_view kVersion = "version=";
  ZkConfig config;
  config.version = stat.version;
  std::string_view rest = data;
  for (std::size_t end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
    read_line(rest.substr(0, end), data, config.servers);
    rest.remove_prefix(end + 1);
  }
  if (!rest.starts_with(kVersion)) wrong(kCheck, "the last line of {} is no version", data);
  config.zxid = number_in<std::int64_t>(rest.substr(kVersion.size()), 16, data);
  if (config.zxid != stat.mzxid)
    wrong(kCheck, "it was written at zxid {}, and says {}", stat.mzxid, config.zxid);
  return config;
}

}  // namespace

ZkServers ZkReconfig::result(const ZkServers& before) const {
  ZkServers after;
  for (const auto& [id, server] : before) {
    const bool stays = joining.contains(id) || (!is_whole && !leaving.contains(id));
    if (stays) after.emplace(id, server);
  }
  for (const auto& [id, server] : joining) {
    const auto [known, is_new] = after.emplace(id, server);
    if (!is_new && !server.is_observer) known->second.is_observer = false;
  }
  return after;
}

std::optional<ZkConfig> ZkConfigs::saw(const ZkStat& stat, const std::string& data,
                                       const ZkMoment& at) {
  ledger_.saw_theirs(kPath, stat, data, at);
  if (data.empty()) return std::nullopt;
  const auto seen = seen_.find(stat.version);
  if (seen != seen_.end()) return seen->second;
  const ZkConfig config = read_config(stat, data);
  judge_ids(config);
  return seen_.emplace(stat.version, config).first->second;
}

void ZkConfigs::judge_ids(const ZkConfig& config) const {
  for (const auto& [id, server] : config.servers) {
    if (refused_.contains(id))
      wrong(kCheck, "{} is there at zxid {}, and was refused", id, config.zxid);
    const auto removed = removed_.find(id);
    if (removed != removed_.end() && config.zxid >= removed->second)
      wrong(kCheck, "{} is there at zxid {}, and was gone at {}", id, config.zxid, removed->second);
  }
}

std::size_t ZkConfigs::asked(ZkReconfig change) {
  for (const std::int64_t id : change.leaving) ++may_go_[id];
  if (change.is_whole && !change.from) ++may_leave_few_;
  changes_.push_back(std::move(change));
  return changes_.size() - 1;
}

void ZkConfigs::done(std::size_t number, const ZkStat& stat, const std::string& data,
                     const ZkMoment& at) {
  const ZkReconfig& change = changes_.at(number);
  if (stat.mzxid > at.zxid)
    wrong(kCheck, "a reconfig of zxid {} is answered as of {}", stat.mzxid, at.zxid);
  // It may have been changed again until all members were as they should be.
  ZkMoment then = at;
  then.zxid = stat.mzxid;
  const std::optional<ZkConfig> now = saw(stat, data, then);
  if (!now) wrong(kCheck, "a reconfig has made an empty one at zxid {}", stat.mzxid);
  if (!change.is_allowed)
    wrong(kCheck, "who has no right to it has made the one of zxid {}", now->zxid);
  judge_result(change, *now);
  for (const std::int64_t id : change.leaving) {
    const auto [removed, is_new] = removed_.emplace(id, now->zxid);
    if (!is_new) removed->second = std::min(removed->second, now->zxid);
  }
  for (const auto& [each, config] : seen_) judge_ids(config);
}

void ZkConfigs::judge_result(const ZkReconfig& change, const ZkConfig& now) const {
  if (change.result(now.servers) != now.servers)
    wrong(kCheck, "what was asked for is not what there is at zxid {}", now.zxid);
  if (!change.from) return;
  const ZkServers expected = change.result(change.from->servers);
  if (expected != now.servers)
    wrong(kCheck, "over that of zxid {} something else was asked for than that of {}",
          change.from->zxid, now.zxid);
  // Who changes nothing replaces nothing: where clients reach a member may be new by then.
  const bool changes = expected != change.from->servers;
  const bool is_next =
      changes ? now.version == change.from->version + 1 : now.version >= change.from->version;
  if (!is_next)
    wrong(kCheck, "it was to replace version {} of zxid {}, and is version {} of zxid {}",
          change.from->version, change.from->zxid, now.version, now.zxid);
}

void ZkConfigs::refused(std::size_t number, std::int32_t code, const ZkMoment& at) {
  const ZkReconfig& change = changes_.at(number);
  for (const std::int64_t id : change.leaving) --may_go_[id];
  if (change.is_whole && !change.from) --may_leave_few_;
  refused_.insert(change.newcomers.begin(), change.newcomers.end());
  for (const auto& [each, config] : seen_) judge_ids(config);
  switch (code) {
    case ZkCode::kBadVersion:
      if (!change.from) wrong(kCheck, "the version was not asked for, and is another");
      return ledger_.saw_other_version(kPath, change.from->version, at);
    case ZkCode::kNoAuth:
      if (change.is_allowed) wrong(kCheck, "the super user has no right to it");
      return;
    case ZkCode::kBadArguments:
    case ZkCode::kNewConfigNoQuorum:
    case ZkCode::kReconfigInProgress:
    case ZkCode::kQuotaExceeded:
      return;
    default:
      wrong(kCheck, "a reconfig is refused by {}", code);
  }
}

void ZkConfigs::judge_truth(std::int32_t version, const ZkServers& members) const {
  const auto seen = seen_.find(version);
  if (seen == seen_.end() || seen->second.servers == members) return;
  wrong(kCheck, "version {} says that there are {} members, and not the {} that there are", version,
        seen->second.servers.size(), members.size());
}

void ZkConfigs::close_books(
    const std::function<bool(std::int64_t id)>& is_removed_by_others) const {
  if (may_leave_few_ > 0) return;
  const ZkConfig* before = nullptr;
  for (const auto& [version, config] : seen_) {
    const ZkConfig* const last = std::exchange(before, &config);
    if (last == nullptr) continue;
    for (const auto& [id, server] : last->servers) {
      if (config.servers.contains(id) || is_removed_by_others(id)) continue;
      const auto may_go = may_go_.find(id);
      if (may_go == may_go_.end() || may_go->second == 0)
        wrong(kCheck, "{} is gone at zxid {}, and all who wanted that were refused", id,
              config.zxid);
    }
  }
}

}  // namespace conclave::sim
