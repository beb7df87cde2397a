// Clients that write, and each of which watches: a key, some keys or all, from a revision on. Its
// stream breaks, or it breaks it, and it goes on at another member from where it was. Judged:
// etcd's guarantees for watches.
//
//   ordered      no event is older than one before it
//   unique       none comes twice, not even over a new stream
//   atomic       events of one revision come in one response
//   resumable    a watch from a revision on is told everything from there on
//   reliable     nothing that anybody knows to have happened is left out
//   bookmarkable after a response of a revision nothing up to that revision comes
//   filterable   only what was asked for comes
//   truthful     an event is the write that was answered with its revision, and what all others say
//                of it; a previous value is that of the version before
//
// Only what was compacted may be left out, and only after the watch was told so.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/stream_client.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kKeys = 6;
constexpr std::int64_t kCompactionsKeep = 25;
// A stream on which nothing came for so long, though it was asked how far it is, is given up: its
// member may have crashed behind a cut.
constexpr Duration kSilence = seconds(4);
constexpr std::string_view kLastValue = "the end";

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"watches", fmt::format(format, std::forward<Values>(values)...), {}};
}

// A change of a key; nullopt: deleted.
using Change = std::optional<std::string>;
using Place = std::pair<std::int64_t, std::string>;  // revision and key

std::string words(const Change& change) { return change ? "write " + *change : "a deletion"; }

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : prefix(fmt::format("watches/{}/", plan.seed)) {}

  // Everybody must say the same of a change.
  void know(std::int64_t revision, const std::string& key, const Change& change) {
    const auto [known, is_new] = changes.emplace(Place{revision, key}, change);
    if (!is_new && known->second != change)
      throw wrong("{} became {} at revision {} to some, and {} to others", key,
                  words(known->second), revision, words(change));
  }
  void hear_of(std::int64_t revision) { newest = std::max(newest, revision); }

  std::string prefix;
  std::int64_t newest = 1;  // revision anybody has heard of
  std::size_t writes = 0;
  std::map<Place, Change> changes;  // known from answers and events
  std::int64_t last = 0;            // the revision after which nothing is written
};

// One watch, over as many streams as it takes.
class Watcher {
 public:
  Watcher(Site& site, std::uint64_t seed, std::size_t number, Shared& shared)
      : clock_(site.clock),
        shared_(shared),
        rng_(seed),
        name_(fmt::format("wr{}", number)),
        client_(
            "/etcdserverpb.Watch/Watch", rng_.next(), site.members, site.clock,
            site.fabric.host(name_), [this](BytesView message) { told(parsed(message)); },
            [this] { open(); }) {
    request_.set_key(shared_.prefix + std::to_string(rng_.below(kKeys)));
    const std::uint64_t dice = rng_.below(4);
    if (dice < 2) {
      request_.set_key(shared_.prefix);
      request_.set_range_end(shared_.prefix + "\xff");
    } else if (dice < 3) {
      request_.set_range_end(std::string(1, '\0'));
    }
    request_.set_prev_kv(rng_.one_in(2));
    request_.set_progress_notify(rng_.one_in(2));
    request_.set_fragment(rng_.one_in(4));
    if (rng_.one_in(4)) request_.add_filters(etcdserverpb::WatchCreateRequest::NODELETE);
  }

