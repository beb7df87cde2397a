#include "sim/workloads/zookeeper_ledger.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace conclave::sim {
namespace {

constexpr std::size_t kDigits = 10;

std::string write_of(const std::string& data) { return data.substr(0, data.find('/')); }

std::int32_t number_of(std::string_view name) {
  std::int32_t number = -1;
  const std::string_view digits = name.substr(std::min(name.size(), name.rfind('-') + 1));
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.size() != kDigits || number < 0) wrong("znode sequence", "{} has no number", name);
  return number;
}

}  // namespace

std::string zk_id_of(std::string_view name) { return std::string(name.substr(0, name.find('-'))); }

// --- every answer -------------------------------------------------------------------

void ZkLedger::heard(std::int64_t floor, const ZkMoment& at) {
  if (at.zxid < floor)
    wrong("znode recency", "an answer shows zxid {}, although {} had been told before it was asked",
          at.zxid, floor);
  told_ = std::max(told_, at.zxid);
}

// --- writes -------------------------------------------------------------------------

void ZkLedger::wrote(const std::string& id, std::int64_t zxid) {
  if (refused_.contains(id))
    wrong("znode writes", "{} was refused, and was carried out at zxid {}", id, zxid);
  const auto [change, is_first] = changes_.emplace(zxid, id);
  if (!is_first && change->second != id)
    wrong("znode writes", "zxid {} is said to be {} and {}", zxid, change->second, id);
  const auto [write, is_new] = writes_.emplace(id, zxid);
  if (!is_new && write->second != zxid)
    wrong("znode writes", "{} was carried out at zxid {} and at {}", id, write->second, zxid);
}

void ZkLedger::refused(const std::string& id) {
  refused_.insert(id);
  if (const auto done = writes_.find(id); done != writes_.end())
    wrong("znode writes", "{} was carried out at zxid {}, and is refused", id, done->second);
  const auto child = children_.find(id);
  if (child != children_.end() && !child->second.name.empty())
    wrong("znode writes", "{} was created, and is refused", id);
  if (child != children_.end()) end_of_child(id, child->second);
}

// --- data nodes ---------------------------------------------------------------------

void ZkLedger::saw(const std::string& path, const ZkStat& stat, const std::string& data,
                   const ZkMoment& at) {
  wrote(write_of(data), stat.mzxid);
  saw_theirs(path, stat, data, at);
}

void ZkLedger::saw_theirs(const std::string& path, const ZkStat& stat, const std::string& data,
                          const ZkMoment& at) {
  if (stat.mzxid > at.zxid)
    wrong("znode reads", "{} is of zxid {} in an answer as of {}", path, stat.mzxid, at.zxid);
  if (static_cast<std::size_t>(stat.data_bytes) != data.size())
    wrong("znode reads", "{} has {} bytes and is told to have {}", path, data.size(),
          stat.data_bytes);
  DataNode& node = data_[path];
  const auto [version, is_new] = node.versions.emplace(stat.version, Version{stat.mzxid, data});
  const Version& known = version->second;
  if (known.zxid != stat.mzxid || known.data != data)
    wrong("znode versions", "version {} of {} is {} of zxid {}, and {} of zxid {}", stat.version,
          path, known.data, known.zxid, data, stat.mzxid);
  if (is_new) judge_order(path, node);
  node.sights.push_back({at.zxid, stat.version});
  const auto next = changed_after(path, stat.version);
  if (next && *next <= at.zxid)
    wrong("znode reads", "{} is shown with version {} as of zxid {}, and had another since {}",
          path, stat.version, at.zxid, *next);
}

void ZkLedger::judge_order(const std::string& path, const DataNode& node) const {
  std::int64_t last = -1;  // what is there from the beginning is of zxid 0
  for (const auto& [version, known] : node.versions) {
    if (known.zxid <= last)
      wrong("znode versions", "version {} of {} is of zxid {}, and an earlier one of {}", version,
            path, known.zxid, last);
    last = known.zxid;
  }
}

void ZkLedger::saw_other_version(const std::string& path, std::int32_t version,
                                 const ZkMoment& at) {
  data_[path].misses.push_back({at.zxid, version});
}

std::optional<std::int64_t> ZkLedger::changed_after(const std::string& path,
                                                    std::int32_t version) const {
  const auto node = data_.find(path);
  if (node == data_.end()) return std::nullopt;
  const auto next = node->second.versions.upper_bound(version);
  if (next == node->second.versions.end()) return std::nullopt;
  return next->second.zxid;
}

// --- sessions -----------------------------------------------------------------------

void ZkLedger::kept_alive(std::int64_t session, std::int64_t safe_until_ns) {
  std::int64_t& until = sessions_[session].safe_until_ns;
  until = std::max(until, safe_until_ns);
}

void ZkLedger::closing(std::int64_t session) { sessions_[session].may_close = true; }

void ZkLedger::closed(std::int64_t session, std::int64_t zxid) {
  sessions_[session].closed_zxid = zxid;
}

