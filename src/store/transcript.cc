#include "store/transcript.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "base/check.h"

namespace conclave::store {
namespace {

using Words = std::vector<std::string_view>;

Words split(std::string_view line) {
  Words words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

std::int64_t to_number(std::string_view word) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  CHECK(error == std::errc{}, "not a number: {}", word);
  CHECK(end == word.data() + word.size(), "not a number: {}", word);
  return value;
}

Bytes to_bytes(std::string_view word) {
  if (word == "-") return {};
  Bytes bytes;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word[i] != '%') {
      bytes.push_back(word[i]);
      continue;
    }
    int byte = 0;
    std::from_chars(word.data() + i + 1, word.data() + i + 3, byte, 16);
    bytes.push_back(static_cast<char>(byte));
    i += 2;
  }
  return bytes;
}

std::string from_bytes(BytesView bytes) {
  if (bytes.empty()) return "-";
  std::string word;
  for (const char c : bytes) {
    const bool is_plain = c > ' ' && c < 127 && c != '%';
    if (is_plain) {
      word.push_back(c);
    } else {
      word += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
  }
  return word;
}

class Parser {
 public:
  explicit Parser(std::string_view line) : words_(split(line)) {}

  bool at_end() const { return next_ == words_.size(); }

  template <class Variant>
  Variant operation() {
    const std::string_view name = take();
    if (name == "put") return Variant{put()};
    if (name == "range") return Variant{range()};
    CHECK(name == "del", "unknown operation {}", name);
    return Variant{erase()};
  }

  api::Body body() {
    if (accept("txn")) return txn();
    if (accept("compact")) return api::CompactRequest{.revision = to_number(take())};
    if (accept("grant")) return grant();
    if (accept("revoke")) return api::LeaseRevokeRequest{.id = to_number(take())};
    if (accept("keep")) return api::LeaseKeepAliveRequest{.id = to_number(take())};
    if (accept("ttl")) return time_to_live();
    if (accept("leases")) return api::LeaseLeasesRequest{};
    if (accept("acquire")) return acquire();
    if (accept("release")) return release();
    if (accept("enter")) return enter();
    if (accept("leave")) return leave();
    return operation<api::Body>();
  }

 private:
  std::string_view take() {
    CHECK(!at_end(), "the line ends too early");
    return words_[next_++];
  }
  bool accept(std::string_view word) {
    if (at_end() || words_[next_] != word) return false;
    ++next_;
    return true;
  }
  // The value of the option `name`, "name=value", if it is next.
  std::optional<std::string_view> option(std::string_view name) {
    if (at_end()) return std::nullopt;
    const std::string_view word = words_[next_];
    if (!word.starts_with(name) || word.substr(name.size()).substr(0, 1) != "=")
      return std::nullopt;
    ++next_;
    return word.substr(name.size() + 1);
  }
  void number_option(std::string_view name, std::int64_t& into) {
    if (const auto value = option(name)) into = to_number(*value);
  }
  template <std::size_t N>
  std::uint8_t choice(std::string_view word, const std::array<std::string_view, N>& names) {
    for (std::uint8_t i = 0; i < N; ++i) {
      if (names[i] == word) return i;
    }
    CHECK(false, "unknown word {}", word);
  }

  bool is_operand() const {
    if (at_end()) return false;
    const std::string_view word = words_[next_];
    constexpr std::array<std::string_view, 5> kFlags{"prev", "keys_only", "count_only", ";", "]"};
    for (const std::string_view flag : kFlags) {
      if (word == flag) return false;
    }
    return word.find('=') == std::string_view::npos;
  }
  Bytes optional_bytes() { return is_operand() ? to_bytes(take()) : Bytes{}; }

  api::PutRequest put() {
    api::PutRequest put;
    put.key = to_bytes(take());
    put.value = to_bytes(take());
    number_option("lease", put.lease);
    put.prev_kv = accept("prev");
    put.ignore_value = accept("ignore_value");
    put.ignore_lease = accept("ignore_lease");
    return put;
  }

  api::LeaseGrantRequest grant() {
    api::LeaseGrantRequest grant;
    grant.id = to_number(take());
    grant.ttl_s = to_number(take());
    return grant;
  }

  api::LeaseTimeToLiveRequest time_to_live() {
    api::LeaseTimeToLiveRequest request;
    request.id = to_number(take());
    request.keys = accept("keys");
    return request;
  }

  std::uint32_t count(std::string_view word) { return static_cast<std::uint32_t>(to_number(word)); }

  api::AcquireRequest acquire() {
    api::AcquireRequest acquire;
    acquire.name = to_bytes(take());
    acquire.lease = to_number(take());
    if (accept("shared")) acquire.mode = api::LockMode::kShared;
    if (const auto permits = option("of")) {
      acquire.mode = api::LockMode::kSemaphore;
      acquire.permits = count(*permits);
    }
    if (const auto owner = option("owner")) acquire.owner = to_bytes(*owner);
    if (accept("try")) acquire.wait = api::LockWait::kNotAtAll;
    if (accept("queue")) acquire.wait = api::LockWait::kInQueue;
    return acquire;
  }

  api::ReleaseRequest release() {
    api::ReleaseRequest release;
    release.key = to_bytes(take());
    release.token = to_number(take());
    release.altogether = accept("all");
    if (const auto revision = option("unless_after")) release.unless_after = to_number(*revision);
    return release;
  }

  api::EnterRequest enter() {
    api::EnterRequest enter;
    enter.name = to_bytes(take());
    enter.lease = to_number(take());
    enter.count = count(take());
    return enter;
  }

  api::LeaveRequest leave() {
    api::LeaveRequest leave;
    leave.name = to_bytes(take());
    leave.lease = to_number(take());
    return leave;
  }

  api::DeleteRangeRequest erase() {
    api::DeleteRangeRequest erase;
    erase.key = to_bytes(take());
    erase.range_end = optional_bytes();
    erase.prev_kv = accept("prev");
    return erase;
  }

  api::RangeRequest range() {
    static constexpr std::array<std::string_view, 3> kOrders{"none", "asc", "desc"};
    static constexpr std::array<std::string_view, 5> kTargets{"key", "version", "create", "mod",
                                                              "value"};
    api::RangeRequest range;
    range.key = to_bytes(take());
    range.range_end = optional_bytes();
    number_option("limit", range.limit);
    number_option("rev", range.revision);
    if (const auto word = option("sort"))
      range.sort_order = static_cast<api::SortOrder>(choice(*word, kOrders));
    if (const auto word = option("by"))
      range.sort_target = static_cast<api::SortTarget>(choice(*word, kTargets));
    range.keys_only = accept("keys_only");
    range.count_only = accept("count_only");
    number_option("min_mod", range.min_mod_revision);
    number_option("max_mod", range.max_mod_revision);
    number_option("min_create", range.min_create_revision);
    number_option("max_create", range.max_create_revision);
    return range;
  }

  api::Compare compare() {
    static constexpr std::array<std::string_view, 5> kTargets{"version", "create", "mod", "value",
                                                              "lease"};
    static constexpr std::array<std::string_view, 4> kResults{"=", ">", "<", "!="};
    api::Compare compare;
    compare.target = static_cast<api::CompareTarget>(choice(take(), kTargets));
    compare.key = to_bytes(take());
    compare.range_end = optional_end_of_compare();
    compare.result = static_cast<api::CompareResult>(choice(take(), kResults));
    if (compare.target == api::CompareTarget::kValue) {
      compare.value = to_bytes(take());
    } else {
      compare.number = to_number(take());
    }
    return compare;
  }
  Bytes optional_end_of_compare() {
    const std::string_view word = words_[next_];
    const bool is_result = word == "=" || word == "<" || word == ">" || word == "!=";
    return is_result ? Bytes{} : to_bytes(take());
  }

  template <class Item>
  auto list(Item item) {
    CHECK(accept("["));
    std::vector<decltype(item())> items;
    while (!accept("]")) {
      items.push_back(item());
      accept(";");
    }
    return items;
  }

  api::TxnRequest txn() {
    const auto operation_of_txn = [this]() -> api::Operation {
      if (accept("txn")) return {std::make_unique<api::TxnRequest>(txn())};
      return {operation<decltype(api::Operation::op)>()};
    };
    api::TxnRequest txn;
    txn.compare = list([this] { return compare(); });
    txn.success = list(operation_of_txn);
    txn.failure = list(operation_of_txn);
    return txn;
  }

  Words words_;
  std::size_t next_ = 0;
};

std::string to_text(const api::KeyValue& kv) {
  const std::string lease = kv.lease == 0 ? "" : fmt::format(",{}", kv.lease);
  return fmt::format(" {}={}({},{},{}{})", from_bytes(kv.key), from_bytes(kv.value),
                     kv.create_revision, kv.mod_revision, kv.version, lease);
}

std::string to_text(const std::vector<api::KeyValue>& kvs) {
  std::string text;
  for (const api::KeyValue& kv : kvs) text += to_text(kv);
  return text;
}

struct AnswerText {
  std::string operator()(const api::Error& error) const {
    return "error " + store::to_text(error.code);
  }
  std::string operator()(const api::RangeResponse& range) const {
    return fmt::format("range {}{}{}", range.count, range.more ? " more" : "", to_text(range.kvs));
  }
  std::string operator()(const api::PutResponse& put) const {
    return "put" + (put.prev_kv ? to_text(*put.prev_kv) : std::string());
  }
  std::string operator()(const api::DeleteRangeResponse& erase) const {
    return fmt::format("del {}{}", erase.deleted, to_text(erase.prev_kvs));
  }
  std::string operator()(const api::TxnResponse& txn) const {
    std::string text = txn.succeeded ? "txn yes [" : "txn no [";
    for (const api::OperationResult& result : txn.results)
      text += " " + std::visit(*this, result.result) + " ;";
    if (text.ends_with(';')) text.resize(text.size() - 2);
    return text + " ]";
  }
  std::string operator()(const std::unique_ptr<api::TxnResponse>& txn) const {
    return (*this)(*txn);
  }
  std::string operator()(const api::CompactResponse&) const { return "compact"; }
  std::string operator()(const api::LeaseGrantResponse& grant) const {
    return fmt::format("grant {} {}", grant.id, grant.ttl_s);
  }
  std::string operator()(const api::LeaseRevokeResponse&) const { return "revoke"; }
  std::string operator()(const api::LeaseKeepAliveResponse& keep) const {
    return fmt::format("keep {} {}", keep.id, keep.ttl_s);
  }
  std::string operator()(const api::LeaseTimeToLiveResponse& left) const {
    std::string text = fmt::format("ttl {} {} {}", left.id, left.ttl_s, left.granted_ttl_s);
    for (const Bytes& key : left.keys) text += " " + from_bytes(key);
    return text;
  }
  std::string operator()(const api::LeaseLeasesResponse& leases) const {
    std::string text = "leases";
    for (const api::LeaseId id : leases.ids) text += fmt::format(" {}", id);
    return text;
  }
  std::string operator()(const api::AcquireResponse& acquired) const {
    return fmt::format("acquire {} {} {} {}", from_bytes(acquired.key), acquired.token,
                       acquired.ahead, acquired.times);
  }
  std::string operator()(const api::ReleaseResponse& released) const {
    return released.was_there ? fmt::format("release {}", released.times) : "release gone";
  }
  std::string operator()(const api::EnterResponse& entered) const {
    return fmt::format("enter {} {}", entered.open ? "open" : "closed", entered.present);
  }
  std::string operator()(const api::LeaveResponse& left) const {
    return fmt::format("leave {} {}", left.present, left.opened);
  }
  template <class Other>
  std::string operator()(const Other&) const {
    return "other";
  }
};

}  // namespace

