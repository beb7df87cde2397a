// conclave-check-history FILE...: judges histories of clients (docs/formats/history.md). Exits 0 if
// every one of them is linearizable and its revisions are in order, 1 if one is not, 2 if one
// cannot be read or decided.

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "sim/history.h"
#include "sim/linearizability.h"

namespace {

using namespace conclave;

void print_violation(const char* file, const char* rule, const sim::Violation& violation) {
  fmt::print("{}: {}: key \"{}\": {}\n", file, rule, violation.key, violation.what);
  for (const sim::Operation& op : violation.around) fmt::print("  {}\n", sim::to_json(op));
}

int check_file(const char* file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.good() && !in.eof()) {
    fmt::print(stderr, "{}: cannot be read\n", file);
    return 2;
  }
  const auto history = sim::parse_history(text);
  if (!history) {
    fmt::print(stderr, "{}: {}\n", file, history.error().message);
    return 2;
  }
  if (const auto violation = sim::find_revision_violation(*history)) {
    print_violation(file, "revisions out of order", *violation);
    return 1;
  }
  const sim::Verdict verdict = sim::check_linearizable(*history);
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
  fmt::print("{}: {} operations are linearizable ({} steps)\n", file, history->size(),
             verdict.steps);
  return 0;
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
