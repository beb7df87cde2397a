#include "server/cluster_status.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>
#include <sstream>
#include <tuple>
#include <utility>

#include "server/url.h"

namespace conclave::server {

namespace {

using boost::property_tree::ptree;

constexpr Duration kLimit = seconds(3);
constexpr Duration kLogInLimit = seconds(10);

// All values of the tree are texts, so it does not matter whether a number came quoted, as 64-bit
// ones do.
Result<ptree> parse_json(std::string_view json) {
  std::istringstream in{std::string(json)};
  ptree tree;
  try {
    boost::property_tree::read_json(in, tree);
  } catch (const boost::property_tree::json_parser_error& error) {
    return fail(ErrorCode::kCorrupt, "the answer is not JSON: " + error.message());
  }
  return tree;
}

std::uint64_t number(const ptree& tree, const char* key) { return tree.get<std::uint64_t>(key, 0); }

std::string text(const ptree& tree, const char* key) { return tree.get<std::string>(key, ""); }

std::vector<std::string> texts(const ptree& tree, const char* key) {
  std::vector<std::string> values;
  const auto list = tree.get_child_optional(key);
  if (!list) return values;
  for (const auto& [unused, value] : *list) values.push_back(value.data());
  return values;
}

// etcd does not name the role, but tells all it follows from.
std::string role_of(const ptree& tree, const StatusAnswer& answer) {
  if (const std::string role = text(tree, "role"); !role.empty()) return role;
  if (answer.leader == answer.member) return "leader";
  if (tree.get<bool>("isLearner", false)) return "learner";
  return answer.leader ? "follower" : "no leader";
}

Result<std::string> ask(const HttpClient& http, const io::Address& endpoint,
                        std::string_view path) {
  auto answer = TRY(http.request(endpoint, HttpMethod::kPost, path, "{}", kLimit));
  if (answer.status == 200) return std::move(answer.body);
  return fail(ErrorCode::kIo, fmt::format("{} answered with HTTP status {}", path, answer.status));
}

Result<StatusAnswer> ask_status(const HttpClient& http, const io::Address& endpoint) {
  return parse_status_answer(TRY(ask(http, endpoint, "/v3/maintenance/status")));
}

Result<std::vector<ListedMember>> ask_members(const HttpClient& http, const io::Address& endpoint) {
  return parse_member_list(TRY(ask(http, endpoint, "/v3/cluster/member/list")));
}

MemberStatus ask_endpoint(const HttpClient& http, const io::Address& endpoint) {
  MemberStatus row;
  row.endpoint = endpoint.to_string();
  auto answer = ask_status(http, endpoint);
  if (answer) {
    row.id = answer->member;
    row.answer = std::move(*answer);
  } else {
    row.unreachable = answer.error().message;
  }
  return row;
}

std::vector<io::Address> addresses_of(const ListedMember& member) {
  std::vector<io::Address> addresses;
  for (const std::string& text : member.client_urls) {
    if (const auto url = parse_url(text)) addresses.push_back(url->address());
  }
  return addresses;
}

// The row that one of the given endpoints already is for this member.
MemberStatus* row_of(std::vector<MemberStatus>& rows, const ListedMember& member) {
  const auto by_id = std::ranges::find(rows, member.id, &MemberStatus::id);
  if (by_id != rows.end()) return &*by_id;
  for (const io::Address& address : addresses_of(member)) {
    const auto row = std::ranges::find(rows, address.to_string(), &MemberStatus::endpoint);
    if (row != rows.end() && !row->answer) return &*row;
  }
  return nullptr;
}

// The first of the member's addresses that answers, or else the last failure.
MemberStatus ask_member(const HttpClient& http, const ListedMember& member) {
  MemberStatus row;
  row.unreachable = "it advertises no URL that can be asked";
  for (const io::Address& address : addresses_of(member)) {
    row = ask_endpoint(http, address);
    if (row.answer) break;
  }
  return row;
}

void add_members(const HttpClient& http, std::vector<MemberStatus>& rows,
                 const std::vector<ListedMember>& members) {
  for (const ListedMember& member : members) {
    MemberStatus* row = row_of(rows, member);
    if (row == nullptr) row = &rows.emplace_back(ask_member(http, member));
    row->id = member.id;
    row->name = member.name;
    row->witness = member.witness;
  }
}

void fill_in_by_leader(std::vector<MemberStatus>& rows) {
  const MemberStatus* leader = nullptr;
  for (const MemberStatus& row : rows) {
    if (!row.answer || row.answer->leader != row.id) continue;
    if (leader == nullptr || row.answer->term > leader->answer->term) leader = &row;
  }
  if (leader == nullptr) return;
  const LogIndex committed = leader->answer->index;
  for (MemberStatus& row : rows) {
    const auto seen = std::ranges::find(leader->answer->peers, row.id, &StatusAnswer::Peer::id);
    if (seen != leader->answer->peers.end()) row.seen_by_leader = *seen;
    if (!row.answer) continue;
    const LogIndex applied = std::min(row.answer->applied, committed);
    row.lag = committed.value - applied.value;
  }
}

}  // namespace

Result<StatusAnswer> parse_status_answer(std::string_view json) {
  const ptree tree = TRY(parse_json(json));
  StatusAnswer answer;
  answer.member = NodeId{number(tree, "header.member_id")};
  if (!answer.member) return fail(ErrorCode::kCorrupt, "the answer does not say whose it is");
  answer.leader = NodeId{number(tree, "leader")};
  answer.version = text(tree, "version");
  answer.role = role_of(tree, answer);
  answer.term = Epoch{number(tree, "raftTerm")};
  answer.index = LogIndex{number(tree, "raftIndex")};
  answer.applied = LogIndex{number(tree, "raftAppliedIndex")};
  answer.size_bytes = number(tree, "dbSize");
  answer.size_in_use_bytes = number(tree, "dbSizeInUse");
  answer.state_hash = text(tree, "stateHash") + text(tree, "state_hash");
  answer.errors = texts(tree, "errors");
  if (const auto peers = tree.get_child_optional("peers")) {
    for (const auto& [unused, peer] : *peers) {
      answer.peers.push_back({NodeId{number(peer, "ID")}, LogIndex{number(peer, "match")},
                              peer.get<bool>("active", false)});
    }
  }
  return answer;
}

Result<std::vector<ListedMember>> parse_member_list(std::string_view json) {
  const ptree tree = TRY(parse_json(json));
  std::vector<ListedMember> members;
  const auto list = tree.get_child_optional("members");
  if (!list) return fail(ErrorCode::kCorrupt, "the answer has no members");
  for (const auto& [unused, entry] : *list) {
    members.push_back({NodeId{number(entry, "ID")}, text(entry, "name"),
                       entry.get<bool>("isLearner", false), texts(entry, "clientURLs"),
                       texts(entry, "peerURLs"), entry.get<bool>("isWitness", false)});
  }
  return members;
}

Result<std::vector<ListedMember>> list_members(const HttpClient& http,
                                               const std::vector<io::Address>& endpoints) {
  Result<std::vector<ListedMember>> members = fail(ErrorCode::kInvalid, "no endpoint was given");
  for (const io::Address& endpoint : endpoints) {
    members = ask_members(http, endpoint);
    if (members) break;
    members.error().message = endpoint.to_string() + ": " + members.error().message;
  }
  return members;
}

Result<HttpClient> log_in(ClientTls tls, const std::string& user,
                          const std::vector<io::Address>& endpoints) {
  HttpClient http(std::move(tls));
  if (user.empty()) return http;
  const Login login = login_of(user);
  ptree asked;
  asked.put("name", login.name);
  asked.put("password", login.password);
  std::ostringstream body;
  boost::property_tree::write_json(body, asked, false);
  Error last{ErrorCode::kIo, "no endpoint was given"};
  for (const io::Address& endpoint : endpoints) {
    const auto answer =
        http.request(endpoint, HttpMethod::kPost, "/v3/auth/authenticate", body.str(), kLogInLimit);
    if (answer && answer->status == 200) {
      const ptree given = TRY(parse_json(answer->body));
      http.set_token(text(given, "token"));
      return http;
    }
    last = answer ? Error{ErrorCode::kInvalid, error_of(answer->body)} : answer.error();
    last.message = endpoint.to_string() + ": " + last.message;
    if (answer && answer->status < 500) break;
  }
  return Failure(last);
}

std::string error_of(std::string_view json) {
  const auto tree = parse_json(json);
  const std::string message = tree ? text(*tree, "message") : "";
  return message.empty() ? std::string(json) : message;
}

std::vector<MemberStatus> ask_cluster(const HttpClient& http,
                                      const std::vector<io::Address>& endpoints) {
  std::vector<MemberStatus> rows;
  for (const io::Address& endpoint : endpoints) {
    MemberStatus row = ask_endpoint(http, endpoint);
    const bool seen =
        row.answer && std::ranges::find(rows, row.id, &MemberStatus::id) != rows.end();
    if (!seen) rows.push_back(std::move(row));
  }
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const auto asked = std::ranges::find(rows, endpoints[i].to_string(), &MemberStatus::endpoint);
    if (asked == rows.end() || !asked->answer) continue;
    const auto members = ask_members(http, endpoints[i]);
    if (!members) continue;
    add_members(http, rows, *members);
    break;
  }
  fill_in_by_leader(rows);
  std::ranges::sort(
      rows, {}, [](const MemberStatus& row) { return std::tie(row.name, row.id, row.endpoint); });
  return rows;
}

}  // namespace conclave::server
