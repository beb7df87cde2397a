#include "sim/version_order.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace conclave::sim {

std::uint32_t ListVersions::size() const {
  return order == nullptr ? 0 : static_cast<std::uint32_t>(order->size());
}

const ListVersions::Append* ListVersions::find(Element element) const {
  const auto found = by_element.find(element);
  return found == by_element.end() ? nullptr : &appends[found->second];
}
ListVersions::Append* ListVersions::find(Element element) {
  const auto found = by_element.find(element);
  return found == by_element.end() ? nullptr : &appends[found->second];
}

VersionOrder::VersionOrder(const TransactionHistory& history) : history_(history) {}

std::optional<Anomaly> VersionOrder::infer() {
  if (Found found = collect_appends()) return found;
  if (Found found = observe_all()) return found;
  if (Found found = check_own_appends()) return found;
  if (Found found = check_reads()) return found;
  collect_unseen();
  return {};
}

Element VersionOrder::element_of(const ListVersions::Append& append) const {
  return *history_[append.transaction].ops[append.op].append;
}

std::uint32_t VersionOrder::versions_seen(std::size_t transaction, std::size_t op) const {
  const auto& ops = history_[transaction].ops;
  const auto is_own = [&](const MicroOp& other) {
    return other.append && other.key == ops[op].key;
  };
  const auto own =
      std::count_if(ops.begin(), ops.begin() + static_cast<std::ptrdiff_t>(op), is_own);
  return static_cast<std::uint32_t>(ops[op].list->size() - static_cast<std::size_t>(own));
}

// --- the appends, and what each read says by itself ---

std::uint32_t VersionOrder::key_number(const std::string& name) {
  const auto [found, added] =
      key_numbers_.try_emplace(name, static_cast<std::uint32_t>(keys_.size()));
  if (added) keys_.emplace_back().key = found->first;
  return found->second;
}

VersionOrder::Found VersionOrder::collect_appends() {
  for (std::uint32_t i = 0; i < history_.size(); ++i) {
    first_op_.push_back(op_keys_.size());
    for (std::uint32_t j = 0; j < history_[i].ops.size(); ++j) {
      const MicroOp& op = history_[i].ops[j];
      op_keys_.push_back(key_number(op.key));
      if (!op.append) continue;
      ListVersions& key = keys_[op_keys_.back()];
      const auto number = static_cast<std::uint32_t>(key.appends.size());
      const auto [found, added] = key.by_element.try_emplace(*op.append, number);
      if (!added)
        return anomaly_of(history_, AnomalyKind::kMalformed,
                          fmt::format("{} is appended to {} twice", *op.append, op.key),
                          {key.appends[found->second].transaction, i}, {key.key});
      key.appends.push_back({i, j});
    }
  }
  return {};
}

// A read after reads and appends of the same key in the same transaction.
VersionOrder::Found VersionOrder::check_against_own_past(std::uint32_t transaction,
                                                         std::uint32_t op) const {
  const auto& ops = history_[transaction].ops;
  const List& list = *ops[op].list;
  List appended;
  const List* base = nullptr;
  for (std::uint32_t before = op; before > 0 && base == nullptr; --before) {
    const MicroOp& earlier = ops[before - 1];
    if (earlier.key != ops[op].key) continue;
    if (earlier.append) appended.insert(appended.begin(), *earlier.append);
    if (earlier.list) base = &*earlier.list;
  }
  const bool ends_with_own = list.size() >= appended.size() &&
                             std::equal(appended.rbegin(), appended.rend(), list.rbegin());
  const bool begins_with_base =
      base == nullptr || (list.size() == base->size() + appended.size() &&
                          std::equal(base->begin(), base->end(), list.begin()));
  if (ends_with_own && begins_with_base) return {};
  return anomaly_of(history_, AnomalyKind::kInternal,
                    fmt::format("T{} read {} as {}, which does not follow from what it read and "
                                "appended before that",
                                transaction, ops[op].key, to_text(list)),
                    {transaction}, {ops[op].key});
}

// --- the order of versions, and who happened ---

VersionOrder::Found VersionOrder::observe_all() {
  happened_.assign(history_.size(), false);
  for (std::uint32_t i = 0; i < history_.size(); ++i)
    if (!history_[i].aborted && history_[i].returned_ns) note_happened(i);
  while (!to_observe_.empty()) {
    const std::uint32_t transaction = to_observe_.back();
    to_observe_.pop_back();
    for (std::uint32_t op = 0; op < history_[transaction].ops.size(); ++op) {
      if (!history_[transaction].ops[op].list) continue;
      if (Found found = check_against_own_past(transaction, op)) return found;
      if (Found found = observe(transaction, op)) return found;
    }
  }
  return {};
}

void VersionOrder::note_happened(std::uint32_t transaction) {
  if (happened_[transaction]) return;
  happened_[transaction] = true;
  to_observe_.push_back(transaction);
}

