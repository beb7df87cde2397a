#pragma once
// One look at every node of a ZooKeeper's tree, many questions at a time, each node before what is
// below it. Of the nodes that are wanted data and ACL are read, too.

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/zookeeper.h"
#include "base/result.h"
#include "server/znode_book.h"
#include "server/zookeeper_source.h"

namespace conclave::server {

class ZnodeWalk {
 public:
  struct Node {
    std::string path;
    api::zk::Data data;
    api::zk::Acls acls;
    api::zk::Stat stat;  // with its children
    // nullopt: it changed between the answers.
    std::optional<SourceStamp> stamp() const;
  };
  // Called from within run(). None of them may ask the source.
  struct Visitor {
    std::function<bool(const std::string& path, const SourceStamp& stamp)> wants;
    std::function<void(Node node)> read;
    std::function<void(const std::string& path, const std::string& why)> cannot_read;
    std::function<void(const std::string& path, const api::zk::Stat& stat)> is_too_large;
    std::function<void()> vanished;  // while it was being looked at
    // Whether more may be read just now; asked again after each `step`.
    std::function<bool()> has_room;
    // Whether it is time for one.
    std::function<bool()> wants_step;
    std::function<Result<void>()> step;
  };

  ZnodeWalk(ZooKeeperSource& source, std::string top, Visitor visitor)
      : source_(source), top_(std::move(top)), visitor_(std::move(visitor)) {}

  // kNotFound: there is no such node as the top; kInvalid: it is ephemeral. Also the failures of
  // the source and of `step`.
  Result<void> run();

  std::uint64_t ephemerals() const { return ephemerals_; }

 private:
  void fill();
  void visit(std::string path);
  void take_children(const std::string& path, ZooKeeperSource::Answer answer);
  void pass_ephemeral(const std::string& path);
  void look_closer(const std::string& path);
  void read(Node node);
  void take_data(Node& node, ZooKeeperSource::Answer answer);
  bool is_answered(const std::string& path, const ZooKeeperSource::Answer& answer);
  void fail_with(ErrorCode code, std::string why);
  bool is_over() const;

  ZooKeeperSource& source_;
  std::string top_;
  Visitor visitor_;
  std::vector<std::string> paths_;  // to be looked at
  std::deque<Node> wanted_;         // to be read
  std::size_t visiting_ = 0;
  std::size_t reading_ = 0;
  std::size_t reading_bytes_ = 0;
  std::uint64_t ephemerals_ = 0;
  std::optional<Error> failure_;
};

}  // namespace conclave::server
