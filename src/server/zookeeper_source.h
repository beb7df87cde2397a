#pragma once
// A client of a ZooKeeper that only reads, for `conclave import zookeeper`: questions go to
// whichever of the hosts answers, many at a time. A session that is lost is no loss, as nothing
// depends on it: another one is begun, and what was not answered is asked again. It never goes to a
// server that is behind what it has seen.

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "frontends/zookeeper/client_messages.h"
#include "server/cluster_options.h"
#include "server/etcd_client.h"

namespace conclave::server {

class ZooKeeperConnection;

class ZooKeeperSource {
 public:
  using Answer = zookeeper::ClientAnswer;
  using Take = std::function<void(Answer)>;

  // A question is asked again for `patience` while no host answers; the first one is tried at each
  // host once. `auth`: who asks, SCHEME:CREDENTIALS; without a colon: nobody. The user of
  // `ensemble` is an etcd's, and none here. REQUIRES: at least one endpoint. `pump` outlives this.
  ZooKeeperSource(Pump& pump, ClusterOptions ensemble, std::string auth, Duration patience);
  ~ZooKeeperSource();
  ZooKeeperSource(const ZooKeeperSource&) = delete;
  ZooKeeperSource& operator=(const ZooKeeperSource&) = delete;

  // One of append_question(). Answers come in the order of the questions, from within run_until();
  // `take` may ask more.
  void ask(zookeeper::Opcode opcode, std::string path, Take take);
  // kIo: nobody answers, or the command is to stop; kInvalid: the credentials or files are refused;
  // kCorrupt: an answer cannot be read.
  Result<void> run_until(const std::function<bool()>& done);
  // The same for one question.
  Result<Answer> ask_once(zookeeper::Opcode opcode, std::string path);
  // Ends the session, if there is one, so that the server does not wait for its timeout.
  void close();

  std::size_t unanswered() const { return asked_.size(); }
  // The newest that any answer came from.
  api::zk::Zxid zxid() const { return zxid_; }
  std::string host() const { return ensemble_.endpoints[current_].to_string(); }
  // Told of what is waited for, and that it is over (empty).
  void on_trouble(std::function<void(std::string)> tell) { tell_ = std::move(tell); }

 private:
  struct Asked {
    zookeeper::Opcode opcode;
    std::string path;
    Take take;
  };

  Result<void> connect();
  void send(const Asked& asked);
  void take_packet(BytesView packet);
  bool is_connected() const;

  Pump& pump_;
  ClusterOptions ensemble_;
  std::string auth_;
  Duration patience_;
  std::size_t current_ = 0;
  std::deque<Asked> asked_;  // those that are not answered, oldest first
  std::shared_ptr<ZooKeeperConnection> connection_;
  std::int32_t xid_ = 0;           // of the newest question
  std::int32_t answered_xid_ = 0;  // of the newest answer
  api::zk::Zxid zxid_ = 0;
  std::uint64_t answers_ = 0;
  bool is_corrupt_ = false;
  bool is_auth_refused_ = false;
  std::function<void(std::string)> tell_;
};

}  // namespace conclave::server
