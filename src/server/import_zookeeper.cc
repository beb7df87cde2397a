#include "server/import_zookeeper.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/zookeeper_limits.h"
#include "server/command_line.h"
#include "server/etcd_client.h"
#include "server/import_display.h"
#include "server/import_plan.h"
#include "server/znode_book.h"
#include "server/znode_target.h"
#include "server/znode_walk.h"
#include "server/zookeeper_source.h"

namespace conclave::server {

namespace {

namespace zk = api::zk;
using zookeeper::Opcode;

constexpr int kDiffer = 3;
constexpr int kStopped = 130;
constexpr std::size_t kNamed = 100;  // nodes that could not be copied
constexpr Duration kBetweenPasses = seconds(1);

bool is_below(const std::string& path, const std::string& root) {
  return root == "/" || path == root || path.starts_with(root + "/");
}

v1::Znode to_proto(const ZnodeWalk::Node& node, std::string path) {
  v1::Znode to;
  to.set_path(std::move(path));
  to.set_data(node.data.data);
  for (const zk::Acl& acl : node.acls.acl) {
    v1::Znode::Acl& each = *to.add_acl();
    each.set_permissions(acl.permissions);
    each.set_scheme(acl.id.scheme);
    each.set_id(acl.id.id);
  }
  to.set_ctime(node.data.stat.ctime_ms);
  to.set_mtime(node.data.stat.mtime_ms);
  to.set_version(node.data.stat.version);
  to.set_aversion(node.acls.stat.aversion);
  to.set_created(children_created(node.stat));
  return to;
}

// A node above those that are copied.
v1::Znode bare_node(std::string path) {
  v1::Znode node;
  node.set_path(std::move(path));
  v1::Znode::Acl& acl = *node.add_acl();
  acl.set_permissions(zk::kAllPermissions);
  acl.set_scheme("world");
  acl.set_id("anyone");
  return node;
}

bool has_foreign_scheme(const v1::Znode& node) {
  return std::ranges::any_of(node.acl(), [](const v1::Znode::Acl& acl) {
    constexpr std::array<std::string_view, 4> kKnown = {"world", "digest", "ip", "x509"};
    return std::ranges::find(kKnown, acl.scheme()) == kKnown.end();
  });
}

// Why a cluster would refuse the node; empty: it does not.
std::string why_not(const v1::Znode& node) {
  if (is_below(node.path(), "/zookeeper")) return "its place in the target is ZooKeeper's own";
  if (node.path().size() > limits::kMaxZnodePathBytes) {
    return fmt::format("its path in the target has {} bytes", node.path().size());
  }
  if (node.data().size() > limits::kMaxZooKeeperPacketBytes) {
    return fmt::format("it has {} bytes of data", node.data().size());
  }
  std::size_t acl_bytes = 0;
  for (const v1::Znode::Acl& acl : node.acl()) {
    acl_bytes += sizeof(std::int64_t) + acl.scheme().size() + acl.id().size();
  }
  const auto entries = static_cast<std::size_t>(node.acl_size());
  if (entries == 0 || entries > limits::kMaxZnodeAcl || acl_bytes > limits::kMaxZnodeAclBytes) {
    return fmt::format("its ACL has {} entries and {} bytes", entries, acl_bytes);
  }
  const auto has_time = [](std::int64_t ms) { return ms >= 0 && ms <= limits::kMaxZnodeTimeMs; };
  return has_time(node.ctime()) && has_time(node.mtime()) ? "" : "its times are no times";
}

class ZooKeeperImport {
 public:
  explicit ZooKeeperImport(const ImportZooKeeperOptions& options)
      : options_(options),
        top_(options.chroot.empty() ? "/" : options.chroot),
        root_(options.into.empty() ? top_ : options.into),
        source_(pump_, options.source, options.auth, seconds(options.patience_seconds)),
        client_(pump_, "target", options.target, seconds(options.patience_seconds)),
        target_(client_, options.merge),
        book_(options.merge),
        switch_(pump_, [this](const std::string& line) { display_.note(line); }) {
    const auto tell = [this](const std::string& trouble) {
      if (!trouble.empty() && display_.is_due()) display_.progress(trouble);
    };
    source_.on_trouble(tell);
    client_.on_trouble(tell);
    if (!options_.follow) switch_.turn_on();
  }