  // From now on, or from something that is past.
  void begin() {
    listen();
    if (shared_.newest > 2 && rng_.one_in(2)) {
      next_ =
          2 + static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(shared_.newest - 1)));
    }
    open();
  }
  void hop() { open(); }
  void ask_progress() {
    etcdserverpb::WatchRequest request;
    request.mutable_progress_request();
    client_.send(request);
  }
  ~Watcher() { clock_.cancel(silence_); }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  bool begun() const { return begun_; }
  bool done() const { return shared_.last != 0 && next_ > shared_.last; }

  // Is everything that is known and that it wanted among what it was told?
  void judge() const {
    for (const auto& [place, change] : shared_.changes) {
      const auto& [revision, key] = place;
      if (!covers(revision) || !wants(key, change)) continue;
      if (!heard_.contains(place))
        throw wrong("{} was not told that {} became {} at revision {}", describe(), key,
                    words(change), revision);
    }
  }
  std::uint64_t responses() const { return responses_; }

 private:
  // Told, or not wanted: [first, last].
  struct Span {
    std::int64_t first;
    std::int64_t last;
  };

  std::string describe() const {
    return fmt::format("{} (watches {}{})", name_, request_.key(),
                       request_.range_end().empty() ? "" : " and more");
  }

  bool wants(const std::string& key, const Change& change) const {
    if (!change && !request_.filters().empty()) return false;
    if (request_.range_end().empty()) return key == request_.key();
    const bool unbounded = request_.range_end() == std::string(1, '\0');
    return key >= request_.key() && (unbounded || key < request_.range_end());
  }

  bool covers(std::int64_t revision) const {
    return std::ranges::any_of(
        spans_, [&](const Span& span) { return span.first <= revision && revision <= span.last; });
  }

  void listen() {
    silence_ = clock_.after(kSilence, [this] {
      if (done()) return;
      if (std::exchange(heard_of_, responses_) == responses_) open();
      ask_progress();
      listen();
    });
  }

  void open() {
    begun_ = true;
    fragments_.Clear();
    client_.open(create_request());
  }

  etcdserverpb::WatchRequest create_request() {
    id_.reset();
    request_.set_start_revision(next_);
    etcdserverpb::WatchRequest request;
    *request.mutable_create_request() = request_;
    return request;
  }

  static etcdserverpb::WatchResponse parsed(BytesView message) {
    etcdserverpb::WatchResponse response;
    const bool is_sound = response.ParseFromArray(message.data(), static_cast<int>(message.size()));
    CHECK(is_sound, "a member sent what is no answer");
    return response;
  }

  void told(const etcdserverpb::WatchResponse& response) {
    ++responses_;
    const std::int64_t revision = response.header().revision();
    shared_.hear_of(revision);
    if (response.created()) {
      if (response.canceled())
        throw wrong("{} is refused: {}", describe(), response.cancel_reason());
      id_ = response.watch_id();
      if (spans_.empty()) start_at(next_ == 0 ? revision + 1 : next_);
      return;
    }
    if (response.canceled()) return compacted(response.compact_revision());
    // Of the stream, before the server has heard of the watch that follows a compacted one.
    if (response.watch_id() == -1 && !id_) return;
    if (response.watch_id() != id_ && response.watch_id() != -1)
      throw wrong("{} is told of watch {}", describe(), response.watch_id());
    fragments_.mutable_events()->MergeFrom(response.events());
    if (response.fragment()) return;
    const etcdserverpb::WatchResponse whole = std::exchange(fragments_, {});
    for (int i = 0; i < whole.events_size(); ++i) take(whole.events(i));
    if (whole.events_size() > 0 &&
        whole.events(whole.events_size() - 1).kv().mod_revision() > revision)
      throw wrong("{} is told of revision {} by a response of revision {}", describe(),
                  whole.events(whole.events_size() - 1).kv().mod_revision(), revision);
    if (revision >= next_) told_up_to(revision);
  }

  void start_at(std::int64_t revision) {
    next_ = revision;
    spans_.push_back({revision, revision - 1});
  }
  void told_up_to(std::int64_t revision) {
    next_ = revision + 1;
    spans_.back().last = std::max(spans_.back().last, revision);
  }

  void compacted(std::int64_t revision) {
    if (revision <= next_)
      throw wrong("{} needs revision {} and is told that {} is compacted", describe(), next_,
                  revision);
    start_at(revision);
    client_.send(create_request());
  }

  void take(const mvccpb::Event& event) {
    const mvccpb::KeyValue& kv = event.kv();
    const Place place{kv.mod_revision(), kv.key()};
    const Change change = event.type() == mvccpb::Event::DELETE ? Change() : Change(kv.value());
    if (!wants(kv.key(), change))
      throw wrong("{} is told that {} became {}, which it did not want", describe(), kv.key(),
                  words(change));
    if (kv.mod_revision() < next_)
      throw wrong("{} is told of {} at revision {}, after it was told everything before {}",
                  describe(), kv.key(), kv.mod_revision(), next_);
    if (!heard_.empty() && heard_.rbegin()->first > kv.mod_revision())
      throw wrong("{} is told of revision {} after {}", describe(), kv.mod_revision(),
                  heard_.rbegin()->first);
    if (!heard_.insert(place).second)
      throw wrong("{} is told twice of {} at revision {}", describe(), kv.key(), kv.mod_revision());
    if (!kv.key().starts_with(shared_.prefix)) return;
    shared_.know(kv.mod_revision(), kv.key(), change);
    if (event.has_prev_kv()) check_previous(event);
  }

  void check_previous(const mvccpb::Event& event) {
    const mvccpb::KeyValue& prev = event.prev_kv();
    const bool fits = request_.prev_kv() && prev.key() == event.kv().key() &&
                      prev.mod_revision() < event.kv().mod_revision();
    if (!fits)
      throw wrong("{} is told that {} was {} at {} before revision {}", describe(), prev.key(),
                  prev.value(), prev.mod_revision(), event.kv().mod_revision());
    shared_.know(prev.mod_revision(), prev.key(), Change(prev.value()));
    const auto known = std::prev(shared_.changes.lower_bound({event.kv().mod_revision(), ""}));
    for (auto it = known; it->first.first > prev.mod_revision(); --it) {
      if (it->first.second == prev.key())
        throw wrong("{} is told that {} was {} before revision {}, but it became {} at {}",
                    describe(), prev.key(), prev.value(), event.kv().mod_revision(),
                    words(it->second), it->first.first);
      if (it == shared_.changes.begin()) break;
    }
  }

  Clock& clock_;
  Shared& shared_;
  Rng rng_;
  std::string name_;
  etcdserverpb::WatchCreateRequest request_;
  std::int64_t next_ = 0;           // the first revision it has not been told; 0: from now on
  std::optional<std::int64_t> id_;  // of the watch, in its stream, once it is created
  bool begun_ = false;
  std::set<Place> heard_;
  std::vector<Span> spans_;
  etcdserverpb::WatchResponse fragments_;
  std::uint64_t responses_ = 0;
  std::uint64_t heard_of_ = 0;  // responses, when silence was looked for last
  io::Clock::TimerId silence_ = 0;
  StreamClient client_;
};

