#include "sim/linearizability.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace conclave::sim {
namespace {

using State = Register::State;
using Call = Register::Call;

std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// A configuration: the set of operations taken so far, and the state.
struct Fingerprint {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool operator==(const Fingerprint&) const = default;

  void toggle(std::size_t op) {
    high ^= mix(2 * op);
    low ^= mix(2 * op + 1);
  }
  Fingerprint with(State state) const {
    return {high ^ mix(~std::uint64_t{state}), low + mix(std::uint64_t{state} << 32)};
  }
};
struct FingerprintHash {
  std::size_t operator()(const Fingerprint& f) const { return f.high; }
};

bool writes(const Call& call) {
  return call.kind != OpKind::kGet && (call.unknown || call.kind != OpKind::kCas || call.succeeded);
}
State written(const Call& call) {
  return call.kind == OpKind::kDelete ? Register::kAbsent : call.value;
}

// The one state in which the call can be taken, if it needs a particular one.
std::optional<State> needs(const Call& call) {
  if (call.kind == OpKind::kGet) return call.value;
  if (call.kind != OpKind::kCas) return std::nullopt;
  if (call.unknown || call.succeeded) return call.expect;
  return call.actual_known ? std::optional(call.actual) : std::nullopt;
}

// One key's operations, numbered values, and who needs and who writes each value.
class KeyHistory {
 public:
  explicit KeyHistory(std::vector<const Operation*> ops) {
    for (const Operation* op : ops) {
      const Call call = number(*op);
      if (op->is_unknown() && op->kind == OpKind::kGet) continue;
      if (call.kind == OpKind::kCas && !call.succeeded && !call.actual_known) opaque_ = true;
      ops_.push_back(op);
      calls_.push_back(call);
    }
    drop_unseen();
    count();
  }

  std::size_t size() const { return ops_.size(); }
  const Operation& op(std::size_t i) const { return *ops_[i]; }
  const Call& call(std::size_t i) const { return calls_[i]; }
  std::size_t value_count() const { return names_.size(); }
  const Cell& name(State state) const { return names_[state]; }

  // Known operations that need a value; unknown ones that could use it.
  const std::vector<std::uint32_t>& must() const { return must_; }
  const std::vector<std::uint32_t>& may() const { return may_; }
  bool written_once(State state) const { return writers_[state] <= 1; }
  // Some operation saw that a value was not there, without saying which one was.
  bool opaque() const { return opaque_; }

 private:
  State id(const Cell& cell) {
    if (!cell) return Register::kAbsent;
    const auto [found, added] = ids_.try_emplace(*cell, static_cast<State>(names_.size()));
    if (added) names_.push_back(cell);
    return found->second;
  }
  Call number(const Operation& op) {
    return {op.kind,         op.is_unknown(), op.is_unknown() || op.succeeded,
            op.actual_known, id(op.value),    id(op.expect),
            id(op.actual)};
  }

  // Operations of unknown fate whose effect nobody can have seen: whether they happened makes no
  // difference.
  void drop_unseen() {
    if (opaque_) return;
    for (bool changed = true; changed;) {
      count();
      const std::size_t before = ops_.size();
      std::size_t kept = 0;
      for (std::size_t i = 0; i < ops_.size(); ++i) {
        const State value = written(calls_[i]);
        if (calls_[i].unknown && must_[value] + may_[value] == 0) continue;
        ops_[kept] = ops_[i];
        calls_[kept++] = calls_[i];
      }
      ops_.resize(kept);
      calls_.resize(kept);
      changed = kept != before;
    }
  }

  void count() {
    must_.assign(names_.size(), 0);
    may_.assign(names_.size(), 0);
    writers_.assign(names_.size(), 0);
    writers_[Register::init()] = 1;
    for (const Call& call : calls_) {
      if (writes(call)) ++writers_[written(call)];
      if (const auto value = needs(call)) ++(call.unknown ? may_ : must_)[*value];
    }
  }

