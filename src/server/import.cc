#include "server/import.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <random>
#include <utility>

#include "base/check.h"
#include "server/command_line.h"
#include "server/etcd_client.h"
#include "server/import_display.h"
#include "server/import_keys.h"
#include "server/import_leases.h"
#include "server/import_plan.h"
#include "server/import_users.h"
#include "server/import_zookeeper.h"

namespace conclave::server {

namespace {

namespace pb = etcdserverpb;
using Phase = ImportState::Phase;

constexpr const char* kRange = "/etcdserverpb.KV/Range";
constexpr const char* kWatch = "/etcdserverpb.Watch/Watch";
constexpr const char* kHelp =
    R"(Copies another service's data into a cluster.

usage: conclave import etcd --endpoint URL,... --to URL,... [flags]
       conclave import zookeeper --connect HOST:2181,.../PATH --to URL,... [flags]

  etcd        copy a live etcd, follow it, and cut over
  zookeeper   copy a live ZooKeeper's tree

`conclave import etcd --help`, `conclave import zookeeper --help` tell more.
)";

constexpr int kDiffer = 3;
constexpr int kStopped = 130;
constexpr std::size_t kMostWaitingBytes = 8 * limits::kMiB;
constexpr std::size_t kMostWaitingEvents = 100'000;
constexpr int kMostRounds = 10;  // of a cut-over that the source's compaction disturbs
constexpr Duration kRefresh = seconds(1);
constexpr Duration kWait = milliseconds(100);

std::uint64_t unsigned_of(std::int64_t number) { return static_cast<std::uint64_t>(number); }

// What a cluster says of itself: of the keys of a span, how many; linearizable.
struct Head {
  std::uint64_t cluster = 0;
  std::int64_t revision = 0;
  std::uint64_t keys = 0;
};

Result<Head> head_of(EtcdClient& client, const KeySpan& span) {
  pb::RangeRequest request;
  request.set_key(span.begin());
  request.set_range_end(span.end());
  request.set_count_only(true);
  const auto answer = client.ask<pb::RangeResponse>(kRange, request);
  if (!answer) return Failure(client.error(answer.error()));
  return Head{answer->header().cluster_id(), answer->header().revision(),
              unsigned_of(answer->count())};
}

Result<std::optional<std::string>> value_of(EtcdClient& client, std::string_view key) {
  pb::RangeRequest request;
  request.set_key(std::string(key));
  const auto answer = client.ask<pb::RangeResponse>(kRange, request);
  if (!answer) return Failure(client.error(answer.error()));
  if (answer->kvs().empty()) return std::nullopt;
  return answer->kvs(0).value();
}

class Import {
 public:
  explicit Import(const ImportOptions& options)
      : options_(options),
        span_{options.prefix},
        source_(pump_, "source", options.source, seconds(options.patience_seconds)),
        target_(pump_, "target", options.target, seconds(options.patience_seconds)),
        leases_(pump_, source_, target_),
        users_(pump_, source_, target_, display_),
        writer_(target_, leases_),
        switch_(pump_, [this](const std::string& line) { display_.note(line); }) {
    const auto tell = [this](const std::string& trouble) {
      if (!trouble.empty() && display_.is_due()) display_.progress(trouble);
    };
    source_.on_trouble(tell);
    target_.on_trouble(tell);
    if (options_.until_caught_up) switch_.turn_on();
  }

  // kMismatch: the two differ.
  Result<void> run() {
    TRY(look_at_both());
    // Read before anything is written, as much can be wrong there.
    ImportedUsers found;
    if (state_.users) found = TRY(users_.find());
    TRY(copy());
    if (state_.users) TRY(copy_users(found, "Copied"));
    if (!switch_.is_on()) display_.note(how_to_end());
    TRY(follow(std::nullopt));
    for (int round = 1; round <= kMostRounds; ++round) {
      if (TRY(cut_over())) return {};
    }
    return fail(ErrorCode::kIo, "source: it is compacted faster than it can be compared");
  }
  bool differs() const { return differs_; }
  bool stopped() const { return pump_.stopped(); }

