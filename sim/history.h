#pragma once
// A history: what clients of a key-value store asked, when, and what they were told. Written by
// workloads (the simulator's and tests/crash_test.py) and judged by sim/linearizability.h. The
// stored form is one JSON object per line: docs/formats/history.md.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace conclave::sim {

// A value, or nothing if the key is absent.
using Cell = std::optional<std::string>;

enum class OpKind : std::uint8_t { kPut, kGet, kDelete, kCas };

// One call of one client. Times are of one clock shared by all clients.
struct Operation {
  std::uint64_t client = 0;
  OpKind kind = OpKind::kGet;
  std::string key = {};
  Cell value = {};            // put, cas: what is written; get: what was read
  Cell expect = {};           // cas: written only if the key held this
  bool succeeded = true;      // cas: whether it wrote
  bool actual_known = false;  // a cas that did not write may have been told what it found instead
  Cell actual = {};           // that
  std::int64_t called_ns = 0;
  // nullopt: unknown fate; it may have happened at any time since, or not at all
  std::optional<std::int64_t> returned_ns = {};
  std::int64_t revision =
      0;  // the write's own; or mod_revision of what was read. 0: absent, or not recorded
  std::int64_t store_revision =
      0;  // the store's when it answered (etcd's header.revision); 0: not recorded

  bool is_unknown() const { return !returned_ns.has_value(); }
  // Told to have changed the key.
  bool wrote() const {
    return !is_unknown() && kind != OpKind::kGet && (kind != OpKind::kCas || succeeded);
  }
  bool operator==(const Operation&) const = default;
};

using History = std::vector<Operation>;

// One line, without the newline.
std::string to_json(const Operation& op);
// kInvalid if the line is not an operation; the message says why.
Result<Operation> parse_operation(std::string_view line);
// All lines; empty ones are skipped. kInvalid names the line.
Result<History> parse_history(std::string_view text);
std::string to_json_lines(const History& history);

}  // namespace conclave::sim