class WatchingClient {
 public:
  WatchingClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : site_(site),
        caller_(site, plan, "w", number),
        watcher_(site, plan.seed * 1'000 + number, number, shared),
        shared_(shared) {}

  Caller& caller() { return caller_; }
  const Watcher& watcher() const { return watcher_; }
  Watcher& watcher() { return watcher_; }

  void act() {
    if (!watcher_.begun()) watcher_.begin();
    const std::uint64_t dice = caller_.rng().below(20);
    if (dice < 10) return put(1);
    if (dice < 13) return put(2);
    if (dice < 16) return remove();
    if (dice < 17) return compact();
    if (dice < 18) watcher_.ask_progress();
    if (dice >= 18) watcher_.hop();
    caller_.next();
  }

 private:
  std::string any_key() { return shared_.prefix + std::to_string(caller_.rng().below(kKeys)); }

  void put(std::size_t keys) {
    const std::string value = std::to_string(++shared_.writes);
    std::set<std::string> names;
    while (names.size() < keys) names.insert(any_key());
    etcdserverpb::TxnRequest request;
    for (const std::string& name : names) {
      etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
      put.set_key(name);
      put.set_value(value);
    }
    caller_.call("KV/Txn", request, [this, names, value](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        const auto revision = reply.as<etcdserverpb::TxnResponse>().header().revision();
        shared_.hear_of(revision);
        for (const std::string& name : names) shared_.know(revision, name, value);
      }
      caller_.next();
    });
  }

  void remove() {
    const std::string key = any_key();
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(key);
    caller_.call("KV/DeleteRange", request, [this, key](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        const auto response = reply.as<etcdserverpb::DeleteRangeResponse>();
        shared_.hear_of(response.header().revision());
        if (response.deleted() > 0) shared_.know(response.header().revision(), key, std::nullopt);
      }
      caller_.next();
    });
  }

  void compact() {
    etcdserverpb::CompactionRequest request;
    const auto back = static_cast<std::int64_t>(
        caller_.rng().below(static_cast<std::uint64_t>(kCompactionsKeep)));
    request.set_revision(std::max<std::int64_t>(shared_.newest - back, 1));
    site_.compaction_sent = std::max(site_.compaction_sent, request.revision());
    caller_.call("KV/Compact", request, [this](const EtcdClient::Reply&) { caller_.next(); });
  }

  Site& site_;
  Caller caller_;
  Watcher watcher_;
  Shared& shared_;
};

class Watches final : public Crowd<WatchingClient, Shared> {
 public:
  using Crowd::Crowd;

  // Also when all have written, it is over only when all have been told.
  bool done() const override {
    return Crowd::done() && std::ranges::all_of(clients(), [](const auto& client) {
             return !client->watcher().begun() || client->watcher().done();
           });
  }
  std::uint64_t answered() const override {
    std::uint64_t sum = Crowd::answered();
    for (const auto& client : clients()) sum += client->watcher().responses();
    return sum;
  }

  std::optional<Finding> judge() const override {
    try {
      for (const auto& client : clients()) client->watcher().judge();
    } catch (Finding& finding) {
      return std::move(finding);
    }
    return std::nullopt;
  }

 private:
  // Every watcher hears of this, whatever it watches: when it has, it has heard everything.
  void last_look(Caller& caller) override {
    etcdserverpb::TxnRequest request;
    for (std::size_t key = 0; key < kKeys; ++key) {
      etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
      put.set_key(shared().prefix + std::to_string(key));
      put.set_value(std::string(kLastValue));
    }
    caller.call("KV/Txn", request, [this, &caller](const EtcdClient::Reply& reply) {
      if (!reply.answered()) return last_look(caller);
      shared().last = reply.as<etcdserverpb::TxnResponse>().header().revision();
      over();
    });
  }
};

}  // namespace

std::unique_ptr<Workload> make_watches(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<Watches>(site, plan);
}

}  // namespace conclave::sim
