// Writes, reads of the past, and compactions. Judged: each write has a revision of its own and no
// revision is left out (but for those of znodes); a read at a revision shows what was there at that
// revision, however much later and on whichever member; what is compacted is refused, with etcd's
// error, and nothing else.
//
// Every value is the number of the write that put it. Two kinds of reads look at the past: one
// shows all keys of this workload at a revision, the other (a scan) what one revision changed among
// the keys of everybody, one revision after the other.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kKeys = 6;
constexpr std::size_t kScannedAtOnce = 20;
constexpr std::int64_t kFarAhead = 1'000'000;
constexpr std::string_view kCompacted = "etcdserver: mvcc: required revision has been compacted";
constexpr std::string_view kFuture = "etcdserver: mvcc: required revision is a future revision";

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"revisions", fmt::format(format, std::forward<Values>(values)...), {}};
}

struct Write {
  std::string number;          // the value that is put
  std::set<std::string> keys;  // one, or two in one transaction
  bool is_delete = false;
};

// A key as a read showed it.
struct Shown {
  std::string value;
  std::int64_t mod_revision = 0;
};
using Picture = std::map<std::string, Shown>;

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : prefix(fmt::format("revisions/{}/", plan.seed)) {}

  std::string prefix;
  std::int64_t newest = 1;           // revision anybody has heard of
  std::int64_t compaction_done = 0;  // the highest that was acknowledged
  std::size_t writes = 0;
  std::map<std::int64_t, Write> answered;   // by revision
  std::set<std::string> perhaps_deleted;    // keys with a delete of unknown fate
  std::map<std::int64_t, Picture> changes;  // what scans saw of our keys, by revision
  std::vector<std::pair<std::int64_t, Picture>> pictures;  // our keys as they were at a revision
  // The scan.
  std::int64_t scan_next = 2;                // an empty store is at 1
  std::optional<std::int64_t> count_before;  // keys of everybody at scan_next - 1
};

class RevisionClient {
 public:
  RevisionClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : site_(site), caller_(site, plan, "v", number), shared_(shared) {}

  Caller& caller() { return caller_; }

  void act() {
    const std::uint64_t dice = caller_.rng().below(20);
    if (dice < 6) return put();
    if (dice < 8) return put_two();
    if (dice < 9) return remove();
    if (dice < 10) return compact();
    if (dice < 15) return look_back();
    scan(kScannedAtOnce);
  }

 private:
  std::string any_key() { return shared_.prefix + std::to_string(caller_.rng().below(kKeys)); }
  void hear_of(std::int64_t revision) { shared_.newest = std::max(shared_.newest, revision); }
  Write next_write(std::set<std::string> keys) {
    return {std::to_string(++shared_.writes), std::move(keys)};
  }

  // --- writes ---

  void put() {
    const Write write = next_write({any_key()});
    etcdserverpb::PutRequest request;
    request.set_key(*write.keys.begin());
    request.set_value(write.number);
    caller_.call("KV/Put", request, [this, write](const EtcdClient::Reply& reply) {
      if (reply.answered()) keep(write, reply.as<etcdserverpb::PutResponse>().header().revision());
      caller_.next();
    });
  }

  void put_two() {
    const std::string first = any_key();
    const Write write = next_write({first, any_key()});
    etcdserverpb::TxnRequest request;
    for (const std::string& key : write.keys) {
      etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
      put.set_key(key);
      put.set_value(write.number);
    }
    caller_.call("KV/Txn", request, [this, write](const EtcdClient::Reply& reply) {
      if (reply.answered()) keep(write, reply.as<etcdserverpb::TxnResponse>().header().revision());
      caller_.next();
    });
  }

  void remove() {
    Write write = next_write({any_key()});
    write.is_delete = true;
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(*write.keys.begin());
    caller_.call("KV/DeleteRange", request, [this, write](const EtcdClient::Reply& reply) {
      if (reply.unknown()) shared_.perhaps_deleted.insert(*write.keys.begin());
      if (reply.answered()) {
        const auto response = reply.as<etcdserverpb::DeleteRangeResponse>();
        if (response.deleted() > 0) keep(write, response.header().revision());
      }
      caller_.next();
    });
  }

  void keep(const Write& write, std::int64_t revision) {
    hear_of(revision);
    const auto [other, added] = shared_.answered.emplace(revision, write);
    if (!added)
      throw wrong("revision {} was given to write {} and to write {}", revision,
                  other->second.number, write.number);
  }

