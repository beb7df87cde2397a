#pragma once
// The versions of each key, as the reads of a history of list-append transactions show them: the
// longest list is the order in which the key was written, and every other list must be a beginning
// of it. Finds on the way what single reads and transactions do wrong (the kinds of AnomalyKind
// before kLostAppend). A part of sim/serializability.h.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sim/serializability.h"

namespace conclave::sim {

// Of a key. The history outlives it.
struct ListVersions {
  static constexpr std::uint32_t kUnseen = std::numeric_limits<std::uint32_t>::max();

  struct Append {
    std::uint32_t transaction = 0;
    std::uint32_t op = 0;
    std::uint32_t position = kUnseen;  // in `order`
  };

  std::string_view key;
  std::vector<Append> appends;  // in the order of the history
  std::unordered_map<Element, std::uint32_t> by_element;
  const std::vector<Element>* order = nullptr;  // the longest list that was read
  std::uint32_t order_reader = 0;
  std::vector<std::uint32_t> unseen;  // places in `appends` of what happened and nobody read

  std::uint32_t size() const;
  // nullptr: nobody appends it.
  Append* find(Element element);
  const Append* find(Element element) const;
  // REQUIRES: position < size().
  const Append& at(std::size_t position) const { return *find((*order)[position]); }
};

class VersionOrder {
 public:
  // The history outlives it.
  explicit VersionOrder(const TransactionHistory& history);

  // Reads everything; the first thing that is wrong, after which the rest is meaningless.
  std::optional<Anomaly> infer();

  const std::vector<ListVersions>& keys() const { return keys_; }
  // Which of keys() a micro-operation is about.
  std::uint32_t key_of(std::size_t transaction, std::size_t op) const {
    return op_keys_[first_op_[transaction] + op];
  }
  // Acknowledged, or seen by somebody who happened.
  bool happened(std::size_t transaction) const { return happened_[transaction]; }
  // How many versions this read saw, not counting what its own transaction had appended before.
  // REQUIRES: the client was told what was read.
  std::uint32_t versions_seen(std::size_t transaction, std::size_t op) const;
  Element element_of(const ListVersions::Append& append) const;

 private:
  using Found = std::optional<Anomaly>;
  using List = std::vector<Element>;

  Found collect_appends();
  Found observe_all();
  Found observe(std::uint32_t transaction, std::uint32_t op);
  Found check_against_own_past(std::uint32_t transaction, std::uint32_t op) const;
  Found check_element(const ListVersions& key, std::uint32_t reader, const List& list,
                      std::size_t i) const;
  Found check_own_appends() const;
  Found check_reads() const;
  Found check_own_future(std::uint32_t transaction, std::uint32_t op) const;
  Found check_whole(std::uint32_t transaction, std::uint32_t op) const;
  void note_happened(std::uint32_t transaction);
  void collect_unseen();
  std::uint32_t key_number(const std::string& name);

  const TransactionHistory& history_;
  std::unordered_map<std::string_view, std::uint32_t> key_numbers_;
  std::vector<ListVersions> keys_;
  std::vector<std::uint32_t> op_keys_;  // of all micro-operations, one transaction after the other
  std::vector<std::size_t> first_op_;   // where in op_keys_ each transaction begins
  std::vector<bool> happened_;
  std::vector<std::uint32_t> to_observe_;
};

// Adds lines to `what` that show what these transactions did with these keys.
Anomaly anomaly_of(const TransactionHistory& history, AnomalyKind kind, std::string what,
                   std::vector<std::size_t> transactions, const std::set<std::string_view>& keys);

}  // namespace conclave::sim
