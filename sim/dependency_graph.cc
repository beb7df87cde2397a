#include "sim/dependency_graph.h"

#include <algorithm>
#include <deque>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

using Node = DependencyEdges::Node;
using Edge = DependencyEdges::Edge;

constexpr Node kNoNode = std::numeric_limits<Node>::max();

bool allows(DependencySet kinds, Dependency kind) {
  return kind == Dependency::kThrough || (kinds & static_cast<DependencySet>(kind)) != 0;
}

class ComponentSearch {
 public:
  ComponentSearch(const DependencyGraph& graph, DependencySet kinds)
      : graph_(graph), kinds_(kinds), order_(graph.nodes(), 0), low_(graph.nodes(), 0) {}

  Components run() {
    for (Node node = 0; node < graph_.nodes(); ++node)
      if (order_[node] == 0) visit_from(node);
    std::ranges::sort(found_, {}, [](const auto& component) {
      return std::pair(component.size(), component.front());
    });
    return std::move(found_);
  }

 private:
  static constexpr std::uint32_t kClosed = std::numeric_limits<std::uint32_t>::max();

  struct Visit {
    Node node;
    std::size_t next_edge = 0;
  };

  void enter(Node node) {
    order_[node] = low_[node] = ++count_;
    open_.push_back(node);
    visits_.push_back({node});
  }

  void visit_from(Node root) {
    enter(root);
    while (!visits_.empty()) {
      const Node node = visits_.back().node;
      const auto edges = graph_.edges_from(node);
      if (visits_.back().next_edge == edges.size()) {
        leave(node);
        continue;
      }
      const Edge& edge = edges[visits_.back().next_edge++];
      if (!allows(kinds_, edge.kind)) continue;
      if (order_[edge.to] == 0) {
        enter(edge.to);
      } else if (low_[edge.to] != kClosed) {
        low_[node] = std::min(low_[node], order_[edge.to]);
      }
    }
  }

  void leave(Node node) {
    visits_.pop_back();
    const std::uint32_t low = low_[node];
    if (low == order_[node]) close(node);
    if (!visits_.empty() && low != order_[node]) {
      const Node parent = visits_.back().node;
      low_[parent] = std::min(low_[parent], low);
    }
  }

  void close(Node root) {
    const auto first = std::ranges::find(open_.rbegin(), open_.rend(), root).base() - 1;
    std::vector<Node> component(first, open_.end());
    open_.erase(first, open_.end());
    for (const Node node : component) low_[node] = kClosed;
    const auto transactions =
        std::ranges::count_if(component, [&](Node node) { return graph_.is_transaction(node); });
    if (transactions < 2) return;
    std::ranges::sort(component);
    found_.push_back(std::move(component));
  }

  const DependencyGraph& graph_;
  DependencySet kinds_;
  std::vector<std::uint32_t> order_;  // in which nodes were entered; 0: not yet
  std::vector<std::uint32_t> low_;    // the earliest open node reached; kClosed: component complete
  std::uint32_t count_ = 0;
  std::vector<Node> open_;
  std::vector<Visit> visits_;
  Components found_;
};

// Breadth first within one component, where the rest of a way through a junction costs nothing.
class CycleSearch {
 public:
  CycleSearch(const DependencyGraph& graph, const CycleShape& shape, std::uint64_t budget)
      : graph_(graph), shape_(shape), budget_(budget), marks_(graph.nodes()) {}

  std::optional<Cycle> run() {
    for (const auto& component : cyclic_components(graph_, shape_.first | shape_.rest)) {
      ++generation_;
      for (const Node node : component) marks_[node].component = generation_;
      for (const Node node : component) {
        if (graph_.is_transaction(node)) close_from(node, generation_);
        if (best_ && best_->size() == 2) return best_;
        if (steps_ > budget_) return best_;
      }
    }
    return best_;
  }

 private:
  struct Mark {
    std::uint64_t component = 0;
    std::uint64_t visit = 0;  // the other fields belong to this visit
    Node parent = kNoNode;
    const Edge* edge = nullptr;  // that led here
    Hop first_hop = {};          // of a transaction one hop from the start; `to` says so
    std::size_t hops = 0;        // from the start
  };

  // Finds the shortest cycle through `start` if it is shorter than the best.
  void close_from(Node start, std::uint64_t component) {
    component_ = component;
    start_ = start;
    queue_.clear();
    if (take_first_hops()) return;
    while (!queue_.empty()) {
      const Node node = queue_.front();
      queue_.pop_front();
      if (expand(node)) return;
    }
  }

  bool is_inside(Node node) const { return marks_[node].component == component_; }

  // Marks the transactions one hop of `first` from the start, with a visit number of its own for
  // the junctions on the way: they can be needed again. True if one of them comes before the start
  // in real time already, which makes a cycle of two.
  bool take_first_hops() {
    visit_ += 2;
    std::vector<std::pair<Node, Hop>> ways;
    const auto follow = [&](Node from, DependencySet kinds, Hop hop) {
      for (const Edge& edge : graph_.edges_from(from)) {
        ++steps_;
        if (!allows(kinds, edge.kind) || !is_inside(edge.to) || edge.to == start_) continue;
        if (marks_[edge.to].visit >= visit_ - 1) continue;
        Hop next = hop;
        if (from == start_) next = {start_, 0, edge.kind, false, edge.label, 0};
        next.to = edge.to;
        next.through = from != start_;
        next.last_label = edge.label;
        if (!graph_.is_transaction(edge.to)) {
          marks_[edge.to].visit = visit_ - 1;
          ways.emplace_back(edge.to, next);
          continue;
        }
        marks_[edge.to] = {component_, visit_, start_, nullptr, next, 1};
        queue_.push_back(edge.to);
      }
    };
    follow(start_, shape_.first, {});
    while (!ways.empty()) {
      const auto [junction, hop] = ways.back();
      ways.pop_back();
      follow(junction, 0, hop);
    }
    if (!allows(shape_.rest, Dependency::kRealTime)) return false;
    const auto back =
        std::ranges::find_if(queue_, [&](Node node) { return graph_.is_earlier(node, start_); });
    if (back == queue_.end()) return false;
    best_ = Cycle{marks_[*back].first_hop, {*back, start_, Dependency::kRealTime, true, 0, 0}};
    return true;
  }

