#include "sim/transaction_history.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace conclave::sim {
namespace {

std::string words_of(const MicroOp& op) {
  if (op.append) return fmt::format("append {} to {}", *op.append, op.key);
  return fmt::format("read {} {}", op.key, op.list ? sim::to_text(*op.list) : "(not told)");
}

}  // namespace

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