void ZkLedger::expired(std::int64_t session, std::int64_t heard_ns) {
  sessions_[session].expired_ns = heard_ns;
}

// --- lists --------------------------------------------------------------------------

void ZkLedger::creating(const std::string& parent, const std::string& id, std::int64_t session,
                        bool is_sequential) {
  Child child;
  child.parent = parent;
  child.session = session;
  child.is_sequential = is_sequential;
  children_.emplace(id, std::move(child));
  by_parent_[parent].insert(id);
}

std::int32_t ZkLedger::last_number(const std::string& parent) const {
  const auto numbers = numbers_.find(parent);
  if (numbers == numbers_.end() || numbers->second.empty()) return -1;
  return numbers->second.rbegin()->first;
}

void ZkLedger::name_child(const std::string& id, Child& child, const std::string& name) {
  if (child.name == name) return;
  if (!child.name.empty())
    wrong("znode sequence", "{} was created as {} and as {}", id, child.name, name);
  if (refused_.contains(id)) wrong("znode writes", "{} was refused, and {} is there", id, name);
  child.name = name;
  known_.push_back(id);
  if (!child.is_sequential) return;
  const std::int32_t number = number_of(name);
  const auto [other, is_first] = numbers_[child.parent].emplace(number, id);
  if (!is_first) wrong("znode sequence", "{} and {} have one number", name, other->second);
}

void ZkLedger::created(const std::string& id, const std::string& name, std::int64_t zxid,
                       std::int32_t floor_number) {
  Child& child = children_.at(id);
  name_child(id, child, name);
  wrote(id, zxid);
  know_creation(id, child, zxid);
  if (child.is_sequential && number_of(name) <= floor_number)
    wrong("znode sequence", "{} was created when {} had been told already", name, floor_number);
}

void ZkLedger::know_creation(const std::string& id, Child& child, std::int64_t zxid) {
  if (child.czxid != 0) return;
  child.czxid = zxid;
  if (child.first_seen != 0 && child.first_seen < zxid)
    wrong("znode reads", "{} was seen at zxid {} and created at {}", id, child.first_seen, zxid);
  if (child.missed_zxid && *child.missed_zxid >= zxid && !child.may_be_deleted &&
      child.session == 0)
    wrong("znode reads", "{} was created at zxid {} and not there at {}", id, zxid,
          *child.missed_zxid);
  if (!child.is_sequential) return;
  auto& order = by_zxid_[child.parent];
  const auto place = order.emplace(zxid, number_of(child.name)).first;
  const bool is_after = place == order.begin() || std::prev(place)->second < place->second;
  const bool is_before =
      std::next(place) == order.end() || place->second < std::next(place)->second;
  if (!is_after || !is_before)
    wrong("znode sequence", "{} of zxid {} is not in its order", child.name, zxid);
}

void ZkLedger::deleting(const std::string& id) { children_.at(id).may_be_deleted = true; }

void ZkLedger::deleted(const std::string& id, std::int64_t zxid) {
  Child& child = children_.at(id);
  if (child.last_seen >= zxid)
    wrong("znode reads", "{} was deleted at zxid {} and seen at {}", id, zxid, child.last_seen);
  child.deleted_zxid = zxid;
  end_of_child(id, child);
}

void ZkLedger::present(const std::string& id, Child& child, const ZkMoment& at) {
  if (at.zxid < child.czxid)
    wrong("znode reads", "{} of zxid {} is seen at {}", id, child.czxid, at.zxid);
  if (child.gone && at.zxid >= *child.gone)
    wrong("znode reads", "{} was gone at zxid {}, and is there at {}", id, *child.gone, at.zxid);
  if (child.deleted_zxid && at.zxid >= *child.deleted_zxid)
    wrong("znode reads", "{} was deleted at zxid {} and is seen at {}", id, *child.deleted_zxid,
          at.zxid);
  child.first_seen = child.first_seen == 0 ? at.zxid : std::min(child.first_seen, at.zxid);
  child.last_seen = std::max(child.last_seen, at.zxid);
  if (child.session == 0) return;
  Session& session = sessions_[child.session];
  if (session.closed_zxid && at.zxid >= *session.closed_zxid)
    wrong("ephemerals", "{} is seen at zxid {}, and its session {:#x} was closed at {}", id,
          at.zxid, child.session, *session.closed_zxid);
  if (at.is_fresh && session.expired_ns && at.asked_ns > *session.expired_ns)
    wrong("ephemerals", "{} is there {:.3f} s after its client was told that session {:#x} expired",
          id, static_cast<double>(at.asked_ns - *session.expired_ns) / 1e9, child.session);
  if (at.zxid > session.last_seen) {
    session.last_seen = at.zxid;
    session.last_there = id;
  }
  judge_together(child.session, session);
}