  // kMismatch: the two differ.
  Result<void> run() {
    TRY(look_at_source());
    TRY(look_at_target());
    if (options_.follow) TRY(follow());
    TRY(settle());
    TRY(verify());
    if (!refused_.empty()) return fail(ErrorCode::kInvalid, what_is_missing());
    if (unreadable_.contains(top_)) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("source: {}: {}. Nothing was copied; --source-auth says who may read "
                              "it, and --resume goes on",
                              top_, unreadable_.at(top_)));
    }
    if (!unreadable_.empty() && !options_.skip_unreadable) {
      return fail(ErrorCode::kInvalid,
                  what_is_missing() +
                      ". --source-auth says who may read them, --skip-unreadable that they may be "
                      "missing; --resume goes on");
    }
    TRY(target_.end());
    tell_the_end();
    source_.close();
    return {};
  }
  bool stopped() const { return pump_.stopped(); }

 private:
  Result<void> look_at_source();
  Result<void> look_at_target();
  Result<void> pass();
  Result<void> step();
  Result<void> follow();
  Result<void> settle();
  Result<void> verify();
  ZnodeWalk::Visitor visitor();
  void take(ZnodeWalk::Node node);
  void leave(std::map<std::string, std::string>& list, const std::string& path,
             const std::string& why);
  std::string what_is_missing();
  void tell_the_end();

  ImportZooKeeperOptions options_;
  std::string top_;   // in the source
  std::string root_;  // its place in the target
  Pump pump_;
  ImportDisplay display_;
  ZooKeeperSource source_;
  EtcdClient client_;
  ZnodeTarget target_;
  ZnodeBook book_;
  CutOverSwitch switch_;
  std::uint64_t passes_ = 0;
  std::uint64_t expected_ = 0;  // nodes, about
  std::uint64_t kept_ = 0;      // gone in the source, with nodes of the target's own below them
  zk::Stat top_stat_;
  std::set<std::string> foreign_;  // in the target: with schemes that are not known there
  zk::Zxid pass_zxid_ = 0;         // when the last pass began
  Instant pass_begin_;
  std::map<std::string, std::string> unreadable_;  // of the last pass: why
  std::map<std::string, std::string> refused_;
};

Result<void> ZooKeeperImport::look_at_source() {
  const auto top = TRY(source_.ask_once(Opcode::kExists, top_));
  if (top.header.code == zk::Code::kNoNode) {
    return fail(ErrorCode::kNotFound, fmt::format("source: there is no node {}", top_));
  }
  if (const auto* found = std::get_if<zk::Changed>(&top.what)) top_stat_ = found->stat;
  if (top_stat_.ephemeral_owner != 0) {
    return fail(ErrorCode::kInvalid, fmt::format("source: {} is ephemeral", top_));
  }
  // Servers before 3.6 do not know.
  const auto count = TRY(source_.ask_once(Opcode::kGetAllChildrenNumber, top_));
  if (const auto* known = std::get_if<zk::Count>(&count.what)) {
    expected_ = static_cast<std::uint64_t>(std::max<std::int64_t>(0, known->count));
  }
  if (top_ != "/") return {};
  const auto quotas = TRY(source_.ask_once(Opcode::kGetChildren2, "/zookeeper/quota"));
  const auto* names = std::get_if<zk::Names>(&quotas.what);
  if (names != nullptr && !names->names.empty()) {
    display_.note("The source has quotas: they are not copied");
  }
  return {};
}

Result<void> ZooKeeperImport::look_at_target() {
  std::set<std::string> there;
  std::string first;
  const std::string mark = TRY(target_.load([&](const v1::Znode& node) {
    if (root_.starts_with(node.path() + "/") || node.path() == "/") there.insert(node.path());
    if (!is_below(node.path(), root_)) return;
    book_.there(node);
    if (first.empty() && node.path() != "/") first = node.path();
  }));
  // The root has neither czxid nor ctime: there the hosts alone say which ensemble it is.
  const std::string identity =
      fmt::format("merge={} made={:x}/{} from={} into={}", options_.merge ? 1 : 0, top_stat_.czxid,
                  top_stat_.ctime_ms, top_, root_);
  if (!mark.empty() && !options_.resume) {
    return fail(ErrorCode::kInvalid,
                fmt::format("target: an import into it was begun and not ended; --resume goes on "
                            "with it. To give it up delete what it copied, and the key {}",
                            zk::kImportMark));
  }
  if (!mark.empty() && !ZnodeTarget::is_of(mark, identity)) {
    return fail(ErrorCode::kInvalid,
                fmt::format("target: the import that was begun there is another one: {}", mark));
  }
  std::vector<std::string> hosts;
  for (const io::Address& host : options_.source.endpoints) hosts.push_back(host.to_string());
  const std::vector<std::string> before = ZnodeTarget::hosts_of(mark);
  if (!mark.empty() && std::ranges::find_first_of(hosts, before) == hosts.end()) {
    return fail(ErrorCode::kInvalid,
                fmt::format("target: the import that was begun there is of {}: if that is the same "
                            "ensemble name one of these hosts, too",
                            fmt::join(before, ",")));
  }
  if (mark.empty() && !first.empty() && !options_.merge) {
    return fail(ErrorCode::kInvalid,
                fmt::format("target: it is not empty: it has {}. Empty it, or let it keep what it "
                            "has with --merge",
                            first));
  }
  if (!mark.empty()) display_.done("Going on with the import that was begun before");
  std::vector<v1::Znode> above;
  for (std::size_t end = root_.find('/', 1); end != std::string::npos;
       end = root_.find('/', end + 1)) {
    const std::string path = root_.substr(0, end);
    if (there.contains(path)) continue;
    display_.note(fmt::format("Creating {}, which everybody may use, for what is below", path));
    above.push_back(bare_node(path));
  }
  return target_.begin(mark, fmt::format("{}", fmt::join(hosts, ",")), identity, std::move(above));
}