// A read confirms the order known so far, prolongs it, or contradicts it.
VersionOrder::Found VersionOrder::observe(std::uint32_t transaction, std::uint32_t op) {
  ListVersions& key = keys_[key_of(transaction, op)];
  const List& list = *history_[transaction].ops[op].list;
  static const List kEmpty;
  const List& order = key.order == nullptr ? kEmpty : *key.order;
  const auto common =
      static_cast<std::size_t>(std::ranges::mismatch(list, order).in1 - list.begin());
  if (common == list.size()) return {};
  for (std::size_t i = common; i < list.size(); ++i) {
    if (Found found = check_element(key, transaction, list, i)) return found;
    note_happened(key.find(list[i])->transaction);
  }
  if (common < order.size())
    return anomaly_of(
        history_, AnomalyKind::kIncompatibleOrder,
        fmt::format("of {} T{} read {} and then {}, T{} in the same place {}", key.key, transaction,
                    to_text({list.begin(), list.begin() + static_cast<std::ptrdiff_t>(common)}),
                    list[common], key.order_reader, order[common]),
        {transaction, key.order_reader, key.find(list[common])->transaction,
         key.find(order[common])->transaction},
        {key.key});
  for (std::size_t i = common; i < list.size(); ++i)
    key.find(list[i])->position = static_cast<std::uint32_t>(i);
  key.order = &list;
  key.order_reader = transaction;
  return {};
}

VersionOrder::Found VersionOrder::check_element(const ListVersions& key, std::uint32_t reader,
                                                const List& list, std::size_t i) const {
  const ListVersions::Append* append = key.find(list[i]);
  if (append == nullptr)
    return anomaly_of(
        history_, AnomalyKind::kPhantom,
        fmt::format("T{} read {} in {}, which nobody appended", reader, list[i], key.key), {reader},
        {key.key});
  if (history_[append->transaction].aborted)
    return anomaly_of(history_, AnomalyKind::kAbortedRead,
                      fmt::format("T{} read {} in {}, which T{} appended; but that did not happen",
                                  reader, list[i], key.key, append->transaction),
                      {reader, append->transaction}, {key.key});
  const auto at = list.begin() + static_cast<std::ptrdiff_t>(i);
  if (std::find(list.begin(), at, list[i]) != at)
    return anomaly_of(history_, AnomalyKind::kDuplicate,
                      fmt::format("T{} read {} twice in {}", reader, list[i], key.key),
                      {reader, append->transaction}, {key.key});
  return {};
}

void VersionOrder::collect_unseen() {
  for (ListVersions& key : keys_)
    for (std::uint32_t i = 0; i < key.appends.size(); ++i)
      if (key.appends[i].position == ListVersions::kUnseen && happened_[key.appends[i].transaction])
        key.unseen.push_back(i);
}

// --- what the order of versions says about single transactions ---

// Several appends of a transaction to one key: all seen or none, and in their order.
VersionOrder::Found VersionOrder::check_own_appends() const {
  for (const ListVersions& key : keys_) {
    for (std::size_t i = 1; i < key.appends.size(); ++i) {
      const ListVersions::Append& first = key.appends[i - 1];
      const ListVersions::Append& second = key.appends[i];
      if (first.transaction != second.transaction || first.position < second.position) continue;
      if (second.position == ListVersions::kUnseen) continue;  // both are
      return anomaly_of(history_, AnomalyKind::kInternal,
                        fmt::format("T{} appended {} to {} and then {}, but T{} read {}",
                                    first.transaction, element_of(first), key.key,
                                    element_of(second), key.order_reader, to_text(*key.order)),
                        {first.transaction, key.order_reader}, {key.key});
    }
  }
  return {};
}

VersionOrder::Found VersionOrder::check_reads() const {
  for (std::uint32_t i = 0; i < history_.size(); ++i) {
    for (std::uint32_t op = 0; happened_[i] && op < history_[i].ops.size(); ++op) {
      if (!history_[i].ops[op].list) continue;
      if (Found found = check_own_future(i, op)) return found;
      if (Found found = check_whole(i, op)) return found;
    }
  }
  return {};
}

VersionOrder::Found VersionOrder::check_own_future(std::uint32_t transaction,
                                                   std::uint32_t op) const {
  const auto& ops = history_[transaction].ops;
  const ListVersions& key = keys_[key_of(transaction, op)];
  for (std::uint32_t later = op + 1; later < ops.size(); ++later) {
    if (!ops[later].append || ops[later].key != key.key) continue;
    if (key.find(*ops[later].append)->position >= ops[op].list->size()) continue;
    return anomaly_of(history_, AnomalyKind::kInternal,
                      fmt::format("T{} read its own {} in {} before it appended it", transaction,
                                  *ops[later].append, key.key),
                      {transaction}, {key.key});
  }
  return {};
}

// No read ends between two appends of another transaction.
VersionOrder::Found VersionOrder::check_whole(std::uint32_t transaction, std::uint32_t op) const {
  const ListVersions& key = keys_[key_of(transaction, op)];
  const std::uint32_t seen = versions_seen(transaction, op);
  if (seen == 0) return {};
  const ListVersions::Append& last = key.at(seen - 1);
  const auto& ops = history_[last.transaction].ops;
  for (std::uint32_t next = last.op + 1; next < ops.size(); ++next) {
    if (!ops[next].append || ops[next].key != key.key) continue;
    return anomaly_of(
        history_, AnomalyKind::kIntermediateRead,
        fmt::format("T{} read {} up to {}, after which T{} appended {} to it too", transaction,
                    key.key, element_of(last), last.transaction, *ops[next].append),
        {transaction, last.transaction}, {key.key});
  }
  return {};
}

Anomaly anomaly_of(const TransactionHistory& history, AnomalyKind kind, std::string what,
                   std::vector<std::size_t> transactions, const std::set<std::string_view>& keys) {
  std::set<std::size_t> shown;
  for (const std::size_t transaction : transactions)
    if (shown.insert(transaction).second)
      what += fmt::format("\n  T{}: {}", transaction, to_text(history[transaction], keys));
  return {kind, false, std::move(what), std::move(transactions)};
}

}  // namespace conclave::sim
