#include "server/znode_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/zookeeper_limits.h"

namespace conclave::server {

namespace {

namespace zk = api::zk;
using zookeeper::Opcode;

constexpr std::size_t kVisitsAtOnce = 256;
constexpr std::size_t kReadsAtOnce = 128;
constexpr std::size_t kReadBytesAtOnce = 8 * limits::kMiB;

}  // namespace

std::optional<SourceStamp> ZnodeWalk::Node::stamp() const {
  const bool is_one = stat.czxid == data.stat.czxid && stat.czxid == acls.stat.czxid;
  if (!is_one || data.stat.ephemeral_owner != 0) return std::nullopt;
  return SourceStamp{stat.czxid, data.stat.mzxid, acls.stat.aversion, children_created(stat)};
}

Result<void> ZnodeWalk::run() {
  paths_ = {top_};
  while (!is_over()) {
    fill();
    const auto until = [this] { return is_over() || failure_ || visitor_.wants_step(); };
    TRY(source_.run_until(until));
    if (failure_) return Failure(*failure_);
    TRY(visitor_.step());
  }
  return {};
}

bool ZnodeWalk::is_over() const {
  return paths_.empty() && wanted_.empty() && source_.unanswered() == 0;
}

void ZnodeWalk::fail_with(ErrorCode code, std::string why) {
  if (!failure_) failure_ = Error{code, "source: " + std::move(why)};
}

void ZnodeWalk::fill() {
  if (failure_ || !visitor_.has_room()) return;
  while (!wanted_.empty() && reading_ < kReadsAtOnce && reading_bytes_ < kReadBytesAtOnce) {
    Node node = std::move(wanted_.front());
    wanted_.pop_front();
    read(std::move(node));
  }
  while (!paths_.empty() && visiting_ < kVisitsAtOnce && wanted_.size() < kVisitsAtOnce) {
    std::string path = std::move(paths_.back());
    paths_.pop_back();
    visit(std::move(path));
  }
}

void ZnodeWalk::visit(std::string path) {
  ++visiting_;
  source_.ask(Opcode::kGetChildren2, path, [this, path](ZooKeeperSource::Answer answer) {
    --visiting_;
    take_children(path, std::move(answer));
    fill();
  });
}

// Whether there is what was asked for.
bool ZnodeWalk::is_answered(const std::string& path, const ZooKeeperSource::Answer& answer) {
  const zk::Code code = answer.header.code;
  if (code == zk::Code::kOk) return true;
  if (code == zk::Code::kNoNode) {
    if (path == top_) fail_with(ErrorCode::kNotFound, fmt::format("there is no node {}", path));
    visitor_.vanished();
  } else if (code == zk::Code::kNoAuth) {
    look_closer(path);
  } else {
    fail_with(ErrorCode::kIo,
              fmt::format("{}: ZooKeeper's error {}", path, static_cast<std::int32_t>(code)));
  }
  return false;
}

void ZnodeWalk::pass_ephemeral(const std::string& path) {
  ++ephemerals_;
  if (path == top_) fail_with(ErrorCode::kInvalid, fmt::format("{} is ephemeral", path));
}

// Everybody may see whether it is ephemeral.
void ZnodeWalk::look_closer(const std::string& path) {
  source_.ask(Opcode::kExists, path, [this, path](const ZooKeeperSource::Answer& answer) {
    const auto* found = std::get_if<zk::Changed>(&answer.what);
    if (found == nullptr) {
      visitor_.vanished();
    } else if (found->stat.ephemeral_owner != 0) {
      pass_ephemeral(path);
    } else {
      visitor_.cannot_read(path, "it may not be read");
    }
    fill();
  });
}

void ZnodeWalk::take_children(const std::string& path, ZooKeeperSource::Answer answer) {
  if (!is_answered(path, answer)) return;
  const auto& found = std::get<zk::Names>(answer.what);
  const zk::Stat& stat = found.stat;
  if (stat.ephemeral_owner != 0) return pass_ephemeral(path);
  const std::string above = path == "/" ? "" : path;
  // The first of them is the next to be looked at.
  for (auto name = found.names.rbegin(); name != found.names.rend(); ++name) {
    std::string child = above + "/" + *name;
    if (child != "/zookeeper") paths_.push_back(std::move(child));
  }
  const auto bytes = static_cast<std::size_t>(std::max(0, stat.data_length));
  const bool is_too_large =
      bytes > limits::kMaxZooKeeperPacketBytes || path.size() > limits::kMaxZnodePathBytes;
  if (is_too_large) return visitor_.is_too_large(path, stat);
  const SourceStamp stamp{stat.czxid, stat.mzxid, stat.aversion, children_created(stat)};
  if (!visitor_.wants(path, stamp)) return;
  Node& node = wanted_.emplace_back();
  node.path = path;
  node.stat = stat;
}

void ZnodeWalk::read(Node node) {
  const auto bytes = static_cast<std::size_t>(std::max(0, node.stat.data_length));
  ++reading_;
  reading_bytes_ += bytes;
  const std::string path = node.path;
  const auto shared = std::make_shared<Node>(std::move(node));
  source_.ask(Opcode::kGetData, path, [this, shared](ZooKeeperSource::Answer answer) {
    take_data(*shared, std::move(answer));
  });
  source_.ask(Opcode::kGetAcl, path, [this, shared, bytes](ZooKeeperSource::Answer answer) {
    --reading_;
    reading_bytes_ -= bytes;
    const bool has_data = !shared->path.empty();
    if (has_data && is_answered(shared->path, answer)) {
      shared->acls = std::get<zk::Acls>(std::move(answer.what));
      if (is_masked(shared->acls.acl)) {
        visitor_.cannot_read(shared->path, "its ACL is shown without passwords");
      } else {
        visitor_.read(std::move(*shared));
      }
    }
    fill();
  });
}

// A node without data has no path.
void ZnodeWalk::take_data(Node& node, ZooKeeperSource::Answer answer) {
  if (is_answered(node.path, answer)) {
    node.data = std::get<zk::Data>(std::move(answer.what));
  } else {
    node.path.clear();
  }
}

}  // namespace conclave::server
