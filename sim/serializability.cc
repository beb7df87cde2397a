#include "sim/serializability.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "sim/dependency_graph.h"
#include "sim/version_order.h"

namespace conclave::sim {
namespace {

using Found = std::optional<Anomaly>;

constexpr std::size_t kShownHops = 20;  // of a cycle

// What an edge is about: a version of a key, or one of its unseen appends.
std::uint64_t label_of(std::uint32_t key, std::uint32_t position) {
  return (std::uint64_t{key} << 32) | position;
}

AnomalyKind kind_of(const Cycle& cycle) {
  const auto count = [&](Dependency kind) { return std::ranges::count(cycle, kind, &Hop::kind); };
  if (count(Dependency::kReadWrite) > 1) return AnomalyKind::kG2;
  if (count(Dependency::kReadWrite) == 1) return AnomalyKind::kGSingle;
  return count(Dependency::kWriteRead) > 0 ? AnomalyKind::kG1c : AnomalyKind::kG0;
}

class Judge {
 public:
  Judge(const TransactionHistory& history, Isolation isolation)
      : history_(history),
        strict_(isolation == Isolation::kStrictSerializable),
        versions_(history) {}

  Found run() {
    if (Found found = versions_.infer()) return found;
    if (strict_)
      if (Found found = find_lost_append()) return found;
    return find_cycle();
  }

 private:
  Found find_lost_append() {
    constexpr std::size_t kNobody = std::numeric_limits<std::size_t>::max();
    std::vector<std::size_t> latest_reader(versions_.keys().size(), kNobody);
    for (std::size_t i = 0; i < history_.size(); ++i) {
      for (std::size_t op = 0; versions_.happened(i) && op < history_[i].ops.size(); ++op) {
        if (!history_[i].ops[op].list) continue;
        std::size_t& latest = latest_reader[versions_.key_of(i, op)];
        if (latest == kNobody || history_[latest].called_ns < history_[i].called_ns) latest = i;
      }
    }
    const auto& keys = versions_.keys();
    for (std::size_t k = 0; k < keys.size(); ++k) {
      for (const std::uint32_t number : keys[k].unseen) {
        const ListVersions::Append& append = keys[k].appends[number];
        const auto returned_ns = history_[append.transaction].returned_ns;
        const std::size_t reader = latest_reader[k];
        if (reader == kNobody || !returned_ns || *returned_ns >= history_[reader].called_ns)
          continue;
        return anomaly_of(
            history_, AnomalyKind::kLostAppend,
            fmt::format("T{} appended {} to {} and was told so, but T{} read it later "
                        "without that, and so did everybody else",
                        append.transaction, versions_.element_of(append), keys[k].key, reader),
            {append.transaction, reader}, {keys[k].key});
      }
    }
    return {};
  }

  // --- cycles ---

  Found find_cycle() {
    DependencyEdges edges(history_.size());
    for (std::uint32_t key = 0; key < versions_.keys().size(); ++key) add_write_order(key, edges);
    for (std::uint32_t i = 0; i < history_.size(); ++i)
      for (std::uint32_t op = 0; versions_.happened(i) && op < history_[i].ops.size(); ++op)
        if (history_[i].ops[op].list) add_read(i, op, edges);
    std::vector<Interval> intervals;
    if (strict_) {
      for (std::size_t i = 0; i < history_.size(); ++i)
        intervals.push_back({versions_.happened(i), history_[i].called_ns,
                             history_[i].returned_ns.value_or(Interval::kNever)});
      add_real_time(intervals, edges);
    }
    return worst_cycle(DependencyGraph(std::move(edges), std::move(intervals)));
  }

  // Versions follow each other; what nobody saw comes after what was seen, by way of a junction.
  void add_write_order(std::uint32_t number, DependencyEdges& edges) {
    const ListVersions& key = versions_.keys()[number];
    for (std::uint32_t i = 1; i < key.size(); ++i)
      edges.add(key.at(i - 1).transaction, key.at(i).transaction, Dependency::kWriteWrite,
                label_of(number, i));
    ends_.push_back(edges.nodes);
    if (key.unseen.empty()) return;
    const auto end = edges.add_junction();
    for (const std::uint32_t append : key.unseen)
      edges.add(end, key.appends[append].transaction, Dependency::kThrough,
                label_of(number, append));
    if (key.size() > 0)
      edges.add(key.at(key.size() - 1).transaction, end, Dependency::kWriteWrite,
                label_of(number, key.size()));
  }

  void add_read(std::uint32_t reader, std::uint32_t op, DependencyEdges& edges) {
    const std::uint32_t number = versions_.key_of(reader, op);
    const ListVersions& key = versions_.keys()[number];
    const std::uint32_t seen = versions_.versions_seen(reader, op);
    if (seen > 0)
      edges.add(key.at(seen - 1).transaction, reader, Dependency::kWriteRead,
                label_of(number, seen));
    if (seen < key.size()) {
      edges.add(reader, key.at(seen).transaction, Dependency::kReadWrite, label_of(number, seen));
    } else if (!key.unseen.empty()) {
      edges.add(reader, static_cast<DependencyEdges::Node>(ends_[number]), Dependency::kReadWrite,
                label_of(number, seen));
    }
  }

