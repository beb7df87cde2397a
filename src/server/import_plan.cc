#include "server/import_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/check.h"
#include "server/text.h"

namespace conclave::server {

namespace {

using etcdserverpb::TxnRequest;
using mvccpb::KeyValue;

// Large, since etcd counts for each page all the keys that are left.
constexpr std::size_t kPageBytes = 16 * limits::kMiB;
constexpr std::int64_t kMostKeys = 100'000;
constexpr std::int64_t kGrowth = 8;  // a page may be so many times the last one

constexpr std::string_view kTitle = "conclave-import";

Result<Bytes> unhex(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (text.size() % 2 != 0) return fail(ErrorCode::kCorrupt, "half a byte");
  Bytes bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return fail(ErrorCode::kCorrupt, "not hexadecimal");
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

}  // namespace

Bytes KeySpan::begin() const { return prefix.empty() ? Bytes(1, '\0') : prefix; }

Bytes KeySpan::end() const {
  Bytes end = prefix;
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (end.empty()) return Bytes(1, '\0');
  end.back() = static_cast<char>(end.back() + 1);
  return end;
}

bool KeySpan::has(BytesView key) const { return key.starts_with(prefix) && key != kImportKey; }

std::string encode(const ImportState& state) {
  return fmt::format("{} source={} run={} step={} phase={} revision={} merge={} users={} prefix={}",
                     kTitle, state.source_cluster, state.run, state.step,
                     state.phase == ImportState::Phase::kCopying ? "copying" : "following",
                     state.revision, state.merge ? 1 : 0, state.users ? 1 : 0,
                     in_hex(state.prefix));
}

Result<ImportState> parse_import_state(std::string_view text) {
  const auto words = split(text, ' ');
  std::map<std::string_view, std::string_view> values;
  for (const std::string_view word : words) {
    const std::size_t equals = word.find('=');
    if (equals != std::string_view::npos) values[word.substr(0, equals)] = word.substr(equals + 1);
  }
  if (words.empty() || words[0] != kTitle || values.size() != 8) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{} does not hold what an import writes there", kImportKey));
  }
  ImportState state;
  state.source_cluster = TRY(parse_number(values["source"]));
  state.run = TRY(parse_number(values["run"]));
  state.step = TRY(parse_number(values["step"]));
  state.phase =
      values["phase"] == "copying" ? ImportState::Phase::kCopying : ImportState::Phase::kFollowing;
  state.revision = static_cast<std::int64_t>(TRY(parse_number(values["revision"])));
  state.merge = values["merge"] == "1";
  state.users = values["users"] == "1";
  state.prefix = TRY(unhex(values["prefix"]));
  return state;
}

void EventBatches::add(const etcdserverpb::WatchResponse& response) {
  for (const mvccpb::Event& event : response.events()) {
    const KeyValue& kv = event.kv();
    // Seen before, if the watch was begun again.
    if (kv.mod_revision() <= applied_) continue;
    Waiting waiting{.revision = kv.mod_revision(), .change = std::nullopt};
    if (span_.has(kv.key())) {
      const bool remove = event.type() == mvccpb::Event::DELETE;
      waiting.change = Change{.key = kv.key(),
                              .remove = remove,
                              .value = remove ? Bytes() : kv.value(),
                              .lease = remove ? 0 : kv.lease()};
      bytes_ += waiting.change->bytes();
    }
    events_.push_back(std::move(waiting));
  }
  if (response.events().empty()) return;
  const std::int64_t last = response.events().rbegin()->kv().mod_revision();
  whole_ = std::max(whole_, response.fragment() ? last - 1 : last);
}

EventBatches::Extent EventBatches::extent_of_revision(std::size_t begin) const {
  Extent extent{.end = begin};
  while (extent.end < events_.size() && events_[extent.end].revision == events_[begin].revision) {
    if (const auto& change = events_[extent.end].change) {
      ++extent.changes;
      extent.bytes += change->bytes();
    }
    ++extent.end;
    if (extent.changes > kImportOps || extent.bytes > kImportTxnBytes) break;  // too large anyway
  }
  return extent;
}

void EventBatches::drop(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (events_.front().change) bytes_ -= events_.front().change->bytes();
    events_.pop_front();
  }
}

// The first events of the first revision, as many as fit; the last part completes the revision.
Batch EventBatches::part_of_revision() {
  Batch batch;
  std::size_t bytes = 0;
  std::size_t taken = 0;
  const std::int64_t revision = events_.front().revision;
  const auto ends = [&] { return taken == events_.size() || events_[taken].revision != revision; };
  for (; !ends(); ++taken) {
    const auto& change = events_[taken].change;
    if (!change) continue;
    if (batch.changes.size() == kImportOps) break;
    if (!batch.changes.empty() && bytes + change->bytes() > kImportTxnBytes) break;
    bytes += change->bytes();
    batch.changes.push_back(*change);
  }
  if (ends() && revision <= whole_) applied_ = revision;
  batch.revision = applied_;
  drop(taken);
  return batch;
}