void ZooKeeperImport::leave(std::map<std::string, std::string>& list, const std::string& path,
                            const std::string& why) {
  list.emplace(path, why);
  book_.skip(target_path(path, options_.chroot, root_));
}

void ZooKeeperImport::take(ZnodeWalk::Node node) {
  const std::string path = target_path(node.path, options_.chroot, root_);
  if (book_.is_skipped(path)) return;
  v1::Znode znode = to_proto(node, path);
  if (const std::string why = why_not(znode); !why.empty()) return leave(refused_, node.path, why);
  // What it was below was deleted, and is there again: the next pass will find both.
  if (path != root_ && !book_.has_parent(path)) return book_.disturbed();
  if (has_foreign_scheme(znode)) {
    foreign_.insert(path);
  } else {
    foreign_.erase(path);
  }
  if (book_.read(znode, node.stamp())) target_.add(std::move(znode));
}

ZnodeWalk::Visitor ZooKeeperImport::visitor() {
  return {
      .wants =
          [this](const std::string& path, const SourceStamp& stamp) {
            return book_.wants(target_path(path, options_.chroot, root_), stamp);
          },
      .read = [this](ZnodeWalk::Node node) { take(std::move(node)); },
      .cannot_read = [this](const std::string& path,
                            const std::string& why) { leave(unreadable_, path, why); },
      .is_too_large =
          [this](const std::string& path, const zk::Stat& stat) {
            leave(refused_, path,
                  fmt::format("it has {} bytes of data, and its path {}", stat.data_length,
                              path.size()));
          },
      .vanished = [this] { book_.disturbed(); },
      .has_room = [this] { return !target_.is_full(); },
      .wants_step = [this] { return target_.is_full() || display_.is_due(); },
      .step = [this] { return step(); },
  };
}

Result<void> ZooKeeperImport::step() {
  if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
  if (target_.is_full()) TRY(target_.flush());
  if (display_.is_due()) {
    const std::string_view verb = passes_ == 1 ? "copying" : "looking again";
    display_.progress(copy_progress(verb, book_.seen(), std::max(expected_, book_.seen()),
                                    now() - pass_begin_, "nodes"));
  }
  return {};
}

// What the leader of the source had when it begins is looked at.
Result<void> ZooKeeperImport::pass() {
  ++passes_;
  pass_begin_ = now();
  unreadable_.clear();
  refused_.clear();
  book_.begin_pass();
  const std::uint64_t written = target_.written();
  const std::uint64_t removed = target_.removed();
  TRY(source_.ask_once(Opcode::kSync, top_));
  const auto begin = TRY(source_.ask_once(Opcode::kExists, top_));
  pass_zxid_ = begin.header.zxid;
  ZnodeWalk walk(source_, top_, visitor());
  TRY(walk.run());
  TRY(target_.flush());
  const std::vector<std::string> gone = book_.take_gone();
  for (const std::string& path : gone) foreign_.erase(path);
  TRY(target_.remove(gone));
  for (const std::string& path : book_.kept()) {
    if (++kept_ > kNamed) continue;
    display_.note(fmt::format(
        "{} is gone in the source, and stays: the target has nodes of its own below it", path));
  }
  expected_ = book_.seen();
  const std::uint64_t writes = target_.written() - written;
  const double took = (now() - pass_begin_).seconds();
  if (passes_ == 1) {
    const std::uint64_t known = book_.seen() - std::min(book_.seen(), writes);
    display_.done(fmt::format(
        "Copied {} in {:.1f} s: {} written, {} there already, {} removed; {} left behind",
        count_of(book_.seen(), "node"), took, with_commas(writes), with_commas(known),
        with_commas(target_.removed() - removed), count_of(walk.ephemerals(), "ephemeral node")));
  } else if (book_.changes() > 0) {
    display_.done(fmt::format("Pass {} in {:.1f} s: {}; {} written, {} removed", passes_, took,
                              count_of(book_.changes(), "change"), with_commas(writes),
                              with_commas(target_.removed() - removed)));
  }
  return {};
}

