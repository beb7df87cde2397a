// conclave-check-history FILE...: judges histories of clients (docs/formats/history.md). Exits 0 if
// in every one of them operations are linearizable, revisions are in order and transactions are
// strictly serializable, 1 if one is not so, 2 if one cannot be read or decided.

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

#include "sim/history.h"
#include "sim/linearizability.h"
#include "sim/serializability.h"
#include "sim/transaction_history.h"

namespace {

using namespace conclave;

void print_violation(const char* file, const char* rule, const sim::Violation& violation) {
  fmt::print("{}: {}: key \"{}\": {}\n", file, rule, violation.key, violation.what);
  for (const sim::Operation& op : violation.around) fmt::print("  {}\n", sim::to_json(op));
}

// Worse is more.
int check_operations(const char* file, const sim::History& history) {
  if (const auto violation = sim::find_revision_violation(history)) {
    print_violation(file, "revisions out of order", *violation);
    return 1;
  }
  const sim::Verdict verdict = sim::check_linearizable(history);
  switch (verdict.decision) {
    case sim::Decision::kViolated:
      print_violation(file, "not linearizable", *verdict.violation);
      return 1;
    case sim::Decision::kUndecided:
      print_violation(file, "given up, not decided", *verdict.violation);
      return 2;
    case sim::Decision::kLinearizable:
      break;
  }
  fmt::print("{}: {} operations are linearizable ({} steps)\n", file, history.size(),
             verdict.steps);
  return 0;
}

int check_transactions(const char* file, const sim::TransactionHistory& history) {
  if (const auto anomaly = sim::find_anomaly(history)) {
    fmt::print("{}: not strictly serializable: {}: {}\n", file, sim::name_of(*anomaly),
               anomaly->what);
    return 1;
  }
  fmt::print("{}: {} transactions are strictly serializable\n", file, history.size());
  return 0;
}

int check_file(const char* file) {
  std::ifstream in(file, std::ios::binary);
  std::string operations;  // the lines of them; the others are empty, so that numbers stay right
  sim::TransactionHistory transactions;
  std::size_t number = 0;
  for (std::string line; std::getline(in, line); operations += '\n') {
    ++number;
    if (!sim::is_transaction(line)) {
      operations += line;
      continue;
    }
    auto transaction = sim::parse_transaction(line);
    if (!transaction) {
      fmt::print(stderr, "{}: line {}: {}\n", file, number, transaction.error().message);
      return 2;
    }
    transactions.push_back(std::move(*transaction));
  }
  if (!in.eof()) {
    fmt::print(stderr, "{}: cannot be read\n", file);
    return 2;
  }
  const auto history = sim::parse_history(operations);
  if (!history) {
    fmt::print(stderr, "{}: {}\n", file, history.error().message);
    return 2;
  }
  int worst = 0;
  if (!history->empty() || transactions.empty()) worst = check_operations(file, *history);
  if (!transactions.empty()) worst = std::max(worst, check_transactions(file, transactions));
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: {} FILE...\n", argv[0]);
    return 2;
  }
  int worst = 0;
  for (int i = 1; i < argc; ++i) worst = std::max(worst, check_file(argv[i]));
  return worst;
}