std::optional<Batch> EventBatches::next(std::int64_t last) {
  std::map<BytesView, std::size_t> places;  // of the keys' last events
  std::size_t bytes = 0;
  std::size_t taken = 0;
  while (taken < events_.size()) {
    const std::int64_t revision = events_[taken].revision;
    if (revision > last) break;
    const Extent extent = extent_of_revision(taken);
    const bool is_small = extent.changes <= kImportOps && extent.bytes <= kImportTxnBytes;
    const bool is_first = taken == 0;
    // One that is not small need not have come whole: it takes several batches anyway.
    if (is_first && !is_small) return part_of_revision();
    if (revision > whole_) break;
    const bool fits = is_small && places.size() + extent.changes <= kImportOps &&
                      bytes + extent.bytes <= kImportTxnBytes;
    if (!is_first && !fits) break;
    for (; taken < extent.end; ++taken) {
      if (const auto& change = events_[taken].change) places[change->key] = taken;
    }
    bytes += extent.bytes;
    applied_ = revision;
  }
  if (taken == 0) return std::nullopt;
  Batch batch{.changes = {}, .revision = applied_};
  for (const auto& [key, place] : places) batch.changes.push_back(*events_[place].change);
  drop(taken);
  return batch;
}

Relation compare(const KeyValue* source, const KeyValue* target) {
  CHECK(source != nullptr || target != nullptr);
  if (target == nullptr) return Relation::kOnlySource;
  if (source == nullptr) return Relation::kOnlyTarget;
  const int order = source->key().compare(target->key());
  if (order != 0) return order < 0 ? Relation::kOnlySource : Relation::kOnlyTarget;
  const bool same = source->value() == target->value() && source->lease() == target->lease();
  return same ? Relation::kSame : Relation::kDiffers;
}

TxnRequest guarded(const std::vector<Change>& changes, const std::string& before,
                   const std::string& after) {
  TxnRequest request;
  auto& compare = *request.add_compare();
  compare.set_result(etcdserverpb::Compare::EQUAL);
  compare.set_key(std::string(kImportKey));
  if (before.empty()) {
    compare.set_target(etcdserverpb::Compare::VERSION);
    compare.set_version(0);
  } else {
    compare.set_target(etcdserverpb::Compare::VALUE);
    compare.set_value(before);
  }
  for (const Change& change : changes) {
    auto& op = *request.add_success();
    if (change.remove) {
      op.mutable_request_delete_range()->set_key(change.key);
      continue;
    }
    auto& put = *op.mutable_request_put();
    put.set_key(change.key);
    put.set_value(change.value);
    put.set_lease(change.lease);
  }
  if (after.empty()) {
    request.add_success()->mutable_request_delete_range()->set_key(std::string(kImportKey));
  } else if (after != before) {
    auto& put = *request.add_success()->mutable_request_put();
    put.set_key(std::string(kImportKey));
    put.set_value(after);
  }
  request.add_failure()->mutable_request_range()->set_key(std::string(kImportKey));
  return request;
}

void Fingerprint::add(const KeyValue& kv) {
  const auto number = [&](std::uint64_t value) {
    char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
    hash_.add({bytes, sizeof bytes});
  };
  number(kv.key().size());
  hash_.add(kv.key());
  number(kv.value().size());
  hash_.add(kv.value());
  number(static_cast<std::uint64_t>(kv.lease()));
  ++keys_;
}

std::string Fingerprint::finish() { return in_hex(hash_.finish()); }

std::int64_t next_page(std::int64_t asked, std::size_t keys, std::size_t bytes) {
  const std::size_t each = std::max<std::size_t>(1, bytes / std::max<std::size_t>(1, keys));
  const auto fitting = static_cast<std::int64_t>(kPageBytes / each);
  return std::clamp<std::int64_t>(fitting, 1, std::min(kMostKeys, asked * kGrowth));
}

std::string with_commas(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string count_of(std::uint64_t number, std::string_view what) {
  return fmt::format("{} {}{}", with_commas(number), what, number == 1 ? "" : "s");
}

std::string copy_progress(std::string_view verb, std::uint64_t done, std::uint64_t all,
                          Duration elapsed, std::string_view what) {
  const std::uint64_t most = std::max(done, all);
  const std::uint64_t percent = most == 0 ? 100 : done * 100 / most;
  std::string text = fmt::format("{}  {} of {} {} ({}%)", verb, with_commas(done),
                                 with_commas(most), what, percent);
  if (elapsed < milliseconds(200) || done == 0) return text;
  const double rate = static_cast<double>(done) / elapsed.seconds();
  text += fmt::format(", {} {}/s", with_commas(static_cast<std::uint64_t>(rate)), what);
  if (done == most) return text;
  const double left = std::ceil(static_cast<double>(most - done) / rate);
  return text + fmt::format(", about {} s left", with_commas(static_cast<std::uint64_t>(left)));
}

std::string follow_progress(std::int64_t applied, std::int64_t source, double events_per_second,
                            std::size_t leases) {
  return fmt::format(
      "following  revision {}, {} behind, {} events/s, {} leases",
      with_commas(static_cast<std::uint64_t>(applied)),
      with_commas(static_cast<std::uint64_t>(std::max<std::int64_t>(0, source - applied))),
      with_commas(static_cast<std::uint64_t>(std::lround(events_per_second))), with_commas(leases));
}

std::string printable(BytesView key) {
  std::string text = "\"";
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (byte >= 0x20 && byte < 0x7f) {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", byte);
    }
  }
  return text + "\"";
}

}  // namespace conclave::server
