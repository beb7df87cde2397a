#include "store/znode_quota.h"

#include <algorithm>
#include <charconv>

#include "store/znode_path.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;

constexpr BytesView kQuotas = "/zookeeper/quota";
constexpr BytesView kLimits = "/zookeeper_limits";
constexpr BytesView kStats = "/zookeeper_stats";
constexpr BytesView kSeparators = ",;";

// Takes what is before the next of `separators` off the front of `rest`.
BytesView take_until(BytesView& rest, BytesView separators) {
  const std::size_t end = std::min(rest.find_first_of(separators), rest.size());
  const BytesView taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

// As Java reads a long; nothing is -1.
std::optional<std::int64_t> parse_number(BytesView text) {
  if (text.empty()) return -1;
  if (text.starts_with('+')) text.remove_prefix(1);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<BytesView> path_of(BytesView path, BytesView suffix) {
  if (!path.starts_with(kQuotas) || !path.ends_with(suffix)) return std::nullopt;
  path.remove_prefix(kQuotas.size());
  if (path.size() <= suffix.size() || path.front() != '/') return std::nullopt;
  path.remove_suffix(suffix.size());
  // What is counted must not count itself.
  return is_within(path, kZooKeepersOwn) ? std::nullopt : std::optional(path);
}

struct CreatesQuota {
  bool operator()(const zk::Create& op) const {
    return path_of_limits(op.path).has_value() || path_of_stats(op.path).has_value();
  }
  bool operator()(const zk::Multi& op) const {
    return std::ranges::any_of(op.operations,
                               [this](const auto& each) { return std::visit(*this, each); });
  }
  template <class Other>
  bool operator()(const Other&) const {
    return false;
  }
};

}  // namespace

std::optional<QuotaNumbers> QuotaNumbers::parse(BytesView line) {
  if (line.size() > kMaxQuotaBytes) return std::nullopt;
  QuotaNumbers numbers;
  bool is_first = true;
  while (!line.empty()) {
    BytesView pair = take_until(line, kSeparators);
    if (pair.empty() && !is_first) continue;  // several separators are one
    is_first = false;
    const BytesView name = take_until(pair, "=");
    const auto number = parse_number(take_until(pair, "="));
    if (name.empty() || !number) return std::nullopt;
    numbers.set(name, *number);
  }
  return numbers;
}

// Clients before 3.5 read no more than the first two, and stop at the second "=".
Bytes QuotaNumbers::text() const {
  const auto pair = [this](BytesView name) {
    return Bytes(name) + "=" + std::to_string(get(name));
  };
  Bytes text = pair(kQuotaCount) + "," + pair(kQuotaBytes);
  bool has_more = false;
  for (const auto& [name, number] : numbers_) {
    if (name == kQuotaCount || name == kQuotaBytes) continue;
    text += (has_more ? ";" : "=;") + pair(name);
    has_more = true;
  }
  return text;
}

std::int64_t QuotaNumbers::get(BytesView name) const {
  const auto found = numbers_.find(name);
  return found == numbers_.end() ? -1 : found->second;
}

Bytes quota_limits_path(BytesView path) { return Bytes(kQuotas) + Bytes(path) + Bytes(kLimits); }
Bytes quota_stats_path(BytesView path) { return Bytes(kQuotas) + Bytes(path) + Bytes(kStats); }
std::optional<BytesView> path_of_limits(BytesView path) { return path_of(path, kLimits); }
std::optional<BytesView> path_of_stats(BytesView path) { return path_of(path, kStats); }

bool creates_quota(const zk::WriteRequest& write) { return std::visit(CreatesQuota{}, write.op); }

}  // namespace conclave::store
