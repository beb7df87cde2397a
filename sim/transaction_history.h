#pragma once
// A history of list-append transactions: what clients asked, when, and what they were told. Every
// key holds a list that only grows, and every appended element is new, so a list that was read
// tells who wrote it, and in which order (Kingsbury and Alvaro, "Elle: Inferring Isolation
// Anomalies from Experimental Observations", VLDB 2020). Judged by sim/serializability.h.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace conclave::sim {

using Element = std::uint64_t;

// One step of a transaction, in the order in which the transaction made them.
struct MicroOp {
  std::string key;
  std::optional<Element> append;             // what was appended; nullopt: the key was read
  std::optional<std::vector<Element>> list;  // what was read; nullopt: the client was not told

  bool operator==(const MicroOp&) const = default;
};
MicroOp append_to(std::string key, Element element);
MicroOp read_of(std::string key, std::optional<std::vector<Element>> list);

// One transaction of one client. Times are of one clock shared by all clients.
struct Transaction {
  std::uint64_t client = 0;
  std::vector<MicroOp> ops = {};
  std::int64_t called_ns = 0;
  // nullopt: unknown fate; it may have happened at any time since, or not at all. What its reads
  // say then holds if it happened: a transaction can be conditional on what it read before.
  std::optional<std::int64_t> returned_ns = {};
  bool aborted = false;  // it certainly did not happen

  bool is_unknown() const { return !aborted && !returned_ns.has_value(); }
  bool operator==(const Transaction&) const = default;
};

using TransactionHistory = std::vector<Transaction>;

// One line, without the newline. The stored form: docs/formats/history.md.
std::string to_json(const Transaction& transaction);
// kInvalid if the line is not a transaction; the message says why.
Result<Transaction> parse_transaction(std::string_view line);
// Whether the line has what only a transaction has. False if it is no JSON.
bool is_transaction(std::string_view line);
std::string to_json_lines(const TransactionHistory& history);

// For a person: "client 3, 100..250 ns: append 5 to x, read y [1 2]", leaving out what it did with
// other keys than these (all, if there are none). Of a long list only the end.
std::string to_text(const Transaction& transaction, const std::set<std::string_view>& keys = {});
std::string to_text(const std::vector<Element>& list);

}  // namespace conclave::sim