  std::vector<const Operation*> ops_;
  std::vector<Call> calls_;
  std::unordered_map<std::string, State> ids_;
  std::vector<Cell> names_{std::nullopt};
  std::vector<std::uint32_t> must_, may_, writers_;
  bool opaque_ = false;
};

// Calls and returns that are not yet taken, in order of time, as a doubly linked list. Node 0 is
// the head; operation i calls at node 2i+1 and returns at node 2i+2 (which an operation of unknown
// fate does not have).
class Timeline {
 public:
  explicit Timeline(const KeyHistory& history)
      : next_(2 * history.size() + 1), prev_(next_.size()) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < history.size(); ++i) {
      order.push_back(2 * i + 1);
      if (!history.call(i).unknown) order.push_back(2 * i + 2);
    }
    const auto time = [&](std::size_t node) {
      return is_call(node) ? history.op(op_of(node)).called_ns
                           : *history.op(op_of(node)).returned_ns;
    };
    // A call at the very moment of a return counts as concurrent with it.
    std::ranges::sort(
        order, {}, [&](std::size_t node) { return std::tuple(time(node), !is_call(node), node); });
    std::size_t last = 0;
    for (const std::size_t node : order) {
      next_[last] = node;
      prev_[node] = last;
      last = node;
    }
    next_[last] = 0;
    prev_[0] = last;
  }

  static bool is_call(std::size_t node) { return node % 2 == 1; }
  static std::size_t op_of(std::size_t node) { return (node - 1) / 2; }
  static std::size_t call_of(std::size_t op) { return 2 * op + 1; }

  std::size_t first() const { return next_[0]; }
  std::size_t next(std::size_t node) const { return next_[node]; }

  void remove(std::size_t op, bool has_return) {
    unlink(2 * op + 1);
    if (has_return) unlink(2 * op + 2);
  }
  // Undoes the latest remove that was not undone yet.
  void restore(std::size_t op, bool has_return) {
    if (has_return) relink(2 * op + 2);
    relink(2 * op + 1);
  }

 private:
  void unlink(std::size_t node) {
    next_[prev_[node]] = next_[node];
    prev_[next_[node]] = prev_[node];
  }
  void relink(std::size_t node) {
    next_[prev_[node]] = node;
    prev_[next_[node]] = node;
  }

  std::vector<std::size_t> next_, prev_;
};

class Search {
 public:
  explicit Search(const KeyHistory& history)
      : history_(history), timeline_(history), must_(history.must()), may_(history.may()) {
    std::map<std::pair<State, State>, std::size_t> last_twin;
    for (std::size_t i = 0; i < history.size(); ++i) {
      const Call& call = history.call(i);
      twin_.push_back(kNone);
      if (!call.unknown) {
        ++known_left_;
      } else if (call.kind == OpKind::kDelete) {
        const auto [found, added] = last_twin.try_emplace({call.value, call.expect}, i);
        if (!added) twin_[i] = std::exchange(found->second, i);
      }
    }
    taken_.assign(history.size(), false);
  }

  Decision run(std::uint64_t max_steps) {
    std::size_t from = timeline_.first();
    while (known_left_ > 0) {
      if (++steps_ > max_steps) {
        note_dead_end();
        return Decision::kUndecided;
      }
      if (take_free() || take_any(from)) {
        from = timeline_.first();
        continue;
      }
      note_dead_end();
      if (!go_back(from)) return Decision::kViolated;
    }
    return Decision::kLinearizable;
  }

  std::uint64_t steps() const { return steps_; }

  // Where the search got furthest: what it had taken last, what could not be next, and who still
  // needs the value that would be lost.
  Violation explain() const {
    Violation out;
    for (const std::size_t op : deepest_before_) out.around.push_back(history_.op(op));
    for (const std::size_t op : deepest_next_) out.around.push_back(history_.op(op));
    const Cell& held = history_.name(deepest_state_);
    out.what = "after " + std::to_string(deepest_) + " operations the key " +
               (held ? "holds \"" + *held + "\"" : std::string("is absent")) +
               "; of those shown, the " + std::to_string(deepest_next_.size()) +
               " after the first " + std::to_string(deepest_before_.size()) + " cannot come next";
    if (const std::size_t reader = later_reader(); reader != kNone) {
      out.around.push_back(history_.op(reader));
      out.what += " before the last one has been told so";
    }
    return out;
  }

 private:
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t kShownBefore = 6;

  struct Taken {
    std::size_t op = 0;
    State before = 0;
    bool free = false;  // taken without loss of generality: no alternatives to go back to
  };

  // Whether `value` could be left, or lost, without anybody missing it later. `op` itself does not
  // count.
  bool nobody_needs(State value, std::size_t op) const {
    const bool self = needs(history_.call(op)) == value && !history_.call(op).unknown;
    return must_[value] == (self ? 1 : 0);
  }

  std::optional<State> possible(std::size_t op) const {
    const Call& call = history_.call(op);
    const auto after = Register::step(state_, call);
    if (!after) return std::nullopt;
    if (*after == state_) return call.unknown ? std::nullopt : after;
    if (twin_[op] != kNone && !taken_[twin_[op]]) return std::nullopt;
    if (history_.written_once(state_) && !nobody_needs(state_, op)) return std::nullopt;
    return after;
  }

  bool is_free(std::size_t op) const {
    const Call& call = history_.call(op);
    if (call.unknown) return false;
    if (!writes(call)) return true;
    if (call.kind != OpKind::kPut || history_.opaque()) return false;
    const auto unused = [&](State value) { return must_[value] + may_[value] == 0; };
    return unused(call.value) && unused(state_);
  }

  // The operations that may be next in real time are those called before the first return that is
  // left.
  bool take_free() {
    for (std::size_t node = timeline_.first(); node != 0 && Timeline::is_call(node);
         node = timeline_.next(node)) {
      const std::size_t op = Timeline::op_of(node);
      if (!is_free(op)) continue;
      if (const auto after = possible(op)) {
        take(op, *after, true);
        return true;
      }
    }
    return false;
  }