void ZkLedger::absent(const std::string& id, Child& child, const ZkMoment& at) {
  const bool was_created = (child.czxid != 0 && at.zxid >= child.czxid) ||
                           (child.first_seen != 0 && at.zxid >= child.first_seen);
  if (!was_created) {
    child.missed_zxid = std::max(child.missed_zxid.value_or(0), at.zxid);
    return;
  }
  if (at.zxid <= child.last_seen)
    wrong("znode reads", "{} is not there at zxid {}, and is at {}", id, at.zxid, child.last_seen);
  child.gone = std::min(child.gone.value_or(at.zxid), at.zxid);
  child.gone_heard_ns = std::min(child.gone_heard_ns.value_or(at.heard_ns), at.heard_ns);
  end_of_child(id, child);
  if (child.may_be_deleted) return;
  if (child.session == 0)
    wrong("znode reads", "{} is not there at zxid {}, and nobody deleted it", id, at.zxid);
  Session& session = sessions_[child.session];
  if (!session.may_close && at.heard_ns < session.safe_until_ns)
    wrong("ephemerals", "{} is gone {:.3f} s before session {:#x} may have expired", id,
          static_cast<double>(session.safe_until_ns - at.heard_ns) / 1e9, child.session);
  if (!session.gone || at.zxid < *session.gone) {
    session.gone = at.zxid;
    session.first_gone = id;
  }
  judge_together(child.session, session);
}

void ZkLedger::listed(const Listing& listing, const ZkMoment& at) {
  for (const auto& [parent, names] : listing) {
    std::set<std::string> there;
    for (const std::string& name : names) {
      const std::string id = zk_id_of(name);
      if (!there.insert(id).second)
        wrong("znode writes", "{} is there twice at zxid {}", id, at.zxid);
      const auto child = children_.find(id);
      if (child == children_.end() || child->second.parent != parent)
        wrong("znode reads", "{}/{} is there, which nobody has created", parent, name);
      name_child(id, child->second, name);
      present(id, child->second, at);
    }
    const std::set<std::string> expected = by_parent_[parent];
    for (const std::string& id : expected) {
      if (!there.contains(id)) absent(id, children_.at(id), at);
    }
  }
}

void ZkLedger::judge_together(std::int64_t id, const Session& session) {
  if (!session.gone || session.last_seen < *session.gone) return;
  wrong("ephemerals", "of session {:#x} {} is there at zxid {} and {} is gone at {}", id,
        session.last_there, session.last_seen, session.first_gone, *session.gone);
}

// Nothing more is expected of it.
void ZkLedger::end_of_child(const std::string& id, const Child& child) {
  by_parent_[child.parent].erase(id);
}

void ZkLedger::looked(const std::string& id, const ZkStat* stat, const ZkMoment& at) {
  Child& child = children_.at(id);
  if (stat == nullptr) return absent(id, child, at);
  if (stat->owner != child.session)
    wrong("ephemerals", "{} is of session {:#x} and told to be of {:#x}", id, child.session,
          stat->owner);
  present(id, child, at);
  wrote(id, stat->czxid);
  know_creation(id, child, stat->czxid);
}

std::pair<std::string, std::string> ZkLedger::known_child(std::size_t number) const {
  const std::string& id = known_.at(number);
  const Child& child = children_.at(id);
  return {id, child.parent + "/" + child.name};
}

// --- the end ------------------------------------------------------------------------

void ZkLedger::close_books() const {
  for (const auto& [path, node] : data_) {
    for (const Sight& sight : node.sights) {
      const auto next = changed_after(path, sight.version);
      if (next && *next <= sight.zxid)
        wrong("znode reads", "{} was shown with version {} as of zxid {}, and had another since {}",
              path, sight.version, sight.zxid, *next);
    }
    for (const Sight& miss : node.misses) {
      const auto version = node.versions.find(miss.version);
      if (version == node.versions.end() || miss.zxid < version->second.zxid) continue;
      const auto next = std::next(version);
      // Which version came next must be known.
      const bool is_last = next == node.versions.end();
      if (!is_last && next->first != miss.version + 1) continue;
      if (is_last || miss.zxid < next->second.zxid)
        wrong("znode versions", "{} had version {} at zxid {}, when a write was refused for it",
              path, miss.version, miss.zxid);
    }
  }
  for (const auto& [id, child] : children_) {
    if (!child.gone_heard_ns || child.may_be_deleted) continue;
    const Session& session = sessions_.at(child.session);
    if (!session.may_close && *child.gone_heard_ns < session.safe_until_ns)
      wrong("ephemerals", "{} was gone {:.3f} s before session {:#x} may have expired", id,
            static_cast<double>(session.safe_until_ns - *child.gone_heard_ns) / 1e9, child.session);
  }
}

std::string ZkLedger::ephemerals_left() const {
  std::string left;
  for (const auto& [id, child] : children_) {
    const bool is_there = child.last_seen != 0 && !child.gone && !child.deleted_zxid;
    if (child.session != 0 && is_there) left += id + " ";
  }
  return left;
}

}  // namespace conclave::sim
