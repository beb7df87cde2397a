#include "sim/history.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "sim/json_line.h"

namespace conclave::sim {
namespace {

Failure invalid(std::string why) { return fail(ErrorCode::kInvalid, std::move(why)); }

Result<OpKind> kind_of(const std::string& name) {
  if (name == "put") return OpKind::kPut;
  if (name == "get") return OpKind::kGet;
  if (name == "delete") return OpKind::kDelete;
  if (name == "cas") return OpKind::kCas;
  return invalid("unknown op \"" + name + "\"");
}

const char* name_of(OpKind kind) {
  switch (kind) {
    case OpKind::kPut:
      return "put";
    case OpKind::kGet:
      return "get";
    case OpKind::kDelete:
      return "delete";
    case OpKind::kCas:
      return "cas";
  }
  return "";
}

Result<void> read_cas(JsonFields& fields, Operation& op) {
  op.value = TRY(fields.required<std::string>("value"));
  op.expect = TRY(fields.optional<std::string>("expect"));
  if (op.is_unknown()) return {};
  op.succeeded = TRY(fields.required<bool>("ok"));
  op.actual_known = fields.has("actual");
  op.actual = TRY(fields.optional<std::string>("actual"));
  if (op.succeeded && op.actual_known) return invalid("\"actual\" belongs to a cas that failed");
  return {};
}

void append_cell(std::string& out, std::string_view name, const Cell& cell) {
  out += ",\"";
  out += name;
  out += "\":";
  if (cell) {
    append_json_string(out, *cell);
  } else {
    out += "null";
  }
}

void append_number(std::string& out, std::string_view name, std::int64_t number) {
  out += ",\"";
  out += name;
  out += "\":";
  out += std::to_string(number);
}

}  // namespace

std::string to_json(const Operation& op) {
  std::string out = "{\"client\":" + std::to_string(op.client);
  out += ",\"op\":\"";
  out += name_of(op.kind);
  out += "\",\"key\":";
  append_json_string(out, op.key);
  const bool has_result = op.kind != OpKind::kGet || !op.is_unknown();
  if (op.kind != OpKind::kDelete && has_result) append_cell(out, "value", op.value);
  if (op.kind == OpKind::kCas) {
    append_cell(out, "expect", op.expect);
    if (!op.is_unknown()) out += op.succeeded ? ",\"ok\":true" : ",\"ok\":false";
    if (op.actual_known) append_cell(out, "actual", op.actual);
  }
  append_number(out, "call", op.called_ns);
  if (op.returned_ns) append_number(out, "return", *op.returned_ns);
  if (op.revision != 0) append_number(out, "rev", op.revision);
  if (op.store_revision != 0) append_number(out, "at", op.store_revision);
  return out + "}";
}

Result<Operation> parse_operation(std::string_view line) {
  JsonFields fields(TRY(parse_json_line(line)));
  Operation op;
  op.client = static_cast<std::uint64_t>(TRY(fields.required<std::int64_t>("client")));
  const std::string kind = TRY(fields.required<std::string>("op"));
  op.kind = TRY(kind_of(kind));
  op.key = TRY(fields.required<std::string>("key"));
  op.called_ns = TRY(fields.required<std::int64_t>("call"));
  op.returned_ns = TRY(fields.optional<std::int64_t>("return"));
  op.revision = TRY(fields.optional<std::int64_t>("rev")).value_or(0);
  op.store_revision = TRY(fields.optional<std::int64_t>("at")).value_or(0);
  if (op.returned_ns && *op.returned_ns < op.called_ns)
    return invalid("returned before it was called");

  if (op.kind == OpKind::kPut) op.value = TRY(fields.required<std::string>("value"));
  if (op.kind == OpKind::kGet) {
    if (!op.is_unknown() && !fields.has("value")) return invalid("\"value\" is missing");
    op.value = TRY(fields.optional<std::string>("value"));
  }
  if (op.kind == OpKind::kCas) TRY(read_cas(fields, op));
  TRY(fields.finish());
  return op;
}

Result<History> parse_history(std::string_view text) {
  History history;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view content = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto op = parse_operation(content);
    if (!op) return invalid("line " + std::to_string(line) + ": " + op.error().message);
    history.push_back(std::move(*op));
  }
  return history;
}

std::string to_json_lines(const History& history) {
  std::string out;
  for (const Operation& op : history) {
    out += to_json(op);
    out += '\n';
  }
  return out;
}

}  // namespace conclave::sim
