#pragma once
// What the members of a cluster say about themselves, asked over etcd's JSON gateway: real etcd
// answers too.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "io/network.h"
#include "server/http_client.h"

namespace conclave::server {

// One member's answer to Maintenance.Status.
struct StatusAnswer {
  NodeId member;
  NodeId leader;  // 0: it knows of none
  std::string version;
  std::string role;  // "leader", "follower", "candidate", "learner", ...
  Epoch term;
  LogIndex index;  // last committed
  LogIndex applied;
  std::uint64_t size_bytes = 0;
  std::uint64_t size_in_use_bytes = 0;
  std::string state_hash;  // empty if it does not tell
  std::vector<std::string> errors;
  // Of a leader: how far it knows each other member to be, and whether it has heard from it lately.
  struct Peer {
    NodeId id;
    LogIndex match;
    bool active = false;
  };
  std::vector<Peer> peers;
};

// One entry of the answer to Cluster.MemberList.
struct ListedMember {
  NodeId id;
  std::string name;  // empty until it has started
  bool learner = false;
  std::vector<std::string> client_urls;
  std::vector<std::string> peer_urls;
  bool witness = false;
};

// One row: a member, whether it could be asked or not.
struct MemberStatus {
  NodeId id;  // 0: an endpoint that did not answer and is no known member's
  std::string name;
  std::string endpoint;
  std::optional<StatusAnswer> answer;
  std::optional<std::uint64_t> lag;  // entries the leader has committed and it has not applied
  std::string unreachable;           // why there is no answer
  bool witness = false;              // by the list of members
  // What the leader knows of it, if a leader was asked.
  std::optional<StatusAnswer::Peer> seen_by_leader;
};

Result<StatusAnswer> parse_status_answer(std::string_view json);
Result<std::vector<ListedMember>> parse_member_list(std::string_view json);

// The members as the first endpoint that answers lists them; the last failure if none does.
Result<std::vector<ListedMember>> list_members(const HttpClient& http,
                                               const std::vector<io::Address>& endpoints);
// A client of a cluster that shows the token of `user` (NAME:PASSWORD; empty: nobody), which the
// first endpoint that answers has given. Errors: kInvalid if the cluster does not take them, the
// last failure if none answers.
Result<HttpClient> log_in(ClientTls tls, const std::string& user,
                          const std::vector<io::Address>& endpoints);
// What a gateway's error page says in words, or the page itself.
std::string error_of(std::string_view json);

// Asks each endpoint, finds the other members from the first that answers, and asks these. Sorted
// by name and id. An endpoint or member that does not answer within 3 seconds is a row that says
// so.
std::vector<MemberStatus> ask_cluster(const HttpClient& http,
                                      const std::vector<io::Address>& endpoints);

}  // namespace conclave::server