Result<void> ZooKeeperImport::follow() {
  bool told = false;
  while (!switch_.is_on()) {
    TRY(pass());
    if (!std::exchange(told, true)) {
      display_.note(
          fmt::format("Following the source. Stop its writers, then cut over with {}",
                      display_.is_terminal() ? "Ctrl-C, or \"cutover\" and Enter." : "SIGTERM."));
    }
    (void)pump_.run_until([this] { return switch_.is_on(); }, kBetweenPasses);
    if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
  }
  return {};
}

// Until a pass finds nothing that the one before did not.
Result<void> ZooKeeperImport::settle() {
  for (unsigned tries = 0; tries < options_.most_passes; ++tries) {
    TRY(pass());
    if (passes_ > 1 && book_.changes() == 0) {
      display_.done(
          fmt::format("Pass {} found no change: the copy is the source's tree at zxid 0x{:x}",
                      passes_, pass_zxid_));
      return {};
    }
  }
  return fail(ErrorCode::kMismatch,
              fmt::format("source: it changes all the time: {} passes, and the last one found {}. "
                          "Stop its writers; --resume goes on",
                          passes_, count_of(book_.changes(), "change")));
}

Result<void> ZooKeeperImport::verify() {
  const Instant begin = now();
  ZnodeBook found(options_.merge);
  TRY(target_.load([&](const v1::Znode& node) {
    if (is_below(node.path(), root_)) found.there(node);
  }));
  const ZnodeBook::Verdict verdict = book_.compare(found);
  if (!verdict.path.empty()) {
    return fail(ErrorCode::kMismatch,
                fmt::format("source and target differ: {} {}", verdict.path, verdict.how));
  }
  display_.done(fmt::format(
      "Verified in {:.1f} s: {} with data, ACLs, versions, times and counters, SHA-256 {}",
      (now() - begin).seconds(), count_of(verdict.nodes, "node"), verdict.hash));
  if (verdict.others > 0) {
    display_.done(fmt::format("The target keeps {} of its own", count_of(verdict.others, "node")));
  }
  return {};
}

std::string ZooKeeperImport::what_is_missing() {
  std::size_t left = kNamed;
  for (const auto* list : {&refused_, &unreadable_}) {
    for (const auto& [path, why] : *list) {
      if (left == 0) break;
      --left;
      display_.note(fmt::format("Not copied, nor what is below: {}: {}", path, why));
    }
  }
  const std::size_t all = refused_.size() + unreadable_.size();
  if (all > kNamed) display_.note(fmt::format("... and {} more", all - kNamed));
  std::string text;
  if (!unreadable_.empty()) {
    text = count_of(unreadable_.size(), "node") + " could not be read";
  }
  if (!refused_.empty()) {
    text += (text.empty() ? "" : ", ") + count_of(refused_.size(), "node") +
            " cannot be in a Conclave cluster";
  }
  return text;
}

void ZooKeeperImport::tell_the_end() {
  if (!unreadable_.empty()) {
    display_.done(fmt::format("{}: left behind, as --skip-unreadable says", what_is_missing()));
  }
  if (kept_ > 0) {
    display_.done(fmt::format("{} that went in the source stayed, for what is below",
                              count_of(kept_, "node")));
  }
  if (!foreign_.empty()) {
    display_.done(
        fmt::format("{} with a scheme that Conclave does not know (it knows world, digest, ip and "
                    "x509): copied "
                    "as they are, they let nobody in",
                    count_of(foreign_.size(), "ACL")));
  }
  const auto last = source_.ask_once(Opcode::kExists, top_);
  if (!last) {
    display_.done(fmt::format("WARNING: whether the source was still written to is not known: {}",
                              last.error().message));
  } else if (last->header.zxid != pass_zxid_) {
    display_.done(fmt::format(
        "The source is at zxid 0x{:x} by now: what was written since 0x{:x} is NOT in the target "
        "(sessions that come and go count, too)",
        last->header.zxid, pass_zxid_));
  }
  display_.done("Done. Point the clients to the cluster's ZooKeeper ports");
}

}  // namespace

int run_import_zookeeper(const std::vector<std::string>& arguments) {
  const auto options = parse_import_zookeeper_options(arguments);
  if (!options) return print(options.error());
  ZooKeeperImport import(*options);
  const auto ended = import.run();
  if (ended) return 0;
  const bool stopped = import.stopped();
  fmt::print(stderr, "conclave import zookeeper: {}\n",
             stopped ? "stopped; --resume goes on" : ended.error().message);
  return stopped ? kStopped : ended.error().code == ErrorCode::kMismatch ? kDiffer : 1;
}

}  // namespace conclave::server
