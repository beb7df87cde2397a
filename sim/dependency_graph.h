#pragma once
// Which transaction must come before which, and why, as a graph; and its shortest cycle of a given
// shape. A cycle says that no serial order exists. The edges are those of Adya ("Weak Consistency",
// 1999, section 4.4) and real time.
//
// Everything is linear in the number of edges but the search for the shortest cycle, which happens
// only once there is one, and works within a budget.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace conclave::sim {

// Why one transaction comes before another. Bits, so that a set of them is a DependencySet.
enum class Dependency : std::uint8_t {
  kWriteWrite = 1,  // ww: the second wrote the version that follows the first's
  kWriteRead = 2,   // wr: the second read what the first wrote
  kReadWrite = 4,   // rw: the second wrote the version that follows the one that the first read
  kRealTime = 8,    // the first had returned before the second was called
  kThrough = 16,    // the rest of a way through a junction, whose first edge has the kind
};
using DependencySet = std::uint8_t;
constexpr DependencySet operator|(Dependency a, Dependency b) {
  return static_cast<DependencySet>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr DependencySet operator|(DependencySet a, Dependency b) {
  return static_cast<DependencySet>(a | static_cast<unsigned>(b));
}

// The edges of a graph while it is being built. Nodes below `transactions` are transactions, the
// others junctions: what stands between m transactions and the n that all come after each of them,
// so that this takes m + n edges instead of m * n.
struct DependencyEdges {
  using Node = std::uint32_t;
  struct Edge {
    Node from = 0;
    Node to = 0;
    Dependency kind = Dependency::kThrough;
    std::uint64_t label = 0;  // the caller's, to explain the edge with
  };

  explicit DependencyEdges(std::size_t transaction_count)
      : transactions(transaction_count), nodes(transaction_count) {}

  Node add_junction() { return static_cast<Node>(nodes++); }
  // An edge from a transaction to itself says nothing, and is left out. REQUIRES: what leaves a
  // junction is kThrough, and nothing else is.
  void add(Node from, Node to, Dependency kind, std::uint64_t label);

  std::size_t transactions;
  std::size_t nodes;
  std::vector<Edge> edges;
};

// When a transaction ran.
struct Interval {
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  bool counts = true;  // false: the transaction did not happen
  std::int64_t called_ns = 0;
  std::int64_t returned_ns = kNever;
};

// Adds: whoever returned before another was called comes before it (at the same moment: does not).
// At most three edges per transaction: returns lead to a chain of junctions in the order of time,
// and a call hangs on the last one before it. REQUIRES: one interval per transaction.
void add_real_time(const std::vector<Interval>& intervals, DependencyEdges& edges);

// From one transaction to the next in a cycle.
struct Hop {
  DependencyEdges::Node from = 0;
  DependencyEdges::Node to = 0;
  Dependency kind = Dependency::kWriteWrite;
  bool through = false;          // by way of a junction
  std::uint64_t label = 0;       // of the edge that leaves `from`
  std::uint64_t last_label = 0;  // of the edge that reaches `to`
};
using Cycle = std::vector<Hop>;

// A cycle of one hop of `first` and any number of hops of `rest`.
struct CycleShape {
  DependencySet first = 0;
  DependencySet rest = 0;
};

class DependencyGraph {
 public:
  using Node = DependencyEdges::Node;
  using Edge = DependencyEdges::Edge;

  // `intervals` are those given to add_real_time, or empty if it was not called.
  DependencyGraph(DependencyEdges edges, std::vector<Interval> intervals);

  std::size_t transactions() const { return transactions_; }
  std::size_t nodes() const { return first_edge_.size() - 1; }
  bool is_transaction(Node node) const { return node < transactions_; }
  std::span<const Edge> edges_from(Node node) const {
    return std::span(edges_).subspan(first_edge_[node], first_edge_[node + 1] - first_edge_[node]);
  }
  // Both happened, and real time alone says that `a` comes before `b`.
  bool is_earlier(Node a, Node b) const;

 private:
  std::size_t transactions_;
  std::vector<Edge> edges_;              // by `from`
  std::vector<std::size_t> first_edge_;  // of each node, and one past the last
  std::vector<Interval> intervals_;
};

// The strongly connected components of the edges of these kinds that hold two transactions or more,
// smallest first, each in ascending order: every cycle lies within one, and each holds a cycle.
// Tarjan, "Depth-first search and linear graph algorithms", 1972; without recursion.
using Components = std::vector<std::vector<DependencyEdges::Node>>;
Components cyclic_components(const DependencyGraph& graph, DependencySet kinds);

// The shortest cycle of this shape. A search that has taken `budget` steps ends with the shortest
// cycle found till then; one whose shape asks for nothing (first equals rest) always finds one if
// there is one.
std::optional<Cycle> shortest_cycle(const DependencyGraph& graph, const CycleShape& shape,
                                    std::uint64_t budget = 50'000'000);

}  // namespace conclave::sim
