#include "sim/transaction_history.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "sim/json_line.h"

namespace conclave::sim {
namespace {

std::string words_of(const MicroOp& op) {
  if (op.append) return fmt::format("append {} to {}", *op.append, op.key);
  return fmt::format("read {} {}", op.key, op.list ? sim::to_text(*op.list) : "(not told)");
}

Failure invalid(std::string why) { return fail(ErrorCode::kInvalid, std::move(why)); }

Result<Element> to_element(const JsonValue& value) {
  const auto* number = std::get_if<std::int64_t>(&value);
  if (number == nullptr || *number < 0) return invalid("an element is a number from 0 on");
  return static_cast<Element>(*number);
}

// ["append", key, element] or ["read", key, [element...] or null].
Result<MicroOp> to_op(const JsonValue& value) {
  const auto* parts = std::get_if<JsonArray>(&value);
  if (parts == nullptr || parts->size() != 3) return invalid("a step is an array of three");
  const auto* what = std::get_if<std::string>(&parts->at(0));
  const auto* key = std::get_if<std::string>(&parts->at(1));
  if (what == nullptr || key == nullptr) return invalid("a step begins with two strings");
  if (*what == "append") return append_to(*key, TRY(to_element(parts->at(2))));
  if (*what != "read") return invalid("unknown step \"" + *what + "\"");
  if (std::holds_alternative<std::nullptr_t>(parts->at(2))) return read_of(*key, std::nullopt);
  const auto* elements = std::get_if<JsonArray>(&parts->at(2));
  if (elements == nullptr) return invalid("a read gives an array or null");
  std::vector<Element> list;
  for (const JsonValue& element : *elements) list.push_back(TRY(to_element(element)));
  return read_of(*key, std::move(list));
}

void append_json(std::string& out, const MicroOp& op) {
  out += op.append ? "[\"append\"," : "[\"read\",";
  append_json_string(out, op.key);
  if (op.append) {
    out += fmt::format(",{}]", *op.append);
  } else {
    out += op.list ? fmt::format(",[{}]]", fmt::join(*op.list, ",")) : ",null]";
  }
}

}  // namespace

std::string to_json(const Transaction& transaction) {
  std::string out = fmt::format("{{\"client\":{},\"txn\":[", transaction.client);
  for (const MicroOp& op : transaction.ops) {
    if (&op != &transaction.ops.front()) out += ',';
    append_json(out, op);
  }
  out += fmt::format("],\"call\":{}", transaction.called_ns);
  if (transaction.returned_ns) out += fmt::format(",\"return\":{}", *transaction.returned_ns);
  if (transaction.aborted) out += ",\"aborted\":true";
  return out + "}";
}

Result<Transaction> parse_transaction(std::string_view line) {
  JsonFields fields(TRY(parse_json_line(line)));
  Transaction out;
  out.client = static_cast<std::uint64_t>(TRY(fields.required<std::int64_t>("client")));
  const JsonArray ops = TRY(fields.required<JsonArray>("txn"));
  for (const JsonValue& op : ops) out.ops.push_back(TRY(to_op(op)));
  out.called_ns = TRY(fields.required<std::int64_t>("call"));
  out.returned_ns = TRY(fields.optional<std::int64_t>("return"));
  out.aborted = TRY(fields.optional<bool>("aborted")).value_or(false);
  if (out.returned_ns && *out.returned_ns < out.called_ns)
    return invalid("returned before it was called");
  TRY(fields.finish());
  return out;
}

bool is_transaction(std::string_view line) {
  const auto object = parse_json_line(line);
  return object && object->contains("txn");
}

std::string to_json_lines(const TransactionHistory& history) {
  std::string out;
  for (const Transaction& transaction : history) out += to_json(transaction) + "\n";
  return out;
}

MicroOp append_to(std::string key, Element element) { return {std::move(key), element, {}}; }
MicroOp read_of(std::string key, std::optional<std::vector<Element>> list) {
  return {std::move(key), {}, std::move(list)};
}

std::string to_text(const std::vector<Element>& list) {
  constexpr std::size_t kShown = 8;
  const std::size_t hidden = list.size() - std::min(list.size(), kShown);
  std::string out = hidden > 0 ? fmt::format("[({} more)", hidden) : "[";
  for (std::size_t i = hidden; i < list.size(); ++i)
    out += fmt::format("{}{}", i > 0 ? " " : "", list[i]);
  return out + "]";
}

std::string to_text(const Transaction& transaction, const std::set<std::string_view>& keys) {
  std::string out = fmt::format("client {}, {}..", transaction.client, transaction.called_ns);
  if (transaction.returned_ns) out += fmt::format("{} ns", *transaction.returned_ns);
  if (transaction.is_unknown()) out += " ns, of unknown fate";
  if (transaction.aborted) out += ", did not happen";
  std::size_t left_out = 0;
  const char* separator = ": ";
  for (const MicroOp& op : transaction.ops) {
    if (!keys.empty() && !keys.contains(op.key)) {
      ++left_out;
      continue;
    }
    out += std::exchange(separator, ", ") + words_of(op);
  }
  if (left_out > 0) out += fmt::format("{}{} on other keys", separator, left_out);
  return out;
}

}  // namespace conclave::sim
