#pragma once
// For tests: an HTTP/1.1 server on a thread of its own that answers each path with one text.

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "io/posix/loop.h"
#include "io/posix/network.h"

namespace conclave::server {

class CannedServer {
 public:
  using Answers = std::map<std::string, std::string, std::less<>>;  // path -> body; others get 404

  // REQUIRES: the port is free. 0 takes any.
  CannedServer(std::uint16_t port, Answers answers) : answers_(std::move(answers)) {
    listener_ =
        network_
            .listen({"127.0.0.1", port},
                    [this](std::unique_ptr<io::Connection> connection) {
                      clients_.push_back(std::make_unique<Client>(*this, std::move(connection)));
                    })
            .value();
    port_ = listener_->address().port;
    thread_ = std::jthread([this] { loop_.run(); });
  }
  ~CannedServer() { loop_.stop(); }
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;

  std::uint16_t port() const { return port_; }

 private:
  struct Client final : io::ConnectionHandler {
    Client(CannedServer& owner, std::unique_ptr<io::Connection> own)
        : server(owner), connection(std::move(own)) {
      connection->start(this);
    }
    void on_bytes(BytesView bytes) override {
      request.append(bytes);
      if (request.find("\r\n\r\n") == std::string::npos) return;
      const auto begin = request.find(' ') + 1;
      const auto found =
          server.answers_.find(request.substr(begin, request.find(' ', begin) - begin));
      const bool known = found != server.answers_.end();
      const std::string body = known ? found->second : "Not Found";
      connection->send("HTTP/1.1 " + std::string(known ? "200 OK" : "404 Not Found") +
                       "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
      connection->close_after_send();
    }
    void on_drained() override {}
    void on_closed(const Error&) override {}

    CannedServer& server;
    std::unique_ptr<io::Connection> connection;
    std::string request;
  };

  Answers answers_;
  io::Loop loop_;
  io::PosixNetwork network_{loop_};
  std::unique_ptr<io::Listener> listener_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::uint16_t port_ = 0;
  std::jthread thread_;  // last: it ends before what it uses goes
};

}  // namespace conclave::server
