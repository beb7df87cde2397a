#pragma once
// Items of many flows, handed out so that each flow gets the same share by cost, however much it
// puts in.
//
// Deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): each round gives a flow a quantum of
// credit, and a flow is served while it has credit. It may overdraw by its last item, and by what
// that turned out to cost (charge), and then sits out as many rounds as that takes. A flow that had
// nothing waiting is *fresh*: it goes before the round, for one quantum (RFC 8290, 4.2), so that a
// client with a request now and then waits for nobody's queue. Once served it stays in the round
// until that comes to it: nobody is fresh twice in a round, and a flow of debts keeps them.
//
// Items of a flow keep their order. When nothing waits, all is forgotten. Each operation takes
// constant time, but that what was overdrawn costs a step per quantum. Pure, and not thread-safe.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace conclave::node {

// Who shares: a connection.
using Flow = std::uint64_t;

template <class Item>
class FairQueue {
 public:
  explicit FairQueue(std::uint64_t quantum) : quantum_(static_cast<std::int64_t>(quantum)) {
    CHECK(quantum_ > 0);
  }
  // Flows are named by their address.
  FairQueue(const FairQueue&) = delete;
  FairQueue& operator=(const FairQueue&) = delete;

  void push(Flow id, Item item, std::uint64_t cost) {
    const auto [found, is_new] = flows_.try_emplace(id);
    State& flow = found->second;
    if (is_new) {
      flow.id = id;
      flow.credit = quantum_;
      fresh_.push_back(&flow);
    }
    flow.items.push_back({std::move(item), static_cast<std::int64_t>(cost)});
    ++size_;
  }

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  // The next item is of a fresh flow.
  bool has_fresh() const { return !fresh_.empty(); }

  // What pop() will take, unless something fresh comes first. REQUIRES: !empty().
  const Item& front() { return turn().items.front().item; }

  Item pop() {
    State& flow = turn();
    Item item = std::move(flow.items.front().item);
    flow.credit -= flow.items.front().cost;
    flow.items.pop_front();
    if (!fresh_.empty() && (flow.items.empty() || flow.credit <= 0)) {
      fresh_.pop_front();
      round_.push_back(&flow);
    }
    if (--size_ == 0) forget();
    return item;
  }

  // An item that was taken has cost so much more; what is beyond kMaxDebt quanta is forgiven, so
  // that a client does not wait for minutes.
  void charge(Flow id, std::uint64_t cost) {
    const auto found = flows_.find(id);
    if (found == flows_.end()) return;
    std::int64_t& credit = found->second.credit;
    credit = std::max(credit - static_cast<std::int64_t>(cost), -kMaxDebt * quantum_);
  }

  // Drops the items for which `is_over(const Item&)` says so; asked in a fixed order.
  template <class IsOver>
  void erase_if(IsOver&& is_over) {
    for (auto* flows : {&fresh_, &round_}) {
      for (State* flow : *flows) {
        size_ -= flow->items.remove_if([&](const Entry& entry) { return is_over(entry.item); });
      }
    }
    std::erase_if(fresh_, [&](State* flow) { return flow->items.empty() && erase(*flow); });
    if (size_ == 0) forget();
  }

  // Likewise those of one flow.
  template <class IsOver>
  void erase_if(Flow id, IsOver&& is_over) {
    const auto found = flows_.find(id);
    if (found == flows_.end()) return;
    State& flow = found->second;
    size_ -= flow.items.remove_if([&](const Entry& entry) { return is_over(entry.item); });
    if (flow.items.empty() && std::erase(fresh_, &flow) > 0) erase(flow);
    if (size_ == 0) forget();
  }

 private:
  static constexpr std::int64_t kMaxDebt = 64;

  struct Entry {
    Item item;
    std::int64_t cost;
  };
  struct State {
    Flow id = 0;
    std::int64_t credit = 0;
    std::list<Entry> items;
  };

  // Goes on with the round to a flow that has both credit and items.
  State& turn() {
    CHECK(size_ > 0);
    while (!fresh_.empty()) {
      if (fresh_.front()->credit > 0) return *fresh_.front();
      round_.push_back(fresh_.front());  // it was charged for more than it had
      fresh_.pop_front();
    }
    for (;;) {
      State& flow = *round_.front();
      const bool is_idle = flow.items.empty();
      if (flow.credit > 0 && !is_idle) return flow;
      round_.pop_front();
      if (flow.credit > 0) {
        erase(flow);
        continue;
      }
      flow.credit += quantum_;
      round_.push_back(&flow);
    }
  }

  bool erase(const State& flow) {
    const Flow id = flow.id;  // not a part of what goes
    return flows_.erase(id) == 1;
  }

  void forget() {
    for (auto* flows : {&fresh_, &round_}) {
      for (State* flow : *flows) erase(*flow);
      flows->clear();
    }
  }

  std::int64_t quantum_;
  std::unordered_map<Flow, State> flows_;  // never iterated
  std::deque<State*> fresh_;               // each with items
  std::deque<State*> round_;
  std::size_t size_ = 0;
};

}  // namespace conclave::node