  void compact() {
    const auto low = std::max<std::int64_t>(shared_.compaction_done, 1);
    const std::int64_t revision = low + static_cast<std::int64_t>(caller_.rng().below(
                                            static_cast<std::uint64_t>(shared_.newest - low) + 1));
    site_.compaction_sent = std::max(site_.compaction_sent, revision);
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision);
    request.set_physical(caller_.rng().one_in(2));
    caller_.call("KV/Compact", request, [this, revision](const EtcdClient::Reply& reply) {
      if (reply.answered()) shared_.compaction_done = std::max(shared_.compaction_done, revision);
      caller_.next();
    });
  }

  // --- reads ---

  void look_back() {
    etcdserverpb::RangeRequest request;
    request.set_key(shared_.prefix);
    request.set_range_end(shared_.prefix + "\xff");
    request.set_serializable(caller_.rng().one_in(4));
    const auto low = std::max<std::int64_t>(site_.compaction_sent - 10, 1);
    const auto span = static_cast<std::uint64_t>(std::max(shared_.newest - low, std::int64_t{0}));
    request.set_revision(low + static_cast<std::int64_t>(caller_.rng().below(span + 1)));
    if (caller_.rng().one_in(20)) request.set_revision(shared_.newest + kFarAhead);
    read(
        request,
        [this, revision = request.revision()](const auto& response) {
          Picture picture;
          for (const mvccpb::KeyValue& kv : response.kvs()) {
            if (kv.mod_revision() > revision)
              throw wrong("a read at revision {} shows {} of revision {}", revision, kv.key(),
                          kv.mod_revision());
            picture[kv.key()] = {kv.value(), kv.mod_revision()};
          }
          shared_.pictures.emplace_back(revision, std::move(picture));
        },
        [this] { caller_.next(); });
  }

  // What one revision after the other changed.
  void scan(std::size_t left) {
    const std::int64_t revision = shared_.scan_next;
    if (left == 0 || revision > shared_.newest) return caller_.next();
    etcdserverpb::RangeRequest request;
    request.set_key(std::string(1, '\0'));
    request.set_range_end(std::string(1, '\0'));
    request.set_revision(revision);
    request.set_min_mod_revision(revision);
    request.set_max_mod_revision(revision);
    read(
        request,
        [this, revision](const auto& response) {
          if (shared_.scan_next == revision) scanned(revision, response);
        },
        [this, left] { scan(left - 1); });
  }

  void scanned(std::int64_t revision, const etcdserverpb::RangeResponse& response) {
    const bool may_be_empty = site_.has_znodes || !shared_.count_before;
    if (response.kvs().empty() && !may_be_empty && response.count() >= *shared_.count_before)
      throw wrong("revision {} changed nothing", revision);
    Picture& changes = shared_.changes[revision];
    for (const mvccpb::KeyValue& kv : response.kvs()) {
      if (kv.mod_revision() != revision)
        throw wrong("a read of what revision {} changed shows {} of revision {}", revision,
                    kv.key(), kv.mod_revision());
      if (kv.key().starts_with(shared_.prefix)) changes[kv.key()] = {kv.value(), revision};
    }
    if (!changes.empty() && changes.size() != static_cast<std::size_t>(response.kvs_size()))
      throw wrong("revision {} belongs to several writes: {} of its {} keys are ours", revision,
                  changes.size(), response.kvs_size());
    shared_.count_before = response.count();
    ++shared_.scan_next;
  }

  // Reads at a revision; `shown` comes if there is an answer, then `then` in any case. Whether it
  // is answered must fit what is compacted and what was written.
  void read(const etcdserverpb::RangeRequest& request,
            std::function<void(const etcdserverpb::RangeResponse&)> shown,
            std::function<void()> then) {
    const std::int64_t revision = request.revision();
    const bool fresh = !request.serializable();
    const std::int64_t compacted = fresh ? shared_.compaction_done : 0;
    const std::int64_t written = fresh ? shared_.newest : 0;
    caller_.call("KV/Range", request, [=, this](const EtcdClient::Reply& reply) {
      if (reply.error == kCompacted) {
        if (revision >= site_.compaction_sent)
          throw wrong("a read at revision {} is refused as compacted; nobody asked for that",
                      revision);
        skip_to(site_.compaction_sent);
      }
      if (reply.error == kFuture && revision <= written)
        throw wrong(
            "a read at revision {} is refused as in the future, after revision {} was "
            "written",
            revision, written);
      if (reply.answered()) {
        if (revision < compacted)
          throw wrong("a read at revision {} is answered, which was compacted up to {}", revision,
                      compacted);
        const auto response = reply.as<etcdserverpb::RangeResponse>();
        if (response.header().revision() < revision)
          throw wrong("a read at revision {} is answered by a store at {}", revision,
                      response.header().revision());
        hear_of(response.header().revision());
        shown(response);
      }
      then();
    });
  }

  void skip_to(std::int64_t revision) {
    if (shared_.scan_next >= revision) return;
    shared_.scan_next = revision;
    shared_.count_before.reset();
  }

  Site& site_;
  Caller caller_;
  Shared& shared_;
};