  // A hop is counted where it reaches a transaction, so junctions are as far away as the
  // transaction they were reached from, and come first.
  bool expand(Node node) {
    const std::size_t hops = marks_[node].hops;
    if (best_ && hops + 1 >= best_->size()) return true;
    for (const Edge& edge : graph_.edges_from(node)) {
      ++steps_;
      if (!allows(shape_.rest, edge.kind) || !is_inside(edge.to)) continue;
      if (edge.to == start_) {
        best_ = way_back(node, edge);
        return true;
      }
      Mark& mark = marks_[edge.to];
      if (mark.visit == visit_) continue;
      if (graph_.is_transaction(edge.to)) {
        mark = {component_, visit_, node, &edge, {}, hops + 1};
        queue_.push_back(edge.to);
      } else {
        mark = {component_, visit_, node, &edge, {}, hops};
        queue_.push_front(edge.to);
      }
    }
    return false;
  }

  Cycle way_back(Node node, const Edge& last) const {
    Cycle cycle;
    const Edge* reaching = &last;  // the edge that reaches the end of the hop
    const Edge* leaving = &last;   // the earliest edge of the hop so far
    Node to = start_;
    for (;; node = marks_[node].parent) {
      if (graph_.is_transaction(node)) {
        cycle.push_back(
            {node, to, leaving->kind, leaving != reaching, leaving->label, reaching->label});
        to = node;
        reaching = marks_[node].edge;
        if (reaching == nullptr) break;
      }
      leaving = marks_[node].edge;
    }
    cycle.push_back(marks_[to].first_hop);
    std::ranges::reverse(cycle);
    return cycle;
  }

  const DependencyGraph& graph_;
  CycleShape shape_;
  std::uint64_t budget_;
  std::uint64_t steps_ = 0;
  std::vector<Mark> marks_;
  std::uint64_t generation_ = 0;
  std::uint64_t component_ = 0;
  std::uint64_t visit_ = 0;
  Node start_ = kNoNode;
  std::deque<Node> queue_;
  std::optional<Cycle> best_;
};

}  // namespace

void DependencyEdges::add(Node from, Node to, Dependency kind, std::uint64_t label) {
  CHECK((from >= transactions) == (kind == Dependency::kThrough));
  if (from != to) edges.push_back({from, to, kind, label});
}

void add_real_time(const std::vector<Interval>& intervals, DependencyEdges& edges) {
  CHECK(intervals.size() == edges.transactions);
  struct Moment {
    std::int64_t time_ns;
    bool is_return;
    Node transaction;
  };
  std::vector<Moment> moments;
  for (Node i = 0; i < intervals.size(); ++i) {
    if (!intervals[i].counts) continue;
    moments.push_back({intervals[i].called_ns, false, i});
    if (intervals[i].returned_ns != Interval::kNever)
      moments.push_back({intervals[i].returned_ns, true, i});
  }
  std::ranges::sort(moments, {}, [](const Moment& moment) {
    return std::tuple(moment.time_ns, moment.is_return, moment.transaction);
  });
  Node last = kNoNode;    // the newest junction
  bool has_calls = true;  // hang on it, so that it takes no more returns
  for (const Moment& moment : moments) {
    if (!moment.is_return) {
      if (last != kNoNode) edges.add(last, moment.transaction, Dependency::kThrough, 0);
      has_calls = true;
      continue;
    }
    if (has_calls) {
      const Node next = edges.add_junction();
      if (last != kNoNode) edges.add(last, next, Dependency::kThrough, 0);
      last = next;
      has_calls = false;
    }
    edges.add(moment.transaction, last, Dependency::kRealTime, 0);
  }
}

DependencyGraph::DependencyGraph(DependencyEdges edges, std::vector<Interval> intervals)
    : transactions_(edges.transactions),
      edges_(edges.edges.size()),
      first_edge_(edges.nodes + 1, 0),
      intervals_(std::move(intervals)) {
  for (const Edge& edge : edges.edges) ++first_edge_[edge.from + 1];
  for (std::size_t i = 1; i < first_edge_.size(); ++i) first_edge_[i] += first_edge_[i - 1];
  std::vector<std::size_t> place(first_edge_.begin(), first_edge_.end() - 1);
  for (const Edge& edge : edges.edges) edges_[place[edge.from]++] = edge;
}

bool DependencyGraph::is_earlier(Node a, Node b) const {
  if (intervals_.empty()) return false;
  return intervals_[a].counts && intervals_[b].counts &&
         intervals_[a].returned_ns < intervals_[b].called_ns;
}

Components cyclic_components(const DependencyGraph& graph, DependencySet kinds) {
  return ComponentSearch(graph, kinds).run();
}

std::optional<Cycle> shortest_cycle(const DependencyGraph& graph, const CycleShape& shape,
                                    std::uint64_t budget) {
  return CycleSearch(graph, shape, budget).run();
}

}  // namespace conclave::sim