api::Request parse_request(std::string_view line) {
  Parser parser(line);
  api::Request request{.body = parser.body(), .id = std::nullopt, .timeout_ms = std::nullopt};
  CHECK(parser.at_end(), "there is more behind: {}", line);
  return request;
}

std::string to_text(const api::Response& response) {
  std::string text = std::visit(AnswerText{}, response.answer);
  if (std::holds_alternative<api::Error>(response.answer)) return text;
  return fmt::format("{} {}", response.header.revision, text);
}

std::string to_text(api::ErrorCode code) {
  switch (code) {
    case api::ErrorCode::kEmptyKey:
      return "empty_key";
    case api::ErrorCode::kKeyNotFound:
      return "key_not_found";
    case api::ErrorCode::kValueProvided:
      return "value_provided";
    case api::ErrorCode::kLeaseProvided:
      return "lease_provided";
    case api::ErrorCode::kTooManyOps:
      return "too_many_ops";
    case api::ErrorCode::kDuplicateKey:
      return "duplicate_key";
    case api::ErrorCode::kCompacted:
      return "compacted";
    case api::ErrorCode::kFutureRevision:
      return "future_revision";
    case api::ErrorCode::kLeaseNotFound:
      return "lease_not_found";
    case api::ErrorCode::kLeaseExists:
      return "lease_exists";
    case api::ErrorCode::kLeaseTtlTooLarge:
      return "lease_ttl_too_large";
    case api::ErrorCode::kLockLost:
      return "lock_lost";
    case api::ErrorCode::kNotElectionLeader:
      return "not_election_leader";
    case api::ErrorCode::kNoElectionLeader:
      return "no_election_leader";
    case api::ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case api::ErrorCode::kTooManyRequests:
      return "too_many_requests";
    case api::ErrorCode::kPermissionDenied:
      return "permission_denied";
    case api::ErrorCode::kStopped:
      return "stopped";
    case api::ErrorCode::kTimeout:
      return "timeout";
    case api::ErrorCode::kInvalidSortOption:
      return "invalid_sort_option";
    case api::ErrorCode::kRequestIdTooOld:
      return "request_id_too_old";
    case api::ErrorCode::kInvalidRequestId:
      return "invalid_request_id";
    case api::ErrorCode::kFenced:
      return "fenced";
    case api::ErrorCode::kInvalidFence:
      return "invalid_fence";
    case api::ErrorCode::kLockConflict:
      return "lock_conflict";
    case api::ErrorCode::kInvalidLock:
      return "invalid_lock";
    default:
      return fmt::format("{}", static_cast<int>(code));
  }
}

}  // namespace conclave::store