class Revisions final : public Crowd<RevisionClient, Shared> {
 public:
  using Crowd::Crowd;

  std::optional<Finding> judge() const override {
    if (auto wrong = judge_changes()) return wrong;
    return judge_pictures();
  }

 private:
  // What is known of a key: its values by revision; nullopt: deleted.
  using Known = std::map<std::string, std::map<std::int64_t, std::optional<std::string>>>;

  void last_look(Caller&) override { over(); }

  // A scanned revision shows one write, whole, and the one that was told so.
  std::optional<Finding> judge_changes() const {
    for (const auto& [revision, changes] : shared().changes) {
      for (const auto& [key, shown] : changes)
        if (shown.value != changes.begin()->second.value)
          return wrong("revision {} belongs to write {} and to write {}", revision, shown.value,
                       changes.begin()->second.value);
      const auto answered = shared().answered.find(revision);
      if (answered == shared().answered.end()) continue;
      const Write& write = answered->second;
      std::set<std::string> keys;
      for (const auto& [key, shown] : changes) keys.insert(key);
      const bool right = write.is_delete
                             ? keys.empty()
                             : keys == write.keys && changes.begin()->second.value == write.number;
      if (!right)
        return wrong("revision {} was answered to write {} of {} keys{}, but shows {}{}", revision,
                     write.number, write.keys.size(), write.is_delete ? " (a delete)" : "",
                     keys.size(), keys.empty() ? "" : " of write " + changes.begin()->second.value);
    }
    return std::nullopt;
  }

  // Each picture is what all others, and the answers to writes, say about that revision.
  std::optional<Finding> judge_pictures() const {
    Known known;
    for (const auto& [revision, write] : shared().answered)
      for (const std::string& key : write.keys)
        known[key][revision] = write.is_delete ? std::nullopt : std::optional(write.number);
    for (const auto& [revision, picture] : shared().pictures)
      for (const auto& [key, shown] : picture) {
        const auto [other, added] = known[key].emplace(shown.mod_revision, shown.value);
        if (!added && other->second != shown.value)
          return wrong("{} at revision {} is write {} to some and {} to a read at {}", key,
                       shown.mod_revision, other->second.value_or("nothing"), shown.value,
                       revision);
      }
    for (const auto& [revision, picture] : shared().pictures)
      for (const auto& [key, versions] : known)
        if (auto wrong = judge_key(key, versions, revision, picture)) return wrong;
    return std::nullopt;
  }

  std::optional<Finding> judge_key(
      const std::string& key, const std::map<std::int64_t, std::optional<std::string>>& versions,
      std::int64_t revision, const Picture& picture) const {
    const auto after = versions.upper_bound(revision);
    if (after == versions.begin()) return std::nullopt;
    const auto& [written_at, value] = *std::prev(after);
    const auto shown = picture.find(key);
    const bool right = shown == picture.end() ? !value || shared().perhaps_deleted.contains(key)
                                              : shown->second.mod_revision == written_at;
    if (right) return std::nullopt;
    return wrong("a read at revision {} shows {} {}, but at {} it became {}", revision, key,
                 shown == picture.end()
                     ? "as absent"
                     : fmt::format("as of revision {}", shown->second.mod_revision),
                 written_at, value ? "write " + *value : "absent");
  }
};

}  // namespace

std::unique_ptr<Workload> make_revisions(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<Revisions>(site, plan);
}

}  // namespace conclave::sim
