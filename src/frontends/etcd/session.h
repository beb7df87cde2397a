#pragma once
// One client's connection to the etcd port: gRPC over HTTP/2, or HTTP/1.1 (health, version,
// metrics, JSON gateway). The first bytes decide which.

#include <memory>
#include <string>

#include "api/service.h"
#include "api/session.h"
#include "base/limits.h"
#include "base/time.h"

namespace conclave::wire {
struct RequestBuffers;
}

namespace conclave::etcd {

struct CallCounts;

struct SessionOptions {
  // As etcd's --max-request-bytes. What is larger is refused while it is still arriving (with some
  // slack for what gRPC adds); the exact limit is the node's to check.
  std::size_t max_request_bytes = limits::kMaxRequestBytes;
  // What /version says: clients read etcd's two, people the third.
  std::string etcd_version = "3.4.23";
  std::string cluster_version = "3.4.0";
  std::string conclave_version = "0.1.0";
  // The client's name by its certificate, for requests without a token; empty: it has none. Set by
  // make_sessions() where certificates name users.
  std::string common_name = {};
  bool certificates_name_users = false;
  // A connection that has not completed a request's bytes in this time is closed.
  Duration request_deadline = milliseconds(limits::kClientIdleHeaderMs);
  // What all sessions hold of requests that are still arriving; null: each counts for itself.
  std::shared_ptr<wire::RequestBuffers> all_buffers = {};

  // Served on the same port, if any; outlives the sessions.
  const api::Service* service = nullptr;
  // Where gRPC calls are counted, if anywhere; outlives the sessions.
  CallCounts* counts = nullptr;

  std::size_t max_message_bytes() const {
    return max_request_bytes + limits::kRequestOverheadBytes;
  }
};

// Effects say when to close. `peer` names the client for logs.
std::unique_ptr<api::Session> make_session(const SessionOptions& options, const std::string& peer);
// Makes the sessions of one member, which have one bound for what they hold together.
api::SessionFactory make_sessions(SessionOptions options);

}  // namespace conclave::etcd