 private:
  Result<void> look_at_both();
  Result<void> check_target(std::uint64_t cluster);
  Result<void> set_state(Phase phase, std::int64_t revision, std::vector<Change> changes = {});
  std::string how_to_end() const;

  Result<void> copy();
  Result<void> write_differences(std::int64_t revision, std::uint64_t keys);
  Result<std::optional<Relation>> next_relation(KeyReader& source, KeyReader& target);
  Result<void> copy_users(const ImportedUsers& found, std::string_view verb);

  Result<void> follow(std::optional<std::int64_t> last);
  Result<bool> follow_once(std::optional<std::int64_t> last);
  Result<bool> take_events(EtcdCall& watch, EventBatches& events);
  Result<void> show_following();

  Result<bool> cut_over();
  Result<void> verify(std::int64_t revision, std::uint64_t keys);
  Result<void> finish(std::int64_t revision, bool enable_users);

  ImportOptions options_;
  KeySpan span_;
  Pump pump_;
  ImportDisplay display_;
  EtcdClient source_;
  EtcdClient target_;
  LeaseKeeper leases_;
  UserCopier users_;
  TargetWriter writer_;
  CutOverSwitch switch_;
  ImportState state_;
  std::int64_t applied_ = 0;  // the target has everything of the source up to this revision
  bool differs_ = false;
  Instant refreshed_;
  // For the display.
  std::uint64_t events_ = 0;
  std::uint64_t events_shown_ = 0;
  Instant shown_;
};

Result<void> Import::look_at_both() {
  const Head source = TRY(head_of(source_, span_));
  const Head target = TRY(head_of(target_, span_));
  display_.done(fmt::format("Source {}: cluster {:x}, revision {}, {}", source_.endpoint(),
                            source.cluster, source.revision, count_of(source.keys, "key")));
  display_.done(fmt::format("Target {}: cluster {:x}, {}", target_.endpoint(), target.cluster,
                            count_of(target.keys, "key")));
  if (source.cluster == target.cluster) {
    return fail(ErrorCode::kInvalid, "source and target are the same cluster");
  }
  return check_target(source.cluster);
}

Result<void> Import::check_target(std::uint64_t cluster) {
  const auto found = TRY(value_of(target_, kImportKey));
  std::random_device random;
  const std::uint64_t run = std::uint64_t{random()} << 32 | random();
  state_ = {
      .source_cluster = cluster, .run = run, .merge = options_.merge, .prefix = options_.prefix};
  if (found) {
    const ImportState before = TRY(parse_import_state(*found));
    if (!options_.resume) {
      return fail(ErrorCode::kInvalid,
                  "target: an import into it was begun and not ended; --resume goes on with it, or "
                  "delete everything there");
    }
    if (before.source_cluster != cluster || before.prefix != options_.prefix ||
        before.merge != options_.merge) {
      return fail(
          ErrorCode::kInvalid,
          fmt::format("target: the import that was begun there is another one: from cluster "
                      "{:x}, prefix {}, {} --merge",
                      before.source_cluster, printable(before.prefix),
                      before.merge ? "with" : "without"));
    }
    state_.users = TRY(users_.decide(options_.without_users, before));
    state_.revision = before.revision;
    writer_.begin_with(*found);
    display_.done(
        fmt::format("Going on with the import that had come to revision {}", before.revision));
    return {};
  }
  KeyReader keys(target_, span_, 0);
  const mvccpb::KeyValue* first = TRY(keys.peek());
  if (first != nullptr && !options_.merge) {
    return fail(ErrorCode::kInvalid,
                fmt::format("target: it is not empty: it has {}. Empty it, or let it keep what it "
                            "has with --merge",
                            printable(first->key())));
  }
  state_.users = TRY(users_.decide(options_.without_users, std::nullopt));
  return {};
}

Result<void> Import::set_state(Phase phase, std::int64_t revision, std::vector<Change> changes) {
  ++state_.step;
  state_.phase = phase;
  state_.revision = revision;
  return writer_.step(std::move(changes), encode(state_));
}

std::string Import::how_to_end() const {
  return fmt::format("Following the source. Stop its writers, then cut over with {}",
                     display_.is_terminal() ? "Ctrl-C, or \"cutover\" and Enter." : "SIGTERM.");
}

Result<void> Import::copy() {
  while (true) {
    const Head head = TRY(head_of(source_, span_));
    if (head.cluster != state_.source_cluster) {
      return fail(ErrorCode::kMismatch, "source: it is another cluster now");
    }
    // With --merge nothing is deleted that may be the target's own: what the source deleted since
    // the first copy has to come as events.
    const bool keeps = options_.merge && state_.revision > 0;
    const std::int64_t since = keeps ? state_.revision : head.revision;
    TRY(set_state(Phase::kCopying, since));
    TRY(leases_.refresh());
    (void)leases_.take_loss();
    const auto written = write_differences(head.revision, head.keys);
    if (!written && written.error().code != ErrorCode::kNotFound) {
      return Failure(written.error());
    }
    TRY(writer_.drain());
    if (!written) {
      display_.note("The source was compacted meanwhile: beginning again at its newest revision");
      continue;
    }
    if (leases_.take_loss()) continue;
    applied_ = since;
    return set_state(Phase::kFollowing, applied_);
  }
}

Result<void> Import::copy_users(const ImportedUsers& found, std::string_view verb) {
  const auto copied = users_.copy(found, verb);
  if (!copied) differs_ = copied.error().code == ErrorCode::kMismatch;
  return copied;
}

// nullopt: both are at their ends.
Result<std::optional<Relation>> Import::next_relation(KeyReader& source, KeyReader& target) {
  const mvccpb::KeyValue* const from = TRY(source.peek());
  const mvccpb::KeyValue* const to = TRY(target.peek());
  if (from == nullptr && to == nullptr) return std::nullopt;
  return compare(from, to);
}

Result<void> Import::write_differences(std::int64_t revision, std::uint64_t keys) {
  KeyReader source(source_, span_, revision);
  KeyReader target(target_, span_, 0);
  const Instant begin = now();
  std::uint64_t seen = 0;
  std::uint64_t written = 0;
  std::uint64_t removed = 0;
  while (const auto relation = TRY(next_relation(source, target))) {
    const bool of_source = *relation != Relation::kOnlyTarget;
    if (*relation == Relation::kOnlySource || *relation == Relation::kDiffers) {
      const mvccpb::KeyValue& kv = *TRY(source.peek());
      TRY(writer_.add(
          {.key = kv.key(), .remove = false, .value = kv.value(), .lease = kv.lease()}));
      ++written;
    }
    if (*relation == Relation::kOnlyTarget && !options_.merge) {
      TRY(writer_.add({.key = TRY(target.peek())->key(), .remove = true, .value = {}, .lease = 0}));
      ++removed;
    }
    if (*relation != Relation::kOnlySource) target.advance();
    if (of_source) source.advance();
    if (of_source && ++seen % 256 == 0) {
      if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
      if (display_.is_due()) {
        display_.progress(copy_progress("copying", seen, keys, now() - begin));
      }
    }
  }
  TRY(writer_.drain());
  const Duration took = now() - begin;
  display_.done(fmt::format(
      "Copied {} of revision {} in {:.1f} s: {} written, {} there already, {} "
      "removed; {}",
      count_of(seen, "key"), revision, took.seconds(), with_commas(written),
      with_commas(seen - written), with_commas(removed), count_of(leases_.size(), "lease")));
  return {};
}

// Until everything up to the revision is in the target, or without one until the cut-over.
Result<void> Import::follow(std::optional<std::int64_t> last) {
  while (!TRY(follow_once(last))) {
    if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
  }
  return {};
}

// False: the watch has ended before that, and is to be begun again.
Result<bool> Import::follow_once(std::optional<std::int64_t> last) {
  // Finds a connection, and waits for one if there is none.
  const Head head = TRY(head_of(source_, span_));
  if (head.cluster != state_.source_cluster) {
    return fail(ErrorCode::kMismatch, "source: it is another cluster now");
  }
  // All keys, so that every revision has an event, and it is known how far the target is.
  pb::WatchRequest request;
  auto& create = *request.mutable_create_request();
  create.set_key(Bytes(1, '\0'));
  create.set_range_end(Bytes(1, '\0'));
  create.set_start_revision(applied_ + 1);
  create.set_fragment(true);
  auto watch = source_.begin(kWatch, request, true);
  if (!watch) return false;
  EventBatches events(span_, applied_);
  while (true) {
    if (last ? applied_ >= *last : switch_.is_on()) return true;
    if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
    if (leases_.take_loss()) {
      display_.note("A lease ran out in the target: comparing its keys again");
      TRY(copy());
      return false;
    }
    if (now() - refreshed_ >= kRefresh) {
      TRY(leases_.refresh());
      refreshed_ = now();
    }
    if (!TRY(take_events(*watch, events))) return false;
    const auto batch = events.next(last.value_or(std::numeric_limits<std::int64_t>::max()));
    if (batch) {
      events_ += batch->changes.size();
      if (!batch->changes.empty()) {
        TRY(set_state(Phase::kFollowing, batch->revision, batch->changes));
      }
      applied_ = batch->revision;
    } else {
      (void)pump_.run_until([&] { return watch->is_ready() || (!last && switch_.is_on()); }, kWait);
    }
    TRY(show_following());
  }
}

// False: the watch has ended.
Result<bool> Import::take_events(EtcdCall& watch, EventBatches& events) {
  while (events.waiting() < kMostWaitingEvents && events.waiting_bytes() < kMostWaitingBytes) {
    const auto message = watch.take();
    if (!message) break;
    pb::WatchResponse response;
    if (!response.ParseFromString(*message)) {
      return fail(ErrorCode::kCorrupt, "source: an event cannot be read");
    }
    if (response.canceled() && response.compact_revision() > 0) {
      if (options_.merge) {
        return fail(ErrorCode::kIo,
                    fmt::format("source: what happened after revision {} was compacted. With "
                                "--merge, what was deleted there cannot be told from the target's "
                                "own keys: begin again",
                                applied_));
      }
      display_.note(
          fmt::format("The source has compacted what happened after revision {}: "
                      "comparing all keys again",
                      applied_));
      TRY(copy());
      return false;
    }
    if (response.canceled()) {
      return fail(ErrorCode::kIo, "source: watch refused: " + response.cancel_reason());
    }
    events.add(response);
  }
  return events.waiting() > 0 || !watch.has_ended();
}

Result<void> Import::show_following() {
  if (!display_.is_due()) return {};
  const Duration span = now() - shown_;
  const double rate =
      static_cast<double>(events_ - events_shown_) / std::max(0.001, span.seconds());
  display_.progress(follow_progress(applied_, std::max(applied_, leases_.source_revision()),
                                    shown_ == Instant{} ? 0 : rate, leases_.size()));
  shown_ = now();
  events_shown_ = events_;
  return {};
}

// False: the source was compacted meanwhile; once more.
Result<bool> Import::cut_over() {
  const Head head = TRY(head_of(source_, span_));
  display_.done(fmt::format("Cutting over at revision {} of the source", head.revision));
  TRY(follow(head.revision));
  TRY(leases_.refresh());
  ImportedUsers found;
  if (state_.users) {
    found = TRY(users_.find());
    TRY(copy_users(found, "Verified"));
  }
  const auto verified = verify(applied_, head.keys);
  if (!verified && verified.error().code == ErrorCode::kNotFound) return false;
  if (!verified) return Failure(verified.error());
  TRY(finish(applied_, found.enabled));
  return true;
}

Result<void> Import::verify(std::int64_t revision, std::uint64_t keys) {
  KeyReader source(source_, span_, revision);
  KeyReader target(target_, span_, 0);
  Fingerprint of_source;
  Fingerprint of_target;
  std::uint64_t others = 0;
  const Instant begin = now();
  while (const auto relation = TRY(next_relation(source, target))) {
    const mvccpb::KeyValue* const from = TRY(source.peek());
    const mvccpb::KeyValue* const to = TRY(target.peek());
    if (*relation == Relation::kOnlyTarget && options_.merge) {
      ++others;
      target.advance();
      continue;
    }
    if (*relation != Relation::kSame) {
      differs_ = true;
      const auto& key = *relation == Relation::kOnlyTarget ? to->key() : from->key();
      const std::string how = *relation == Relation::kOnlyTarget   ? "is in the target only"
                              : *relation == Relation::kOnlySource ? "is in the source only"
                              : from->value() == to->value() ? "has another lease in the target"
                                                             : "has another value in the target";
      return fail(
          ErrorCode::kMismatch,
          fmt::format("source and target differ at revision {} of the source: the first such "
                      "key, {}, {}",
                      revision, printable(key), how));
    }
    of_source.add(*from);
    of_target.add(*to);
    source.advance();
    target.advance();
    if (of_source.keys() % 256 != 0) continue;
    if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
    if (display_.is_due()) {
      display_.progress(copy_progress("comparing", of_source.keys(), keys, now() - begin));
    }
  }
  const std::string lease = TRY(leases_.first_difference());
  if (!lease.empty()) {
    differs_ = true;
    return fail(ErrorCode::kMismatch, "source and target differ: " + lease);
  }
  const std::string source_hash = of_source.finish();
  CHECK(source_hash == of_target.finish());
  display_.done(
      fmt::format("Verified in {:.1f} s: {} with values and leases, SHA-256 {} on both "
                  "sides; {}",
                  (now() - begin).seconds(), count_of(of_source.keys(), "key"), source_hash,
                  count_of(leases_.size(), "lease")));
  if (others > 0) {
    display_.done(fmt::format("The target keeps {} of its own", count_of(others, "key")));
  }
  return {};
}

Result<void> Import::finish(std::int64_t revision, bool enable_users) {
  TRY(leases_.hand_over());
  // Before the end is written down, as one of them: so it is known that a user can log in.
  if (enable_users) {
    TRY(set_state(Phase::kFollowing, revision));  // it is still this import's to do
    TRY(users_.enable());
    display_.done("Users are enabled at the target");
  }
  TRY(writer_.step({}, ""));
  // It is handed over: from here on nothing can fail.
  const Result<Head> head = head_of(source_, span_);
  if (!head) {
    display_.done(fmt::format(
        "WARNING: whether the source was still written to after the cut-over is not known: {}",
        head.error().message));
  } else if (head->revision > revision) {
    display_.done(fmt::format(
        "WARNING: the source was still written to: {} after the cut-over's are NOT in the target",
        count_of(unsigned_of(head->revision - revision), "revision")));
  }
  display_.done(fmt::format("Done. Point the clients to {}", target_.endpoint()));
  return {};
}

int run_etcd(const std::vector<std::string>& arguments) {
  const auto options = parse_import_options(arguments);
  if (!options) return print(options.error());
  Import import(*options);
  const auto ended = import.run();
  if (ended) return 0;
  const bool stopped = import.stopped();
  fmt::print(stderr, "conclave import etcd: {}\n",
             stopped ? "stopped before the cut-over; --resume goes on" : ended.error().message);
  return stopped ? kStopped : import.differs() ? kDiffer : 1;
}

}  // namespace

int run_import(const std::vector<std::string>& arguments) {
  const std::string what = arguments.empty() ? "help" : arguments[0];
  const std::vector<std::string> rest(arguments.begin() + (arguments.empty() ? 0 : 1),
                                      arguments.end());
  if (what == "etcd") return run_etcd(rest);
  if (what == "zookeeper") return run_import_zookeeper(rest);
  if (what == "help" || what == "--help" || what == "-h") {
    fmt::print("{}", kHelp);
    return arguments.empty() ? 2 : 0;
  }
  fmt::print(stderr, "conclave import: unknown source \"{}\"\n\n{}", what, kHelp);
  return 2;
}

}  // namespace conclave::server