  bool take_any(std::size_t from) {
    for (std::size_t node = from; node != 0 && Timeline::is_call(node);
         node = timeline_.next(node)) {
      const std::size_t op = Timeline::op_of(node);
      const auto after = possible(op);
      if (!after) continue;
      Fingerprint next = set_;
      next.toggle(op);
      if (!seen_.insert(next.with(*after)).second) continue;
      take(op, *after, false);
      return true;
    }
    return false;
  }

  void take(std::size_t op, State after, bool free) {
    const Call& call = history_.call(op);
    path_.push_back({op, state_, free});
    timeline_.remove(op, !call.unknown);
    set_.toggle(op);
    taken_[op] = true;
    if (!call.unknown) --known_left_;
    if (const auto value = needs(call)) --(call.unknown ? may_ : must_)[*value];
    state_ = after;
  }

  void untake(const Taken& last) {
    const Call& call = history_.call(last.op);
    timeline_.restore(last.op, !call.unknown);
    set_.toggle(last.op);
    taken_[last.op] = false;
    if (!call.unknown) ++known_left_;
    if (const auto value = needs(call)) ++(call.unknown ? may_ : must_)[*value];
    state_ = last.before;
  }

  // Back to the last choice; `from` becomes the place of its next alternative.
  bool go_back(std::size_t& from) {
    while (!path_.empty()) {
      const Taken last = path_.back();
      path_.pop_back();
      untake(last);
      if (last.free) continue;
      from = timeline_.next(Timeline::call_of(last.op));
      return true;
    }
    return false;
  }

  // A known operation that needs the state of the deepest dead end and is called only later.
  std::size_t later_reader() const {
    for (std::size_t op = 0; op < history_.size(); ++op) {
      const bool left = !deepest_taken_[op] && !history_.call(op).unknown;
      const bool shown = std::ranges::find(deepest_next_, op) != deepest_next_.end();
      if (left && !shown && needs(history_.call(op)) == deepest_state_) return op;
    }
    return kNone;
  }

  void note_dead_end() {
    if (!deepest_next_.empty() && path_.size() <= deepest_) return;
    deepest_ = path_.size();
    deepest_taken_ = taken_;
    deepest_state_ = state_;
    deepest_before_.clear();
    deepest_next_.clear();
    for (std::size_t i = path_.size() - std::min(path_.size(), kShownBefore); i < path_.size(); ++i)
      deepest_before_.push_back(path_[i].op);
    for (std::size_t node = timeline_.first(); node != 0 && Timeline::is_call(node);
         node = timeline_.next(node))
      deepest_next_.push_back(Timeline::op_of(node));
  }

  const KeyHistory& history_;
  Timeline timeline_;
  std::vector<std::uint32_t> must_, may_;  // of what is left
  std::vector<std::size_t> twin_;  // an equal operation of unknown fate, to be used before this one
  std::vector<bool> taken_;
  std::vector<Taken> path_;
  State state_ = Register::init();
  Fingerprint set_;
  std::unordered_set<Fingerprint, FingerprintHash> seen_;
  std::size_t known_left_ = 0;
  std::uint64_t steps_ = 0;

  std::size_t deepest_ = 0;
  State deepest_state_ = 0;
  std::vector<bool> deepest_taken_;
  std::vector<std::size_t> deepest_before_, deepest_next_;
};

}  // namespace

std::optional<State> Register::step(State state, const Call& call) {
  switch (call.kind) {
    case OpKind::kPut:
      return call.value;
    case OpKind::kDelete:
      return kAbsent;
    case OpKind::kGet:
      return call.value == state ? std::optional(state) : std::nullopt;
    case OpKind::kCas:
      break;
  }
  if (call.unknown) return state == call.expect ? call.value : state;
  if (call.succeeded) return state == call.expect ? std::optional(call.value) : std::nullopt;
  if (state == call.expect) return std::nullopt;
  if (call.actual_known && call.actual != state) return std::nullopt;
  return state;
}

Verdict check_linearizable(const History& history, const SearchLimits& limits) {
  std::map<std::string_view, std::vector<const Operation*>> keys;
  for (const Operation& op : history) keys[op.key].push_back(&op);
  Verdict verdict;
  for (auto& [key, ops] : keys) {
    std::ranges::sort(ops, {}, [](const Operation* op) { return std::pair(op->called_ns, op); });
    const KeyHistory one(std::move(ops));
    Search search(one);
    verdict.decision = search.run(limits.max_steps_per_key);
    verdict.steps += search.steps();
    if (verdict.decision == Decision::kLinearizable) continue;
    verdict.violation = search.explain();
    verdict.violation->key = key;
    return verdict;
  }
  return verdict;
}

}  // namespace conclave::sim