  // From the gravest shape of cycle to the mildest.
  Found worst_cycle(const DependencyGraph& graph) const {
    constexpr auto kWw = static_cast<DependencySet>(Dependency::kWriteWrite);
    constexpr auto kWr = static_cast<DependencySet>(Dependency::kWriteRead);
    constexpr auto kRw = static_cast<DependencySet>(Dependency::kReadWrite);
    constexpr auto kTime = static_cast<DependencySet>(Dependency::kRealTime);
    constexpr DependencySet kAll = kWw | kWr | kRw | kTime;
    constexpr std::array<CycleShape, 9> kShapes = {{{kWw, kWw},
                                                    {kWr, kWw | kWr},
                                                    {kRw, kWw | kWr},
                                                    {kRw, kWw | kWr | kRw},
                                                    {kWw, kWw | kTime},
                                                    {kWr, kWw | kWr | kTime},
                                                    {kRw, kWw | kWr | kTime},
                                                    {kRw, kAll},
                                                    {kAll, kAll}}};
    if (cyclic_components(graph, kAll).empty()) return {};
    for (const CycleShape& shape : kShapes)
      if (const auto cycle = shortest_cycle(graph, shape)) return explain(*cycle);
    return {};
  }

  Anomaly explain(const Cycle& cycle) const {
    std::string what = fmt::format(
        "{} transactions of which each must come before the next, and the last before the first:",
        cycle.size());
    std::vector<std::size_t> transactions;
    std::set<std::string_view> keys;
    for (const Hop& hop : cycle) {
      transactions.push_back(hop.from);
      if (transactions.size() > kShownHops) continue;
      if (hop.kind != Dependency::kRealTime) keys.insert(key_of(hop).key);
      what += fmt::format("\n  T{} before T{}: {}", hop.from, hop.to, reason(hop));
    }
    auto shown = transactions;
    if (cycle.size() > kShownHops) {
      what += fmt::format("\n  and {} more", cycle.size() - kShownHops);
      shown.resize(kShownHops);
    }
    Anomaly out = anomaly_of(history_, kind_of(cycle), std::move(what), std::move(shown), keys);
    out.transactions = std::move(transactions);
    out.real_time = std::ranges::find(cycle, Dependency::kRealTime, &Hop::kind) != cycle.end();
    return out;
  }

  const ListVersions& key_of(const Hop& hop) const { return versions_.keys()[hop.label >> 32]; }

  std::string reason(const Hop& hop) const {
    if (hop.kind == Dependency::kRealTime)
      return fmt::format("T{} had returned at {} when T{} was called at {} (real time)", hop.from,
                         *history_[hop.from].returned_ns, hop.to, history_[hop.to].called_ns);
    const ListVersions& key = key_of(hop);
    const auto position = static_cast<std::uint32_t>(hop.label);
    const auto element = [&](std::uint32_t at) { return (*key.order)[at]; };
    const Element next =
        hop.through ? versions_.element_of(key.appends[static_cast<std::uint32_t>(hop.last_label)])
        : position < key.size() ? element(position)
                                : 0;
    if (hop.kind == Dependency::kWriteRead)
      return fmt::format("T{} read {} in {}, which T{} appended (wr)", hop.to,
                         element(position - 1), key.key, hop.from);
    if (hop.kind == Dependency::kWriteWrite)
      return fmt::format("T{} appended {} to {} after T{} had appended {} (ww)", hop.to, next,
                         key.key, hop.from, element(position - 1));
    return fmt::format("T{} read {} {} {}, without {}, which T{} appended (rw)", hop.from, key.key,
                       position == 0 ? "while it was" : "up to",
                       position == 0 ? "empty" : fmt::format("{}", element(position - 1)), next,
                       hop.to);
  }

  const TransactionHistory& history_;
  bool strict_;
  VersionOrder versions_;
  std::vector<std::size_t> ends_;  // of each key, the junction before its unseen appends
};

}  // namespace

std::string name_of(const Anomaly& anomaly) {
  const auto name = [&] {
    switch (anomaly.kind) {
      case AnomalyKind::kMalformed:
        return "malformed history";
      case AnomalyKind::kInternal:
        return "internal inconsistency";
      case AnomalyKind::kPhantom:
        return "phantom element";
      case AnomalyKind::kAbortedRead:
        return "G1a (aborted read)";
      case AnomalyKind::kIntermediateRead:
        return "G1b (intermediate read)";
      case AnomalyKind::kDuplicate:
        return "duplicate element";
      case AnomalyKind::kIncompatibleOrder:
        return "incompatible orders";
      case AnomalyKind::kLostAppend:
        return "lost append";
      case AnomalyKind::kG0:
        return "G0";
      case AnomalyKind::kG1c:
        return "G1c";
      case AnomalyKind::kGSingle:
        return "G-single";
      case AnomalyKind::kG2:
        return "G2";
    }
    return "";
  }();
  return fmt::format("{}{}", name, anomaly.real_time ? "-realtime" : "");
}

std::optional<Anomaly> find_anomaly(const TransactionHistory& history, Isolation isolation) {
  return Judge(history, isolation).run();
}

}  // namespace conclave::sim
