#pragma once
// A client of an etcd (or Conclave) cluster for the commands of the command line: gRPC calls, to
// whichever of the endpoints answers. The caller waits; while it does, everything else that is
// under way on the same Pump goes on.

#include <google/protobuf/message_lite.h>

#include <boost/asio/io_context.hpp>
#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "io/network.h"
#include "server/cluster_options.h"
#include "wire/grpc_client.h"

namespace conclave::server {

// What a command measures its waiting with.
Instant now();

// The loop that carries the connections of a command.
class Pump {
 public:
  boost::asio::io_context& context() { return context_; }
  // Runs until `done`; false if it was not within `limit`, or if the command is to stop.
  bool run_until(const std::function<bool()>& done, Duration limit);
  void run_for(Duration span);
  // What waits gives up.
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

 private:
  boost::asio::io_context context_;
  bool stopped_ = false;
};

class EtcdConnection;

// A call on one connection. Destroying it ends it.
class EtcdCall {
 public:
  EtcdCall(std::shared_ptr<EtcdConnection> connection, wire::GrpcClient::CallId id);
  ~EtcdCall();
  EtcdCall(EtcdCall&& other) noexcept;
  EtcdCall& operator=(EtcdCall&& other) noexcept;

  void send(const google::protobuf::MessageLite& message);
  // The next message, or the end of the call, is there.
  bool is_ready() const;
  std::optional<Bytes> take();
  // REQUIRES: there is no message to take. kUnavailable if the call has not ended.
  wire::GrpcStatus status() const;
  bool has_ended() const;
  bool is_on(const std::shared_ptr<EtcdConnection>& connection) const {
    return connection_ == connection;
  }
  // The connection does not answer: what is under way on it ends.
  void abandon_connection(std::string_view why);

 private:
  void end();

  std::shared_ptr<EtcdConnection> connection_;
  wire::GrpcClient::CallId id_ = 0;
};

class EtcdClient {
 public:
  template <class T>
  using Outcome = std::expected<T, wire::GrpcStatus>;

  // `name` is what messages call the cluster. A request is tried again for `patience` while no
  // endpoint answers; the first one is tried at each endpoint once. Servers' certificates have to
  // be valid for their host; the files are read again for each connection. Where users are not
  // enabled, the cluster's user is of no account. REQUIRES: at least one endpoint. `pump` outlives
  // this.
  EtcdClient(Pump& pump, std::string name, ClusterOptions cluster, Duration patience);
  ~EtcdClient();
  EtcdClient(const EtcdClient&) = delete;
  EtcdClient& operator=(const EtcdClient&) = delete;

  // A request that may reach the server more than once: the caller sees to it that this is
  // harmless. kUnavailable once patience is at its end, or when the command is to stop.
  template <class Response>
  Outcome<Response> ask(std::string_view method, const google::protobuf::MessageLite& request) {
    Response response;
    if (auto status = ask_into(method, request, response)) return std::unexpected(*status);
    return response;
  }
  // The same for a call that was begun: it is begun again if it fails for want of a server.
  template <class Response>
  Outcome<Response> finish(std::optional<EtcdCall> call, std::string_view method,
                           const google::protobuf::MessageLite& request) {
    Response response;
    if (auto status = ask_into(method, request, response, std::move(call))) {
      return std::unexpected(*status);
    }
    return response;
  }

  // Begins a call on the connection there is; nullopt if there is none just now.
  std::optional<EtcdCall> begin(std::string_view method,
                                const google::protobuf::MessageLite& request, bool more = false);

  const std::string& name() const { return name_; }
  // An error of this cluster, for a person.
  Error error(const wire::GrpcStatus& status) const;
  // The one that is asked just now.
  std::string endpoint() const { return cluster_.endpoints[current_].to_string(); }
  const ClusterOptions& cluster() const { return cluster_; }
  // Told of what is waited for, and that it is over (empty).
  void on_trouble(std::function<void(std::string)> tell) { tell_ = std::move(tell); }

 private:
  bool is_connected() const;
  std::optional<wire::GrpcStatus> ask_into(std::string_view method,
                                           const google::protobuf::MessageLite& request,
                                           google::protobuf::MessageLite& response,
                                           std::optional<EtcdCall> begun = std::nullopt);
  std::expected<Bytes, wire::GrpcStatus> await(EtcdCall& call);
  std::optional<wire::GrpcStatus> connect();
  std::optional<wire::GrpcStatus> log_in();
  bool wants_login(const wire::GrpcStatus& status) const;
  void next_endpoint();

  Pump& pump_;
  std::string name_;
  ClusterOptions cluster_;
  Duration patience_;
  std::size_t current_ = 0;
  bool answered_ = false;  // once, at least
  std::shared_ptr<EtcdConnection> connection_;
  wire::GrpcClient::Metadata metadata_;  // the token
  std::function<void(std::string)> tell_;
};

// The same call for each of `items`, many at a time; `take` gets the answers in order.
template <class Response, class Item, class Make, class Take>
Result<void> ask_each(EtcdClient& client, std::string_view method, const std::vector<Item>& items,
                      Make&& make, Take&& take) {
  constexpr std::size_t kAtOnce = 64;
  std::deque<std::optional<EtcdCall>> begun;
  std::size_t next = 0;
  for (const Item& item : items) {
    while (next < items.size() && begun.size() < kAtOnce) {
      begun.push_back(client.begin(method, make(items[next++])));
    }
    auto call = std::move(begun.front());
    begun.pop_front();
    TRY(take(item, client.finish<Response>(std::move(call), method, make(item))));
  }
  return {};
}

}  // namespace conclave::server
