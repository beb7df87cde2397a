#pragma once
// Judges a history of list-append transactions: is there an order of them, one that respects real
// time, in which running them one after the other gives each client exactly what it was told?
//
// As in Elle (Kingsbury and Alvaro, VLDB 2020): since lists only grow and elements are new, the
// longest list read of a key is the order in which it was written. That gives, for each two
// transactions that touched the same version, which of them comes first; real time gives more. An
// order exists exactly if these dependencies have no cycle and each read makes sense by itself. So
// the answer is exact in both directions, and takes time linear in the size of the history (times
// log n to sort by time): 100,000 transactions in less than a second. Pure.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/transaction_history.h"

namespace conclave::sim {

// What a history can do wrong. The names of cycles are Adya's; with real_time, at least one of
// their edges is that somebody had returned before somebody else was called.
enum class AnomalyKind : std::uint8_t {
  kMalformed,          // the history itself: an element is appended twice
  kInternal,           // a transaction contradicts itself: misses its own append, reads differ
  kPhantom,            // an element was read that nobody appended
  kAbortedRead,        // G1a: an element was read whose transaction did not happen
  kIntermediateRead,   // G1b: one append of a transaction was read without its next one
  kDuplicate,          // an element stands twice in one list
  kIncompatibleOrder,  // two lists read of one key, and neither begins with the other
  kLostAppend,         // an acknowledged append misses in what was read later
  kG0,                 // a cycle of ww alone: writes of two transactions interleave
  kG1c,                // of ww and wr: two transactions each saw the other
  kGSingle,            // with one rw: a transaction saw a part of another, or an update was lost
  kG2,                 // with several rw: write skew
};

struct Anomaly {
  AnomalyKind kind = AnomalyKind::kMalformed;
  bool real_time = false;                 // of cycles
  std::string what;                       // for a person; lines, without the last newline
  std::vector<std::size_t> transactions;  // places in the history; of a cycle, in its order
};

// "G-single-realtime" and so on.
std::string name_of(const Anomaly& anomaly);

enum class Isolation : std::uint8_t {
  kSerializable,        // any order will do
  kStrictSerializable,  // only one that respects real time
};

// The first anomaly found, or nullopt: the history is serializable. Looks for the kinds in about
// the order of AnomalyKind, so that the most telling name is reported, and for the shortest cycle.
std::optional<Anomaly> find_anomaly(const TransactionHistory& history,
                                    Isolation isolation = Isolation::kStrictSerializable);

}  // namespace conclave::sim
